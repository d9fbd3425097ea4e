//! ReLU and ReLU6 as layers of their own.

use std::ops::RangeInclusive;

use posterize_kernels::f32::{self, Clamp};
use posterize_kernels::int8;

pub use super::clamp::Activation;
use super::kernel::{Call, Compute, FloatContext, Int8Context, Kernel, Made, Shapes, made};
use super::training::{Train, Training};
use super::{Int8Rule, Layer, Leaf, Operator, Parameter, QuantizedOutput, Saved};

impl Operator for Activation {
    fn kind(&self) -> String {
        self.name().into()
    }

    fn python(&self) -> String {
        "inplace=True".into()
    }

    fn leaf(&self) -> Leaf {
        Leaf::new(self.kind(), self.python())
    }

    fn quantized_leaf(&self, _: &QuantizedOutput) -> Option<Leaf> {
        None
    }

    fn arity(&self) -> RangeInclusive<usize> {
        1..=1
    }

    fn parameters(&self) -> Vec<Parameter> {
        Vec::new()
    }

    fn validate(&self) -> Result<(), String> {
        Ok(())
    }

    fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        Ok(inputs[0].to_vec())
    }

    fn multiply_adds(&self, _: &[usize]) -> u64 {
        0
    }

    fn activation(&self) -> Option<Activation> {
        Some(*self)
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
        Int8Rule::InputScale { rounds: true }
    }
}

impl Layer for Activation {
    fn class(&self) -> &'static str {
        self.name()
    }
}

impl Saved for Activation {
    const VERSION: u32 = 1;
}

impl Compute for Activation {
    fn float(&self, _: &FloatContext<'_>, _: &Shapes) -> Made<f32> {
        made(FloatClamp(Self::clamp(Some(*self))))
    }

    fn int8(&self, cx: &Int8Context<'_>, _: &Shapes) -> Made<u8> {
        made(Int8Clamp(cx.range))
    }
}

#[derive(Debug)]
struct FloatClamp(Clamp);

impl Kernel<f32> for FloatClamp {
    fn name(&self) -> &'static str {
        "clamp"
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
        f32::clamp(call.isa, call.pool, input(0), self.0, output);
    }
}

#[derive(Debug)]
struct Int8Clamp([u8; 2]);

impl Kernel<u8> for Int8Clamp {
    fn name(&self) -> &'static str {
        "clamp"
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
        let [min, max] = self.0;
        int8::clamp(call.isa, call.pool, min, max, input(0), output);
    }
}

impl Train for Activation {
    fn training(&self) -> Training {
        Training::Identity
    }
}
