//! Training of two-dimensional convolutions: forward and backward pass.

use super::operands::{Backward, GradOutput, Gradients, Input, Shape};
use super::stats::ChannelStats;
use super::{depthwise, im2row, pointwise};
use crate::arch::with_simd;
use crate::lengths::{Lengths, check_len, check_same_len};
use crate::{Conv2dGeometry, Isa, Pool};

/// A convolution without bias for training, as `torch.nn.Conv2d`: its output and its gradients, for
/// weights that change from call to call.
///
/// Pointwise and depthwise convolutions have specialized kernels; others are computed as matrix
/// products by im2row.
///
/// ```
/// use posterize_kernels::f32::training::{Conv2d, Gradients};
/// use posterize_kernels::{Conv2dGeometry, Isa, Pool};
///
/// let geometry = Conv2dGeometry::pointwise(2, 1);
/// let conv = Conv2d::new(Isa::detect(), geometry);
/// let (pool, batch, size) = (Pool::new(1), 1, [1, 2]);
/// let mut scratch = vec![0.0; conv.scratch_len(pool.threads(), batch, size)];
/// let (x, w) = ([1.0, 2.0, 3.0, 4.0], [10.0, 1.0]);
/// let mut y = [0.0; 2];
/// conv.forward(&pool, batch, size, &x[..], &w, &mut y, &mut scratch);
/// assert_eq!(y, [12.0, 34.0]);
///
/// let (mut dx, mut dw) = ([0.0; 4], [0.0; 2]);
/// let gradients = Gradients { input: Some(&mut dx), weight: Some(&mut dw), sums: None };
/// let dy = [1.0, 0.5];
/// conv.backward(&pool, batch, size, &x[..], &w, &dy[..], gradients, &mut scratch);
/// assert_eq!((dx, dw), ([10.0, 1.0, 5.0, 0.5], [2.5, 4.0]));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Conv2d {
    isa: Isa,
    geometry: Conv2dGeometry,
}

enum Method {
    Pointwise,
    Depthwise,
    Im2row,
}

impl Conv2d {
    /// A convolution with this geometry.
    ///
    /// # Panics
    /// If the geometry is invalid ([`Conv2dGeometry::validate`]).
    pub fn new(isa: Isa, geometry: Conv2dGeometry) -> Self {
        if let Err(error) = geometry.validate() {
            panic!("invalid convolution: {error}");
        }
        Self { isa, geometry }
    }

    /// Channels, window, stride and padding.
    pub fn geometry(&self) -> &Conv2dGeometry {
        &self.geometry
    }

    fn method(&self) -> Method {
        if self.geometry.is_pointwise() {
            Method::Pointwise
        } else if self.geometry.is_depthwise() {
            Method::Depthwise
        } else {
            Method::Im2row
        }
    }

