//! Tiles of 4 outputs by 16 channels with `vpmaddwd`.

#[allow(clippy::wildcard_imports, reason = "intrinsics carry their namespace in their names")]
use std::arch::x86_64::*;

use super::{MOST_BYTES, Row, pack, tile_bytes};
use crate::int8::requantize::avx2::Epilogue;
use crate::isa::Avx2;

/// Outputs of a tile.
pub(super) const PIXELS: usize = 4;
/// Output channels of a block: two vectors of accumulators.
const CHANNELS: usize = 16;
const TAPS: usize = 2;

pub(super) type Packed = pack::Packed<i16, CHANNELS, TAPS>;

/// Computes one row of the output, `[ow, out_channels]`.
pub(super) fn run_row(_: Avx2, packed: &Packed, row: &Row<'_>, output: &mut [u8]) {
    // Scratch of one tile after the other.
    let mut widened = [0; MOST_BYTES];
    for (tile, output) in output.chunks_mut(PIXELS * row.geometry.out_channels).enumerate() {
        let first = row.first_byte(tile * PIXELS);
        // SAFETY: the token proves that the CPU has the instructions.
        unsafe { run_tile(packed, row, first, &mut widened, output) };
    }
}

/// Computes at most [`PIXELS`] outputs, all channels of each, the first one's window at byte
/// `first` of each row.
#[target_feature(enable = "avx2")]
fn run_tile(
    packed: &Packed,
    row: &Row<'_>,
    first: isize,
    widened: &mut [i16; MOST_BYTES],
    output: &mut [u8],
) {
    let g = row.geometry;
    let bytes = tile_bytes(g, PIXELS, TAPS);
    for (to, &from) in widened.chunks_exact_mut(bytes).zip(row.rows) {
        let within = usize::try_from(first).ok().and_then(|at| from?.get(at..at + bytes));
        if let Some(within) = within {
            widen(within, to);
        } else {
            let mut copied = [0; MOST_BYTES];
            row.copy(from, first, &mut copied[..bytes]);
            widen(&copied[..bytes], to);
        }
    }

    let groups = (g.kernel[1] * g.in_channels).div_ceil(TAPS);
    let pixel = g.stride[1] * g.in_channels;
    let epilogue = Epilogue::new(row.requantize);
    let pixels = output.len() / g.out_channels;
    for (block, (bias, multiplier)) in packed.bias.iter().zip(&packed.multiplier).enumerate() {
        let weights = &packed.weights[block * row.rows.len() * groups..];
        let mut weights = weights[..row.rows.len() * groups].as_ptr().cast::<__m256i>();
        let mut computed = [0; PIXELS * CHANNELS];
        // SAFETY: biases, multipliers and weights hold two vectors each; the last group of the last
        // output ends where the tile's bytes do; two vectors of outputs fill `computed`.
        unsafe {
            let bias: *const __m256i = (&raw const bias.0).cast();
            let mut acc = [[_mm256_load_si256(bias), _mm256_load_si256(bias.add(1))]; PIXELS];
            for row in widened.chunks_exact(bytes).take(row.rows.len()) {
                for group in 0..groups {
                    let low = _mm256_load_si256(weights);
                    let high = _mm256_load_si256(weights.add(1));
                    weights = weights.add(2);
                    let mut at = row.as_ptr().add(group * TAPS);
                    for acc in &mut acc {
                        let taps = _mm256_set1_epi32(at.cast::<i32>().read_unaligned());
                        acc[0] = _mm256_add_epi32(acc[0], _mm256_madd_epi16(taps, low));
                        acc[1] = _mm256_add_epi32(acc[1], _mm256_madd_epi16(taps, high));
                        at = at.wrapping_add(pixel);
                    }
                }
            }
            let multiplier = multiplier.0.as_ptr();
            let (low, high) = (_mm256_load_ps(multiplier), _mm256_load_ps(multiplier.add(8)));
            for (two, acc) in acc.as_chunks::<2>().0.iter().enumerate() {
                let [[a, b], [c, d]] = *acc;
                let bytes = epilogue.apply([a, b, c, d], [low, high, low, high]);
                _mm256_storeu_si256(computed[two * 32..].as_mut_ptr().cast(), bytes);
            }
        }
        let channels = CHANNELS.min(g.out_channels - block * CHANNELS);
        for (p, computed) in computed.chunks_exact(CHANNELS).take(pixels).enumerate() {
            let at = p * g.out_channels + block * CHANNELS;
            output[at..at + channels].copy_from_slice(&computed[..channels]);
        }
    }
}

#[target_feature(enable = "avx2")]
#[inline]
fn widen(from: &[u8], to: &mut [i16]) {
    for (to, &from) in to.iter_mut().zip(from) {
        *to = i16::from(from);
    }
}
