//! Addition of two quantized activations in AVX-512 registers, for the epilogues of other kernels.

use std::arch::x86_64::*;

use crate::int8::elementwise::formula::AddFormula;

/// The constants of an [`AddFormula`] in registers.
#[derive(Clone, Copy)]
pub(crate) struct AddEpilogue {
    scale: [__m512; 2],
    offset: [__m512; 2],
    inverse_scale: __m512,
    /// `max − zero_point`, by which values are clamped from above before the conversion to i32. A
    /// value that overflows downwards becomes the minimum i32, which packing saturates to 0.
    clamp_max: __m512,
    zero_point: __m512i,
    min: __m512i,
    /// For each vector, the shuffle that moves its bytes from the packed ones to its dwords.
    spread: [__m512i; 4],
}

impl AddEpilogue {
    /// Loads the constants of `formula` into registers.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    pub(crate) fn new(formula: &AddFormula) -> Self {
        let [a, b] = formula.scale;
        let [of_a, of_b] = formula.offset;
        let target = &formula.target;
        let first = _mm512_set4_epi32(-253, -254, -255, -256); // 0xFFFFFF03, …02, …01, …00
        Self {
            scale: [_mm512_set1_ps(a), _mm512_set1_ps(b)],
            offset: [_mm512_set1_ps(of_a), _mm512_set1_ps(of_b)],
            inverse_scale: _mm512_set1_ps(formula.inverse_scale),
            clamp_max: _mm512_set1_ps(target.max),
            zero_point: _mm512_set1_epi16(target.zero_point as i16),
            min: _mm512_set1_epi8((target.min + target.zero_point) as u8 as i8),
            spread: [
                first,
                _mm512_add_epi32(first, _mm512_set1_epi32(4)),
                _mm512_add_epi32(first, _mm512_set1_epi32(8)),
                _mm512_add_epi32(first, _mm512_set1_epi32(12)),
            ],
        }
    }

    /// Adds 64 bytes `a`, in the order in which packing within 128-bit lanes leaves four vectors,
    /// and 64 values `b`, one in each dword of these vectors. The sums are in the order of `a`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    pub(crate) fn apply_in_lanes(&self, a: __m512i, b: [__m512i; 4]) -> __m512i {
        let [s, t, u, v] = self.spread;
        let st = _mm512_packs_epi32(
            self.sum(_mm512_shuffle_epi8(a, s), b[0]),
            self.sum(_mm512_shuffle_epi8(a, t), b[1]),
        );
        let uv = _mm512_packs_epi32(
            self.sum(_mm512_shuffle_epi8(a, u), b[2]),
            self.sum(_mm512_shuffle_epi8(a, v), b[3]),
        );
        let bytes = _mm512_packus_epi16(
            _mm512_adds_epi16(st, self.zero_point),
            _mm512_adds_epi16(uv, self.zero_point),
        );
        _mm512_max_epu8(bytes, self.min)
    }

    /// Returns rounded sums without the zero point.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn sum(&self, a: __m512i, b: __m512i) -> __m512i {
        let a = _mm512_fmadd_ps(_mm512_cvtepi32_ps(a), self.scale[0], self.offset[0]);
        let b = _mm512_fmadd_ps(_mm512_cvtepi32_ps(b), self.scale[1], self.offset[1]);
        let sum = _mm512_mul_ps(_mm512_add_ps(a, b), self.inverse_scale);
        _mm512_cvtps_epi32(_mm512_min_ps(sum, self.clamp_max))
    }
}
