//! Products of two tensors.

use posterize_kernels::f32::{Binary, Clamp};
use posterize_kernels::int8;
use serde::{Deserialize, Serialize};

use super::answers::{fuses_nothing, prints_as_a_functional, takes_two_broadcast};
use super::binary;
use super::kernel::{Call, Compute, FloatContext, Int8Context, Made, Shapes};
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

    takes_two_broadcast!();

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
        binary::float(shapes, "mul", Binary::Mul, Clamp::NONE)
    }

    fn int8(&self, cx: &Int8Context<'_>, shapes: &Shapes) -> Made<u8> {
        let ([a, b], [min, max]) = (cx.pair()?, cx.range);
        let kernel = int8::Mul::new(cx.isa, a, b, cx.output, min, max);
        binary::int8(shapes, "mul", move |pool, plan, a, b, output| {
            kernel.run_broadcast(pool, plan, a, b, output);
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
        binary::backward_by_other(call, shapes, position, Binary::Mul, gradient, other, target);
    }
}
