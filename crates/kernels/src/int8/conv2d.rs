//! int8 two-dimensional convolution.

use super::conv_kernel::{ConvKernel, Inputs};
use super::depthwise::Depthwise;
use super::elementwise::Add;
use super::first_conv::FirstConv;
use super::gemm::Gemm;
use super::requantize::Requantize;
use crate::geometry::Conv2dGeometry;
use crate::isa::Isa;
use crate::lengths::{Lengths, check_same_len};
use crate::pool::Pool;
use crate::reference;

/// An int8 convolution, as `torch.ao.nn.quantized.Conv2d`, with weights packed for one instruction
/// set.
///
/// It takes any number of groups and `[N, H, W, C]` activations, and computes what
/// [`reference::Conv2d`] defines.
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

/// The kernel that computes a convolution.
#[derive(Debug)]
enum Method {
    /// A depthwise convolution: one input and one output channel in each group.
    Depthwise(Depthwise),
    /// A kernel written for certain shapes.
    Special(Box<dyn ConvKernel>),
    /// Matrix products, which can compute every shape.
    Gemm(Gemm),
}

impl Method {
    /// Chooses the fastest method for a convolution without defects.
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
    /// Packs a convolution.
    ///
    /// `weight` is `[out_channels, in_channels / groups, kh, kw]`; `bias` is `[out_channels]` with
    /// scale `scale_input · scale_weight`.
    ///
    /// # Panics
    /// If [`reference::Conv2d::defect`] finds something wrong; call it first for numbers that come
    /// from outside the program.
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

    /// Channels, window, stride and padding.
    pub fn geometry(&self) -> &Conv2dGeometry {
        &self.geometry
    }

    /// The number of bytes of scratch memory that [`Conv2d::run`] needs with a pool of `threads`
    /// threads.
    ///
    /// # Panics
    /// If the window does not fit into the padded input, or the input or output has more elements
    /// than memory can hold.
    pub fn scratch_len(&self, threads: usize, batch: usize, size: [usize; 2]) -> usize {
        Lengths::of_conv2d(&self.geometry, batch, size);
        self.method.kernel().scratch_len(threads, batch, size)
    }

    /// Convolves `input`, `[N, H, W, in_channels]` with N = `batch` and `[H, W]` = `size`, into
    /// `output`, `[N, OH, OW, out_channels]`.
    ///
    /// `scratch` has at least [`Conv2d::scratch_len`] bytes; what they hold does not matter. Does
    /// not allocate memory. The result does not depend on the number of threads.
    ///
    /// # Panics
    /// If the window does not fit into the padded input, the length of a slice differs from its
    /// shape, or `scratch` is too short.
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

    /// Whether the kernel supports [`Conv2d::run_and_add`].
    pub fn adds(&self) -> bool {
        self.method.kernel().name_with_add().is_some()
    }

    /// Convolves as [`Conv2d::run`] and adds `residual` to the result, as a residual connection.
    ///
    /// `add`'s first input is the result of the convolution, its second one `residual`, which has
    /// the shape of `output`. The bits are those of [`Conv2d::run`] followed by [`Add::run`], but
    /// the result of the convolution is not written to memory.
    ///
    /// # Panics
    /// As [`Conv2d::run`], if `residual` has another length than `output`, and if not
    /// [`Conv2d::adds`].
    pub fn run_and_add(
        &self,
        pool: &Pool,
        (batch, size): (usize, [usize; 2]),
        input: &[u8],
        (add, residual): (&Add, &[u8]),
        output: &mut [u8],
        scratch: &mut [u8],
    ) {
        assert!(self.adds(), "kernel {} cannot add", self.kernel_name());
        check_same_len("residual", residual.len(), "the output", output.len());
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
        assert!(
            scratch.len() >= needed,
            "scratch has {} bytes; {needed} are needed",
            scratch.len()
        );
        if batch > 0 {
            self.method.kernel().run(pool, (batch, size), inputs, output, scratch);
        }
    }

    /// The matrix products that compute it, if so; for fused blocks.
    pub(super) fn gemm(&self) -> Option<&Gemm> {
        match &self.method {
            Method::Gemm(gemm) => Some(gemm),
            _ => None,
        }
    }

    /// The depthwise convolution that computes it, if so; for fused blocks.
    pub(super) fn depthwise(&self) -> Option<&Depthwise> {
        match &self.method {
            Method::Depthwise(depthwise) => Some(depthwise),
            _ => None,
        }
    }

    /// The name of the kernel, for profiles, for instance `pointwise_avx512vnni`.
    pub fn kernel_name(&self) -> &'static str {
        self.method.kernel().name()
    }

    /// The name of the kernel of [`Conv2d::run_and_add`], for instance `pointwise_add_amx`; that of
    /// [`Self::kernel_name`] where the kernel does not support it.
    pub fn kernel_name_with_add(&self) -> &'static str {
        self.method.kernel().name_with_add().unwrap_or(self.kernel_name())
    }
}
