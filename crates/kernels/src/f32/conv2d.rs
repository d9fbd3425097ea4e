//! Two-dimensional convolutions: the choice of kernel.

use super::Clamp;
use super::depthwise::Depthwise;
use super::gemm::{Panels, Rows, multiply};
use super::simd::Simd;
use super::split::{Grid, MANY_ROWS, tasks};
use super::{im2row, strip};
use crate::Isa;
use crate::arch::with_simd;
use crate::geometry::Conv2dGeometry;
use crate::lengths::Lengths;
use crate::pool::{Pool, SharedMut};

/// Floats of activations that a pass over the panels keeps in the cache.
const ROWS_FLOATS: usize = 128 * 1024;
/// Weights that stay in the first level of the cache.
const FEW_WEIGHTS: usize = 8 * 1024;
/// Rows that meet them at once.
const FEW_ROWS: usize = 48;

/// A convolution with its weights packed, as `torch.nn.Conv2d`.
///
/// The kernel is chosen when it is built: a matrix product for pointwise convolutions, kernels of
/// their own for depthwise ones and for those of few input channels, and for all others a matrix
/// product over blocks of gathered rows.
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

#[derive(Clone, Debug)]
enum Method {
    /// A 1x1 window: the input already is the matrix.
    Pointwise(Panels),
    /// One input and one output channel a group.
    Depthwise(Depthwise),
    /// Few input channels: windows are read from padded rows.
    Strip(Panels),
    /// Anything else: rows gathered block by block, one matrix for each group.
    Gathered(Vec<Panels>),
}

impl Conv2d {
    /// Packs `weight`, `[out_channels, in_channels / groups, kh, kw]`.
    ///
    /// # Panics
    /// When the geometry is not valid ([`Conv2dGeometry::validate`]), or `weight` or `bias` has
    /// another number of elements than it asks for.
    pub fn new(
        isa: Isa,
        geometry: Conv2dGeometry,
        weight: &[f32],
        bias: Option<&[f32]>,
        clamp: Clamp,
    ) -> Self {
        if let Err(error) = geometry.validate() {
            panic!("not a convolution: {error}");
        }
        let taps = geometry.taps_per_output();
        assert_eq!(weight.len(), geometry.out_channels * taps, "elements of the weight");
        if let Some(bias) = bias {
            assert_eq!(bias.len(), geometry.out_channels, "elements of the bias");
        }
        let method = with_simd!(isa, simd => Method::new(simd, &geometry, weight, bias));
        Self { isa, geometry, clamp, method }
    }

    /// What the convolution was built for.
    pub fn geometry(&self) -> &Conv2dGeometry {
        &self.geometry
    }

    /// Floats of scratch memory that [`Conv2d::run`] needs for an input of `size` (rows, columns).
    ///
    /// # Panics
    /// When the window does not fit into the padded input, or memory cannot hold input or output.
    pub fn scratch_len(&self, threads: usize, batch: usize, size: [usize; 2]) -> usize {
        let out = Lengths::of_conv2d(&self.geometry, batch, size).output_size();
        let per_thread = match &self.method {
            Method::Pointwise(_) | Method::Depthwise(_) => 0,
            Method::Strip(_) => {
                strip::Plan::new(&self.geometry, threads, batch, out, size).scratch_len()
            }
            Method::Gathered(groups) => with_simd!(self.isa, simd => {
                im2row::Plan::new(simd, &self.geometry, groups, threads, batch, out).scratch_len()
            }),
        };
        threads * per_thread
    }

    /// Computes `[batch, oh, ow, out_channels]` from `[batch, h, w, in_channels]`, where `size` is
    /// `[h, w]` and [`Conv2dGeometry::output_size`] gives `[oh, ow]`. Of `scratch`, which must
    /// have [`Conv2d::scratch_len`] elements or more, the contents do not matter.
    ///
    /// # Panics
    /// When the window does not fit into the padded input, or a buffer has a wrong size.
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
            Method::Gathered(groups) => {
                let plan = im2row::Plan::new(simd, geometry, groups, pool.threads(), batch, out);
                im2row::run(
                    simd, pool, geometry, groups, clamp, plan, size, input, output, scratch,
                );
            }
        });
    }

    /// The kernel that was chosen: what it computes, the rows and channels of its tile, and the
    /// instruction set.
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
            // k counts (row, column, channel); weights are (channel, row, column).
            let (area, channels) =
                (geometry.kernel[0] * geometry.kernel[1], geometry.in_channels / geometry.groups);
            let at = |k, n| weight[(first + n) * taps + k % channels * area + k / channels];
            Panels::pack(simd, taps, per_group, at, bias.map(|b| &b[first..first + per_group]))
        });
        if strip::suits(geometry)
            && let Some(panels) = groups.next()
        {
            return Self::Strip(panels);
        }
        Self::Gathered(groups.collect())
    }

    fn name<S: Simd>(&self, _: S) -> &'static str {
        match self {
            Self::Pointwise(panels) => S::names(panels.widest()).pointwise,
            Self::Depthwise(depthwise) => depthwise.name::<S>(),
            Self::Strip(panels) => S::names(panels.widest()).strip,
            Self::Gathered(groups) => S::names(groups[0].widest()).gathered,
        }
    }
}

/// Multiplies `m` rows that lie one after the other by all panels.
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
    assert_eq!((input.len(), output.len()), (m * k, m * n));
    let tasks = tasks(pool.threads(), m * k * n);
    // Weights that fit into the first cache level meet few rows at a time, so that the output is
    // written front to back; others meet as many as the second level holds.
    let most_rows = if k * n <= FEW_WEIGHTS { FEW_ROWS } else { ROWS_FLOATS / k };
    // Threads keep to their part of the picture from layer to layer, unless the weights are what
    // takes time to read.
    let by_panels = m < MANY_ROWS;
    let grid = Grid::new(m, panels.tile_rows::<S>(), most_rows, panels.len(), tasks, by_panels);
    let output = SharedMut::new(output);
    pool.run(grid.tasks(), &|task, _| {
        let (rows, which) = grid.task(task);
        let a = Rows::contiguous(input[rows.start * k..].as_ptr(), k, k);
        // SAFETY: the lengths were checked; the task's rows and panels are its own.
        unsafe {
            let out = output.as_mut_ptr().add(rows.start * n);
            multiply(simd, panels, which, a, rows.len(), out, n, clamp);
        }
    });
}
