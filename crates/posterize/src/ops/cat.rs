//! Concatenation.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use super::kernel::{Call, Shapes};
use super::layout::{in_memory_order, memory_axis};
use super::training::{Differentiable, Train, Training};
use super::{Activation, Int8Rule, Leaf, Operator, Parameter, QuantizedOutput, Saved};

/// `torch.cat(tensors, dim)`: one or more tensors one behind the other along an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Cat {
    /// The axis; 1 is that of the channels. The batch (0) cannot be concatenated.
    pub dim: usize,
}

impl Cat {
    /// Concatenation along `dim`.
    pub const fn new(dim: usize) -> Self {
        Self { dim }
    }
}

impl Operator for Cat {
    fn kind(&self) -> String {
        "Cat".into()
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
        1..=usize::MAX
    }

    fn parameters(&self) -> Vec<Parameter> {
        Vec::new()
    }

    fn validate(&self) -> Result<(), String> {
        if self.dim == 0 {
            return Err("cat along the batch axis; dim must be at least 1".into());
        }
        Ok(())
    }

    fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        let mut shape = inputs[0].to_vec();
        if shape.len() <= self.dim {
            return Err(format!("expected an input with an axis {}, found {shape:?}", self.dim));
        }
        for other in &inputs[1..] {
            let alike = other.len() == shape.len()
                && (0..shape.len()).all(|axis| axis == self.dim || other[axis] == shape[axis]);
            if !alike {
                return Err(format!("cannot concatenate {other:?} to {:?}", inputs[0]));
            }
            // Saturated, it is found too large by whoever asked.
            shape[self.dim] = shape[self.dim].saturating_add(other[self.dim]);
        }
        Ok(shape)
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

impl Saved for Cat {
    const VERSION: u32 = 1;
}

impl Train for Cat {
    fn training(&self) -> Training {
        Training::Function(Box::new(*self))
    }
}

impl Differentiable for Cat {
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
        position: usize,
        _: &dyn Fn(usize) -> &'a [f32],
        gradient: &[f32],
        target: &mut [f32],
    ) {
        let axis = memory_axis(shapes.output.len(), self.dim);
        // Values of an input, and of all of them, that lie together.
        let width = |shape: &[usize]| in_memory_order(shape)[axis..].iter().product::<usize>();
        let before = shapes.inputs[..position].iter().map(|shape| width(shape)).sum::<usize>();
        let (own, all) = (width(&shapes.inputs[position]), width(&shapes.output));
        let rows = target.chunks_exact_mut(own).zip(gradient.chunks_exact(all));
        rows.for_each(|(to, from)| to.copy_from_slice(&from[before..before + own]));
    }
}
