//! The inputs of a network.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use super::kernel::{Compute, FloatContext, Int8Context, Made, Shapes};
use super::training::{Train, Training};
use super::{Activation, Int8Rule, Leaf, Operator, Parameter, QuantizedOutput, Saved};

/// An input of a network: what its caller gives under the node's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Input;

impl Operator for Input {
    fn kind(&self) -> String {
        "Input".into()
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
        0..=0
    }

    fn parameters(&self) -> Vec<Parameter> {
        Vec::new()
    }

    fn validate(&self) -> Result<(), String> {
        Ok(())
    }

    fn infer(&self, _: &[&[usize]]) -> Result<Vec<usize>, String> {
        Err("an input has the shape that its caller gives".into())
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
        Int8Rule::Float
    }
}

impl Saved for Input {
    const VERSION: u32 = 1;
}

impl Compute for Input {
    fn float(&self, _: &FloatContext<'_>, _: &Shapes) -> Made<f32> {
        Ok(None)
    }

    fn int8(&self, _: &Int8Context<'_>, _: &Shapes) -> Made<u8> {
        Err("an input is float".into())
    }
}

impl Train for Input {
    fn training(&self) -> Training {
        Training::Input
    }
}
