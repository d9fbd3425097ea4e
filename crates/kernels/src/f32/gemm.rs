//! f32 matrix products of rows of activations with packed weights.
//!
//! A panel of packed weights is a few vectors of output channels wide and has, for each k in turn,
//! the weights of those channels, so that a tile reads it in order. A tile keeps its sums in
//! registers: it starts from the bias (or from the sums so far, if k is divided into blocks), adds
//! the products in the order of k, and clamps the results. This order is the same for all tiles, so
//! results do not depend on how rows and channels are divided.

use std::ops::Range;

use super::clamp::Clamp;
use super::simd::{Bounds, ForTile, Kernel, Simd};
use crate::mem::AlignedSlice;
use crate::pool::part;

/// Approximate length of a block of k (kc): a longer k is divided, so that a block of a panel stays
/// in the cache while it is multiplied with all rows.
const KC: usize = 512;

/// How far ahead, in floats, weights are prefetched. Otherwise the first rows that are multiplied
/// with a panel would wait for memory at each page, where the CPU's own prefetching stops.
const AHEAD: usize = 2048;

/// Packed weights of a matrix product, `[k, n]`.
#[derive(Clone, Debug)]
pub(super) struct Panels {
    k: usize,
    n: usize,
    lanes: usize,
    list: Vec<Panel>,
    /// The packed panels, in order; each is `[k, vectors · lanes]`.
    data: AlignedSlice<f32>,
    /// The bias, padded with zeros to whole vectors.
    bias: AlignedSlice<f32>,
}

/// The place of a panel of packed weights.
#[derive(Clone, Copy, Debug)]
struct Panel {
    /// First output channel.
    column: usize,
    /// Number of vectors of output channels.
    vectors: usize,
    /// Offset of its weights in the packed data.
    offset: usize,
}

impl Panels {
    /// Packs the weights `weight(k, n)`.
    pub(super) fn pack<S: Simd>(
        _: S,
        k: usize,
        n: usize,
        weight: impl Fn(usize, usize) -> f32,
        bias: Option<&[f32]>,
    ) -> Self {
        let vectors = n.div_ceil(S::LANES);
        let mut data = AlignedSlice::zeros(k * vectors * S::LANES);
        let mut padded = AlignedSlice::zeros(vectors * S::LANES);
        if let Some(bias) = bias {
            padded[..n].copy_from_slice(bias);
        }
        let (mut list, mut column, mut offset) = (Vec::new(), 0, 0);
        for vectors in S::widths(vectors) {
            list.push(Panel { column, vectors, offset });
            let width = vectors * S::LANES;
            let live = width.min(n - column);
            let packed = &mut data[offset..offset + k * width];
            for (k, row) in packed.chunks_exact_mut(width).enumerate() {
                for (j, w) in row[..live].iter_mut().enumerate() {
                    *w = weight(k, column + j);
                }
            }
            column += width;
            offset += k * width;
        }
        Self { k, n, lanes: S::LANES, list, data, bias: padded }
    }

    /// Length of a row of activations.
    pub(super) fn k(&self) -> usize {
        self.k
    }

    /// Number of output channels.
    pub(super) fn n(&self) -> usize {
        self.n
    }

    /// Number of panels.
    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    /// Maximum number of rows of a tile of the widest panel (mr). Multiples of it need no smaller
    /// tiles.
    pub(super) fn tile_rows<S: Simd>(&self) -> usize {
        S::max_rows(self.widest())
    }

    /// Number of vectors of the widest panel.
    pub(super) fn widest(&self) -> usize {
        self.list[0].vectors
    }
}

/// Rows of activations. Each consists of `segments` segments of `segment_len` floats, which are
/// `segment_stride` apart; rows are `stride` apart.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rows {
    /// Pointer to the first row.
    pub(super) first: *const f32,
    pub(super) stride: usize,
    pub(super) segments: usize,
    pub(super) segment_len: usize,
    pub(super) segment_stride: usize,
}

