//! Addition, subtraction, multiplication and division with broadcasting.

use super::Clamp;
use crate::Isa;
use crate::broadcast::{Broadcast, Pairwise, combine};
use crate::pool::Pool;

/// An arithmetic operator with two operands.
///
/// Each is one IEEE 754 operation, so all instruction sets give the same bits, except that NaNs may
/// differ in their payload.
///
/// ```
/// use posterize_kernels::f32::Binary;
///
/// assert_eq!(Binary::Sub.apply(1.0, 4.0), -3.0);
/// assert_eq!(Binary::Div.apply(1.0, 4.0), 0.25);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Binary {
    /// `torch.add`: `a + b`.
    Add,
    /// `torch.sub`: `a − b`.
    Sub,
    /// `torch.mul`: `a · b`.
    Mul,
    /// `torch.div`: `a / b`; a division by zero gives an infinity or a NaN.
    Div,
}

impl Binary {
    /// Returns the result for the operands `a` and `b`.
    #[must_use]
    pub fn apply(self, a: f32, b: f32) -> f32 {
        match self {
            Self::Add => a + b,
            Self::Sub => a - b,
            Self::Mul => a * b,
            Self::Div => a / b,
        }
    }
}

/// Applies `operator` to the elements of `a` and `b` with broadcasting, and clamps the results.
///
/// `a` and `b` have the shapes that `plan` was made from, `output` has [`Broadcast::shape`].
///
/// # Panics
/// If the length of a slice differs from its shape.
///
/// ```
/// use posterize_kernels::f32::{Binary, Clamp, binary};
/// use posterize_kernels::{Broadcast, Isa, Pool};
///
/// // Two pixels with three channels, times a factor for each channel.
/// let plan = Broadcast::new(&[2, 3], &[3])?;
/// let (pixels, factors) = ([1.0, 2.0, 3.0, -1.0, -2.0, -3.0], [1.0, 10.0, 100.0]);
/// let mut output = [0.0; 6];
/// let (isa, pool) = (Isa::detect(), Pool::new(1));
/// binary(isa, &pool, &plan, Binary::Mul, &pixels, &factors, Clamp::RELU, &mut output);
/// assert_eq!(output, [1.0, 20.0, 300.0, 0.0, 0.0, 0.0]);
/// # Ok::<(), posterize_kernels::BroadcastError>(())
/// ```
pub fn binary(
    isa: Isa,
    pool: &Pool,
    plan: &Broadcast,
    operator: Binary,
    a: &[f32],
    b: &[f32],
    clamp: Clamp,
    output: &mut [f32],
) {
    match operator {
        Binary::Add => combine(isa, pool, plan, Clamped { f: Add, clamp }, a, b, output),
        Binary::Sub => combine(isa, pool, plan, Clamped { f: Sub, clamp }, a, b, output),
        Binary::Mul => combine(isa, pool, plan, Clamped { f: Mul, clamp }, a, b, output),
        Binary::Div => combine(isa, pool, plan, Clamped { f: Div, clamp }, a, b, output),
    }
}

/// A function of two elements whose result is clamped.
#[derive(Clone, Copy)]
struct Clamped<F> {
    f: F,
    clamp: Clamp,
}

impl<F: Pairwise<f32>> Pairwise<f32> for Clamped<F> {
    #[inline(always)]
    fn apply(self, a: f32, b: f32) -> f32 {
        // Written as comparisons that are false for a NaN, so that a NaN stays.
        let y = self.f.apply(a, b);
        let y = if y < self.clamp.min { self.clamp.min } else { y };
        if y > self.clamp.max { self.clamp.max } else { y }
    }
}

macro_rules! operators {
    ($($name:ident),*) => {$(
        #[derive(Clone, Copy)]
        struct $name;

        impl Pairwise<f32> for $name {
            #[inline(always)]
            fn apply(self, a: f32, b: f32) -> f32 {
                Binary::$name.apply(a, b)
            }
        }
    )*};
}
operators!(Add, Sub, Mul, Div);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::broadcast::testing::shapes;
    use crate::f32::testing::{clamps, numbers};
    use crate::reference;

    const ALL: [Binary; 4] = [Binary::Add, Binary::Sub, Binary::Mul, Binary::Div];

    /// Random numbers, with special values at every fifth position.
    fn values(len: usize, seed: u64) -> Vec<f32> {
        let special = [0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, f32::MAX, 1e-40];
        let mut values = numbers(len, seed);
        for (i, value) in values.iter_mut().enumerate().skip(seed as usize % 5).step_by(5) {
            *value = special[i % special.len()];
        }
        values
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
                fn every_isa_gives_the_bits_of_apply(
            [a_shape, b_shape] in shapes(), clamp in clamps(), threads in 1_usize..4,
            count in 1_usize..4, seed in 0_u64..99,
        ) {
            let plan = Broadcast::new(&a_shape, &b_shape).expect("they broadcast");
            let [a_len, b_len] = plan.input_len();
            let (a, b) = (values(count * a_len, seed), values(count * b_len, seed + 1));
            let pool = Pool::new(threads);
            for operator in ALL {
                let expected: Vec<f32> = (0..count).flat_map(|i| {
                    let (a, b) = (&a[i * a_len..][..a_len], &b[i * b_len..][..b_len]);
                    let (a, b) = ((&a_shape[..], a), (&b_shape[..], b));
                    reference::broadcast(plan.shape(), a, b, |a, b| operator.apply(a, b))
                }).collect();
                for isa in Isa::supported() {
                    let mut output = vec![0.125; count * plan.len()];
                    binary(isa, &pool, &plan, operator, &a, &b, clamp, &mut output);
                    for (i, (&e, &y)) in expected.iter().zip(&output).enumerate() {
                        let e = if e.is_nan() { e } else { e.max(clamp.min).min(clamp.max) };
                        prop_assert!(
                            e == y || (e.is_nan() && y.is_nan()),
                            "{operator:?} on {isa}, element {i}: {e} {y}"
                        );
                        prop_assert!(y == 0.0 || e.to_bits() == y.to_bits() || y.is_nan());
                    }
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "the second input has 2 elements, but 1 of its shape have 3")]
    fn lengths_must_be_those_of_the_shapes() {
        let plan = Broadcast::new(&[2, 3], &[3]).unwrap();
        let (isa, pool) = (Isa::detect(), Pool::new(1));
        binary(isa, &pool, &plan, Binary::Sub, &[0.0; 6], &[0.0; 2], Clamp::NONE, &mut [0.0; 6]);
    }
}
