//! First convolutions with `vpdpbusd`: tiles of 8 outputs by 32 channels.

use std::arch::x86_64::*;

use super::requantize::Epilogue;
use super::token::Avx512Vnni;
use crate::int8::first_conv::kernel::{MAX_BYTES, MAX_ROWS, Row, RowKernel, fits, tile_bytes};
use crate::int8::first_conv::pack;
use crate::reference;

/// Number of outputs of a tile.
const PIXELS: usize = 8;
/// Number of output channels of a block: two vectors of accumulators.
const CHANNELS: usize = 32;
/// Number of taps that `vpdpbusd` multiplies in each lane.
const TAPS: usize = 4;

type Packed = pack::Packed<i8, CHANNELS, TAPS>;

/// A first convolution with its weights packed.
#[derive(Debug)]
pub(super) struct FirstConv {
    packed: Packed,
}

impl FirstConv {
    /// Packs a convolution with few channels; `None` if the windows of a tile are too large.
    pub(super) fn new(_: Avx512Vnni, conv: &reference::Conv2d<'_>) -> Option<Self> {
        fits(&conv.geometry, PIXELS, TAPS).then(|| Self { packed: Packed::new(conv) })
    }
}

impl RowKernel for FirstConv {
    fn run_row(&self, row: &Row<'_>, output: &mut [u8]) {
        let g = row.geometry;
        let bytes = tile_bytes(g, PIXELS, TAPS);
        let mut copied = [0; MAX_BYTES];
        let mut rows = [row.outside.as_ptr(); MAX_ROWS];
        let rows = &mut rows[..row.rows.len()];
        for (tile, output) in output.chunks_mut(PIXELS * g.out_channels).enumerate() {
            let first = row.first_byte(tile * PIXELS);
            for ((to, &from), copied) in
                rows.iter_mut().zip(row.rows).zip(copied.chunks_exact_mut(bytes))
            {
                let Some(pixels) = from else { continue };
                let within = usize::try_from(first).ok().and_then(|at| pixels.get(at..at + bytes));
                *to = if let Some(within) = within {
                    within.as_ptr()
                } else {
                    row.copy(from, first, copied);
                    copied.as_ptr()
                };
            }
            // SAFETY: the token passed to `new` proves that the CPU has the instructions; each
            // pointer of `rows` is to at least `bytes` bytes: of the input row, of its copy, or of
            // zero points.
            unsafe { run_tile(&self.packed, row, rows, output) };
        }
    }

    fn name(&self) -> &'static str {
        "first_conv_avx512vnni"
    }
}

/// Computes at most [`PIXELS`] outputs, with all channels.
///
/// # Safety
/// The CPU must support AVX-512 F, BW, VL and VNNI. Each of the rows must be valid for reads of
/// `tile_bytes` bytes.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn run_tile(packed: &Packed, row: &Row<'_>, rows: &[*const u8], output: &mut [u8]) {
    let g = row.geometry;
    let groups = (g.kernel[1] * g.in_channels).div_ceil(TAPS);
    let pixel = g.stride[1] * g.in_channels;
    let epilogue = Epilogue::new(row.requantize);
    for (block, (bias, multiplier)) in packed.bias.iter().zip(&packed.multiplier).enumerate() {
        let weights = &packed.weights[block * rows.len() * groups..][..rows.len() * groups];
        let mut weights = weights.as_ptr().cast::<__m512i>();
        // SAFETY: biases, multipliers and weights have two aligned vectors for each block. The
        // caller guarantees that the bytes of a tile are valid. Only existing pixels are written,
        // and of these only existing channels, which the mask selects.
        unsafe {
            let bias = bias.0.as_ptr();
            let mut acc = [[_mm512_load_epi32(bias), _mm512_load_epi32(bias.add(16))]; PIXELS];
            for &row in rows {
                for group in 0..groups {
                    let low = _mm512_load_si512(weights);
                    let high = _mm512_load_si512(weights.add(1));
                    weights = weights.add(2);
                    let mut at = row.add(group * TAPS);
                    for acc in &mut acc {
                        let taps = _mm512_set1_epi32(at.cast::<i32>().read_unaligned());
                        acc[0] = _mm512_dpbusd_epi32(acc[0], taps, low);
                        acc[1] = _mm512_dpbusd_epi32(acc[1], taps, high);
                        at = at.wrapping_add(pixel);
                    }
                }
            }
            let low = _mm512_load_ps(multiplier.0.as_ptr());
            let high = _mm512_load_ps(multiplier.0.as_ptr().add(16));
            let channels = CHANNELS.min(g.out_channels - block * CHANNELS);
            let mask = u32::MAX >> (CHANNELS - channels);
            let pixels = output.len() / g.out_channels;
            for (two, acc) in acc.as_chunks::<2>().0.iter().enumerate() {
                if two * 2 >= pixels {
                    break;
                }
                let [[a, b], [c, d]] = *acc;
                let bytes = epilogue.apply([a, b, c, d], [low, high, low, high]);
                let at = output.as_mut_ptr().add(two * 2 * g.out_channels + block * CHANNELS);
                _mm256_mask_storeu_epi8(at.cast(), mask, _mm512_castsi512_si256(bytes));
                if two * 2 + 1 < pixels {
                    let at = at.add(g.out_channels);
                    let bytes = _mm512_extracti64x4_epi64::<1>(bytes);
                    _mm256_mask_storeu_epi8(at.cast(), mask, bytes);
                }
            }
        }
    }
}
