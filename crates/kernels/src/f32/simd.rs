//! Vectors of floats, the same for every instruction set.

use super::Clamp;
use super::gemm::Tiles;

/// A value of an implementing type proves that the CPU has the instructions.
pub(super) trait Simd: Tiles + Copy + Send + Sync {
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
pub(super) trait Kernel<S> {
    fn call(self, simd: S);
}

/// A [`Clamp`] in registers.
#[derive(Clone, Copy)]
pub(super) struct Bounds<S: Simd> {
    min: S::F,
    max: S::F,
}

impl<S: Simd> Bounds<S> {
    #[inline(always)]
    pub(super) fn new(simd: S, clamp: Clamp) -> Self {
        Self { min: simd.splat(clamp.min), max: simd.splat(clamp.max) }
    }

    #[inline(always)]
    pub(super) fn apply(self, simd: S, x: S::F) -> S::F {
        simd.at_most(simd.at_least(x, self.min), self.max)
    }
}

/// Evaluates `$body` with `$simd` bound to the vectors of `$isa`.
macro_rules! with_simd {
    ($isa:expr, $simd:ident => $body:expr) => {
        match $isa.without_tiles() {
            #[cfg(target_arch = "x86_64")]
            $crate::Isa::Avx2($simd) => $body,
            #[cfg(target_arch = "x86_64")]
            $crate::Isa::Avx512Vnni($simd) => $body,
            // Elsewhere the two above cannot be made.
            _ => {
                let $simd = $crate::f32::simd::Portable;
                $body
            }
        }
    };
}
pub(super) use with_simd;

/// Eight floats in plain Rust, which the compiler maps to what every CPU of the target has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Portable;

#[inline(always)]
fn zip(a: [f32; 8], b: [f32; 8], f: impl Fn(f32, f32) -> f32) -> [f32; 8] {
    std::array::from_fn(|i| f(a[i], b[i]))
}

impl Simd for Portable {
    type F = [f32; 8];
    type M = usize;
    const LANES: usize = 8;

    #[inline(always)]
    fn run<K: Kernel<Self>>(self, kernel: K) {
        kernel.call(self);
    }

    #[inline(always)]
    fn splat(self, x: f32) -> Self::F {
        [x; 8]
    }

    #[inline(always)]
    fn mask(self, lanes: usize) -> usize {
        lanes.min(8)
    }

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> Self::F {
        // SAFETY: the caller's promise.
        unsafe { from.cast::<[f32; 8]>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32, x: Self::F) {
        // SAFETY: the caller's promise.
        unsafe { to.cast::<[f32; 8]>().write_unaligned(x) }
    }

    #[inline(always)]
    unsafe fn load_masked(self, from: *const f32, mask: usize) -> Self::F {
        let mut x = [0.0; 8];
        // SAFETY: the caller's promise; the mask has at most 8 lanes.
        unsafe { std::ptr::copy_nonoverlapping(from, x.as_mut_ptr(), mask) };
        x
    }

    #[inline(always)]
    unsafe fn store_masked(self, to: *mut f32, x: Self::F, mask: usize) {
        // SAFETY: the caller's promise; the mask has at most 8 lanes.
        unsafe { std::ptr::copy_nonoverlapping(x.as_ptr(), to, mask) };
    }

    #[inline(always)]
    unsafe fn stream(self, to: *mut f32, x: Self::F) {
        // SAFETY: the caller's promise.
        unsafe { self.store(to, x) };
    }

    #[inline(always)]
    fn fence(self) {}

    #[inline(always)]
    fn prefetch(self, _: *const f32) {}

    #[inline(always)]
    fn add(self, a: Self::F, b: Self::F) -> Self::F {
        zip(a, b, |a, b| a + b)
    }

    #[inline(always)]
    fn sub(self, a: Self::F, b: Self::F) -> Self::F {
        zip(a, b, |a, b| a - b)
    }

    #[inline(always)]
    fn mul(self, a: Self::F, b: Self::F) -> Self::F {
        zip(a, b, |a, b| a * b)
    }

    #[inline(always)]
    fn div(self, a: Self::F, b: Self::F) -> Self::F {
        zip(a, b, |a, b| a / b)
    }

    #[inline(always)]
    fn mul_add(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        // Not `f32::mul_add`: without the instruction it is a library call.
        std::array::from_fn(|i| a[i] * b[i] + c[i])
    }

    #[inline(always)]
    fn at_least(self, x: Self::F, bound: Self::F) -> Self::F {
        zip(x, bound, |x, bound| if x < bound { bound } else { x })
    }

    #[inline(always)]
    fn at_most(self, x: Self::F, bound: Self::F) -> Self::F {
        zip(x, bound, |x, bound| if x > bound { bound } else { x })
    }

    #[inline(always)]
    fn max(self, a: Self::F, b: Self::F) -> Self::F {
        zip(a, b, |a, b| if a > b || a.is_nan() { a } else { b })
    }

    #[inline(always)]
    fn keep_between(self, x: Self::F, low: Self::F, high: Self::F, kept: Self::F) -> Self::F {
        std::array::from_fn(|i| if low[i] < x[i] && x[i] < high[i] { kept[i] } else { 0.0 })
    }

    #[inline(always)]
    fn keep_within(self, x: Self::F, low: Self::F, high: Self::F, kept: Self::F) -> Self::F {
        std::array::from_fn(|i| if low[i] <= x[i] && x[i] <= high[i] { kept[i] } else { 0.0 })
    }
}
