//! f32 depthwise convolution.
//!
//! A tile computes some neighbouring output pixels of a vector of channels, with the sums in
//! registers, and moves along the channels, which are contiguous in memory. Windows of 3 and 5
//! columns have tiles of [`TILE`] pixels, in which each input is loaded once for all outputs that
//! it contributes to; other windows are computed pixel by pixel. Taps in the padding are skipped.
//! Each sum starts from the bias and adds the taps row by row in all kernels, so all give the same
//! bits.

use std::ops::Range;

use super::Clamp;
use super::simd::{Bounds, Kernel, Simd};
use super::split::{MANY_ROWS, part, tasks};
use crate::geometry::Conv2dGeometry;
use crate::mem::AlignedSlice;
use crate::pool::{Pool, SharedMut};

/// Number of output pixels of a tile: a divisor of the widths of layers, 7 to 112, for 224x224
/// images.
const TILE: usize = 7;

/// Packed weights: for each vector of channels the bias, then the taps row by row.
#[derive(Clone, Debug)]
pub(super) struct Depthwise {
    packed: AlignedSlice<f32>,
    lanes: usize,
    kernel: WindowKernel,
}

/// The kernel for a window, by its width (K) and horizontal stride (S).
#[derive(Clone, Copy, Debug)]
enum WindowKernel {
    K3S1,
    K3S2,
    K5S1,
    K5S2,
    General,
}

impl Depthwise {
    /// Packs `weight`, `[channels, 1, kh, kw]`.
    pub(super) fn pack<S: Simd>(
        _: S,
        geometry: &Conv2dGeometry,
        weight: &[f32],
        bias: Option<&[f32]>,
    ) -> Self {
        let taps = geometry.taps_per_output();
        let channels = geometry.out_channels;
        let mut packed = AlignedSlice::zeros(channels.div_ceil(S::LANES) * (taps + 1) * S::LANES);
        for (vector, packed) in packed.chunks_exact_mut((taps + 1) * S::LANES).enumerate() {
            for lane in 0..S::LANES.min(channels - vector * S::LANES) {
                let channel = vector * S::LANES + lane;
                packed[lane] = bias.map_or(0.0, |bias| bias[channel]);
                for tap in 0..taps {
                    packed[(tap + 1) * S::LANES + lane] = weight[channel * taps + tap];
                }
            }
        }
        let kernel = match (geometry.kernel[1], geometry.stride[1], geometry.dilation[1]) {
            (3, 1, 1) => WindowKernel::K3S1,
            (3, 2, 1) => WindowKernel::K3S2,
            (5, 1, 1) => WindowKernel::K5S1,
            (5, 2, 1) => WindowKernel::K5S2,
            _ => WindowKernel::General,
        };
        Self { packed, lanes: S::LANES, kernel }
    }

    pub(super) fn name<S: Simd>(&self) -> &'static str {
        let names = S::names(1).depthwise;
        match self.kernel {
            WindowKernel::K3S1 => names[0],
            WindowKernel::K3S2 => names[1],
            WindowKernel::K5S1 => names[2],
            WindowKernel::K5S2 => names[3],
            WindowKernel::General => names[4],
        }
    }

    pub(super) fn run<S: Simd>(
        &self,
        simd: S,
        pool: &Pool,
        geometry: &Conv2dGeometry,
        clamp: Clamp,
        batch: usize,
        size: [usize; 2],
        out: [usize; 2],
        input: &[f32],
        output: &mut [f32],
    ) {
        assert_eq!(self.lanes, S::LANES);
        let channels = geometry.out_channels;
        let vectors = channels.div_ceil(S::LANES);
        let rows = batch * out[0];
        let pixels = rows * out[1];
        let work = pixels.saturating_mul(channels).saturating_mul(geometry.taps_per_output());
        // Depthwise layers have less arithmetic for each byte than matrix products, so their work
        // counts as more.
        let tasks = tasks(pool.threads(), work.saturating_mul(4));
        // Divided as the pointwise layers before and after this one.
        let (row_parts, vector_parts) = if rows * out[1] < MANY_ROWS {
            let vector_parts = tasks.min(vectors);
            (tasks.div_ceil(vector_parts).min(rows), vector_parts)
        } else {
            let row_parts = tasks.min(rows);
            (row_parts, tasks.div_ceil(row_parts).min(vectors))
        };
        let output = SharedMut::new(output);
        pool.run(row_parts * vector_parts, &|task, _| {
            let row = Row {
                geometry,
                clamp,
                size,
                out,
                vectors: part(vectors, vector_parts, task / row_parts),
                packed: &self.packed,
                input: std::ptr::null(),
                output: std::ptr::null_mut(),
                oy: 0,
            };
            for r in part(rows, row_parts, task % row_parts) {
                let n = r / out[0];
                let image = &input[n * size[0] * size[1] * channels..];
                let row = Row {
                    input: image[..size[0] * size[1] * channels].as_ptr(),
                    // SAFETY: row `r` is within the output, which has `rows` rows.
                    output: unsafe { output.as_mut_ptr().add(r * out[1] * channels) },
                    oy: r % out[0],
                    vectors: row.vectors.clone(),
                    ..row
                };
                match self.kernel {
                    WindowKernel::K3S1 => simd.run(Tiled::<3, 1>(&row)),
                    WindowKernel::K3S2 => simd.run(Tiled::<3, 2>(&row)),
                    WindowKernel::K5S1 => simd.run(Tiled::<5, 1>(&row)),
                    WindowKernel::K5S2 => simd.run(Tiled::<5, 2>(&row)),
                    WindowKernel::General => simd.run(General(&row)),
                }
            }
        });
    }
}

