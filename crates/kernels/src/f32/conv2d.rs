//! f32 two-dimensional convolution, and the choice of its kernel.

use super::Clamp;
use super::depthwise::Depthwise;
use super::gemm::{Panels, Rows, multiply};
use super::simd::Simd;
use super::split::{Grid, MANY_ROWS, tasks};
use super::{im2row, strip};
use crate::Isa;
use crate::arch::with_simd;
use crate::geometry::Conv2dGeometry;
use crate::lengths::{Lengths, check_len};
use crate::pool::{Pool, SharedMut};

/// Maximum number of activations, in floats, that are multiplied with all panels while they stay in
/// the second-level cache.
const ROWS_FLOATS: usize = 128 * 1024;
/// Maximum number of weights that are kept in the first-level cache.
const FEW_WEIGHTS: usize = 8 * 1024;
/// Number of rows that are multiplied at once with so few weights.
const FEW_ROWS: usize = 48;

/// An f32 convolution with its weights packed, as `torch.nn.Conv2d`, on `[N, H, W, C]` activations.
///
/// The kernel is chosen when the weights are packed: a matrix product for pointwise convolutions,
/// specialized kernels for depthwise ones and for few input channels, and a matrix product over
/// blocks of an im2row matrix for all others.
///
/// ```
/// use posterize_kernels::f32::{Clamp, Conv2d};
/// use posterize_kernels::{Conv2dGeometry, Isa, Padding, Pool};
///
/// let geometry = Conv2dGeometry {
///     in_channels: 1,
///     out_channels: 1,
///     groups: 1,
///     kernel: [3, 3],
///     stride: [1, 1],
///     dilation: [1, 1],
///     padding: Padding::symmetric(1, 1),
/// };
/// let sum = Conv2d::new(Isa::detect(), geometry, &[1.0; 9], None, Clamp::RELU6);
/// let (pool, size) = (Pool::new(1), [2, 2]);
/// let mut scratch = vec![0.0; sum.scratch_len(pool.threads(), 1, size)];
/// let mut output = [0.0; 4];
/// sum.run(&pool, 1, size, &[1.0, 2.0, 0.5, 1.5], &mut output, &mut scratch);
/// assert_eq!(output, [5.0; 4]);
/// ```
#[derive(Clone, Debug)]
pub struct Conv2d {
    isa: Isa,
    geometry: Conv2dGeometry,
    clamp: Clamp,
    method: Method,
}

/// The kernel that computes a convolution.
#[derive(Clone, Debug)]
enum Method {
    /// A pointwise convolution: the input is the left operand.
    Pointwise(Panels),
    /// A depthwise convolution.
    Depthwise(Depthwise),
    /// A convolution with few input channels: windows are read from padded rows.
    Strip(Panels),
    /// Any other convolution: im2row block by block, with one matrix for each group.
    Im2row(Vec<Panels>),
}

impl Conv2d {
    /// Packs a convolution.
    ///
    /// `weight` is `[out_channels, in_channels / groups, kh, kw]`, `bias` is `[out_channels]`.
    ///
    /// # Panics
    /// If the geometry is invalid ([`Conv2dGeometry::validate`]), or the length of `weight` or
    /// `bias` differs from its shape.
    pub fn new(
        isa: Isa,
        geometry: Conv2dGeometry,
        weight: &[f32],
        bias: Option<&[f32]>,
        clamp: Clamp,
    ) -> Self {
        if let Err(error) = geometry.validate() {
            panic!("invalid convolution: {error}");
        }
        let taps = geometry.taps_per_output();
        check_len("the weight", weight.len(), &[geometry.out_channels, taps]);
        if let Some(bias) = bias {
            check_len("the bias", bias.len(), &[geometry.out_channels]);
        }
        let method = with_simd!(isa, simd => Method::new(simd, &geometry, weight, bias));
        Self { isa, geometry, clamp, method }
    }

    /// Channels, window, stride and padding.
    pub fn geometry(&self) -> &Conv2dGeometry {
        &self.geometry
    }

    /// The number of floats of scratch memory that [`Conv2d::run`] needs with `threads` threads,
    /// for `batch` inputs of `size` = `[H, W]`.
    ///
    /// # Panics
    /// If the window does not fit into the padded input, or the input or output has more elements
    /// than memory can hold.
    pub fn scratch_len(&self, threads: usize, batch: usize, size: [usize; 2]) -> usize {
        let out = Lengths::of_conv2d(&self.geometry, batch, size).output_size();
        let per_thread = match &self.method {
            Method::Pointwise(_) | Method::Depthwise(_) => 0,
            Method::Strip(_) => {
                strip::Plan::new(&self.geometry, threads, batch, out, size).scratch_len()
            }
            Method::Im2row(groups) => with_simd!(self.isa, simd => {
                im2row::Plan::new(simd, &self.geometry, groups, threads, batch, out).scratch_len()
            }),
        };
        threads * per_thread
    }