impl Rows {
    /// Rows of one segment with `len` floats.
    pub(super) fn contiguous(first: *const f32, stride: usize, len: usize) -> Self {
        Self { first, stride, segments: 1, segment_len: len, segment_stride: 0 }
    }
}

/// Multiplies `m` rows with the panels `which` and writes to output rows that are `out_stride`
/// apart. `out` points to output channel 0 of the first row.
///
/// # Safety
/// All segments of the `m` rows must be valid for reads. The output channels of the panels `which`
/// must be valid for reads and writes in `m` rows at `out`, and no other thread may access them
/// during the call.
pub(super) unsafe fn multiply<S: Simd>(
    simd: S,
    panels: &Panels,
    which: Range<usize>,
    rows: Rows,
    m: usize,
    out: *mut f32,
    out_stride: usize,
    clamp: Clamp,
) {
    assert_eq!(rows.segments * rows.segment_len, panels.k);
    assert_eq!(panels.lanes, S::LANES);
    if m == 0 {
        return;
    }
    let k_blocks = if rows.segments == 1 { panels.k.div_ceil(KC).max(1) } else { 1 };
    for k_block in 0..k_blocks {
        let k = if rows.segments == 1 { part(panels.k, k_blocks, k_block) } else { 0..0 };
        let segment_len = if rows.segments == 1 { k.len() } else { rows.segment_len };
        for panel in &panels.list[which.clone()] {
            let width = panel.vectors * S::LANES;
            let blocks = m.div_ceil(S::max_rows(panel.vectors));
            for block in 0..blocks {
                let block = part(m, blocks, block);
                // SAFETY: the block's rows are among the `m` rows, the panel's columns among the
                // `n` output channels, and `k` within the row and the panel, so all addresses are
                // within the packed weights and the memory that the caller guarantees to be valid.
                unsafe {
                    let tile = Tile {
                        rows: Rows {
                            first: rows.first.add(block.start * rows.stride + k.start),
                            segment_len,
                            ..rows
                        },
                        weights: panels.data[panel.offset + k.start * width..].as_ptr(),
                        bias: panels.bias[panel.column..].as_ptr(),
                        out: out.add(block.start * out_stride + panel.column),
                        out_stride,
                        last_lanes: S::LANES
                            .min(panels.n - panel.column - (panel.vectors - 1) * S::LANES),
                        first: k_block == 0,
                        last: k_block + 1 == k_blocks,
                        clamp,
                    };
                    S::for_tile(panel.vectors, block.len(), TileKernels)(simd, &tile);
                }
            }
        }
    }
}

/// The arguments of a micro-kernel.
struct Tile {
    rows: Rows,
    weights: *const f32,
    bias: *const f32,
    out: *mut f32,
    out_stride: usize,
    /// Number of lanes of the last vector that are output channels.
    last_lanes: usize,
    /// Whether this is the first block of k, which starts from the bias.
    first: bool,
    /// Whether this is the last block of k, after which sums are clamped.
    last: bool,
    clamp: Clamp,
}

/// A micro-kernel with a fixed number of rows and vectors.
///
/// # Safety
/// See [`TileKernel`]: the pointers of the tile must be valid for its rows and vectors.
type TileFn<S> = unsafe fn(S, &Tile);

/// Returns the micro-kernel for a tile size.
struct TileKernels;

impl<S: Simd> ForTile<S> for TileKernels {
    type Made = TileFn<S>;

    fn make<const ROWS: usize, const VECTORS: usize>(self) -> TileFn<S> {
        tile::<S, ROWS, VECTORS>
    }
}

/// Runs a micro-kernel.
///
/// # Safety
/// See [`TileFn`].
unsafe fn tile<S: Simd, const ROWS: usize, const VECTORS: usize>(simd: S, tile: &Tile) {
    simd.run(TileKernel::<ROWS, VECTORS>(tile));
}

