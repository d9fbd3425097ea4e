//! Flattening.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use super::kernel::{Call, Compute, FloatContext, Int8Context, Kernel, Made, Shapes, made};
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

impl Compute for Flatten {
    fn float(&self, _: &FloatContext<'_>, shapes: &Shapes) -> Made<f32> {
        Permute::of(shapes).map_or(Ok(None), made)
    }

    fn int8(&self, _: &Int8Context<'_>, shapes: &Shapes) -> Made<u8> {
        Permute::of(shapes).map_or(Ok(None), made)
    }
}

/// Brings pictures that lie channels last into PyTorch's order C, H, W.
#[derive(Debug)]
struct Permute {
    size: [usize; 2],
    channels: usize,
}

impl Permute {
    /// `None` where values lie in that order already.
    fn of(shapes: &Shapes) -> Option<Self> {
        let size = shapes.size();
        (size != [1, 1]).then(|| Self { size, channels: shapes.channels() })
    }

    fn run<T: Copy>(&self, input: &[T], output: &mut [T]) {
        let plane = self.size[0] * self.size[1];
        let picture = plane * self.channels;
        let pictures = input.chunks_exact(picture).zip(output.chunks_exact_mut(picture));
        for (x, y) in pictures {
            for (pixel, values) in x.chunks_exact(self.channels).enumerate() {
                for (channel, &value) in values.iter().enumerate() {
                    y[channel * plane + pixel] = value;
                }
            }
        }
    }
}

impl Kernel<f32> for Permute {
    fn name(&self) -> &'static str {
        "flatten"
    }

    fn scratch_len(&self, _: usize, _: usize) -> usize {
        0
    }

    fn run<'a>(
        &self,
        _: Call<'_>,
        input: &dyn Fn(usize) -> &'a [f32],
        output: &mut [f32],
        _: &mut [f32],
    ) {
        Self::run(self, input(0), output);
    }
}

impl Kernel<u8> for Permute {
    fn name(&self) -> &'static str {
        "flatten"
    }

    fn scratch_len(&self, _: usize, _: usize) -> usize {
        0
    }

    fn run<'a>(
        &self,
        _: Call<'_>,
        input: &dyn Fn(usize) -> &'a [u8],
        output: &mut [u8],
        _: &mut [u8],
    ) {
        Self::run(self, input(0), output);
    }
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
