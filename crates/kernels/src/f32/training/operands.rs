//! The inputs and outputs of convolutions, forward and backward.

use super::activation::Activation;
use super::block::Factors;
use super::stats::ChannelSums;
use crate::geometry::Conv2dGeometry;
use crate::lengths::check_len;

/// The input of a convolution: values, or the result of the convolution before it with its
/// activation.
///
/// ```
/// use posterize_kernels::f32::Clamp;
/// use posterize_kernels::f32::training::{Activation, Conv2d, Input};
/// use posterize_kernels::{Conv2dGeometry, Isa, Pool};
///
/// let (scale, shift) = ([2.0], [0.0]);
/// let relu = Activation { scale: &scale, shift: &shift, clamp: Clamp::RELU, fake_quant: None };
/// let input = Input { values: &[-1.0, 2.0], activation: Some(relu) };
/// let conv = Conv2d::new(Isa::detect(), Conv2dGeometry::pointwise(1, 1));
/// let mut scratch = vec![0.0; conv.scratch_len(1, 1, [1, 2])];
/// let mut output = [0.0; 2];
/// conv.forward(&Pool::new(1), 1, [1, 2], input, &[3.0], &mut output, &mut scratch);
/// assert_eq!(output, [0.0, 3.0 * 4.0]);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// Values, `[N, H, W, in_channels]`: the input itself or, with an activation, the result of the
    /// convolution before it.
    pub values: &'a [f32],
    /// The activation that is applied to the values, if any.
    pub activation: Option<Activation<'a>>,
}

impl<'a> From<&'a [f32]> for Input<'a> {
    fn from(values: &'a [f32]) -> Self {
        Self { values, activation: None }
    }
}

/// The gradient of the output of a convolution, or of what its activation made of that.
///
/// ```
/// use posterize_kernels::f32::training::{Conv2d, GradOutput};
/// use posterize_kernels::{Conv2dGeometry, Isa, Pool};
///
/// let conv = Conv2d::new(Isa::detect(), Conv2dGeometry::pointwise(1, 1));
/// let mut scratch = vec![0.0; conv.scratch_len(1, 1, [1, 2])];
/// let grad_output = GradOutput { values: &[1.0, 2.0], norm: None };
/// let mut grad_input = [0.0; 2];
/// let pool = Pool::new(1);
/// conv.backward_input(&pool, 1, [1, 2], grad_output, &[3.0], &mut grad_input, &mut scratch);
/// assert_eq!(grad_input, [3.0, 6.0]);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct GradOutput<'a> {
    /// Gradients, `[N, OH, OW, out_channels]`: of the output or, with a norm, of the activation's
    /// result.
    pub values: &'a [f32],
    /// The parameters of the gradient of the activation and the batch normalization, if any.
    pub norm: Option<NormBackward<'a>>,
}

impl<'a> From<&'a [f32]> for GradOutput<'a> {
    fn from(values: &'a [f32]) -> Self {
        Self { values, norm: None }
    }
}

/// The parameters of the gradient of a batch normalization with its activation: `a[c] * g + b[c] *
/// y + c[c]` in channel `c`, where `g` is the gradient of the activation's result where the
/// activation passes it, and otherwise 0.
///
/// For batch statistics, `b` and `c` are computed from the [`ChannelSums`]; for frozen statistics
/// they are 0.
///
/// ```
/// use posterize_kernels::f32::Clamp;
/// use posterize_kernels::f32::training::{Activation, NormBackward, activate_backward};
/// use posterize_kernels::{Isa, Pool};
///
/// let (scale, shift) = ([1.0], [0.0]);
/// let relu = Activation { scale: &scale, shift: &shift, clamp: Clamp::RELU, fake_quant: None };
/// let norm = NormBackward { y: &[-1.0, 2.0], activation: relu, a: &[2.0], b: &[0.5], c: &[1.0] };
/// let mut grad_y = [0.0; 2];
/// activate_backward(Isa::detect(), &Pool::new(1), norm, &[1.0, 1.0], &mut grad_y);
/// assert_eq!(grad_y, [0.5 * -1.0 + 1.0, 2.0 + 0.5 * 2.0 + 1.0]);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct NormBackward<'a> {
    /// The output of the convolution, `[N, OH, OW, out_channels]`.
    pub y: &'a [f32],
    /// The activation of `y`.
    pub activation: Activation<'a>,
    /// The factor of `g` for each channel.
    pub a: &'a [f32],
    /// The factor of `y` for each channel.
    pub b: &'a [f32],
    /// The addend for each channel.
    pub c: &'a [f32],
}

