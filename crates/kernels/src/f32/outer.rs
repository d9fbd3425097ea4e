//! Matrix products reduced over rows, `aᵀ b`: what a layer's weights gain from a batch.
//!
//! Both matrices lie row by row, as activations do, so the sums that a tile keeps in registers run
//! over the rows: each row adds the product of some columns of `a` by some vectors of `b`. Rows are
//! taken in blocks that fit the first level of the cache.

use super::simd::{ForTile, Kernel, Simd};
use crate::pool::part;

/// Rows of a block.
const ROW_BLOCK: usize = 96;

/// Some rows of a matrix that lie `stride` floats apart.
#[derive(Clone, Copy, Debug)]
pub(super) struct Matrix {
    pub(super) first: *const f32,
    pub(super) stride: usize,
    pub(super) columns: usize,
}

/// Adds `aᵀ b`, reduced over `rows` rows, to `sums`, which is `[a.columns, b.columns]`.
///
/// # Safety
/// All rows can be read, `sums` can be written, and nobody else touches it meanwhile.
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
                // SAFETY: rows and columns are within the matrices that the caller promises.
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

/// What a tile reads and writes.
struct Outer {
    a: *const f32,
    a_stride: usize,
    b: *const f32,
    b_stride: usize,
    rows: usize,
    sums: *mut f32,
    sums_stride: usize,
    /// Live lanes of the last vector.
    last_lanes: usize,
}

/// Adds to a tile of a fixed number of columns of `a` and vectors of `b`. To call it, all that the
/// tile points to must be there.
type OuterFn<S> = unsafe fn(S, &Outer);

/// Makes the kernel for a tile.
struct OuterKernels;

impl<S: Simd> ForTile<S> for OuterKernels {
    type Made = OuterFn<S>;

    fn make<const COLUMNS: usize, const VECTORS: usize>(self) -> OuterFn<S> {
        outer_tile::<S, COLUMNS, VECTORS>
    }
}

/// # Safety
/// See [`OuterFn`].
unsafe fn outer_tile<S: Simd, const COLUMNS: usize, const VECTORS: usize>(simd: S, tile: &Outer) {
    if tile.last_lanes == S::LANES {
        simd.run(OuterKernel::<COLUMNS, VECTORS, false>(tile));
    } else {
        simd.run(OuterKernel::<COLUMNS, VECTORS, true>(tile));
    }
}

struct OuterKernel<'a, const COLUMNS: usize, const VECTORS: usize, const MASKED: bool>(&'a Outer);

#[expect(clippy::needless_range_loop, reason = "one index walks over registers and memory")]
impl<S: Simd, const COLUMNS: usize, const VECTORS: usize, const MASKED: bool> Kernel<S>
    for OuterKernel<'_, COLUMNS, VECTORS, MASKED>
{
    #[inline(always)]
    fn call(self, simd: S) {
        let tile = self.0;
        let mut sums = [[simd.splat(0.0); VECTORS]; COLUMNS];
        let mask = simd.mask(tile.last_lanes);
        // SAFETY: whoever made the tile promises that its rows can be read and its sums read and
        // written, the last vector only in its live lanes.
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