/// One output row, or some of its channels, which no other task writes.
struct Row<'a> {
    geometry: &'a Conv2dGeometry,
    clamp: Clamp,
    size: [usize; 2],
    out: [usize; 2],
    vectors: Range<usize>,
    packed: &'a [f32],
    /// Pointer to the image.
    input: *const f32,
    /// Pointer to channel 0 of the first pixel of the output row.
    output: *mut f32,
    /// Index of the output row.
    oy: usize,
}

impl Row<'_> {
    /// The rows of the window that are within the input.
    #[inline(always)]
    fn window_rows(&self) -> Range<usize> {
        inside(
            self.oy * self.geometry.stride[0],
            self.geometry.padding.top,
            self.geometry.dilation[0],
            self.geometry.kernel[0],
            self.size[0],
        )
    }

    /// The vectors of which all lanes are channels.
    #[inline(always)]
    fn whole_vectors(&self, lanes: usize) -> Range<usize> {
        self.vectors.start..self.vectors.end.min(self.geometry.out_channels / lanes)
    }

    /// The vector of which only some lanes are channels, if it is among this row's.
    #[inline(always)]
    fn last_vector(&self, lanes: usize) -> Option<usize> {
        let whole = self.geometry.out_channels / lanes;
        (self.vectors.end > whole).then_some(whole)
    }
}

/// Returns which of `taps` taps are within an input of `size`, for a window that starts at position
/// `start` of the padded input.
#[inline(always)]
fn inside(start: usize, padding: usize, dilation: usize, taps: usize, size: usize) -> Range<usize> {
    let from = padding.saturating_sub(start).div_ceil(dilation).min(taps);
    let to = (size + padding).saturating_sub(start).div_ceil(dilation).min(taps);
    from..to.max(from)
}

/// Computes a row in tiles, for a window of width `KW` and horizontal stride `STEP`.
struct Tiled<'a, const KW: usize, const STEP: usize>(&'a Row<'a>);

impl<S: Simd, const KW: usize, const STEP: usize> Kernel<S> for Tiled<'_, KW, STEP> {
    #[inline(always)]
    fn call(self, simd: S) {
        let row = self.0;
        let [ow, width] = [row.out[1], row.size[1]];
        let left = row.geometry.padding.left;
        if ow < TILE {
            for ox in 0..ow {
                // SAFETY: the pixel is within the row, which no other task writes.
                unsafe { pixel(simd, row, ox) };
            }
            return;
        }
        let mut ox = 0;
        while ox < ow {
            // The last tile starts earlier if needed and computes some pixels again.
            ox = ox.min(ow - TILE);
            let columns = (TILE - 1) * STEP + KW;
            let start = ox * STEP;
            // SAFETY: the tile is within the row, which no other task writes; `EDGE` is false only
            // if all input columns are within the input.
            unsafe {
                if start >= left && start - left + columns <= width {
                    tile::<S, KW, STEP, false>(simd, row, ox);
                } else {
                    tile::<S, KW, STEP, true>(simd, row, ox);
                }
            }
            ox += TILE;
        }
    }
}

/// Computes `TILE` output pixels from column `ox` on. `EDGE` says that some input columns are in
/// the padding.
///
/// # Safety
/// The pixels must be within the row, and no other thread may access its channels; without `EDGE`,
/// all input columns must be within the input.
#[inline(always)]
unsafe fn tile<S: Simd, const KW: usize, const STEP: usize, const EDGE: bool>(
    simd: S,
    row: &Row<'_>,
    ox: usize,
) {
    // SAFETY: the caller guarantees this for all channels of the row; `MASKED` is false only for
    // vectors of which all lanes are channels.
    unsafe {
        for vector in row.whole_vectors(S::LANES) {
            tile_vector::<S, KW, STEP, EDGE, false>(simd, row, ox, vector);
        }
        if let Some(vector) = row.last_vector(S::LANES) {
            tile_vector::<S, KW, STEP, EDGE, true>(simd, row, ox, vector);
        }
    }
}