    /// Convolves `input`, `[N, H, W, in_channels]` with N = `batch` and `[H, W]` = `size`, into
    /// `output`, `[N, OH, OW, out_channels]`.
    ///
    /// `scratch` has at least [`Conv2d::scratch_len`] elements; what they hold does not matter.
    /// Does not allocate memory. The result does not depend on the number of threads.
    ///
    /// # Panics
    /// If the window does not fit into the padded input, the length of a slice differs from its
    /// shape, or `scratch` is too short.
    pub fn run(
        &self,
        pool: &Pool,
        batch: usize,
        size: [usize; 2],
        input: &[f32],
        output: &mut [f32],
        scratch: &mut [f32],
    ) {
        let (geometry, clamp) = (&self.geometry, self.clamp);
        let lengths = Lengths::of_conv2d(geometry, batch, size);
        lengths.check(input.len(), output.len());
        let needed = self.scratch_len(pool.threads(), batch, size);
        assert!(
            scratch.len() >= needed,
            "scratch has {} floats; {needed} are needed",
            scratch.len()
        );
        let out = lengths.output_size();
        let pixels = batch * out[0] * out[1];
        with_simd!(self.isa, simd => match &self.method {
            Method::Pointwise(panels) => {
                multiply_rows(simd, pool, panels, pixels, input, output, clamp);
            }
            Method::Depthwise(depthwise) => {
                depthwise.run(simd, pool, geometry, clamp, batch, size, out, input, output);
            }
            Method::Strip(panels) => {
                let plan = strip::Plan::new(geometry, pool.threads(), batch, out, size);
                strip::run(
                    simd, pool, geometry, panels, clamp, plan, batch, size, input, output, scratch,
                );
            }
            Method::Im2row(groups) => {
                let plan = im2row::Plan::new(simd, geometry, groups, pool.threads(), batch, out);
                im2row::run(
                    simd, pool, geometry, groups, clamp, plan, size, input, output, scratch,
                );
            }
        });
    }

    /// The name of the kernel, for profiles: its kind, the rows and channels of its tile, and the
    /// instruction set, for instance `f32_gemm_6x16_avx2`.
    pub fn kernel_name(&self) -> &'static str {
        with_simd!(self.isa, simd => self.method.name(simd))
    }
}

impl Method {
    fn new<S: Simd>(
        simd: S,
        geometry: &Conv2dGeometry,
        weight: &[f32],
        bias: Option<&[f32]>,
    ) -> Self {
        let taps = geometry.taps_per_output();
        if geometry.is_depthwise() {
            return Self::Depthwise(Depthwise::pack(simd, geometry, weight, bias));
        }
        if geometry.is_pointwise() {
            let at = |k, n| weight[n * taps + k];
            return Self::Pointwise(Panels::pack(simd, taps, geometry.out_channels, at, bias));
        }
        let per_group = geometry.out_channels / geometry.groups;
        let mut groups = (0..geometry.groups).map(|group| {
            let first = group * per_group;
            // k is in the order (row, column, channel), weights are in the order (channel, row,
            // column).
            let (area, channels) =
                (geometry.kernel[0] * geometry.kernel[1], geometry.in_channels / geometry.groups);
            let at = |k, n| weight[(first + n) * taps + k % channels * area + k / channels];
            Panels::pack(simd, taps, per_group, at, bias.map(|b| &b[first..first + per_group]))
        });
        if strip::covers(geometry)
            && let Some(panels) = groups.next()
        {
            return Self::Strip(panels);
        }
        Self::Im2row(groups.collect())
    }

    fn name<S: Simd>(&self, _: S) -> &'static str {
        match self {
            Self::Pointwise(panels) => S::names(panels.widest()).pointwise,
            Self::Depthwise(depthwise) => depthwise.name::<S>(),
            Self::Strip(panels) => S::names(panels.widest()).strip,
            Self::Im2row(groups) => S::names(groups[0].widest()).im2row,
        }
    }
}

/// Multiplies `m` contiguous rows with all panels.
pub(super) fn multiply_rows<S: Simd>(
    simd: S,
    pool: &Pool,
    panels: &Panels,
    m: usize,
    input: &[f32],
    output: &mut [f32],
    clamp: Clamp,
) {
    let (k, n) = (panels.k(), panels.n());
    check_len("the input", input.len(), &[m, k]);
    check_len("the output", output.len(), &[m, n]);
    let tasks = tasks(pool.threads(), m * k * n);
    // Weights that fit into the first-level cache are multiplied with few rows at a time, so that
    // the output is written in order; others with as many rows as the second level holds.
    let max_rows = if k * n <= FEW_WEIGHTS { FEW_ROWS } else { ROWS_FLOATS / k };
    // Rows are divided, so that threads keep to their part of the image from layer to layer, unless
    // reading the weights takes most of the time.
    let by_panels = m < MANY_ROWS;
    let grid = Grid::new(m, panels.tile_rows::<S>(), max_rows, panels.len(), tasks, by_panels);
    let output = SharedMut::new(output);
    pool.run(grid.tasks(), &|task, _| {
        let (rows, which) = grid.task(task);
        let a = Rows::contiguous(input[rows.start * k..].as_ptr(), k, k);
        // SAFETY: the lengths of input and output are checked above, and no two tasks have the same
        // rows and panels, so no other task writes these outputs.
        unsafe {
            let out = output.as_mut_ptr().add(rows.start * n);
            multiply(simd, panels, which, a, rows.len(), out, n, clamp);
        }
    });
}
