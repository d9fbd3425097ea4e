//! ReLU and ReLU6.

use std::ops::RangeInclusive;

use posterize_kernels::f32::Clamp;
use serde::{Deserialize, Serialize};

use super::training::{Train, Training};
use super::{Int8Rule, Layer, Leaf, Operator, Parameter, QuantizedOutput, Saved};

/// `torch.nn.ReLU` or `torch.nn.ReLU6`: an activation that bounds values. A layer of its own, or fused
/// into a convolution, linear layer or addition, which then bound their own results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Activation {
    /// `max(x, 0)`.
    ReLU,
    /// `min(max(x, 0), 6)`.
    ReLU6,
}

impl Activation {
    /// PyTorch's class name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ReLU => "ReLU",
            Self::ReLU6 => "ReLU6",
        }
    }

    /// What is added to the class name of an operator that is fused with it.
    pub(super) const fn suffix(activation: Option<Self>) -> &'static str {
        match activation {
            None => "",
            Some(activation) => activation.name(),
        }
    }

    /// The smallest and the largest value that it leaves; infinite where it has no bound.
    pub const fn bounds(self) -> [f32; 2] {
        match self {
            Self::ReLU => [0.0, f32::INFINITY],
            Self::ReLU6 => [0.0, 6.0],
        }
    }

    /// The bounds of an activation for the kernels; none where there is no activation.
    pub(crate) fn clamp(activation: Option<Self>) -> Clamp {
        activation.map_or(Clamp::NONE, |activation| {
            let [min, max] = activation.bounds();
            Clamp { min, max }
        })
    }
}

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

impl Train for Activation {
    fn training(&self) -> Training {
        Training::Identity
    }
}
