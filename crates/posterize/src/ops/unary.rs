//! Functions of one element: what their operators share.

use std::fmt::Debug;

use posterize_kernels::f32::{self, Unary};
use posterize_kernels::int8::Table;

use super::Int8Rule;
use super::kernel::{self, Int8Context, Made};
use super::training::{Backward, Gradient, nonlinear};

/// A function that is applied to each element of its input.
///
/// [`unary_operator`] makes an operator of it: in float it is computed by a kernel, in int8 by a
/// table of the 256 values that an input may have.
pub(super) trait UnaryFunction: Copy + Debug + Send + Sync + 'static {
    /// The name of its kernels in profiles.
    const NAME: &str;

    /// What computes it.
    fn kernel(self) -> Unary;

    /// Its derivative at `x`.
    fn derivative(self, x: f32) -> f32;

    /// Where its output gets its scale from in int8.
    fn int8_rule(self) -> Int8Rule;
}

/// The hyper-parameters of a [`UnaryFunction`] that has some.
pub(super) trait HyperParameters {
    /// Returns the arguments as printed by PyTorch.
    fn arguments(&self) -> String;

    /// Checks the hyper-parameters, which may come from a file.
    ///
    /// # Errors
    /// Returns a message that names the one that is out of range.
    fn check(&self) -> Result<(), String>;
}

/// Returns an error if a hyper-parameter is NaN or infinite.
pub(super) fn check_finite(name: &str, value: f32) -> Result<(), String> {
    if value.is_finite() {
        Ok(())
    } else {
        Err(format!("{name} must be a finite number, found {value}"))
    }
}

/// Makes an operator of a [`UnaryFunction`] whose type has the name of PyTorch's class, with the
/// version of it in saved files.
///
/// A function with [`HyperParameters`] is followed by examples of it, whose derivatives are checked. A
/// function that is not defined everywhere has the range in which its derivative is checked behind
/// `on`.
macro_rules! unary_operator {
    ($name:ident, version $version:literal $(, on $domain:expr)?) => {
        $crate::ops::unary::unary_operator!(
            @all $name, $version, [$crate::ops::answers::no_hyper_parameters!();], [super::$name]
            $(, $domain)?
        );
    };
    ($name:ident, version $version:literal, of [$($example:expr),+] $(, on $domain:expr)?) => {
        $crate::ops::unary::unary_operator!(
            @all $name, $version, [
                fn python(&self) -> String {
                    $crate::ops::unary::HyperParameters::arguments(self)
                }

                fn validate(&self) -> Result<(), String> {
                    $crate::ops::unary::HyperParameters::check(self)
                }
            ],
            [$($example),+] $(, $domain)?
        );
    };
    (@all $name:ident, $version:literal, [$($answers:tt)+], [$($example:expr),+]
        $(, $domain:expr)?) => {
        impl $crate::ops::Operator for $name {
            fn kind(&self) -> String {
                stringify!($name).into()
            }

            $($answers)+
            $crate::ops::answers::prints_as_a_layer!();
            $crate::ops::answers::no_parameters!();
            $crate::ops::answers::keeps_the_shape!();
            $crate::ops::answers::fuses_nothing!();

            fn int8_rule(&self) -> $crate::ops::Int8Rule {
                $crate::ops::unary::UnaryFunction::int8_rule(*self)
            }
        }

        impl $crate::ops::Layer for $name {
            fn class(&self) -> &'static str {
                stringify!($name)
            }
        }

        impl $crate::ops::operator::Saved for $name {
            const VERSION: u32 = $version;
        }

        impl $crate::ops::kernel::Compute for $name {
            fn float(
                &self,
                _: &$crate::ops::kernel::FloatContext<'_>,
                _: &$crate::ops::kernel::Shapes,
            ) -> $crate::ops::kernel::Made<f32> {
                $crate::ops::unary::float(*self)
            }

            fn int8(
                &self,
                cx: &$crate::ops::kernel::Int8Context<'_>,
                _: &$crate::ops::kernel::Shapes,
            ) -> $crate::ops::kernel::Made<u8> {
                $crate::ops::unary::int8(*self, cx)
            }
        }

        impl $crate::ops::training::Train for $name {
            fn training(&self) -> $crate::ops::training::Training {
                $crate::ops::training::Training::Function($crate::ops::unary::gradient(*self))
            }
        }

        #[cfg(test)]
        mod tests {
            #[allow(unused_imports, reason = "examples may name what the file imports")]
            use super::*;

            #[test]
            fn the_derivative_is_that_of_the_function() {
                #[allow(unused_mut, unused_assignments, reason = "most functions have no domain")]
                let mut domain = -8.0..=8.0_f32;
                $(domain = $domain;)?
                for function in [$($example),+] {
                    $crate::ops::unary::check_derivative(function, &domain);
                }
            }
        }
    };
}

pub(super) use unary_operator;

/// Number of elements of a gradient that one task computes.
const TASK: usize = 1 << 14;

/// The float kernel of a function.
pub(super) fn float<F: UnaryFunction>(function: F) -> Made<f32> {
    let unary = function.kernel();
    kernel::function(F::NAME, move |call, input, output| {
        f32::unary(call.isa, call.pool, unary, input(0), output);
    })
}

/// The int8 kernel of a function: a table of its values for each of the 256 integers.
pub(super) fn int8<F: UnaryFunction>(function: F, cx: &Int8Context<'_>) -> Made<u8> {
    let unary = function.kernel();
    let table = Table::new(cx.inputs[0], cx.output, |x| unary.apply(x));
    kernel::function(F::NAME, move |call, input, output| {
        table.run(call.isa, call.pool, input(0), output);
    })
}

/// The gradient of a function: that of its output times its derivative.
pub(super) fn gradient<F: UnaryFunction>(function: F) -> Gradient {
    nonlinear(move |Backward { call, gradient, input, .. }, target| {
        let x = input(0);
        call.pool.for_each_chunk_mut(target, TASK, &|task, target| {
            let range = task * TASK..task * TASK + target.len();
            let pairs = x[range.clone()].iter().zip(&gradient[range]);
            for (target, (&x, &gradient)) in target.iter_mut().zip(pairs) {
                *target = gradient * function.derivative(x);
            }
        });
    })
}

/// Checks a derivative against finite differences of its function.
#[cfg(test)]
pub(super) fn check_derivative<F: UnaryFunction>(
    function: F,
    domain: &std::ops::RangeInclusive<f32>,
) {
    let unary = function.kernel();
    let mut checked = 0;
    for step in -80..=80_i16 {
        // The offset avoids the points where a function is not differentiable.
        let x = f32::from(step) / 10.0 + 0.03;
        let h = 1e-2;
        if !domain.contains(&(x - h)) {
            continue;
        }
        let difference = (unary.apply(x + h) - unary.apply(x - h)) / (2.0 * h);
        let found = function.derivative(x);
        let bound = 2e-3 * found.abs().max(1.0);
        assert!((found - difference).abs() < bound, "{function:?} at {x}: {found}, {difference}");
        checked += 1;
    }
    assert!(checked > 50, "{function:?}: {checked} points");
}
