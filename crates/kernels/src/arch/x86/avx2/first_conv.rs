//! First convolutions with `vpmaddwd`: tiles of 4 outputs by 16 channels.
//!
//! The window rows of a strip of tiles are widened together with their padding, so that tiles need
//! no special cases at the edges.

use std::arch::x86_64::*;

use super::requantize::Epilogue;
use super::token::Avx2;
use crate::int8::first_conv::kernel::{MAX_BYTES, Row, RowKernel, fits, tile_bytes};
use crate::int8::first_conv::pack;
use crate::reference;

/// Number of outputs of a tile.
const PIXELS: usize = 4;
/// Maximum number of outputs of a strip.
const STRIP: usize = 16 * PIXELS;
/// Maximum number of values that the window rows of a strip have together; those of a tile always
/// fit.
const BUFFER: usize = 4 * MAX_BYTES;
/// Number of output channels of a block: two vectors of accumulators.
const CHANNELS: usize = 16;
/// Number of taps that `vpmaddwd` multiplies in each lane.
const TAPS: usize = 2;

type Packed = pack::Packed<i16, CHANNELS, TAPS>;

/// A first convolution with its weights packed.
#[derive(Debug)]
pub(super) struct FirstConv {
    packed: Packed,
}

impl FirstConv {
    /// Packs a convolution with few channels; `None` if the windows of a tile are too large.
    pub(super) fn new(_: Avx2, conv: &reference::Conv2d<'_>) -> Option<Self> {
        fits(&conv.geometry, PIXELS, TAPS).then(|| Self { packed: Packed::new(conv) })
    }
}

impl RowKernel for FirstConv {
    fn run_row(&self, row: &Row<'_>, output: &mut [u8]) {
        let mut widened = [0; BUFFER];
        let mut strip = STRIP;
        while row.rows.len() * tile_bytes(row.geometry, strip, TAPS) > BUFFER {
            strip -= PIXELS;
        }
        for (index, output) in output.chunks_mut(strip * row.geometry.out_channels).enumerate() {
            let first = row.first_byte(index * strip);
            // SAFETY: the token passed to `new` proves AVX2.
            unsafe { run_strip(&self.packed, row, first, strip, &mut widened, output) };
        }
    }

    fn name(&self) -> &'static str {
        "first_conv_avx2"
    }
}

/// Computes at most `strip` outputs, with all channels. The window of the first one starts at byte
/// `first` of each row.
#[target_feature(enable = "avx2")]
fn run_strip(
    packed: &Packed,
    row: &Row<'_>,
    first: isize,
    strip: usize,
    widened: &mut [i16; BUFFER],
    output: &mut [u8],
) {
    let g = row.geometry;
    let bytes = tile_bytes(g, strip, TAPS);
    for (to, &from) in widened.chunks_exact_mut(bytes).zip(row.rows) {
        let within = usize::try_from(first).ok().and_then(|at| from?.get(at..at + bytes));
        if let Some(within) = within {
            widen(within, to);
        } else {
            let mut copied = [0; BUFFER];
            row.copy(from, first, &mut copied[..bytes]);
            widen(&copied[..bytes], to);
        }
    }

    let groups = (g.kernel[1] * g.in_channels).div_ceil(TAPS);
    let pixel = g.stride[1] * g.in_channels;
    let epilogue = Epilogue::new(row.requantize);
    let tiles = output.chunks_mut(PIXELS * g.out_channels);
    for (tile, output) in tiles.enumerate() {
        let pixels = output.len() / g.out_channels;
        for (block, (bias, multiplier)) in packed.bias.iter().zip(&packed.multiplier).enumerate() {
            let weights = &packed.weights[block * row.rows.len() * groups..];
            let mut weights = weights[..row.rows.len() * groups].as_ptr().cast::<__m256i>();
            let channels = CHANNELS.min(g.out_channels - block * CHANNELS);
            // SAFETY: biases, multipliers and weights have two aligned vectors for each block. The
            // last group of taps of the strip's last output ends at the end of a widened row.
            unsafe {
                let bias: *const __m256i = (&raw const bias.0).cast();
                let mut acc = [[_mm256_load_si256(bias), _mm256_load_si256(bias.add(1))]; PIXELS];
                for row in widened.chunks_exact(bytes).take(row.rows.len()) {
                    let row = row.as_ptr().add(tile * PIXELS * pixel);
                    for group in 0..groups {
                        let low = _mm256_load_si256(weights);
                        let high = _mm256_load_si256(weights.add(1));
                        weights = weights.add(2);
                        let mut at = row.add(group * TAPS);
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
                    let bytes =
                        [_mm256_castsi256_si128(bytes), _mm256_extracti128_si256::<1>(bytes)];
                    for (p, bytes) in bytes.into_iter().enumerate() {
                        if two * 2 + p < pixels {
                            let at = (two * 2 + p) * g.out_channels + block * CHANNELS;
                            store(bytes, &mut output[at..at + channels]);
                        }
                    }
                }
            }
        }
    }
}

/// Stores the first bytes of a vector, as many as `output` has.
#[target_feature(enable = "avx2")]
#[inline]
fn store(bytes: __m128i, output: &mut [u8]) {
    if let Ok(output) = <&mut [u8; CHANNELS]>::try_from(&mut *output) {
        // SAFETY: `output` has 16 bytes, and the store needs no alignment.
        unsafe { _mm_storeu_si128(output.as_mut_ptr().cast(), bytes) };
    } else {
        let mut values = [0; CHANNELS];
        // SAFETY: `values` has 16 bytes, and the store needs no alignment.
        unsafe { _mm_storeu_si128(values.as_mut_ptr().cast(), bytes) };
        output.copy_from_slice(&values[..output.len()]);
    }
}

/// Widens u8 values to i16.
#[target_feature(enable = "avx2")]
#[inline]
fn widen(from: &[u8], to: &mut [i16]) {
    let ((vectors, rest), (wide, wide_rest)) = (from.as_chunks::<16>(), to.as_chunks_mut::<16>());
    for (from, to) in vectors.iter().zip(wide) {
        // SAFETY: `from` has 16 bytes and `to` 16 values of 16 bits; neither access needs
        // alignment.
        unsafe {
            let bytes = _mm_loadu_si128(from.as_ptr().cast());
            _mm256_storeu_si256(to.as_mut_ptr().cast(), _mm256_cvtepu8_epi16(bytes));
        }
    }
    for (to, &from) in wide_rest.iter_mut().zip(rest) {
        *to = i16::from(from);
    }
}