/// A micro-kernel.
///
/// Whoever runs it must guarantee that the tile's pointers are valid: for reads of `ROWS` rows of
/// activations, and of the packed weights and bias of `VECTORS` vectors; and for reads and writes
/// of `ROWS` rows of outputs, of which the last vector has `last_lanes` lanes.
struct TileKernel<'a, const ROWS: usize, const VECTORS: usize>(&'a Tile);

#[expect(clippy::needless_range_loop, reason = "indices into both registers and memory")]
impl<S: Simd, const ROWS: usize, const VECTORS: usize> Kernel<S> for TileKernel<'_, ROWS, VECTORS> {
    #[inline(always)]
    fn call(self, simd: S) {
        let tile = self.0;
        let mut sums = [[simd.splat(0.0); VECTORS]; ROWS];
        // SAFETY: the code that made the tile guarantees that rows, weights, bias and outputs are
        // valid, as `TileKernel` requires; the last vector's outputs are accessed in `last_lanes`
        // lanes only.
        unsafe {
            let last_mask = simd.mask(tile.last_lanes);
            let whole = tile.last_lanes == S::LANES;
            let out =
                |row: usize, vector: usize| tile.out.add(row * tile.out_stride + vector * S::LANES);

            if tile.first {
                for vector in 0..VECTORS {
                    let bias = simd.load(tile.bias.add(vector * S::LANES));
                    for row in &mut sums {
                        row[vector] = bias;
                    }
                }
            } else {
                for row in 0..ROWS {
                    for vector in 0..VECTORS {
                        sums[row][vector] = if whole || vector + 1 < VECTORS {
                            simd.load(out(row, vector))
                        } else {
                            simd.load_masked(out(row, vector), last_mask)
                        };
                    }
                }
            }

            let mut weights = tile.weights;
            for segment in 0..tile.rows.segments {
                let mut input = tile.rows.first.add(segment * tile.rows.segment_stride);
                let stride = tile.rows.stride;
                for _ in 0..tile.rows.segment_len {
                    for line in 0..(VECTORS * S::LANES).div_ceil(16) {
                        simd.prefetch(weights.wrapping_add(AHEAD + line * 16));
                    }
                    multiply_step(simd, input, stride, weights, &mut sums);
                    input = input.add(1);
                    weights = weights.add(VECTORS * S::LANES);
                }
            }

            if tile.last {
                let bounds = Bounds::new(simd, tile.clamp);
                for row in &mut sums {
                    for sum in row {
                        *sum = bounds.apply(simd, *sum);
                    }
                }
            }
            for row in 0..ROWS {
                for vector in 0..VECTORS {
                    if whole || vector + 1 < VECTORS {
                        simd.store(out(row, vector), sums[row][vector]);
                    } else {
                        simd.store_masked(out(row, vector), sums[row][vector], last_mask);
                    }
                }
            }
        }
    }
}

/// Adds the products for one k: `ROWS` activations that are `stride` apart times `VECTORS` vectors
/// of weights.
///
/// # Safety
/// The activations and the weights must be valid for reads.
#[inline(always)]
#[expect(clippy::needless_range_loop, reason = "indices into both registers and memory")]
unsafe fn multiply_step<S: Simd, const ROWS: usize, const VECTORS: usize>(
    simd: S,
    input: *const f32,
    stride: usize,
    weights: *const f32,
    sums: &mut [[S::F; VECTORS]; ROWS],
) {
    let mut w = [simd.splat(0.0); VECTORS];
    for vector in 0..VECTORS {
        // SAFETY: the caller guarantees that `VECTORS` vectors of weights are valid.
        w[vector] = unsafe { simd.load(weights.add(vector * S::LANES)) };
    }
    for row in 0..ROWS {
        // SAFETY: the caller guarantees that `ROWS` activations are valid.
        let x = simd.splat(unsafe { *input.add(row * stride) });
        for vector in 0..VECTORS {
            sums[row][vector] = simd.mul_add(x, w[vector], sums[row][vector]);
        }
    }
}
