//! Requantization of 64 accumulators in AVX-512 registers.

use std::arch::x86_64::*;

use crate::int8::requantize::Requantize;

/// The constants of requantization in registers.
#[derive(Clone, Copy)]
pub(crate) struct Epilogue {
    /// `max − zero_point`, by which values are clamped from above before the conversion to i32.
    clamp_max: __m512,
    zero_point: __m512i,
    min: __m512i,
    max: __m512i,
}

impl Epilogue {
    /// Loads the constants of `requantize` into registers; the multipliers are passed to each call.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    pub(crate) fn new(requantize: &Requantize) -> Self {
        let clamp_max = i32::from(requantize.max) - i32::from(requantize.zero_point);
        Self {
            clamp_max: _mm512_set1_ps(clamp_max as f32),
            zero_point: _mm512_set1_epi16(i16::from(requantize.zero_point)),
            min: _mm512_set1_epi8(requantize.min as i8),
            max: _mm512_set1_epi8(requantize.max as i8),
        }
    }

    /// Requantizes four vectors of 16 accumulators to 64 outputs in the same order.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    pub(crate) fn apply(&self, acc: [__m512i; 4], multiplier: [__m512; 4]) -> __m512i {
        in_order(self.apply_in_lanes(acc, multiplier))
    }

    /// As [`Self::apply`], for accumulators in the order in which unpacking bytes to dwords leaves
    /// them: the four channels of 128-bit lane `lane` of vector `v` are outputs `16 * lane + 4 *
    /// v..` of the result. This saves the permutation.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    pub(crate) fn apply_in_lanes(&self, acc: [__m512i; 4], multiplier: [__m512; 4]) -> __m512i {
        self.pack([
            self.scale(acc[0], multiplier[0]),
            self.scale(acc[1], multiplier[1]),
            self.scale(acc[2], multiplier[2]),
            self.scale(acc[3], multiplier[3]),
        ])
    }

    /// As [`Self::apply`], with effective multipliers, for products that [fit an
    /// i32](crate::int8::requantize::products_fit).
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    pub(crate) fn apply_fitting(&self, acc: [__m512i; 4], multiplier: [__m512; 4]) -> __m512i {
        in_order(self.apply_fitting_in_lanes(acc, multiplier))
    }

    /// As [`Self::apply_fitting`], in the order that [`in_order`] reverses.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    pub(crate) fn apply_fitting_in_lanes(
        &self,
        acc: [__m512i; 4],
        multiplier: [__m512; 4],
    ) -> __m512i {
        let bytes = self.pack([
            scale_fitting(acc[0], multiplier[0]),
            scale_fitting(acc[1], multiplier[1]),
            scale_fitting(acc[2], multiplier[2]),
            scale_fitting(acc[3], multiplier[3]),
        ]);
        _mm512_min_epu8(bytes, self.max)
    }

    /// Packs with saturation, adds the zero point and clamps from below.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn pack(&self, [a, b, c, d]: [__m512i; 4]) -> __m512i {
        let ab = _mm512_adds_epi16(_mm512_packs_epi32(a, b), self.zero_point);
        let cd = _mm512_adds_epi16(_mm512_packs_epi32(c, d), self.zero_point);
        _mm512_max_epu8(_mm512_packus_epi16(ab, cd), self.min)
    }

    /// Multiplies by the multiplier, clamps from above and rounds.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn scale(&self, acc: __m512i, multiplier: __m512) -> __m512i {
        let scaled = _mm512_mul_ps(_mm512_cvtepi32_ps(acc), multiplier);
        _mm512_cvtps_epi32(_mm512_min_ps(scaled, self.clamp_max))
    }
}

/// Reverses the order of packs, which work within 128-bit lanes: dword `4 * lane + v` belongs to
/// vector `v`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
pub(crate) fn in_order(bytes: __m512i) -> __m512i {
    let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    _mm512_permutexvar_epi32(order, bytes)
}

/// Multiplies by the multiplier and rounds, for products that fit an i32.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn scale_fitting(acc: __m512i, multiplier: __m512) -> __m512i {
    _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_cvtepi32_ps(acc), multiplier))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::arch::x86::Avx512Vnni;
    use crate::int8::requantize::tests::case;
    use crate::int8::requantize::{effective_multiplier, products_fit};

    #[target_feature(enable = "avx512f,avx512bw")]
    fn through_registers(
        requantize: &Requantize,
        acc: &[i32; 64],
        out: &mut [u8; 64],
        fitting: bool,
    ) {
        // SAFETY: `acc`, the multipliers and `out` have 64 values each, and the loads and stores,
        // which need no alignment, stay within them.
        unsafe {
            let a = acc.as_ptr();
            let m = requantize.multiplier.as_ptr();
            let acc = std::array::from_fn(|v| _mm512_loadu_epi32(a.add(16 * v)));
            let multiplier = std::array::from_fn(|v| _mm512_loadu_ps(m.add(16 * v)));
            let epilogue = Epilogue::new(requantize);
            let bytes = if fitting {
                epilogue.apply_fitting(acc, multiplier)
            } else {
                epilogue.apply(acc, multiplier)
            };
            _mm512_storeu_epi8(out.as_mut_ptr().cast(), bytes);
        }
    }

    proptest! {
        #[test]
        fn equals_the_scalar_formula(
            cases in proptest::collection::vec(case(), 64), zero_point: u8, a: u8, b: u8,
        ) {
            if Avx512Vnni::detect().is_none() { return Ok(()); }
            let (acc, multiplier): (Vec<i32>, Vec<f32>) = cases.into_iter().unzip();
            let requantize = Requantize { multiplier, zero_point, min: a.min(b), max: a.max(b) };
            let mut out = [0; 64];
            // SAFETY: AVX-512 is detected above.
            unsafe { through_registers(&requantize, acc[..].try_into().unwrap(), &mut out, false) };
            for (i, &out) in out.iter().enumerate() {
                prop_assert_eq!(out, requantize.apply(i, acc[i]), "{}", i);
            }

            let multiplier = requantize.multiplier.iter().map(|&m| effective_multiplier(m));
            let effective = Requantize { multiplier: multiplier.collect(), ..requantize.clone() };
            // SAFETY: AVX-512 is detected above.
            unsafe { through_registers(&effective, acc[..].try_into().unwrap(), &mut out, true) };
            for (i, &out) in out.iter().enumerate() {
                let range = (i64::from(acc[i]), i64::from(acc[i]));
                if products_fit(range, requantize.multiplier[i]) {
                    prop_assert_eq!(out, requantize.apply(i, acc[i]), "{} fitting", i);
                }
            }
        }
    }
}
