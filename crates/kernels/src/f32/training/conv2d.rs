//! Two-dimensional convolutions, forward and backward.

use super::operands::{Backward, GradOutput, Gradients, Input, Shape};
use super::stats::ChannelStats;
use super::{depthwise, gathered, pointwise};
use crate::arch::with_simd;
use crate::lengths::Lengths;
use crate::{Conv2dGeometry, Isa, Pool};

/// A convolution without a bias whose weights change from call to call, as `torch.nn.Conv2d`, and
/// its gradients.
///
/// Pointwise and depthwise convolutions have kernels of their own; all others are matrix products
/// over blocks of gathered rows.
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
    Gathered,
}

impl Conv2d {
    /// A convolution of this geometry.
    ///
    /// # Panics
    /// When the geometry is not valid ([`Conv2dGeometry::validate`]).
    pub fn new(isa: Isa, geometry: Conv2dGeometry) -> Self {
        if let Err(error) = geometry.validate() {
            panic!("not a convolution: {error}");
        }
        Self { isa, geometry }
    }

    /// Channels and window.
    pub fn geometry(&self) -> &Conv2dGeometry {
        &self.geometry
    }

    fn method(&self) -> Method {
        if self.geometry.is_pointwise() {
            Method::Pointwise
        } else if self.geometry.is_depthwise() {
            Method::Depthwise
        } else {
            Method::Gathered
        }
    }

    fn shape(&self, batch: usize, size: [usize; 2]) -> Shape<'_> {
        let geometry = &self.geometry;
        let out = Lengths::of_conv2d(geometry, batch, size).output_size();
        Shape { geometry, batch, size, out }
    }

    /// Floats of scratch memory that every method here needs for a batch of inputs of `size` (rows,
    /// columns).
    pub fn scratch_len(&self, threads: usize, batch: usize, size: [usize; 2]) -> usize {
        let shape = self.shape(batch, size);
        with_simd!(self.isa, simd => match self.method() {
            Method::Pointwise => pointwise::scratch_len(shape, threads),
            Method::Depthwise => depthwise::scratch_len(simd, shape, threads),
            Method::Gathered => gathered::scratch_len(shape, threads),
        })
    }

    /// Computes `output`, `[batch, oh, ow, out_channels]`, from `input`, `[batch, h, w,
    /// in_channels]`, where `size` is `[h, w]` and [`Conv2dGeometry::output_size`] gives `[oh,
    /// ow]`, and `weight`, `[out_channels, in_channels / groups, kh, kw]`.
    ///
    /// # Panics
    /// When the window does not fit into the padded input, or a buffer has a wrong size; `scratch`
    /// must have [`Conv2d::scratch_len`] elements or more.
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

    /// As [`Conv2d::forward`], and gathers the stats of the output while it is in the cache.
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
        self.check(shape, Some(input), Some(weight), scratch, pool);
        assert_eq!(output.len(), batch * shape.output_picture(), "elements of the output");
        with_simd!(self.isa, simd => match self.method() {
            Method::Pointwise => {
                pointwise::forward(simd, pool, shape, input, weight, output, stats, scratch);
            }
            Method::Depthwise => {
                depthwise::forward(simd, pool, shape, input, weight, output, stats, scratch);
            }
            Method::Gathered => {
                gathered::forward(simd, pool, shape, input, weight, output, stats, scratch);
            }
        });
    }

    /// Computes the gradient of the input. As [`Conv2d::backward`] with nothing else wanted.
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

    /// Computes the gradient of the weights. As [`Conv2d::backward`] with nothing else wanted.
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

    /// Computes all gradients in one pass over the input and the gradient of the output. `weight`
    /// is not looked at where the gradient of the input is not wanted, `input` where neither that
    /// of the weights nor the sums are.
    ///
    /// # Panics
    /// As [`Conv2d::forward`]; when sums are wanted without a gradient of the input, or of an input
    /// without an activation.
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
            assert!(gradients.input.is_some(), "sums need the gradient of the input");
            assert!(input.activation.is_some(), "sums need an activation of the input");
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
        let outputs = batch * shape.output_picture();
        assert_eq!(grad_output.values.len(), outputs, "elements of the gradient of the output");
        if let Some(norm) = &grad_output.norm {
            norm.check(outputs, self.geometry.out_channels);
        }
        if let Some(grad) = &gradients.input {
            let inputs = batch * shape.input_picture();
            assert_eq!(grad.len(), inputs, "elements of the gradient of the input");
        }
        if let Some(grad) = &gradients.weight {
            let weights = self.geometry.out_channels * self.geometry.taps_per_output();
            assert_eq!(grad.len(), weights, "elements of the gradient of the weights");
        }
        let read = Backward { input, weight, grad_output };
        with_simd!(self.isa, simd => match self.method() {
            Method::Pointwise => pointwise::backward(simd, pool, shape, read, gradients, scratch),
            Method::Depthwise => depthwise::backward(simd, pool, shape, read, gradients, scratch),
            Method::Gathered => gathered::backward(simd, pool, shape, read, gradients, scratch),
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
        if let Some(input) = input {
            let inputs = shape.batch * shape.input_picture();
            assert_eq!(input.values.len(), inputs, "elements of the input");
            if let Some(activation) = &input.activation {
                let channels = self.geometry.in_channels;
                assert_eq!(activation.channels(), channels, "channels of the input's activation");
            }
        }
        if let Some(weight) = weight {
            let weights = self.geometry.out_channels * self.geometry.taps_per_output();
            assert_eq!(weight.len(), weights, "elements of the weight");
        }
        let needed = self.scratch_len(pool.threads(), shape.batch, shape.size);
        assert!(scratch.len() >= needed, "{} floats of scratch, not {needed}", scratch.len());
    }
}
