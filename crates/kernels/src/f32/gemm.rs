//! Matrix products: rows of activations by weights packed in panels.
//!
//! A panel is a few vectors of output channels wide and holds, for each k in turn, the weights of
//! those channels, so that a tile reads it from front to back. A tile keeps its sums in registers:
//! it starts from the bias (or from the sums so far, where k is blocked), adds one product after
//! the other in the order of k, and clamps what it stores. That order is the same whatever the
//! tile, so results do not depend on how rows and channels are divided.

use std::ops::Range;

use super::clamp::Clamp;
use super::simd::{Bounds, ForTile, Kernel, Simd};
use crate::mem::AlignedSlice;
use crate::pool::part;

/// Where k is longer, it is cut into blocks near this size, so that a block of a panel stays in
/// the cache while all rows pass by.
const K_BLOCK: usize = 512;

/// How far ahead of its use a weight is asked for, in floats. The first rows that a panel meets
/// would otherwise wait for memory at each page, where the hardware's own prefetching stops.
const AHEAD: usize = 2048;

/// Weights of a matrix product, `k` by `n`, packed.
#[derive(Clone, Debug)]
pub(super) struct Panels {
    k: usize,
    n: usize,
    lanes: usize,
    list: Vec<Panel>,
    data: AlignedSlice<f32>,
    bias: AlignedSlice<f32>,
}

#[derive(Clone, Copy, Debug)]
struct Panel {
    /// The first output channel.
    column: usize,
    vectors: usize,
    /// Where its weights begin.
    offset: usize,
}

impl Panels {
    /// Packs `weight(k, n)`.
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

    /// The length of a row of activations.
    pub(super) fn k(&self) -> usize {
        self.k
    }

    /// Output channels.
    pub(super) fn n(&self) -> usize {
        self.n
    }

    /// How many panels there are.
    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    /// Rows of the tiles of the widest panel: heights that are a multiple of it have no ragged end.
    pub(super) fn tile_rows<S: Simd>(&self) -> usize {
        S::max_rows(self.widest())
    }

    /// Vectors of the widest panel.
    pub(super) fn widest(&self) -> usize {
        self.list[0].vectors
    }
}

/// Rows of activations: `segments` runs of `segment_len` floats, the same for each row but for
/// the row's `stride`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rows {
    pub(super) first: *const f32,
    pub(super) stride: usize,
    pub(super) segments: usize,
    pub(super) segment_len: usize,
    pub(super) segment_stride: usize,
}

impl Rows {
    /// Rows of one run of `len` floats.
    pub(super) fn contiguous(first: *const f32, stride: usize, len: usize) -> Self {
        Self { first, stride, segments: 1, segment_len: len, segment_stride: 0 }
    }
}

/// Multiplies `m` rows by the panels `which`, into rows of output that are `out_stride` apart.
/// `out` is the address of output channel 0 of the first row.
///
/// # Safety
/// All `m` rows can be read; the `n` output channels of `m` rows at `out` can be written and
/// nobody else touches those of the panels `which` meanwhile.
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
    let k_blocks = if rows.segments == 1 { panels.k.div_ceil(K_BLOCK).max(1) } else { 1 };
    for k_block in 0..k_blocks {
        let k = if rows.segments == 1 { part(panels.k, k_blocks, k_block) } else { 0..0 };
        let segment_len = if rows.segments == 1 { k.len() } else { rows.segment_len };
        for panel in &panels.list[which.clone()] {
            let width = panel.vectors * S::LANES;
            let blocks = m.div_ceil(S::max_rows(panel.vectors));
            for block in 0..blocks {
                let block = part(m, blocks, block);
                // SAFETY: the first row of the block is within `m`, the panel's column within
                // `n`, and `k` within the row and the panel, so all addresses stay in the
                // memory that the caller promises and in the packed weights.
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

/// What a tile reads and writes.
struct Tile {
    rows: Rows,
    weights: *const f32,
    bias: *const f32,
    out: *mut f32,
    out_stride: usize,
    /// Live lanes of the last vector.
    last_lanes: usize,
    /// The first block of k: start from the bias.
    first: bool,
    /// The last block of k: clamp.
    last: bool,
    clamp: Clamp,
}

/// Computes a tile of a fixed number of rows and vectors. To call it, all that the tile points to
/// must be there.
type TileFn<S> = unsafe fn(S, &Tile);

/// Makes the kernel for a tile.
struct TileKernels;

impl<S: Simd> ForTile<S> for TileKernels {
    type Made = TileFn<S>;

    fn make<const ROWS: usize, const VECTORS: usize>(self) -> TileFn<S> {
        tile::<S, ROWS, VECTORS>
    }
}

/// # Safety
/// See [`TileFn`].
unsafe fn tile<S: Simd, const ROWS: usize, const VECTORS: usize>(simd: S, tile: &Tile) {
    simd.run(TileKernel::<ROWS, VECTORS>(tile));
}

struct TileKernel<'a, const ROWS: usize, const VECTORS: usize>(&'a Tile);

#[expect(clippy::needless_range_loop, reason = "one index walks over registers and memory")]
impl<S: Simd, const ROWS: usize, const VECTORS: usize> Kernel<S> for TileKernel<'_, ROWS, VECTORS> {
    #[inline(always)]
    fn call(self, simd: S) {
        let tile = self.0;
        let mut sums = [[simd.splat(0.0); VECTORS]; ROWS];
        // SAFETY: whoever made the tile promises that `ROWS` rows of input, the packed weights
        // and bias of `VECTORS` vectors, and `ROWS` rows of output can be accessed, the last
        // vector's output only in its live lanes.
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

/// Adds the products of one k: `ROWS` inputs that are `stride` apart by `VECTORS` vectors.
///
/// # Safety
/// The inputs and the weights can be read.
#[inline(always)]
#[expect(clippy::needless_range_loop, reason = "one index walks over registers and memory")]
unsafe fn multiply_step<S: Simd, const ROWS: usize, const VECTORS: usize>(
    simd: S,
    input: *const f32,
    stride: usize,
    weights: *const f32,
    sums: &mut [[S::F; VECTORS]; ROWS],
) {
    let mut w = [simd.splat(0.0); VECTORS];
    for vector in 0..VECTORS {
        // SAFETY: the caller's promise.
        w[vector] = unsafe { simd.load(weights.add(vector * S::LANES)) };
    }
    for row in 0..ROWS {
        // SAFETY: the caller's promise.
        let x = simd.splat(unsafe { *input.add(row * stride) });
        for vector in 0..VECTORS {
            sums[row][vector] = simd.mul_add(x, w[vector], sums[row][vector]);
        }
    }
}
