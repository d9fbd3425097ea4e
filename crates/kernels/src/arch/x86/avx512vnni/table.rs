//! Table lookup of bytes with AVX-512 VBMI: `vpermi2b` looks up in 128 entries.

use std::arch::x86_64::*;

/// Number of bytes of a vector.
const LANES: usize = 64;

/// Whether the CPU supports AVX-512 F, BW and VBMI. (Cascade Lake has VNNI but not VBMI.)
pub(super) fn exists() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vbmi")
}

/// Looks up bytes: `to[i] = table[from[i]]`.
///
/// # Safety
/// [`exists`] must be true. `from` must be valid for reads and `to` for writes of `len` bytes, and
/// the two ranges must be the same or not overlap.
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
pub(super) unsafe fn look_up(table: &[u8; 256], from: *const u8, to: *mut u8, len: usize) {
    // SAFETY: whole vectors are within the `len` bytes, and the last one is masked to them. Each
    // vector is read before it is written, so the ranges may be the same. The table has four
    // vectors.
    unsafe {
        let quarter = |i: usize| _mm512_loadu_si512(table.as_ptr().add(64 * i).cast());
        let tables: [__m512i; 4] = std::array::from_fn(quarter);
        let mut i = 0;
        while i + LANES <= len {
            let x = _mm512_loadu_si512(from.add(i).cast());
            _mm512_storeu_si512(to.add(i).cast(), look_up_vector(tables, x));
            i += LANES;
        }
        if i < len {
            let rest = (1_u64 << (len - i)) - 1;
            let x = _mm512_maskz_loadu_epi8(rest, from.add(i).cast());
            _mm512_mask_storeu_epi8(to.add(i).cast(), rest, look_up_vector(tables, x));
        }
    }
}

/// Returns the entries for the 64 bytes of `x`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
fn look_up_vector([a, b, c, d]: [__m512i; 4], x: __m512i) -> __m512i {
    // `vpermi2b` uses the lower seven bits; the highest selects between the halves of the table.
    let low = _mm512_permutex2var_epi8(a, x, b);
    let high = _mm512_permutex2var_epi8(c, x, d);
    _mm512_mask_blend_epi8(_mm512_movepi8_mask(x), low, high)
}
