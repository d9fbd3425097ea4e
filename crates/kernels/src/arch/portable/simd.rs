//! Vectors of eight f32 in plain Rust, which the compiler maps to the baseline instructions of the
//! target.

use super::token::Portable;
use crate::f32::simd::{Kernel, Simd, Tiles, even_widths, names, tiles};

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
        // SAFETY: the caller guarantees that `from` is valid for reads of 8 floats; alignment is
        // not needed.
        unsafe { from.cast::<[f32; 8]>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32, x: Self::F) {
        // SAFETY: the caller guarantees that `to` is valid for writes of 8 floats; alignment is not
        // needed.
        unsafe { to.cast::<[f32; 8]>().write_unaligned(x) }
    }

    #[inline(always)]
    unsafe fn load_masked(self, from: *const f32, mask: usize) -> Self::F {
        let mut x = [0.0; 8];
        // SAFETY: the caller guarantees that the first `mask` floats at `from` are valid for reads,
        // and `x` has room for them, since `mask` is at most 8.
        unsafe { std::ptr::copy_nonoverlapping(from, x.as_mut_ptr(), mask) };
        x
    }

    #[inline(always)]
    unsafe fn store_masked(self, to: *mut f32, x: Self::F, mask: usize) {
        // SAFETY: the caller guarantees that the first `mask` floats at `to` are valid for writes,
        // and `x` has them, since `mask` is at most 8.
        unsafe { std::ptr::copy_nonoverlapping(x.as_ptr(), to, mask) };
    }

    #[inline(always)]
    unsafe fn stream(self, to: *mut f32, x: Self::F) {
        // SAFETY: the caller guarantees that `to` is valid for writes of 8 floats.
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
        // Not `f32::mul_add`, which is a library call on CPUs without the instruction.
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

impl Tiles for Portable {
    fn widths(vectors: usize) -> Vec<usize> {
        even_widths(vectors, 1)
    }

    tiles! {
        1: 1 2 3 4;
    }

    names! { "scalar"; 1: "4x8"; }
}