/// Computes one vector of channels of a tile. `MASKED` says that not all lanes are channels.
///
/// # Safety
/// As for [`tile`]; without `MASKED`, all lanes must be channels.
#[inline(always)]
#[expect(clippy::needless_range_loop, reason = "indices into both registers and memory")]
unsafe fn tile_vector<
    S: Simd,
    const KW: usize,
    const STEP: usize,
    const EDGE: bool,
    const MASKED: bool,
>(
    simd: S,
    row: &Row<'_>,
    ox: usize,
    vector: usize,
) {
    let channels = row.geometry.out_channels;
    let taps = row.geometry.kernel[0] * KW;
    let columns = (TILE - 1) * STEP + KW;
    let valid = if EDGE {
        inside(ox * STEP, row.geometry.padding.left, 1, columns, row.size[1])
    } else {
        0..columns
    };
    // The input column of the tile's first tap; it may be to the left of the image.
    let first = (ox * STEP).wrapping_sub(row.geometry.padding.left);
    let top = (row.oy * row.geometry.stride[0]).wrapping_sub(row.geometry.padding.top);
    let line_len = row.size[1] * channels;
    let mask = simd.mask(channels - vector * S::LANES);
    // SAFETY: only rows and columns within the input are read, by `window_rows` and `valid`; lanes
    // beyond the channels are masked; the packed weights have `taps + 1` vectors for each vector of
    // channels; the caller guarantees that the output pixels exist.
    unsafe {
        let packed = row.packed.as_ptr().add(vector * (taps + 1) * S::LANES);
        let mut sums = [simd.load(packed); TILE];
        for ky in row.window_rows() {
            let y = top.wrapping_add(ky * row.geometry.dilation[0]);
            let line = row
                .input
                .add(y * line_len)
                .wrapping_add(first.wrapping_mul(channels))
                .wrapping_add(vector * S::LANES);
            let mut weights = [simd.splat(0.0); KW];
            for kx in 0..KW {
                weights[kx] = simd.load(packed.add((1 + ky * KW + kx) * S::LANES));
            }
            for column in 0..columns {
                if EDGE && !valid.contains(&column) {
                    continue;
                }
                let from = line.wrapping_add(column * channels);
                let x = if MASKED { simd.load_masked(from, mask) } else { simd.load(from) };
                for t in 0..TILE {
                    // For output `t`, this column is under tap `column - t * STEP`.
                    if column >= t * STEP && column - t * STEP < KW {
                        sums[t] = simd.mul_add(x, weights[column - t * STEP], sums[t]);
                    }
                }
            }
        }
        let bounds = Bounds::new(simd, row.clamp);
        for t in 0..TILE {
            let to = row.output.add((ox + t) * channels + vector * S::LANES);
            let y = bounds.apply(simd, sums[t]);
            if MASKED {
                simd.store_masked(to, y, mask);
            } else {
                simd.store(to, y);
            }
        }
    }
}

/// Computes a row pixel by pixel, for any window.
struct General<'a>(&'a Row<'a>);

impl<S: Simd> Kernel<S> for General<'_> {
    #[inline(always)]
    fn call(self, simd: S) {
        for ox in 0..self.0.out[1] {
            // SAFETY: the pixel is within the row, which no other task writes.
            unsafe { pixel(simd, self.0, ox) };
        }
    }
}

/// Computes one output pixel.
///
/// # Safety
/// `ox` must be within the row, and no other thread may access its channels.
#[inline(always)]
unsafe fn pixel<S: Simd>(simd: S, row: &Row<'_>, ox: usize) {
    let &Conv2dGeometry { out_channels: channels, kernel, stride, dilation, padding, .. } =
        row.geometry;
    let window_rows = row.window_rows();
    let window_columns = inside(ox * stride[1], padding.left, dilation[1], kernel[1], row.size[1]);
    let taps = kernel[0] * kernel[1];
    let bounds = Bounds::new(simd, row.clamp);
    for vector in row.vectors.clone() {
        let mask = simd.mask(channels - vector * S::LANES);
        // SAFETY: only taps within the input are read; lanes beyond the channels are masked; the
        // packed weights have `taps + 1` vectors for each vector of channels.
        unsafe {
            let packed = row.packed.as_ptr().add(vector * (taps + 1) * S::LANES);
            let mut sum = simd.load(packed);
            for ky in window_rows.clone() {
                let y = row.oy * stride[0] + ky * dilation[0] - padding.top;
                for kx in window_columns.clone() {
                    let x = ox * stride[1] + kx * dilation[1] - padding.left;
                    let from = row.input.add((y * row.size[1] + x) * channels + vector * S::LANES);
                    let w = simd.load(packed.add((1 + ky * kernel[1] + kx) * S::LANES));
                    sum = simd.mul_add(simd.load_masked(from, mask), w, sum);
                }
            }
            let to = row.output.add(ox * channels + vector * S::LANES);
            simd.store_masked(to, bounds.apply(simd, sum), mask);
        }
    }
}
