//! What convolutions read and write, forward and backward.

use super::activation::Activation;
use super::block::Factors;
use super::stats::ChannelSums;
use crate::geometry::Conv2dGeometry;

/// What a convolution reads.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// `[batch, h, w, in_channels]`: the input itself or, with an activation, the raw result of the
    /// convolution before it.
    pub values: &'a [f32],
    /// What makes the input of the values.
    pub activation: Option<Activation<'a>>,
}

impl<'a> From<&'a [f32]> for Input<'a> {
    fn from(values: &'a [f32]) -> Self {
        Self { values, activation: None }
    }
}

/// The gradient of what a convolution gave.
#[derive(Clone, Copy, Debug)]
pub struct GradOutput<'a> {
    /// `[batch, oh, ow, out_channels]`: the gradient of the raw result or, with a norm, of what its
    /// activation made of it.
    pub values: &'a [f32],
    /// The way back through the activation and the batch norm.
    pub norm: Option<NormBackward<'a>>,
}

impl<'a> From<&'a [f32]> for GradOutput<'a> {
    fn from(values: &'a [f32]) -> Self {
        Self { values, norm: None }
    }
}

/// The gradient behind a batch norm: `a[c] * g + b[c] * y + c[c]` in channel `c`, where `g` is the
/// gradient of the activation's result where it passes the activation, else 0.
///
/// With the batch's own mean and variance, `b` and `c` follow from the [`ChannelSums`]; with frozen
/// statistics they are 0.
#[derive(Clone, Copy, Debug)]
pub struct NormBackward<'a> {
    /// What the convolution gave.
    pub y: &'a [f32],
    /// What was made of it.
    pub activation: Activation<'a>,
    /// The factor of the gradient.
    pub a: &'a [f32],
    /// The factor of `y`.
    pub b: &'a [f32],
    /// The addend.
    pub c: &'a [f32],
}

impl NormBackward<'_> {
    pub(super) fn factors(&self) -> Factors<'_> {
        Factors { a: self.a, b: self.b, c: self.c }
    }

    pub(super) fn check(&self, len: usize, channels: usize) {
        assert_eq!(self.y.len(), len, "elements of y");
        let lens = [self.activation.channels(), self.a.len(), self.b.len(), self.c.len()];
        assert_eq!(lens, [channels; 4], "factors of the gradient");
    }
}

/// What [`Conv2d::backward`](super::Conv2d::backward) is to compute. Everything is overwritten.
#[derive(Debug, Default)]
pub struct Gradients<'a> {
    /// The gradient of the input, `[batch, h, w, in_channels]`; where the input has an activation,
    /// that of the activation's result.
    pub input: Option<&'a mut [f32]>,
    /// The gradient of the weights, `[out_channels, in_channels / groups, kh, kw]`.
    pub weight: Option<&'a mut [f32]>,
    /// The sums that the batch norm before the input's activation needs. Asks for `input`, and for
    /// an activation.
    pub sums: Option<&'a mut ChannelSums>,
}

/// A convolution of a batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape<'a> {
    pub(super) geometry: &'a Conv2dGeometry,
    pub(super) batch: usize,
    pub(super) size: [usize; 2],
    pub(super) out: [usize; 2],
}

impl Shape<'_> {
    /// Floats of an input picture.
    pub(super) fn input_picture(&self) -> usize {
        self.size[0] * self.size[1] * self.geometry.in_channels
    }

    /// Floats of an output picture.
    pub(super) fn output_picture(&self) -> usize {
        self.out[0] * self.out[1] * self.geometry.out_channels
    }

    /// Pixels of the output.
    pub(super) fn output_pixels(&self) -> usize {
        self.batch * self.out[0] * self.out[1]
    }
}

/// What is read on the way back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Backward<'a> {
    pub(super) input: Input<'a>,
    pub(super) weight: &'a [f32],
    pub(super) grad_output: GradOutput<'a>,
}