    fn shape(&self, batch: usize, size: [usize; 2]) -> Shape<'_> {
        let geometry = &self.geometry;
        let out = Lengths::of_conv2d(geometry, batch, size).output_size();
        Shape { geometry, batch, size, out }
    }

    /// The number of floats of scratch memory that each method needs with `threads` threads, for
    /// `batch` inputs of `size` = `[H, W]`.
    ///
    /// # Panics
    /// If the window does not fit into the padded input, or the input or output has more elements
    /// than memory can hold.
    pub fn scratch_len(&self, threads: usize, batch: usize, size: [usize; 2]) -> usize {
        let shape = self.shape(batch, size);
        with_simd!(self.isa, simd => match self.method() {
            Method::Pointwise => pointwise::scratch_len(shape, threads),
            Method::Depthwise => depthwise::scratch_len(simd, shape, threads),
            Method::Im2row => im2row::scratch_len(shape, threads),
        })
    }

    /// Convolves `input`, `[N, H, W, in_channels]` with N = `batch` and `[H, W]` = `size`, into
    /// `output`, `[N, OH, OW, out_channels]`. `weight` is `[out_channels, in_channels / groups, kh,
    /// kw]`.
    ///
    /// `scratch` has at least [`Conv2d::scratch_len`] elements; what they hold does not matter.
    ///
    /// # Panics
    /// If the window does not fit into the padded input, the length of a slice differs from its
    /// shape, or `scratch` is too short.
    pub fn forward<'a>(
        &self,
        pool: &Pool,
        batch: usize,
        size: [usize; 2],
        input: impl Into<Input<'a>>,
        weight: &[f32],
        output: &mut [f32],
        scratch: &mut [f32],
    ) {
        self.run_forward(pool, batch, size, input.into(), weight, output, None, scratch);
    }

    /// Convolves as [`Conv2d::forward`], and computes the statistics of the output while it is in
    /// the cache.
    ///
    /// # Panics
    /// As [`Conv2d::forward`].
    pub fn forward_with_stats<'a>(
        &self,
        pool: &Pool,
        batch: usize,
        size: [usize; 2],
        input: impl Into<Input<'a>>,
        weight: &[f32],
        output: &mut [f32],
        stats: &mut ChannelStats,
        scratch: &mut [f32],
    ) {
        self.run_forward(pool, batch, size, input.into(), weight, output, Some(stats), scratch);
    }

    fn run_forward(
        &self,
        pool: &Pool,
        batch: usize,
        size: [usize; 2],
        input: Input<'_>,
        weight: &[f32],
        output: &mut [f32],
        stats: Option<&mut ChannelStats>,
        scratch: &mut [f32],
    ) {
        let shape = self.shape(batch, size);
        let channels = self.geometry.out_channels;
        self.check(shape, Some(input), Some(weight), scratch, pool);
        check_len("the output", output.len(), &[batch, shape.out[0], shape.out[1], channels]);
        with_simd!(self.isa, simd => match self.method() {
            Method::Pointwise => {
                pointwise::forward(simd, pool, shape, input, weight, output, stats, scratch);
            }
            Method::Depthwise => {
                depthwise::forward(simd, pool, shape, input, weight, output, stats, scratch);
            }
            Method::Im2row => {
                im2row::forward(simd, pool, shape, input, weight, output, stats, scratch);
            }
        });
    }

    /// Computes the gradient of the input only, as [`Conv2d::backward`] does.
    ///
    /// # Panics
    /// As [`Conv2d::forward`].
    pub fn backward_input<'a>(
        &self,
        pool: &Pool,
        batch: usize,
        size: [usize; 2],
        grad_output: impl Into<GradOutput<'a>>,
        weight: &[f32],
        grad_input: &mut [f32],
        scratch: &mut [f32],
    ) {
        let input = Input { values: &[], activation: None };
        let gradients = Gradients { input: Some(grad_input), ..Gradients::default() };
        self.backward(pool, batch, size, input, weight, grad_output, gradients, scratch);
    }

    /// Computes the gradient of the weights only, as [`Conv2d::backward`] does.
    ///
    /// # Panics
    /// As [`Conv2d::forward`].
    pub fn backward_weight<'a>(
        &self,
        pool: &Pool,
        batch: usize,
        size: [usize; 2],
        input: impl Into<Input<'a>>,
        grad_output: impl Into<GradOutput<'a>>,
        grad_weight: &mut [f32],
        scratch: &mut [f32],
    ) {
        let gradients = Gradients { weight: Some(grad_weight), ..Gradients::default() };
        self.backward(pool, batch, size, input, &[], grad_output, gradients, scratch);
    }

    /// Computes all gradients that `gradients` asks for, in one pass over the input and the
    /// gradient of the output.
    ///
    /// `weight` is read only for the gradient of the input, and `input` only for the gradient of
    /// the weights and for the sums; otherwise they may be empty.
    ///
    /// # Panics
    /// As [`Conv2d::forward`], and if `gradients.sums` is set without `gradients.input` or without
    /// an activation of the input.
    pub fn backward<'a, 'b>(
        &self,
        pool: &Pool,
        batch: usize,
        size: [usize; 2],
        input: impl Into<Input<'a>>,
        weight: &[f32],
        grad_output: impl Into<GradOutput<'b>>,
        gradients: Gradients<'_>,
        scratch: &mut [f32],
    ) {
        let (input, grad_output) = (input.into(), grad_output.into());
        let shape = self.shape(batch, size);
        if gradients.sums.is_some() {
            assert!(gradients.input.is_some(), "gradients.sums needs gradients.input");
            assert!(input.activation.is_some(), "gradients.sums needs an activation of the input");
        }
        let reads_input = gradients.weight.is_some() || gradients.sums.is_some();
        let reads_weight = gradients.input.is_some();
        self.check(
            shape,
            reads_input.then_some(input),
            reads_weight.then_some(weight),
            scratch,
            pool,
        );
        let Conv2dGeometry { in_channels, out_channels, .. } = self.geometry;
        let [oh, ow] = shape.out;
        let outputs = batch * shape.output_image();
        check_len("grad_output", grad_output.values.len(), &[batch, oh, ow, out_channels]);
        if let Some(norm) = &grad_output.norm {
            norm.check(outputs, out_channels);
        }
        if let Some(grad) = &gradients.input {
            check_len("gradients.input", grad.len(), &[batch, size[0], size[1], in_channels]);
        }
        if let Some(grad) = &gradients.weight {
            let taps = self.geometry.taps_per_output();
            check_len("gradients.weight", grad.len(), &[out_channels, taps]);
        }
        let read = Backward { input, weight, grad_output };
        with_simd!(self.isa, simd => match self.method() {
            Method::Pointwise => pointwise::backward(simd, pool, shape, read, gradients, scratch),
            Method::Depthwise => depthwise::backward(simd, pool, shape, read, gradients, scratch),
            Method::Im2row => im2row::backward(simd, pool, shape, read, gradients, scratch),
        });
    }

    fn check(
        &self,
        shape: Shape<'_>,
        input: Option<Input<'_>>,
        weight: Option<&[f32]>,
        scratch: &[f32],
        pool: &Pool,
    ) {
        let Conv2dGeometry { in_channels, out_channels, .. } = self.geometry;
        let Shape { batch, size: [h, w], .. } = shape;
        if let Some(input) = input {
            check_len("the input", input.values.len(), &[batch, h, w, in_channels]);
            if let Some(activation) = &input.activation {
                check_same_len(
                    "the input's activation",
                    activation.channels(),
                    "a pixel of the input",
                    in_channels,
                );
            }
        }
        if let Some(weight) = weight {
            check_len("the weight", weight.len(), &[out_channels, self.geometry.taps_per_output()]);
        }
        let needed = self.scratch_len(pool.threads(), batch, shape.size);
        assert!(
            scratch.len() >= needed,
            "scratch has {} floats; {needed} are needed",
            scratch.len()
        );
    }
}
