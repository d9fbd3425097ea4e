//! Products of two tensors.

use std::ops::RangeInclusive;

use posterize_kernels::f32::{self, Binary, Clamp};
use posterize_kernels::int8;
use serde::{Deserialize, Serialize};

use super::broadcast::sum_to_input;
use super::broadcast_kernel::broadcast_kernel;
use super::kernel::{Call, Compute, FloatContext, Int8Context, Kernel, Made, Shapes, made};
use super::shapes::broadcast;
use super::training::{Differentiable, Train, Training};
use super::{Activation, Int8Rule, Leaf, Operator, Parameter, QuantizedOutput, Saved};

/// `x · y`: the product of two tensors, element by element, broadcast as NumPy does.
///
/// Squeeze-and-excitation multiplies `[N, C, H, W]` by `[N, C, 1, 1]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Mul;

impl Operator for Mul {
    fn kind(&self) -> String {
        "Mul".into()
    }

    fn python(&self) -> String {
        String::new()
    }

    fn leaf(&self) -> Leaf {
        Leaf::functional()
    }

    fn quantized_leaf(&self, output: &QuantizedOutput) -> Option<Leaf> {
        Some(Leaf::quantized_functional(&self.kind(), output))
    }

    fn arity(&self) -> RangeInclusive<usize> {
        2..=2
    }

    fn parameters(&self) -> Vec<Parameter> {
        Vec::new()
    }

    fn validate(&self) -> Result<(), String> {
        Ok(())
    }

    fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        broadcast(inputs[0], inputs[1])
    }

    fn multiply_adds(&self, _: &[usize]) -> u64 {
        0
    }

    fn activation(&self) -> Option<Activation> {
        None
    }

    fn with_activation(&self, _: Activation) -> Option<Self> {
        None
    }

    fn with_batch_norm(&self, _: u8) -> Option<Self> {
        None
    }

    fn is_identity(&self) -> bool {
        false
    }

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
            return made(FloatMul);
        }
        broadcast_kernel(shapes, "mul", |call, plan, a, b, output| {
            f32::binary(call.isa, call.pool, plan, Binary::Mul, a, b, Clamp::NONE, output);
        })
    }

    fn int8(&self, cx: &Int8Context<'_>, shapes: &Shapes) -> Made<u8> {
        let ([a, b], [min, max]) = (cx.pair()?, cx.range);
        let kernel = int8::Mul::new(cx.isa, a, b, cx.output, min, max);
        if shapes.inputs[0] == shapes.inputs[1] {
            return made(Int8Mul(kernel));
        }
        broadcast_kernel(shapes, "mul", move |call, plan, a, b, output| {
            kernel.run_broadcast(call.pool, plan, a, b, output);
        })
    }
}

#[derive(Debug)]
struct FloatMul;

impl Kernel<f32> for FloatMul {
    fn name(&self) -> &'static str {
        "mul"
    }

    fn scratch_len(&self, _: usize, _: usize) -> usize {
        0
    }

    fn run<'a>(
        &self,
        call: Call<'_>,
        input: &dyn Fn(usize) -> &'a [f32],
        output: &mut [f32],
        _: &mut [f32],
    ) {
        f32::mul(call.isa, call.pool, input(0), input(1), Clamp::NONE, output);
    }
}

#[derive(Debug)]
struct Int8Mul(int8::Mul);

impl Kernel<u8> for Int8Mul {
    fn name(&self) -> &'static str {
        "mul"
    }

    fn scratch_len(&self, _: usize, _: usize) -> usize {
        0
    }

    fn run<'a>(
        &self,
        call: Call<'_>,
        input: &dyn Fn(usize) -> &'a [u8],
        output: &mut [u8],
        _: &mut [u8],
    ) {
        self.0.run(call.pool, input(0), input(1), output);
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
