//! The two passes of image resampling with AVX2.
//!
//! A weight of 22 bits is split into an upper and a lower half of 11 bits, so that `vpmaddwd` can
//! multiply two pixels with two half weights and add them exactly; the sum of the whole weights is
//! `(upper << 11) + lower`.

use std::arch::x86_64::{
    __m128i, __m256i, _mm_add_epi32, _mm_cvtsi128_si32, _mm_loadu_si128, _mm_packus_epi16,
    _mm_packus_epi32, _mm_set1_epi32, _mm_srai_epi32, _mm_storeu_si128, _mm_unpackhi_epi8,
    _mm_unpacklo_epi8, _mm256_add_epi32, _mm256_broadcastsi128_si256, _mm256_castsi256_si128,
    _mm256_cvtepu8_epi16, _mm256_extracti128_si256, _mm256_loadu_si256, _mm256_madd_epi16,
    _mm256_packus_epi32, _mm256_permute4x64_epi64, _mm256_set1_epi32, _mm256_setzero_si256,
    _mm256_shuffle_epi8, _mm256_slli_epi32, _mm256_srai_epi32,
};

use super::token::Avx2;
use crate::resample::passes::{CHANNELS, HALF, PRECISION_BITS, Passes, Taps, weighted};

const SPLIT_BITS: u32 = PRECISION_BITS / 2;
const SHIFT: i32 = PRECISION_BITS as i32;

/// Returns the lower halves of two weights as the two i16 of an i32, and likewise the upper halves.
fn split(first: i32, second: i32) -> [i32; 2] {
    let pair = |a: i32, b: i32| (a & 0xffff) | (b << 16);
    let low = (1 << SPLIT_BITS) - 1;
    [pair(first & low, second & low), pair(first >> SPLIT_BITS, second >> SPLIT_BITS)]
}

/// The weights of the horizontal pass, packed for its vectors.
pub(super) struct Columns {
    starts: Vec<usize>,
    /// For each output position, `groups` groups of four weights, padded with zeros.
    weights: Vec<Group>,
    groups: usize,
}

/// The lower and the upper halves of four weights, in the order of the pixels that [`ARRANGE`]
/// makes.
#[repr(align(32))]
struct Group([[i32; 8]; 2]);

/// Shuffle that arranges pixels 0 and 1 as i16 (r, r), (g, g), (b, b), 0 in the lower lane, and
/// pixels 2 and 3 likewise in the upper lane.
const ARRANGE: [i8; 32] = [
    0, -1, 3, -1, 1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1, -1, //
    6, -1, 9, -1, 7, -1, 10, -1, 8, -1, 11, -1, -1, -1, -1, -1,
];

impl Columns {
    pub(super) fn new(_: Avx2, taps: &Taps) -> Self {
        let group = |four: &[i32]| {
            let weight = |tap: usize| four.get(tap).copied().unwrap_or(0);
            let (first, second) = (split(weight(0), weight(1)), split(weight(2), weight(3)));
            Group(std::array::from_fn(|half| {
                let (a, b) = (first[half], second[half]);
                [a, a, a, 0, b, b, b, 0]
            }))
        };
        let rows = taps.weights.chunks(taps.per_output);
        Self {
            starts: taps.starts.clone(),
            weights: rows.flat_map(|row| row.chunks(4).map(group)).collect(),
            groups: taps.per_output.div_ceil(4),
        }
    }
}

impl Passes for Columns {
    fn horizontal(&self, source: &[u8], first: usize, out: &mut [u8]) {
        // SAFETY: the token passed to `new` proves AVX2.
        unsafe { horizontal_avx2(self, source, first, out) }
    }

    fn vertical(&self, lines: &[u8], stride: usize, weights: &[i32], out: &mut [u8]) {
        // SAFETY: the token passed to `new` proves AVX2.
        unsafe { vertical_avx2(lines, stride, weights, out) }
    }
}

/// Loads 16 bytes.
#[target_feature(enable = "avx2")]
fn load(bytes: &[u8; 16]) -> __m128i {
    // SAFETY: the reference is valid for reads of 16 bytes, and the load needs no alignment.
    unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
}

/// Loads eight weights.
#[target_feature(enable = "avx2")]
fn load_weights(weights: &[i32; 8]) -> __m256i {
    // SAFETY: the reference is valid for reads of 32 bytes, and the load needs no alignment.
    unsafe { _mm256_loadu_si256(weights.as_ptr().cast()) }
}

