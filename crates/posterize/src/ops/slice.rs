//! Slices along an axis.

use serde::{Deserialize, Serialize};

use super::answers::{
    fuses_nothing, no_parameters, prints_as_a_layer, reads_each_value_once, takes_one_input,
};
use super::kernel::{Compute, FloatContext, Int8Context, Made, Shapes};
use super::select::{self, Axis, Select};
use super::shapes::expect_axis;
use super::training::{Train, Training};
use super::{Int8Rule, Operator, Saved};

/// A slice along one axis other than the batch, such as `x[:, start:end:step]` along the channels;
/// ONNX's `Slice` of one axis.
///
/// ```
/// use posterize::ops::{Op, Slice};
///
/// let odd = Op::from(Slice::new(1, 1, 8).step(2));
/// assert_eq!(odd.infer(&[&[1, 8, 7, 7]])?, [1, 4, 7, 7]);
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Slice {
    /// The axis; 1 is that of the channels. The batch (0) cannot be sliced.
    pub dim: usize,
    /// The first position along the axis.
    pub start: usize,
    /// The end position, exclusive; at most the size of the axis.
    pub end: usize,
    /// The distance between two positions, at least 1.
    pub step: usize,
}

impl Slice {
    /// Creates a slice of the positions `start..end` along `dim`.
    pub const fn new(dim: usize, start: usize, end: usize) -> Self {
        Self { dim, start, end, step: 1 }
    }

    /// Returns the slice of each `step`-th of these positions, beginning with the first.
    #[must_use]
    pub const fn step(mut self, step: usize) -> Self {
        self.step = step;
        self
    }

    /// Returns the slices that split an axis into parts of these sizes.
    pub(crate) fn parts(sizes: &[usize], dim: usize) -> impl Iterator<Item = Self> {
        sizes.iter().scan(0_usize, move |start, &size| {
            let part = Self::new(dim, *start, start.saturating_add(size));
            *start = part.end;
            Some(part)
        })
    }

    /// Returns the selection of its positions.
    fn select(self, shapes: &Shapes) -> Select {
        let axis = Axis::new(&shapes.inputs[0], self.dim);
        Select::new(axis, (self.start..self.end).step_by(self.step))
    }
}

impl Operator for Slice {
    fn kind(&self) -> String {
        "Slice".into()
    }

    fn python(&self) -> String {
        let Self { dim, start, end, step } = self;
        format!("dim={dim}, start={start}, end={end}, step={step}")
    }

    prints_as_a_layer!();
    takes_one_input!();
    no_parameters!();

    reads_each_value_once!();

    fn validate(&self) -> Result<(), String> {
        if self.dim == 0 {
            return Err("a slice along the batch axis; dim must be at least 1".into());
        }
        if self.step == 0 {
            return Err("step is 0; it must be at least 1".into());
        }
        if self.start >= self.end {
            return Err(format!(
                "start {} is not before end {}; a slice has at least one position",
                self.start, self.end
            ));
        }
        Ok(())
    }

    fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        let mut shape = inputs[0].to_vec();
        expect_axis(self.dim, &shape)?;
        let size = &mut shape[self.dim];
        if self.end > *size {
            return Err(format!(
                "end {} is behind the last position of axis {} of an input of {:?}",
                self.end, self.dim, inputs[0]
            ));
        }
        *size = (self.end - self.start).div_ceil(self.step);
        Ok(shape)
    }

    fuses_nothing!();

    fn int8_rule(&self) -> Int8Rule {
        Int8Rule::InputScale { rounds: false }
    }
}

impl Saved for Slice {
    const VERSION: u32 = 1;
}

impl Compute for Slice {
    fn float(&self, _: &FloatContext<'_>, shapes: &Shapes) -> Made<f32> {
        select::kernel("slice", self.select(shapes))
    }

    fn int8(&self, _: &Int8Context<'_>, shapes: &Shapes) -> Made<u8> {
        select::kernel("slice", self.select(shapes))
    }
}

impl Train for Slice {
    fn training(&self) -> Training {
        let slice = *self;
        Training::Function(select::gradient(move |shapes| slice.select(shapes)))
    }
}
