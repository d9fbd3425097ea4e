//! Vectors of eight f32 with AVX2 and FMA.

use std::arch::x86_64::*;

use super::token::Avx2;
use crate::f32::simd::{Kernel, Simd, Tiles, even_widths, names, tiles};

/// Ones followed by zeros, of which eight neighbouring values are a mask for any number of lanes.
static MASKS: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];

#[target_feature(enable = "avx2,fma")]
fn with_avx2<K: Kernel<Avx2>>(simd: Avx2, kernel: K) {
    kernel.call(simd);
}

impl Simd for Avx2 {
    type F = __m256;
    type M = __m256i;
    const LANES: usize = 8;

    #[inline(always)]
    fn run<K: Kernel<Self>>(self, kernel: K) {
        // SAFETY: `self` proves AVX2 and FMA.
        unsafe { with_avx2(self, kernel) }
    }

    #[inline(always)]
    fn splat(self, x: f32) -> __m256 {
        // SAFETY: `self` proves AVX2.
        unsafe { _mm256_set1_ps(x) }
    }

    #[inline(always)]
    fn mask(self, lanes: usize) -> __m256i {
        let window = &MASKS[8 - lanes.min(8)..][..8];
        // SAFETY: `self` proves AVX2; the window has eight elements.
        unsafe { _mm256_loadu_si256(window.as_ptr().cast()) }
    }

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> __m256 {
        // SAFETY: `self` proves AVX2; the caller guarantees that the memory is valid.
        unsafe { _mm256_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32, x: __m256) {
        // SAFETY: `self` proves AVX2; the caller guarantees that the memory is valid.
        unsafe { _mm256_storeu_ps(to, x) }
    }

    #[inline(always)]
    unsafe fn load_masked(self, from: *const f32, mask: __m256i) -> __m256 {
        // SAFETY: `self` proves AVX2; the caller guarantees that the masked lanes' memory is valid.
        unsafe { _mm256_maskload_ps(from, mask) }
    }

    #[inline(always)]
    unsafe fn store_masked(self, to: *mut f32, x: __m256, mask: __m256i) {
        // SAFETY: `self` proves AVX2; the caller guarantees that the masked lanes' memory is valid.
        unsafe { _mm256_maskstore_ps(to, mask, x) }
    }

    #[inline(always)]
    unsafe fn stream(self, to: *mut f32, x: __m256) {
        // SAFETY: `self` proves AVX2; the caller guarantees that the memory is valid and aligned.
        unsafe { _mm256_stream_ps(to, x) }
    }

    #[inline(always)]
    fn fence(self) {
        // SAFETY: every x86-64 CPU has the instruction.
        unsafe { _mm_sfence() }
    }

    #[inline(always)]
    fn prefetch(self, from: *const f32) {
        // SAFETY: every x86-64 CPU has the instruction, which does not fault for any address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(from.cast()) }
    }

    #[inline(always)]
    fn add(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: `self` proves AVX2.
        unsafe { _mm256_add_ps(a, b) }
    }

    #[inline(always)]
    fn sub(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: `self` proves AVX2.
        unsafe { _mm256_sub_ps(a, b) }
    }

    #[inline(always)]
    fn mul(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: `self` proves AVX2.
        unsafe { _mm256_mul_ps(a, b) }
    }

    #[inline(always)]
    fn div(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: `self` proves AVX2.
        unsafe { _mm256_div_ps(a, b) }
    }

    #[inline(always)]
    fn mul_add(self, a: __m256, b: __m256, c: __m256) -> __m256 {
        // SAFETY: `self` proves FMA.
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }

    // `vmaxps` and `vminps` return their second operand when either is NaN.

    #[inline(always)]
    fn at_least(self, x: __m256, bound: __m256) -> __m256 {
        // SAFETY: `self` proves AVX2.
        unsafe { _mm256_max_ps(bound, x) }
    }

    #[inline(always)]
    fn at_most(self, x: __m256, bound: __m256) -> __m256 {
        // SAFETY: `self` proves AVX2.
        unsafe { _mm256_min_ps(bound, x) }
    }

    #[inline(always)]
    fn max(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: `self` proves AVX2.
        unsafe { _mm256_blendv_ps(_mm256_max_ps(a, b), a, _mm256_cmp_ps::<_CMP_UNORD_Q>(a, a)) }
    }

    #[inline(always)]
    fn keep_between(self, x: __m256, low: __m256, high: __m256, kept: __m256) -> __m256 {
        // SAFETY: `self` proves AVX2.
        unsafe {
            let above = _mm256_cmp_ps::<_CMP_LT_OQ>(low, x);
            _mm256_and_ps(kept, _mm256_and_ps(above, _mm256_cmp_ps::<_CMP_LT_OQ>(x, high)))
        }
    }

    #[inline(always)]
    fn keep_within(self, x: __m256, low: __m256, high: __m256, kept: __m256) -> __m256 {
        // SAFETY: `self` proves AVX2.
        unsafe {
            let above = _mm256_cmp_ps::<_CMP_LE_OQ>(low, x);
            _mm256_and_ps(kept, _mm256_and_ps(above, _mm256_cmp_ps::<_CMP_LE_OQ>(x, high)))
        }
    }
}

impl Tiles for Avx2 {
    // Of 16 registers, 12 are for accumulators, the others for weights and a broadcast value.
    fn widths(vectors: usize) -> Vec<usize> {
        if vectors % 2 == 1 && vectors > 1 {
            let mut widths = vec![2; vectors / 2];
            widths[0] = 3;
            widths
        } else {
            even_widths(vectors, 2)
        }
    }

    tiles! {
        1: 1 2 3 4 5 6 7 8 9 10 11 12;
        2: 1 2 3 4 5 6;
        3: 1 2 3 4;
    }

    names! { "avx2"; 1: "12x8"; 2: "6x16"; 3: "4x24"; }
}
