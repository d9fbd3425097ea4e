//! Sums.

use std::ops::RangeInclusive;

use posterize_kernels::f32::{self, Binary};
use posterize_kernels::int8;
use serde::{Deserialize, Serialize};

use super::answers::{no_parameters, prints_as_a_functional};
use super::broadcast::sum_to_input;
use super::broadcast_kernel::broadcast_kernel;
use super::kernel::{
    Call, Compute, FloatContext, Int8Context, Kernel, Made, Shapes, function, made,
};
use super::shapes::{broadcast, fused_kind};
use super::training::{Differentiable, Train, Training};
use super::{Activation, Int8Rule, Operator, Saved};

/// `x + y`: the sum of two tensors, broadcast as NumPy does.
///
/// Of two int8 inputs, each value is dequantized, and the sum is quantized at the output's scale.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Add {
    /// The activation that was fused into it.
    pub activation: Option<Activation>,
}

impl Add {
    /// The sum, as it is.
    pub const fn new() -> Self {
        Self { activation: None }
    }

    /// The sum, bounded by `activation`.
    pub const fn fused(activation: Activation) -> Self {
        Self { activation: Some(activation) }
    }
}

impl Operator for Add {
    fn kind(&self) -> String {
        fused_kind("Add", self.activation)
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

    fn activation(&self) -> Option<Activation> {
        self.activation
    }

    fn with_activation(&self, activation: Activation) -> Option<Self> {
        self.activation.is_none().then_some(Self { activation: Some(activation) })
    }

    fn with_batch_norm(&self, _: u8) -> Option<Self> {
        None
    }

    fn int8_rule(&self) -> Int8Rule {
        Int8Rule::OwnScale
    }
}

impl Saved for Add {
    const VERSION: u32 = 1;
}

impl Compute for Add {
    fn float(&self, _: &FloatContext<'_>, shapes: &Shapes) -> Made<f32> {
        let clamp = Activation::clamp(self.activation);
        if shapes.inputs[0] == shapes.inputs[1] {
            return function("add", move |call, input, output| {
                f32::add(call.isa, call.pool, input(0), input(1), clamp, output);
            });
        }
        broadcast_kernel(shapes, "add", move |call, plan, a, b, output| {
            f32::binary(call.isa, call.pool, plan, Binary::Add, a, b, clamp, output);
        })
    }

    fn int8(&self, cx: &Int8Context<'_>, shapes: &Shapes) -> Made<u8> {
        let ([a, b], [min, max]) = (cx.pair()?, cx.range);
        let kernel = int8::Add::new(cx.isa, a, b, cx.output, min, max);
        if shapes.inputs[0] == shapes.inputs[1] {
            return made(Int8Add { kernel });
        }
        broadcast_kernel(shapes, "add", move |call, plan, a, b, output| {
            kernel.run_broadcast(call.pool, plan, a, b, output);
        })
    }
}

/// An addition in int8, which may become a part of a step that computes several nodes.
#[derive(Debug)]
pub(crate) struct Int8Add {
    pub(crate) kernel: int8::Add,
}

impl Kernel<u8> for Int8Add {
    fn name(&self) -> &'static str {
        "add"
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
        self.kernel.run(call.pool, input(0), input(1), output);
    }
}

impl Train for Add {
    fn training(&self) -> Training {
        Training::Function(Box::new(*self))
    }
}

impl Differentiable for Add {
    fn keeps_inputs(&self) -> bool {
        false
    }

    fn passes_gradient(&self, shapes: &Shapes) -> bool {
        shapes.inputs.iter().all(|input| *input == shapes.output)
    }

    fn backward<'a>(
        &self,
        call: Call<'_>,
        shapes: &Shapes,
        position: usize,
        _: &dyn Fn(usize) -> &'a [f32],
        gradient: &[f32],
        target: &mut [f32],
    ) {
        if shapes.inputs[position] == shapes.output {
            target.copy_from_slice(gradient);
        } else {
            sum_to_input(call, shapes, position, gradient, |gradient, _| gradient, target);
        }
    }
}
