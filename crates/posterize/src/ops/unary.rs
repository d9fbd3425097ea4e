//! What functions of one element share: their kernels, and how a gradient goes back through them.

use std::fmt;

use posterize_kernels::f32::{self, Unary};
use posterize_kernels::int8::Table;

use super::kernel::{self, Call, Int8Context, Made, Shapes};
use super::training::Differentiable;

/// Elements of a gradient that are worth a task.
const TASK: usize = 1 << 14;

/// The float kernel of a function.
pub(super) fn float(function: Unary, name: &'static str) -> Made<f32> {
    kernel::function(name, move |call, input, output| {
        f32::unary(call.isa, call.pool, function, input(0), output);
    })
}

/// The int8 kernel of a function: a table of what it makes of each of the 256 integers.
pub(super) fn int8(cx: &Int8Context<'_>, function: Unary, name: &'static str) -> Made<u8> {
    let table = Table::new(cx.inputs[0], cx.output, |x| function.apply(x));
    kernel::function(name, move |call, input, output| {
        table.run(call.isa, call.pool, input(0), output);
    })
}

/// The derivative of a function of one element, as a function of its input.
pub(super) struct Derivative(pub(super) fn(f32) -> f32);

impl fmt::Debug for Derivative {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Derivative")
    }
}

impl Differentiable for Derivative {
    fn keeps_inputs(&self) -> bool {
        true
    }

    fn passes_gradient(&self, _: &Shapes) -> bool {
        false
    }

    fn backward<'a>(
        &self,
        call: Call<'_>,
        _: &Shapes,
        _: usize,
        input: &dyn Fn(usize) -> &'a [f32],
        gradient: &[f32],
        target: &mut [f32],
    ) {
        let x = input(0);
        call.pool.for_each_chunk_mut(target, TASK, &|task, target| {
            let range = task * TASK..task * TASK + target.len();
            let pairs = x[range.clone()].iter().zip(&gradient[range]);
            for (target, (&x, &gradient)) in target.iter_mut().zip(pairs) {
                *target = gradient * (self.0)(x);
            }
        });
    }
}

/// Checks a derivative against differences of the function itself.
#[cfg(test)]
pub(super) fn check_derivative(function: Unary, derivative: &Derivative) {
    for step in -80..=80_i16 {
        // Beside the points where a function has no derivative.
        let x = f32::from(step) / 10.0 + 0.03;
        let h = 1e-2;
        let difference = (function.apply(x + h) - function.apply(x - h)) / (2.0 * h);
        let found = (derivative.0)(x);
        assert!((found - difference).abs() < 2e-3, "{function:?} at {x}: {found}, {difference}");
    }
}
