//! Table lookup of bytes with AVX2: `vpshufb` looks up in 16 entries, and blends choose between the
//! 16 results.

use std::arch::x86_64::*;

/// Number of bytes of a vector.
const LANES: usize = 32;

/// Looks up bytes: `to[i] = table[from[i]]`.
///
/// # Safety
/// The CPU must support AVX2. `from` must be valid for reads and `to` for writes of `len` bytes,
/// and the two ranges must be the same or not overlap.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn look_up(table: &[u8; 256], from: *const u8, to: *mut u8, len: usize) {
    // SAFETY: whole vectors and the remaining bytes are within the `len` bytes. Each is read before
    // it is written, so the ranges may be the same. The table has 16 parts of 16 bytes.
    unsafe {
        let sixteenth = |i: usize| {
            _mm256_broadcastsi128_si256(_mm_loadu_si128(table.as_ptr().add(16 * i).cast()))
        };
        let tables: [__m256i; 16] = std::array::from_fn(sixteenth);
        let mut i = 0;
        while i + LANES <= len {
            let x = _mm256_loadu_si256(from.add(i).cast());
            _mm256_storeu_si256(to.add(i).cast(), look_up_vector(&tables, x));
            i += LANES;
        }
        while i < len {
            *to.add(i) = table[usize::from(*from.add(i))];
            i += 1;
        }
    }
}

/// Returns the entries for the 32 bytes of `x`.
#[inline]
#[target_feature(enable = "avx2")]
fn look_up_vector(tables: &[__m256i; 16], x: __m256i) -> __m256i {
    let in_sixteenth = _mm256_and_si256(x, _mm256_set1_epi8(15));
    // `vpblendvb` selects by the highest bit of each byte.
    let bit4 = _mm256_slli_epi16::<3>(x);
    let bit5 = _mm256_slli_epi16::<2>(x);
    let bit6 = _mm256_slli_epi16::<1>(x);
    let mut found = [_mm256_setzero_si256(); 8];
    for i in 0..8 {
        let even = _mm256_shuffle_epi8(tables[2 * i], in_sixteenth);
        let odd = _mm256_shuffle_epi8(tables[2 * i + 1], in_sixteenth);
        found[i] = _mm256_blendv_epi8(even, odd, bit4);
    }
    for i in 0..4 {
        found[i] = _mm256_blendv_epi8(found[2 * i], found[2 * i + 1], bit5);
    }
    for i in 0..2 {
        found[i] = _mm256_blendv_epi8(found[2 * i], found[2 * i + 1], bit6);
    }
    _mm256_blendv_epi8(found[0], found[1], x)
}