#[target_feature(enable = "avx2")]
fn horizontal_avx2(columns: &Columns, source: &[u8], first: usize, out: &mut [u8]) {
    // SAFETY: the array has 32 bytes, and the load needs no alignment.
    let arrange = unsafe { _mm256_loadu_si256(ARRANGE.as_ptr().cast()) };
    let weights = columns.weights.chunks_exact(columns.groups);
    let positions = columns.starts.iter().zip(weights);
    for (pixel, (start, groups)) in out.as_chunks_mut::<CHANNELS>().0.iter_mut().zip(positions) {
        let mut rest = &source[(start - first) * CHANNELS..];
        let mut lower = _mm256_setzero_si256();
        let mut upper = _mm256_setzero_si256();
        for Group([low, high]) in groups {
            let pixels = if let Some(bytes) = rest.first_chunk() {
                load(bytes)
            } else {
                let mut bytes = [0; 16];
                bytes[..rest.len()].copy_from_slice(rest);
                load(&bytes)
            };
            let pixels = _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(pixels), arrange);
            lower = _mm256_add_epi32(lower, _mm256_madd_epi16(pixels, load_weights(low)));
            upper = _mm256_add_epi32(upper, _mm256_madd_epi16(pixels, load_weights(high)));
            rest = rest.get(4 * CHANNELS..).unwrap_or_default();
        }
        let sums = whole(lower, upper);
        let sums = _mm_add_epi32(_mm256_castsi256_si128(sums), _mm256_extracti128_si256::<1>(sums));
        let rounded = _mm_srai_epi32::<SHIFT>(_mm_add_epi32(sums, _mm_set1_epi32(HALF)));
        let words = _mm_packus_epi32(rounded, rounded);
        let [r, g, b, _] = _mm_cvtsi128_si32(_mm_packus_epi16(words, words)).to_le_bytes();
        *pixel = [r, g, b];
    }
}

/// Returns the sums of whole weights from those of their halves.
#[target_feature(enable = "avx2")]
fn whole(lower: __m256i, upper: __m256i) -> __m256i {
    _mm256_add_epi32(lower, _mm256_slli_epi32::<{ SPLIT_BITS as i32 }>(upper))
}

#[target_feature(enable = "avx2")]
fn vertical_avx2(lines: &[u8], stride: usize, weights: &[i32], out: &mut [u8]) {
    let half = _mm256_set1_epi32(HALF);
    let (blocks, rest) = out.as_chunks_mut::<16>();
    let vectors = blocks.len() * 16;
    for (block, values) in blocks.iter_mut().enumerate() {
        let line = |tap: usize| {
            let at = tap * stride + block * 16;
            lines[at..].first_chunk::<16>().expect("the row has the block")
        };
        let mut lower = [_mm256_setzero_si256(); 2];
        let mut upper = [_mm256_setzero_si256(); 2];
        for (pair, two) in weights.chunks(2).enumerate() {
            let [low, high] = split(two[0], two.get(1).copied().unwrap_or(0));
            let (low, high) = (_mm256_set1_epi32(low), _mm256_set1_epi32(high));
            let first = load(line(2 * pair));
            let second = if two.len() == 2 { load(line(2 * pair + 1)) } else { first };
            let both = [_mm_unpacklo_epi8(first, second), _mm_unpackhi_epi8(first, second)];
            for (side, bytes) in both.into_iter().enumerate() {
                let words = _mm256_cvtepu8_epi16(bytes);
                lower[side] = _mm256_add_epi32(lower[side], _mm256_madd_epi16(words, low));
                upper[side] = _mm256_add_epi32(upper[side], _mm256_madd_epi16(words, high));
            }
        }
        let left = _mm256_add_epi32(whole(lower[0], upper[0]), half);
        let right = _mm256_add_epi32(whole(lower[1], upper[1]), half);
        let (left, right) = (_mm256_srai_epi32::<SHIFT>(left), _mm256_srai_epi32::<SHIFT>(right));
        // Packing works within 128-bit lanes; the permutation restores the order.
        let words = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packus_epi32(left, right));
        let bytes =
            _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256::<1>(words));
        // SAFETY: the reference is valid for writes of 16 bytes, and the store needs no alignment.
        unsafe { _mm_storeu_si128(values.as_mut_ptr().cast(), bytes) };
    }
    for (x, value) in rest.iter_mut().enumerate() {
        *value = weighted(lines[vectors + x..].iter().step_by(stride), weights);
    }
}
