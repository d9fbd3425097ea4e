//! Two-dimensional convolution.

use super::conv_kernel::{ConvKernel, Inputs};
use super::depthwise::Depthwise;
use super::elementwise::Add;
use super::first_conv::FirstConv;
use super::gemm::Gemm;
use super::requantize::Requantize;
use crate::geometry::Conv2dGeometry;
use crate::isa::Isa;
use crate::lengths::Lengths;
use crate::pool::Pool;
use crate::reference;

/// An int8 convolution of any grouping with its weights packed for one instruction set; NHWC.
///
/// [`reference::Conv2d`] defines what it computes.
///
/// ```
/// use posterize_kernels::int8::{Conv2d, Requantize};
/// use posterize_kernels::{Conv2dGeometry, Isa, Pool};
///
/// let geometry = Conv2dGeometry::pointwise(2, 1);
/// let requantize = Requantize { multiplier: vec![0.5], zero_point: 10, min: 0, max: 255 };
/// let conv = Conv2d::new(Isa::detect(), geometry, &[3, -1], &[4], 128, &requantize);
/// let pool = Pool::new(1);
/// let mut output = [0];
/// let mut scratch = vec![0; conv.scratch_len(1, 1, [1, 1])];
/// conv.run(&pool, 1, [1, 1], &[138, 130], &mut output, &mut scratch);
/// assert_eq!(output, [26]); // (10 · 3 − 2 + 4) / 2 + 10
/// ```
#[derive(Debug)]
pub struct Conv2d {
    geometry: Conv2dGeometry,
    method: Method,
}

/// How a convolution is computed.
#[derive(Debug)]
enum Method {
    /// One input and one output channel a group.
    Depthwise(Depthwise),
    /// A kernel for certain shapes.
    Special(Box<dyn ConvKernel>),
    /// Matrix products, which serve every shape.
    Gemm(Gemm),
}

impl Method {
    /// The best method for a convolution without defects.
    fn new(isa: Isa, conv: &reference::Conv2d<'_>) -> Self {
        if conv.geometry.is_depthwise() {
            return Self::Depthwise(Depthwise::new(isa, conv));
        }
        let first_conv = || Some(Box::new(FirstConv::new(isa, conv)?) as _);
        let special = isa.backend().direct_conv(conv).or_else(first_conv);
        special.map_or_else(|| Self::Gemm(Gemm::new(isa, conv)), Self::Special)
    }

    fn kernel(&self) -> &dyn ConvKernel {
        match self {
            Self::Depthwise(kernel) => kernel,
            Self::Special(kernel) => &**kernel,
            Self::Gemm(kernel) => kernel,
        }
    }
}

impl Conv2d {
    /// Packs a convolution: `weight` is `[out_channels, in_channels / groups, kh, kw]`, `bias` has
    /// one value for each output channel, at the scale of the accumulators.
    ///
    /// # Panics
    /// When [`reference::Conv2d::defect`] finds something; callers with numbers from outside ask
    /// it first.
    pub fn new(
        isa: Isa,
        geometry: Conv2dGeometry,
        weight: &[i8],
        bias: &[i32],
        input_zero_point: u8,
        requantize: &Requantize,
    ) -> Self {
        let conv = reference::Conv2d { geometry, weight, bias, input_zero_point, requantize };
        if let Some(defect) = conv.defect() {
            panic!("invalid convolution: {defect}");
        }
        Self { geometry, method: Method::new(isa, &conv) }
    }

    /// Channels, window and padding.
    pub fn geometry(&self) -> &Conv2dGeometry {
        &self.geometry
    }

    /// Bytes of scratch memory that [`Conv2d::run`] needs with a pool of `threads` threads.
    ///
    /// # Panics
    /// When the window does not fit into the padded input, or memory cannot hold input or output.
    pub fn scratch_len(&self, threads: usize, batch: usize, size: [usize; 2]) -> usize {
        Lengths::of_conv2d(&self.geometry, batch, size);
        self.method.kernel().scratch_len(threads, batch, size)
    }

    /// Convolves `input`, `[batch, h, w, in_channels]` with `size = [h, w]`, into `output`,
    /// `[batch, oh, ow, out_channels]`. Allocates nothing; the bits do not depend on the pool.
    ///
    /// # Panics
    /// When the window does not fit into the padded input, or a slice has another length than
    /// these shapes (`scratch`: a smaller one than [`Conv2d::scratch_len`]).
    pub fn run(
        &self,
        pool: &Pool,
        batch: usize,
        size: [usize; 2],
        input: &[u8],
        output: &mut [u8],
        scratch: &mut [u8],
    ) {
        self.check_and_run(pool, (batch, size), input.into(), output, scratch);
    }

    /// Whether [`Conv2d::run_and_add`] takes it.
    pub fn adds(&self) -> bool {
        self.method.kernel().name_with_add().is_some()
    }

    /// As [`Conv2d::run`], and then `add`s, with what the convolution gives for the first side and
    /// `residual`, of the same shape, for the second; the bits are those of one after the other. What
    /// the convolution gives is never in memory.
    ///
    /// # Panics
    /// As [`Conv2d::run`], and where not [`Conv2d::adds`].
    pub fn run_and_add(
        &self,
        pool: &Pool,
        (batch, size): (usize, [usize; 2]),
        input: &[u8],
        (add, residual): (&Add, &[u8]),
        output: &mut [u8],
        scratch: &mut [u8],
    ) {
        assert!(self.adds(), "{} does not add", self.kernel_name());
        assert_eq!(residual.len(), output.len(), "both sides have the output's shape");
        let inputs = Inputs { input, added: Some((add.formula(), residual)) };
        self.check_and_run(pool, (batch, size), inputs, output, scratch);
    }

    fn check_and_run(
        &self,
        pool: &Pool,
        (batch, size): (usize, [usize; 2]),
        inputs: Inputs<'_>,
        output: &mut [u8],
        scratch: &mut [u8],
    ) {
        Lengths::of_conv2d(&self.geometry, batch, size).check(inputs.input.len(), output.len());
        let needed = self.method.kernel().scratch_len(pool.threads(), batch, size);
        assert!(scratch.len() >= needed, "{} bytes of scratch, {needed} needed", scratch.len());
        if batch > 0 {
            self.method.kernel().run(pool, (batch, size), inputs, output, scratch);
        }
    }

    /// The matrix products that it consists of, as a part of fused blocks.
    pub(super) fn gemm(&self) -> Option<&Gemm> {
        match &self.method {
            Method::Gemm(gemm) => Some(gemm),
            _ => None,
        }
    }

    /// The depthwise convolution that it is, as a part of fused blocks.
    pub(super) fn depthwise(&self) -> Option<&Depthwise> {
        match &self.method {
            Method::Depthwise(depthwise) => Some(depthwise),
            _ => None,
        }
    }

    /// Which kernel computes it, for profiles: `pointwise_avx512vnni` and the like.
    pub fn kernel_name(&self) -> &'static str {
        self.method.kernel().name()
    }

    /// The same where it [adds](Conv2d::run_and_add): `pointwise_add_amx` and the like; its own name
    /// where it does not.
    pub fn kernel_name_with_add(&self) -> &'static str {
        self.method.kernel().name_with_add().unwrap_or(self.kernel_name())
    }
}
