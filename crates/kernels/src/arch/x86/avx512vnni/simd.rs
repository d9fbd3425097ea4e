//! Vectors of sixteen f32 with AVX-512.

use std::arch::x86_64::*;

use super::token::Avx512Vnni;
use crate::f32::simd::{Kernel, Simd, Tiles, even_widths, names, tiles};

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
fn with_avx512<K: Kernel<Avx512Vnni>>(simd: Avx512Vnni, kernel: K) {
    kernel.call(simd);
}

impl Simd for Avx512Vnni {
    type F = __m512;
    type M = __mmask16;
    const LANES: usize = 16;

    #[inline(always)]
    fn run<K: Kernel<Self>>(self, kernel: K) {
        // SAFETY: `self` proves that the CPU has these parts of AVX-512, AVX2 and FMA.
        unsafe { with_avx512(self, kernel) }
    }

    #[inline(always)]
    fn splat(self, x: f32) -> __m512 {
        // SAFETY: `self` proves AVX-512.
        unsafe { _mm512_set1_ps(x) }
    }

    #[inline(always)]
    fn mask(self, lanes: usize) -> __mmask16 {
        ((1_u32 << lanes.min(16)) - 1) as __mmask16
    }

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> __m512 {
        // SAFETY: `self` proves AVX-512; the caller guarantees that the memory is valid.
        unsafe { _mm512_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32, x: __m512) {
        // SAFETY: `self` proves AVX-512; the caller guarantees that the memory is valid.
        unsafe { _mm512_storeu_ps(to, x) }
    }

    #[inline(always)]
    unsafe fn load_masked(self, from: *const f32, mask: __mmask16) -> __m512 {
        // SAFETY: `self` proves AVX-512; the caller guarantees that the masked lanes' memory is
        // valid.
        unsafe { _mm512_maskz_loadu_ps(mask, from) }
    }

    #[inline(always)]
    unsafe fn store_masked(self, to: *mut f32, x: __m512, mask: __mmask16) {
        // SAFETY: `self` proves AVX-512; the caller guarantees that the masked lanes' memory is
        // valid.
        unsafe { _mm512_mask_storeu_ps(to, mask, x) }
    }

    #[inline(always)]
    unsafe fn stream(self, to: *mut f32, x: __m512) {
        // SAFETY: `self` proves AVX-512; the caller guarantees that the memory is valid and
        // aligned.
        unsafe { _mm512_stream_ps(to, x) }
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
    fn add(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: `self` proves AVX-512.
        unsafe { _mm512_add_ps(a, b) }
    }

    #[inline(always)]
    fn sub(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: `self` proves AVX-512.
        unsafe { _mm512_sub_ps(a, b) }
    }

    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: `self` proves AVX-512.
        unsafe { _mm512_mul_ps(a, b) }
    }

    #[inline(always)]
    fn div(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: `self` proves AVX-512.
        unsafe { _mm512_div_ps(a, b) }
    }

    #[inline(always)]
    fn mul_add(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        // SAFETY: `self` proves AVX-512.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }

    // `vmaxps` and `vminps` return their second operand when either is NaN.

    #[inline(always)]
    fn at_least(self, x: __m512, bound: __m512) -> __m512 {
        // SAFETY: `self` proves AVX-512.
        unsafe { _mm512_max_ps(bound, x) }
    }

    #[inline(always)]
    fn at_most(self, x: __m512, bound: __m512) -> __m512 {
        // SAFETY: `self` proves AVX-512.
        unsafe { _mm512_min_ps(bound, x) }
    }

    #[inline(always)]
    fn max(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: `self` proves AVX-512.
        unsafe {
            let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(a, a);
            _mm512_mask_blend_ps(nan, _mm512_max_ps(a, b), a)
        }
    }

    #[inline(always)]
    fn keep_between(self, x: __m512, low: __m512, high: __m512, kept: __m512) -> __m512 {
        // SAFETY: `self` proves AVX-512.
        unsafe {
            let above = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(low, x);
            _mm512_maskz_mov_ps(_mm512_mask_cmp_ps_mask::<_CMP_LT_OQ>(above, x, high), kept)
        }
    }

    #[inline(always)]
    fn keep_within(self, x: __m512, low: __m512, high: __m512, kept: __m512) -> __m512 {
        // SAFETY: `self` proves AVX-512.
        unsafe {
            let above = _mm512_cmp_ps_mask::<_CMP_LE_OQ>(low, x);
            _mm512_maskz_mov_ps(_mm512_mask_cmp_ps_mask::<_CMP_LE_OQ>(above, x, high), kept)
        }
    }
}

impl Tiles for Avx512Vnni {
    // Of 32 registers, up to 28 are for accumulators, the others for weights and a broadcast value.
    fn widths(vectors: usize) -> Vec<usize> {
        even_widths(vectors, 4)
    }

    tiles! {
        1: 1 2 3 4 5 6 7 8 9 10 11 12 13 14;
        2: 1 2 3 4 5 6 7 8 9 10 11 12 13 14;
        3: 1 2 3 4 5 6 7 8 9;
        4: 1 2 3 4 5 6;
    }

    names! { "avx512"; 1: "14x16"; 2: "14x32"; 3: "9x48"; 4: "6x64"; }
}
