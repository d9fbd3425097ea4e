//! Products of two tensors.

use std::ops::RangeInclusive;

use posterize_kernels::f32::{self, Binary, Clamp};
use posterize_kernels::int8;
use serde::{Deserialize, Serialize};

use super::answers::{fuses_nothing, no_parameters, prints_as_a_functional};
use super::broadcast::sum_to_input;
use super::broadcast_kernel::broadcast_kernel;
use super::kernel::{Call, Compute, FloatContext, Int8Context, Made, Shapes, function};
use super::shapes::broadcast;
use super::training::{Differentiable, Train, Training};
use super::{Int8Rule, Operator, Saved};

/// `x · y`: the product of two tensors, element by element, broadcast as NumPy does.
///
/// Squeeze-and-excitation multiplies `[N, C, H, W]` by `[N, C, 1, 1]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Mul;

impl Operator for Mul {
    fn kind(&self) -> String {
        "Mul".into()
    }

    prints_as_a_functional!();

    fn arity(&self) -> RangeInclusive<usize> {
        2..=2
    }

    no_parameters!();

    fn validate(&self) -> Result<(), String> {
        Ok(())
    }

    fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        broadcast(inputs[0], inputs[1])
    }

    fuses_nothing!();

    fn int8_rule(&self) -> Int8Rule {
        Int8Rule::OwnScale
    }
}

impl Saved for Mul {
    const VERSION: u32 = 1;
}

impl Compute for Mul {
    fn float(&self, _: &FloatContext<'_>, shapes: &Shapes) -> Made<f32> {
        if shapes.inputs[0] == shapes.inputs[1] {
            return function("mul", |call, input, output| {
                f32::mul(call.isa, call.pool, input(0), input(1), Clamp::NONE, output);
            });
        }
        broadcast_kernel(shapes, "mul", |call, plan, a, b, output| {
            f32::binary(call.isa, call.pool, plan, Binary::Mul, a, b, Clamp::NONE, output);
        })
    }

    fn int8(&self, cx: &Int8Context<'_>, shapes: &Shapes) -> Made<u8> {
        let ([a, b], [min, max]) = (cx.pair()?, cx.range);
        let kernel = int8::Mul::new(cx.isa, a, b, cx.output, min, max);
        if shapes.inputs[0] == shapes.inputs[1] {
            return function("mul", move |call, input, output| {
                kernel.run(call.pool, input(0), input(1), output);
            });
        }
        broadcast_kernel(shapes, "mul", move |call, plan, a, b, output| {
            kernel.run_broadcast(call.pool, plan, a, b, output);
        })
    }
}

impl Train for Mul {
    fn training(&self) -> Training {
        Training::Function(Box::new(*self))
    }
}

impl Differentiable for Mul {
    fn keeps_inputs(&self) -> bool {
        true
    }

    fn passes_gradient(&self, _: &Shapes) -> bool {
        false
    }

    fn backward<'a>(
        &self,
        call: Call<'_>,
        shapes: &Shapes,
        position: usize,
        input: &dyn Fn(usize) -> &'a [f32],
        gradient: &[f32],
        target: &mut [f32],
    ) {
        let other = input(1 - position);
        if shapes.inputs[0] == shapes.inputs[1] {
            f32::mul(call.isa, call.pool, gradient, other, Clamp::NONE, target);
        } else {
            let term = |gradient: f32, at: usize| gradient * other[at];
            sum_to_input(call, shapes, position, gradient, term, target);
        }
    }
}