impl NormBackward<'_> {
    pub(super) fn factors(&self) -> Factors<'_> {
        Factors { a: self.a, b: self.b, c: self.c }
    }

    pub(super) fn check(&self, len: usize, channels: usize) {
        check_len("norm.y", self.y.len(), &[len]);
        let activation = self.activation.channels();
        for (what, len) in [
            ("norm.activation", activation),
            ("norm.a", self.a.len()),
            ("norm.b", self.b.len()),
            ("norm.c", self.c.len()),
        ] {
            check_len(what, len, &[channels]);
        }
    }
}

/// The gradients that [`Conv2d::backward`](super::Conv2d::backward) computes. What the slices and
/// sums hold is overwritten.
///
/// ```
/// use posterize_kernels::f32::training::{Conv2d, Gradients};
/// use posterize_kernels::{Conv2dGeometry, Isa, Pool};
///
/// let conv = Conv2d::new(Isa::detect(), Conv2dGeometry::pointwise(2, 1));
/// let (pool, size) = (Pool::new(1), [1, 2]);
/// let mut scratch = vec![0.0; conv.scratch_len(1, 1, size)];
/// let (x, dy) = ([1.0, 2.0, 3.0, 4.0], [1.0, 0.5]);
/// let mut dw = [0.0; 2];
/// let gradients = Gradients { weight: Some(&mut dw), ..Gradients::default() };
/// conv.backward(&pool, 1, size, &x[..], &[], &dy[..], gradients, &mut scratch);
/// assert_eq!(dw, [1.0 + 0.5 * 3.0, 2.0 + 0.5 * 4.0]);
/// ```
#[derive(Debug, Default)]
pub struct Gradients<'a> {
    /// The gradient of the input, `[N, H, W, in_channels]`; if the input has an activation, that of
    /// the activation's result.
    pub input: Option<&'a mut [f32]>,
    /// The gradient of the weights, `[out_channels, in_channels / groups, kh, kw]`.
    pub weight: Option<&'a mut [f32]>,
    /// The sums for the batch normalization before the input's activation. Needs `input`, and an
    /// activation of the convolution's input.
    pub sums: Option<&'a mut ChannelSums>,
}

/// The shape of a convolution of a batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape<'a> {
    pub(super) geometry: &'a Conv2dGeometry,
    pub(super) batch: usize,
    pub(super) size: [usize; 2],
    pub(super) out: [usize; 2],
}

impl Shape<'_> {
    /// Number of floats of an input image.
    pub(super) fn input_image(&self) -> usize {
        self.size[0] * self.size[1] * self.geometry.in_channels
    }

    /// Number of floats of an output image.
    pub(super) fn output_image(&self) -> usize {
        self.out[0] * self.out[1] * self.geometry.out_channels
    }

    /// Number of pixels of the output.
    pub(super) fn output_pixels(&self) -> usize {
        self.batch * self.out[0] * self.out[1]
    }
}

/// The inputs of a backward pass.
#[derive(Clone, Copy, Debug)]
pub(super) struct Backward<'a> {
    pub(super) input: Input<'a>,
    pub(super) weight: &'a [f32],
    pub(super) grad_output: GradOutput<'a>,
}
