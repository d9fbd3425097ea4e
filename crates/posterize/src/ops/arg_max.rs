//! The index of the largest value along an axis.

use serde::{Deserialize, Serialize};

use super::answers::{
    fuses_nothing, no_parameters, prints_as_a_layer, reads_each_value_once, takes_one_input,
};
use super::kernel::{Compute, FloatContext, Int8Context, Made, Shapes};
use super::reduce::{Plan, Reduce, Reduction};
use super::training::{Train, Training};
use super::{Int8Rule, Layer, Operator, Saved, python};

/// `torch.argmax`, ONNX's `ArgMax`: the index of the largest value along an axis, as a float.
///
/// NaN counts as the largest, as in PyTorch.
///
/// ```
/// use posterize::ops::ArgMax;
/// use posterize::{Architecture, Tensor};
///
/// let model = Architecture::trace(&ArgMax::new(1))?.init(0);
/// let y = model.forward(&Tensor::new([1, 4], vec![1.0, 4.0, 4.0, 2.0])?)?;
/// assert_eq!((y.shape(), y.data()), (&[1][..], &[1.0][..]));
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ArgMax {
    /// The axis; 1 is that of the channels. It cannot be the batch (0).
    pub dim: usize,
    /// Whether the axis stays, with size 1.
    pub keepdim: bool,
    /// Whether the last one of several equal values is chosen; otherwise the first.
    pub last: bool,
}

impl ArgMax {
    /// Creates the operator along `dim`, which does not stay. The first of equal values is chosen.
    pub const fn new(dim: usize) -> Self {
        Self { dim, keepdim: false, last: false }
    }

    /// Sets whether the axis stays, with size 1.
    #[must_use]
    pub const fn keepdim(mut self, keepdim: bool) -> Self {
        self.keepdim = keepdim;
        self
    }

    /// Sets whether the last one of several equal values is chosen.
    #[must_use]
    pub const fn last(mut self, last: bool) -> Self {
        self.last = last;
        self
    }

    /// The reduction that has the same axes.
    fn reduce(self) -> Reduce {
        Reduce::new(Reduction::Max, [self.dim]).keepdim(self.keepdim)
    }
}

/// Indices up to this one are exact as floats.
const MAX_SIZE: usize = 1 << 24;

const NO_INT8: &str = "its values are indices";

impl Operator for ArgMax {
    fn kind(&self) -> String {
        "ArgMax".into()
    }

    fn python(&self) -> String {
        let last = if self.last { ", last=True" } else { "" };
        format!("dim={}, keepdim={}{last}", self.dim, python::boolean(self.keepdim))
    }

    prints_as_a_layer!();
    takes_one_input!();
    no_parameters!();
    reads_each_value_once!();

    fn validate(&self) -> Result<(), String> {
        if self.dim == 0 {
            return Err("an index into the batch axis; dim must be at least 1".into());
        }
        Ok(())
    }

    fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        let shape = self.reduce().infer(inputs)?;
        let size = inputs[0][self.dim];
        if size > MAX_SIZE {
            return Err(format!("expected at most {MAX_SIZE} values along the axis, found {size}"));
        }
        Ok(shape)
    }

    fuses_nothing!();

    fn int8_rule(&self) -> Int8Rule {
        Int8Rule::Float { reason: NO_INT8 }
    }
}

impl Layer for ArgMax {
    fn class(&self) -> &'static str {
        "ArgMax"
    }
}

impl Saved for ArgMax {
    const VERSION: u32 = 1;
}

/// The largest value so far, its index, and the index of the next value.
type Found = (f32, usize, usize);

impl Compute for ArgMax {
    fn float(&self, _: &FloatContext<'_>, shapes: &Shapes) -> Made<f32> {
        let plan = Plan::new(&shapes.inputs[0], &[self.dim], self.keepdim);
        let last = self.last;
        let start: Found = (f32::NEG_INFINITY, 0, 0);
        let fold = move |(best, at, next): Found, x: f32| {
            let equal = x == best || (x.is_nan() && best.is_nan());
            let larger = x > best || (x.is_nan() && !best.is_nan());
            if larger || (last && equal) { (x, next, next + 1) } else { (best, at, next + 1) }
        };
        plan.kernel("argmax", start, fold, |(_, at, _)| at as f32)
    }

    fn int8(&self, _: &Int8Context<'_>, _: &Shapes) -> Made<u8> {
        Err(NO_INT8.into())
    }
}

impl Train for ArgMax {
    fn training(&self) -> Training {
        Training::Untrainable("an index has no gradient")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::Op;
    use crate::runtime::{Options, compile};
    use crate::{Architecture, MemoryFormat, Tensor};

    fn run(op: ArgMax, shape: &[usize], values: &[f32]) -> Tensor {
        let model = Architecture::trace(&op).unwrap().init(0);
        let x = Tensor::new(shape, values.to_vec()).unwrap();
        let x = if shape.len() == 4 { x.to_format(MemoryFormat::ChannelsLast) } else { x };
        let mut engine = compile(&model, Options::new(1).unwrap().allow_nan(true)).unwrap();
        engine.run(&x).unwrap().to_format(MemoryFormat::Contiguous)
    }

    #[test]
    fn the_first_or_last_of_equal_values_is_chosen() {
        let values = [2.0, 7.0, 7.0, 1.0, -3.0, -9.0, -3.0, -3.0];
        assert_eq!(run(ArgMax::new(1), &[2, 4], &values).data(), [1.0, 0.0]);
        assert_eq!(run(ArgMax::new(1).last(true), &[2, 4], &values).data(), [2.0, 3.0]);
    }

    #[test]
    fn each_axis_of_a_picture_has_its_own_indices() {
        // Two channels of two rows of three pixels.
        let values = [1.0, 5.0, 2.0, 8.0, 0.0, 3.0, 4.0, 4.5, 6.0, 7.0, 9.0, -1.0];
        let channel = run(ArgMax::new(1).keepdim(true), &[1, 2, 2, 3], &values);
        assert_eq!(channel.shape(), [1, 1, 2, 3]);
        assert_eq!(channel.data(), [1.0, 0.0, 1.0, 0.0, 1.0, 0.0]);
        let column = run(ArgMax::new(3), &[1, 2, 2, 3], &values);
        assert_eq!((column.shape(), column.data()), (&[1, 2, 2][..], &[1.0, 0.0, 2.0, 1.0][..]));
    }

    #[test]
    fn nan_and_negative_infinity_have_indices() {
        let values = [1.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::NEG_INFINITY, -5.0];
        assert_eq!(run(ArgMax::new(1), &[2, 3], &values).data(), [1.0, 2.0]);
        assert_eq!(run(ArgMax::new(1), &[1, 2], &[f32::NEG_INFINITY; 2]).data(), [0.0]);
    }

    #[test]
    fn the_batch_has_no_index() {
        assert!(Op::from(ArgMax::new(0)).validate().is_err());
        assert!(Op::from(ArgMax::new(3)).infer(&[&[1, 2, 3]]).is_err());
    }
}
