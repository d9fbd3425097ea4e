//! Where quantized computation ends.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use super::kernel::{Compute, FloatContext, Int8Context, Made, Shapes};
use super::training::{Train, Training};
use super::{Activation, Int8Rule, Layer, Leaf, Operator, Parameter, QuantizedOutput, Saved};

/// `torch.ao.quantization.DeQuantStub`: where quantized computation ends; the identity in float.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct DeQuantStub;

impl Operator for DeQuantStub {
    fn kind(&self) -> String {
        "DeQuantStub".into()
    }

    fn python(&self) -> String {
        String::new()
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
        None
    }

    fn with_activation(&self, _: Activation) -> Option<Self> {
        None
    }

    fn with_batch_norm(&self, _: u8) -> Option<Self> {
        None
    }

    fn is_identity(&self) -> bool {
        true
    }

    fn int8_rule(&self) -> Int8Rule {
        Int8Rule::Float
    }
}

impl Layer for DeQuantStub {
    fn class(&self) -> &'static str {
        "DeQuantStub"
    }
}

impl Saved for DeQuantStub {
    const VERSION: u32 = 1;
}

impl Compute for DeQuantStub {
    fn float(&self, _: &FloatContext<'_>, _: &Shapes) -> Made<f32> {
        Ok(None)
    }

    fn int8(&self, _: &Int8Context<'_>, _: &Shapes) -> Made<u8> {
        Err("its output must be float".into())
    }
}

impl Train for DeQuantStub {
    fn training(&self) -> Training {
        Training::Identity
    }
}
