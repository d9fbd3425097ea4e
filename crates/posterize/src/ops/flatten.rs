//! Flattening.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use super::{Activation, Int8Rule, Layer, Leaf, Operator, Parameter, QuantizedOutput, Saved};

/// `torch.nn.Flatten`, `torch.flatten(x, 1)`: all axes but the batch as one, in PyTorch's order
/// C, H, W.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Flatten;

impl Operator for Flatten {
    fn kind(&self) -> String {
        "Flatten".into()
    }

    fn python(&self) -> String {
        "start_dim=1, end_dim=-1".into()
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
        match inputs[0] {
            [n, rest @ ..] => Ok(vec![*n, rest.iter().product()]),
            [] => Err("expected an input with a batch axis".into()),
        }
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
        Int8Rule::InputScale { rounds: false }
    }
}

impl Layer for Flatten {
    fn class(&self) -> &'static str {
        "Flatten"
    }
}

impl Saved for Flatten {
    const VERSION: u32 = 1;
}
