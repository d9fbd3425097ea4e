//! Vectors of f32, with the same interface on every instruction set.

use super::clamp::Clamp;
use crate::pool::part;

/// The f32 vectors of an instruction set. A value of an implementing type proves that the CPU
/// supports it.
pub(crate) trait Simd: Tiles + Copy + Send + Sync {
    /// A vector of `LANES` floats.
    type F: Copy;
    /// A mask that selects the first lanes of a vector.
    type M: Copy;
    /// Number of floats of a vector.
    const LANES: usize;

    /// Runs `kernel`, compiled for the instruction set.
    ///
    /// Only what is inlined into `kernel` is compiled for it, so every function that it calls must
    /// be `#[inline(always)]`, which closures cannot be.
    fn run<K: Kernel<Self>>(self, kernel: K);

    /// Returns a vector with `x` in all lanes.
    fn splat(self, x: f32) -> Self::F;
    /// Returns the mask of the first `lanes` lanes, or of all if there are fewer.
    fn mask(self, lanes: usize) -> Self::M;

    /// Loads a vector.
    ///
    /// # Safety
    /// `from` must be valid for reads of `LANES` floats.
    unsafe fn load(self, from: *const f32) -> Self::F;
    /// Stores a vector.
    ///
    /// # Safety
    /// `to` must be valid for writes of `LANES` floats.
    unsafe fn store(self, to: *mut f32, x: Self::F);
    /// Loads the lanes of a mask; the others are 0.
    ///
    /// # Safety
    /// The mask's lanes at `from` must be valid for reads.
    unsafe fn load_masked(self, from: *const f32, mask: Self::M) -> Self::F;
    /// Stores the lanes of a mask.
    ///
    /// # Safety
    /// The mask's lanes at `to` must be valid for writes.
    unsafe fn store_masked(self, to: *mut f32, x: Self::F, mask: Self::M);
    /// Stores a vector without filling the caches. Other threads see it after a [`Simd::fence`].
    ///
    /// # Safety
    /// `to` must be valid for writes of `LANES` floats and aligned to the size of a vector.
    unsafe fn stream(self, to: *mut f32, x: Self::F);
    /// Makes streamed values visible to other threads before anything that is stored later.
    fn fence(self);

    /// Prefetches a cache line; `from` may be any address.
    fn prefetch(self, from: *const f32);

