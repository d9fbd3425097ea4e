//! Two-dimensional convolution.

use super::depthwise::Depthwise;
use super::gemm::Gemm;
use super::{Add, Requantize, depthwise, first_conv, gemm};
use crate::geometry::Conv2dGeometry;
use crate::isa::Isa;
use crate::pool::Pool;
use crate::reference;

/// What a convolution reads.
#[derive(Clone, Copy)]
pub(crate) struct Inputs<'a> {
    /// `[batch, h, w, in_channels]`.
    pub(crate) input: &'a [u8],
    /// An addition whose first side is what the convolution gives, and its second one, in the shape
    /// of the output.
    pub(crate) added: Option<(&'a Add, &'a [u8])>,
}

impl<'a> From<&'a [u8]> for Inputs<'a> {
    fn from(input: &'a [u8]) -> Self {
        Self { input, added: None }
    }
}

/// A way to compute one convolution, with its weights packed.
pub(crate) trait ConvKernel: Send + Sync + std::fmt::Debug {
    /// Bytes of scratch memory that [`ConvKernel::run`] needs.
    fn scratch_len(&self, threads: usize, batch: usize, size: [usize; 2]) -> usize;

    /// Convolves into `output`, `[batch, oh, ow, out_channels]`; the lengths of all slices have
    /// been checked.
    fn run(
        &self,
        pool: &Pool,
        batch_and_size: (usize, [usize; 2]),
        inputs: Inputs<'_>,
        output: &mut [u8],
        scratch: &mut [u8],
    );

    /// What profiles call it where it adds. `None` where [`ConvKernel::run`] does not add what the
    /// inputs say: then they must say nothing.
    fn name_with_add(&self) -> Option<&'static str> {
        None
    }

    /// What profiles call it.
    fn name(&self) -> &'static str;

    /// The matrix products that it consists of, as a part of fused blocks.
    fn gemm(&self) -> Option<&Gemm> {
        None
    }

    /// The depthwise convolution that it is, as a part of fused blocks.
    fn depthwise(&self) -> Option<&Depthwise> {
        None
    }
}

/// Makes a kernel for a convolution where it has one, given a convolution without defects.
type Specialised = fn(Isa, &reference::Conv2d<'_>) -> Option<Box<dyn ConvKernel>>;

/// Kernels for certain shapes, asked in this order before the general one.
const SPECIALISED: &[Specialised] =
    &[depthwise::specialised, gemm::specialised, first_conv::specialised];

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
    kernel: Box<dyn ConvKernel>,
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
        let kernel = SPECIALISED
            .iter()
            .find_map(|specialised| specialised(isa, &conv))
            .unwrap_or_else(|| Box::new(Gemm::new(isa, &conv)));
        Self { geometry, kernel }
    }

    /// Channels, window and padding.
    pub fn geometry(&self) -> &Conv2dGeometry {
        &self.geometry
    }

    /// Bytes of scratch memory that [`Conv2d::run`] needs with a pool of `threads` threads.
    pub fn scratch_len(&self, threads: usize, batch: usize, size: [usize; 2]) -> usize {
        self.kernel.scratch_len(threads, batch, size)
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
        self.kernel.name_with_add().is_some()
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
        let inputs = Inputs { input, added: Some((add, residual)) };
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
        let [h, w] = size;
        let g = &self.geometry;
        let Some([oh, ow]) = g.output_size(size) else {
            panic!("a {:?} window does not fit into a padded input of {size:?}", g.kernel);
        };
        assert_eq!(inputs.input.len(), batch * h * w * g.in_channels, "input is [batch, h, w, c]");
        assert_eq!(output.len(), batch * oh * ow * g.out_channels, "output is [batch, oh, ow, c]");
        let needed = self.scratch_len(pool.threads(), batch, size);
        assert!(scratch.len() >= needed, "{} bytes of scratch, {needed} needed", scratch.len());
        if batch > 0 {
            self.kernel.run(pool, (batch, size), inputs, output, scratch);
        }
    }

    /// The kernel, for blocks that run several convolutions as one.
    pub(super) fn kernel(&self) -> &dyn ConvKernel {
        &*self.kernel
    }

    /// Which kernel computes it, for profiles: `pointwise_avx512vnni` and the like.
    pub fn kernel_name(&self) -> &'static str {
        self.kernel.name()
    }

    /// The same where it [adds](Conv2d::run_and_add): `pointwise_add_amx` and the like; its own name
    /// where it does not.
    pub fn kernel_name_with_add(&self) -> &'static str {
        self.kernel.name_with_add().unwrap_or(self.kernel_name())
    }
}
