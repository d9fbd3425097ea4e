//! Flattening.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use super::kernel::{Call, Shapes};
use super::training::{Differentiable, Train, Training};
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

impl Train for Flatten {
    fn training(&self) -> Training {
        Training::Function(Box::new(*self))
    }
}

impl Differentiable for Flatten {
    fn keeps_inputs(&self) -> bool {
        false
    }

    fn passes_gradient(&self, _: &Shapes) -> bool {
        false
    }

    fn backward<'a>(
        &self,
        _: Call<'_>,
        shapes: &Shapes,
        _: usize,
        _: &dyn Fn(usize) -> &'a [f32],
        gradient: &[f32],
        target: &mut [f32],
    ) {
        let (plane, channels) = (shapes.size().into_iter().product::<usize>(), shapes.channels());
        if plane == 1 {
            target.copy_from_slice(gradient);
            return;
        }
        // From PyTorch's C, H, W to H, W, C in memory.
        let picture = plane * channels;
        let pictures = gradient.chunks_exact(picture).zip(target.chunks_exact_mut(picture));
        for (from, to) in pictures {
            for (pixel, values) in to.chunks_exact_mut(channels).enumerate() {
                for (channel, value) in values.iter_mut().enumerate() {
                    *value = from[channel * plane + pixel];
                }
            }
        }
    }
}
