//! Requantization of 32 accumulators in AVX2 registers.

use std::arch::x86_64::*;

use crate::int8::requantize::Requantize;

/// The constants of requantization in registers.
#[derive(Clone, Copy)]
pub(crate) struct Epilogue {
    /// `max − zero_point`, by which values are clamped from above before the conversion to i32.
    clamp_max: __m256,
    zero_point: __m256i,
    min: __m256i,
    max: __m256i,
}

impl Epilogue {
    /// Loads the constants of `requantize` into registers; the multipliers are passed to each call.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(crate) fn new(requantize: &Requantize) -> Self {
        let clamp_max = i32::from(requantize.max) - i32::from(requantize.zero_point);
        Self {
            clamp_max: _mm256_set1_ps(clamp_max as f32),
            zero_point: _mm256_set1_epi16(i16::from(requantize.zero_point)),
            min: _mm256_set1_epi8(requantize.min as i8),
            max: _mm256_set1_epi8(requantize.max as i8),
        }
    }

    /// Requantizes four vectors of 8 accumulators to 32 outputs in the same order.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(crate) fn apply(&self, acc: [__m256i; 4], multiplier: [__m256; 4]) -> __m256i {
        in_order(self.apply_in_lanes(acc, multiplier))
    }

    /// As [`Self::apply`], for accumulators in the order in which unpacking bytes to dwords leaves
    /// them: the four channels of 128-bit lane `lane` of vector `v` are outputs `16 * lane + 4 *
    /// v..` of the result. This saves the permutation.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(crate) fn apply_in_lanes(&self, acc: [__m256i; 4], multiplier: [__m256; 4]) -> __m256i {
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
    #[target_feature(enable = "avx2")]
    pub(crate) fn apply_fitting(&self, acc: [__m256i; 4], multiplier: [__m256; 4]) -> __m256i {
        let bytes = self.pack([
            scale_fitting(acc[0], multiplier[0]),
            scale_fitting(acc[1], multiplier[1]),
            scale_fitting(acc[2], multiplier[2]),
            scale_fitting(acc[3], multiplier[3]),
        ]);
        in_order(_mm256_min_epu8(bytes, self.max))
    }

    /// Packs with saturation, adds the zero point and clamps from below.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn pack(&self, [a, b, c, d]: [__m256i; 4]) -> __m256i {
        let ab = _mm256_adds_epi16(_mm256_packs_epi32(a, b), self.zero_point);
        let cd = _mm256_adds_epi16(_mm256_packs_epi32(c, d), self.zero_point);
        _mm256_max_epu8(_mm256_packus_epi16(ab, cd), self.min)
    }

    /// Multiplies by the multiplier, clamps from above and rounds.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn scale(&self, acc: __m256i, multiplier: __m256) -> __m256i {
        let scaled = _mm256_mul_ps(_mm256_cvtepi32_ps(acc), multiplier);
        _mm256_cvtps_epi32(_mm256_min_ps(scaled, self.clamp_max))
    }
}

/// Reverses the order of packs, which work within 128-bit lanes: dword `4 * lane + v` belongs to
/// vector `v`.
#[inline]
#[target_feature(enable = "avx2")]
fn in_order(bytes: __m256i) -> __m256i {
    _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7))
}

/// Multiplies by the multiplier and rounds, for products that fit an i32.
#[inline]
#[target_feature(enable = "avx2")]
fn scale_fitting(acc: __m256i, multiplier: __m256) -> __m256i {
    _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_cvtepi32_ps(acc), multiplier))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::arch::x86::Avx2;
    use crate::int8::requantize::tests::case;
    use crate::int8::requantize::{effective_multiplier, products_fit};

    #[target_feature(enable = "avx2")]
    fn through_registers(
        requantize: &Requantize,
        acc: &[i32; 32],
        out: &mut [u8; 32],
        fitting: bool,
    ) {
        // SAFETY: `acc`, the multipliers and `out` have 32 values each, and the loads and stores,
        // which need no alignment, stay within them.
        unsafe {
            let a = acc.as_ptr();
            let m = requantize.multiplier.as_ptr();
            let acc = std::array::from_fn(|v| _mm256_loadu_si256(a.add(8 * v).cast()));
            let multiplier = std::array::from_fn(|v| _mm256_loadu_ps(m.add(8 * v)));
            let epilogue = Epilogue::new(requantize);
            let bytes = if fitting {
                epilogue.apply_fitting(acc, multiplier)
            } else {
                epilogue.apply(acc, multiplier)
            };
            _mm256_storeu_si256(out.as_mut_ptr().cast(), bytes);
        }
    }

    proptest! {
        #[test]
        fn equals_the_scalar_formula(
            cases in proptest::collection::vec(case(), 32), zero_point: u8, a: u8, b: u8,
        ) {
            if Avx2::detect().is_none() { return Ok(()); }
            let (acc, multiplier): (Vec<i32>, Vec<f32>) = cases.into_iter().unzip();
            let requantize = Requantize { multiplier, zero_point, min: a.min(b), max: a.max(b) };
            let mut out = [0; 32];
            // SAFETY: AVX2 is detected above.
            unsafe { through_registers(&requantize, acc[..].try_into().unwrap(), &mut out, false) };
            for (i, &out) in out.iter().enumerate() {
                prop_assert_eq!(out, requantize.apply(i, acc[i]), "{}", i);
            }

            let multiplier = requantize.multiplier.iter().map(|&m| effective_multiplier(m));
            let effective = Requantize { multiplier: multiplier.collect(), ..requantize.clone() };
            // SAFETY: AVX2 is detected above.
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
