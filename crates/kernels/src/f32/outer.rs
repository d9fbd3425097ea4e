//! f32 matrix products `aᵀ b`, which sum over rows: the gradients of a layer's weights.
//!
//! Both matrices are stored row by row, as activations are. The sums that a tile keeps in registers
//! run over the rows, of which each adds the products of some columns of `a` and some vectors of
//! columns of `b`. Rows are divided into blocks that fit into the first-level cache.

use super::simd::{ForTile, Kernel, Simd};
use crate::pool::part;

/// Maximum number of rows of a block.
const ROW_BLOCK: usize = 96;

/// A matrix whose rows are `stride` floats apart.
#[derive(Clone, Copy, Debug)]
pub(super) struct Matrix {
    pub(super) first: *const f32,
    pub(super) stride: usize,
    pub(super) columns: usize,
}

/// Adds `aᵀ b` over `rows` rows to `sums`, which is `[a.columns, b.columns]`.
///
/// # Safety
/// All rows must be valid for reads, and `sums` for reads and writes; no other thread may access
/// `sums` during the call.
pub(super) unsafe fn accumulate<S: Simd>(
    simd: S,
    rows: usize,
    a: Matrix,
    b: Matrix,
    sums: *mut f32,
) {
    let widths = S::widths(b.columns.div_ceil(S::LANES));
    let row_blocks = rows.div_ceil(ROW_BLOCK);
    for row_block in 0..row_blocks {
        let rows = part(rows, row_blocks, row_block);
        let mut column = 0;
        for &vectors in &widths {
            let blocks = a.columns.div_ceil(S::max_rows(vectors));
            for block in 0..blocks {
                let block = part(a.columns, blocks, block);
                // SAFETY: the tile's rows and columns are within the matrices, and its sums within
                // `sums`, all of which the caller guarantees to be valid.
                unsafe {
                    let tile = Outer {
                        a: a.first.add(rows.start * a.stride + block.start),
                        a_stride: a.stride,
                        b: b.first.add(rows.start * b.stride + column),
                        b_stride: b.stride,
                        rows: rows.len(),
                        sums: sums.add(block.start * b.columns + column),
                        sums_stride: b.columns,
                        last_lanes: S::LANES.min(b.columns - column - (vectors - 1) * S::LANES),
                    };
                    S::for_tile(vectors, block.len(), OuterKernels)(simd, &tile);
                }
            }
            column += vectors * S::LANES;
        }
    }
}

/// The arguments of a micro-kernel.
struct Outer {
    a: *const f32,
    a_stride: usize,
    b: *const f32,
    b_stride: usize,
    rows: usize,
    sums: *mut f32,
    sums_stride: usize,
    /// Number of lanes of the last vector that are columns of `b`.
    last_lanes: usize,
}

/// A micro-kernel with a fixed number of columns of `a` and vectors of `b`.
///
/// # Safety
/// See [`OuterKernel`]: the pointers of the tile must be valid for its columns and vectors.
type OuterFn<S> = unsafe fn(S, &Outer);

/// Returns the micro-kernel for a tile size.
struct OuterKernels;

impl<S: Simd> ForTile<S> for OuterKernels {
    type Made = OuterFn<S>;

    fn make<const COLUMNS: usize, const VECTORS: usize>(self) -> OuterFn<S> {
        outer_tile::<S, COLUMNS, VECTORS>
    }
}

/// Runs a micro-kernel.
///
/// # Safety
/// See [`OuterFn`].
unsafe fn outer_tile<S: Simd, const COLUMNS: usize, const VECTORS: usize>(simd: S, tile: &Outer) {
    if tile.last_lanes == S::LANES {
        simd.run(OuterKernel::<COLUMNS, VECTORS, false>(tile));
    } else {
        simd.run(OuterKernel::<COLUMNS, VECTORS, true>(tile));
    }
}

/// A micro-kernel. `MASKED` says that not all lanes of the last vector are columns.
///
/// Whoever runs it must guarantee that the tile's pointers are valid: for reads of `rows` rows of
/// `COLUMNS` columns of `a` and `VECTORS` vectors of `b`, and for reads and writes of their sums;
/// of the last vector, only `last_lanes` lanes.
struct OuterKernel<'a, const COLUMNS: usize, const VECTORS: usize, const MASKED: bool>(&'a Outer);

#[expect(clippy::needless_range_loop, reason = "indices into both registers and memory")]
impl<S: Simd, const COLUMNS: usize, const VECTORS: usize, const MASKED: bool> Kernel<S>
    for OuterKernel<'_, COLUMNS, VECTORS, MASKED>
{
    #[inline(always)]
    fn call(self, simd: S) {
        let tile = self.0;
        let mut sums = [[simd.splat(0.0); VECTORS]; COLUMNS];
        let mask = simd.mask(tile.last_lanes);
        // SAFETY: the code that made the tile guarantees that rows and sums are valid, as
        // `OuterKernel` requires; the last vector is accessed in `last_lanes` lanes only.
        unsafe {
            let (mut a, mut b) = (tile.a, tile.b);
            for _ in 0..tile.rows {
                let mut y = [simd.splat(0.0); VECTORS];
                for vector in 0..VECTORS {
                    y[vector] = if MASKED && vector + 1 == VECTORS {
                        simd.load_masked(b.add(vector * S::LANES), mask)
                    } else {
                        simd.load(b.add(vector * S::LANES))
                    };
                }
                for column in 0..COLUMNS {
                    let x = simd.splat(*a.add(column));
                    for vector in 0..VECTORS {
                        sums[column][vector] = simd.mul_add(x, y[vector], sums[column][vector]);
                    }
                }
                a = a.wrapping_add(tile.a_stride);
                b = b.wrapping_add(tile.b_stride);
            }
            for column in 0..COLUMNS {
                for vector in 0..VECTORS {
                    let to = tile.sums.add(column * tile.sums_stride + vector * S::LANES);
                    if MASKED && vector + 1 == VECTORS {
                        let before = simd.load_masked(to, mask);
                        simd.store_masked(to, simd.add(before, sums[column][vector]), mask);
                    } else {
                        simd.store(to, simd.add(simd.load(to), sums[column][vector]));
                    }
                }
            }
        }
    }
}
