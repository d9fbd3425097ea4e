//! Vectors of floats, the same for every instruction set.

use super::clamp::Clamp;
use crate::pool::part;

/// A value of an implementing type proves that the CPU has the instructions.
pub(crate) trait Simd: Tiles + Copy + Send + Sync {
    /// `LANES` floats.
    type F: Copy;
    /// The first lanes of a vector.
    type M: Copy;
    /// Floats in a vector.
    const LANES: usize;

    /// Runs `kernel`, compiled for the instruction set. Only what is inlined into `kernel` is, so
    /// every function it calls must be `#[inline(always)]`, which rules out closures.
    fn run<K: Kernel<Self>>(self, kernel: K);

    fn splat(self, x: f32) -> Self::F;
    /// The mask of the first `lanes` lanes, of all where there are fewer.
    fn mask(self, lanes: usize) -> Self::M;

    /// # Safety
    /// `LANES` floats at `from` can be read.
    unsafe fn load(self, from: *const f32) -> Self::F;
    /// # Safety
    /// `LANES` floats at `to` can be written.
    unsafe fn store(self, to: *mut f32, x: Self::F);
    /// Zeros in the lanes outside the mask.
    ///
    /// # Safety
    /// The floats of the mask's lanes at `from` can be read.
    unsafe fn load_masked(self, from: *const f32, mask: Self::M) -> Self::F;
    /// # Safety
    /// The floats of the mask's lanes at `to` can be written.
    unsafe fn store_masked(self, to: *mut f32, x: Self::F, mask: Self::M);
    /// Stores past the caches. Other threads see it after a [`Simd::fence`].
    ///
    /// # Safety
    /// `LANES` floats at `to` can be written, and `to` is on a boundary of as many floats.
    unsafe fn stream(self, to: *mut f32, x: Self::F);
    /// Makes what was streamed visible before anything that is stored later.
    fn fence(self);

    /// Asks for a cache line; any address will do.
    fn prefetch(self, from: *const f32);

    fn add(self, a: Self::F, b: Self::F) -> Self::F;
    fn sub(self, a: Self::F, b: Self::F) -> Self::F;
    fn mul(self, a: Self::F, b: Self::F) -> Self::F;
    fn div(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a * b + c`, rounded once where the instruction set can.
    fn mul_add(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// `max(x, bound)`; a NaN in `x` stays.
    fn at_least(self, x: Self::F, bound: Self::F) -> Self::F;
    /// `min(x, bound)`; a NaN in `x` stays.
    fn at_most(self, x: Self::F, bound: Self::F) -> Self::F;
    /// The greater of two, NaN if either is.
    fn max(self, a: Self::F, b: Self::F) -> Self::F;
    /// `kept` where `low < x < high`, else 0.
    fn keep_between(self, x: Self::F, low: Self::F, high: Self::F, kept: Self::F) -> Self::F;
    /// `kept` where `low <= x <= high`, else 0.
    fn keep_within(self, x: Self::F, low: Self::F, high: Self::F, kept: Self::F) -> Self::F;
}

/// Code to be compiled for an instruction set. `call` must be `#[inline(always)]`.
pub(crate) trait Kernel<S> {
    fn call(self, simd: S);
}

/// A [`Clamp`] in registers.
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

/// What the kernels of an instruction set are called, for a tile of some width.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Names {
    pub(crate) pointwise: &'static str,
    pub(crate) strip: &'static str,
    pub(crate) gathered: &'static str,
    /// 3 columns with step 1 and 2, 5 columns with step 1 and 2, any other.
    pub(crate) depthwise: [&'static str; 5],
}

/// [`Tiles::names`], from the name of an instruction set and those of its widest tiles.
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
                    gathered: concat!("f32_im2row_gemm_", $tile, "_", $isa),
                    depthwise,
                },)*
                _ => unreachable!("no tile of {vectors} vectors"),
            }
        }
    };
}
pub(crate) use names;

/// Something that is made for tiles of each size, such as a kernel whose loops over rows and vectors
/// are unrolled.
pub(crate) trait ForTile<S> {
    /// What is made.
    type Made;

    fn make<const ROWS: usize, const VECTORS: usize>(self) -> Self::Made;
}

/// The tiles of an instruction set, sized for its registers.
pub(crate) trait Tiles: Sized {
    fn names(vectors: usize) -> Names;
    /// Divides a matrix of `vectors` vectors into panels, the widest first.
    fn widths(vectors: usize) -> Vec<usize>;
    /// The highest tile of `vectors` vectors.
    fn max_rows(vectors: usize) -> usize;
    /// What `make` makes for the tile of `rows` rows and `vectors` vectors; both at most what the two
    /// functions above give.
    fn for_tile<M: ForTile<Self>>(vectors: usize, rows: usize, make: M) -> M::Made;
}

/// As few panels as `most` allows, of nearly the same width.
pub(crate) fn even_widths(vectors: usize, most: usize) -> Vec<usize> {
    let panels = vectors.div_ceil(most);
    (0..panels).rev().map(|panel| part(vectors, panels, panel).len()).collect()
}

/// Functions of [`Tiles`], from the rows of the tiles of each number of vectors.
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