    fn add(self, a: Self::F, b: Self::F) -> Self::F;
    fn sub(self, a: Self::F, b: Self::F) -> Self::F;
    fn mul(self, a: Self::F, b: Self::F) -> Self::F;
    fn div(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a * b + c`, rounded once if the instruction set has fused multiply-adds.
    fn mul_add(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// `max(x, bound)`; a NaN in `x` stays.
    fn at_least(self, x: Self::F, bound: Self::F) -> Self::F;
    /// `min(x, bound)`; a NaN in `x` stays.
    fn at_most(self, x: Self::F, bound: Self::F) -> Self::F;
    /// The maximum of `a` and `b`; NaN if either is NaN.
    fn max(self, a: Self::F, b: Self::F) -> Self::F;
    /// `kept` where `low < x < high`, otherwise 0.
    fn keep_between(self, x: Self::F, low: Self::F, high: Self::F, kept: Self::F) -> Self::F;
    /// `kept` where `low <= x <= high`, otherwise 0.
    fn keep_within(self, x: Self::F, low: Self::F, high: Self::F, kept: Self::F) -> Self::F;
}

/// Code to be compiled for an instruction set. Implementations of `call` must be
/// `#[inline(always)]`.
pub(crate) trait Kernel<S> {
    fn call(self, simd: S);
}

/// The bounds of a [`Clamp`] in registers.
#[derive(Clone, Copy)]
pub(crate) struct Bounds<S: Simd> {
    min: S::F,
    max: S::F,
}

impl<S: Simd> Bounds<S> {
    #[inline(always)]
    pub(crate) fn new(simd: S, clamp: Clamp) -> Self {
        Self { min: simd.splat(clamp.min), max: simd.splat(clamp.max) }
    }

    #[inline(always)]
    pub(crate) fn apply(self, simd: S, x: S::F) -> S::F {
        simd.at_most(simd.at_least(x, self.min), self.max)
    }
}

/// The names, for profiles, of an instruction set's kernels for a tile width.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Names {
    pub(crate) pointwise: &'static str,
    pub(crate) strip: &'static str,
    pub(crate) im2row: &'static str,
    /// For windows of 3 columns with stride 1 and 2, of 5 columns with stride 1 and 2, and any
    /// others.
    pub(crate) depthwise: [&'static str; 5],
}

/// Implements [`Tiles::names`] from the name of an instruction set and those of its largest tiles.
macro_rules! names {
    ($isa:literal; $($vectors:literal: $tile:literal;)*) => {
        fn names(vectors: usize) -> $crate::f32::simd::Names {
            let depthwise = [
                concat!("f32_depthwise_k3s1_", $isa),
                concat!("f32_depthwise_k3s2_", $isa),
                concat!("f32_depthwise_k5s1_", $isa),
                concat!("f32_depthwise_k5s2_", $isa),
                concat!("f32_depthwise_general_", $isa),
            ];
            match vectors {
                $($vectors => $crate::f32::simd::Names {
                    pointwise: concat!("f32_gemm_", $tile, "_", $isa),
                    strip: concat!("f32_strip_gemm_", $tile, "_", $isa),
                    im2row: concat!("f32_im2row_gemm_", $tile, "_", $isa),
                    depthwise,
                },)*
                _ => unreachable!("no tile of {vectors} vectors"),
            }
        }
    };
}
pub(crate) use names;

/// A generic value for each tile size, such as a micro-kernel with unrolled loops.
pub(crate) trait ForTile<S> {
    /// The type of the value.
    type Made;

    /// Returns the value for tiles of `ROWS` rows and `VECTORS` vectors.
    fn make<const ROWS: usize, const VECTORS: usize>(self) -> Self::Made;
}

/// The tile sizes of an instruction set, chosen for its number of registers.
pub(crate) trait Tiles: Sized {
    /// The names of the kernels for tiles of `vectors` vectors.
    fn names(vectors: usize) -> Names;
    /// Divides `vectors` vectors of columns into panels, the widest first; returns their numbers of
    /// vectors.
    fn widths(vectors: usize) -> Vec<usize>;
    /// The maximum number of rows of a tile of `vectors` vectors.
    fn max_rows(vectors: usize) -> usize;
    /// Returns the value of `make` for tiles of `rows` rows and `vectors` vectors, which must be
    /// among the instruction set's tile sizes.
    fn for_tile<M: ForTile<Self>>(vectors: usize, rows: usize, make: M) -> M::Made;
}

/// Divides vectors into the fewest panels of nearly equal widths, of at most `max` vectors.
pub(crate) fn even_widths(vectors: usize, max: usize) -> Vec<usize> {
    let panels = vectors.div_ceil(max);
    (0..panels).rev().map(|panel| part(vectors, panels, panel).len()).collect()
}

/// Implements functions of [`Tiles`] from a list of the possible numbers of rows for each number of
/// vectors.
macro_rules! tiles {
    ($($vectors:literal: $($rows:literal)*;)*) => {
        fn max_rows(vectors: usize) -> usize {
            match vectors {
                $($vectors => [$($rows),*].len(),)*
                _ => unreachable!("no tile of {vectors} vectors"),
            }
        }

        fn for_tile<M: $crate::f32::simd::ForTile<Self>>(
            vectors: usize,
            rows: usize,
            make: M,
        ) -> M::Made {
            match (vectors, rows) {
                $($(($vectors, $rows) => make.make::<$rows, $vectors>(),)*)*
                _ => unreachable!("no tile of {rows} rows and {vectors} vectors"),
            }
        }
    };
}
pub(crate) use tiles;
