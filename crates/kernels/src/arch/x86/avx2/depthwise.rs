//! Depthwise kernels for 3x3 and 5x5 windows with `vpmaddwd`: 32 lanes with two taps each, widened
//! to 16 bits.
//!
//! A window has an odd number of rows. The taps of all rows but the last are paired vertically;
//! those of the last row horizontally, so that only one tap of a window has no partner.

#![expect(clippy::needless_range_loop, reason = "indices into several arrays of registers")]

use std::arch::x86_64::*;

use super::requantize::Epilogue;
use super::token::Avx2;
use crate::geometry::Conv2dGeometry;
use crate::int8::depthwise::kernel::{Row, RowKernel};
use crate::int8::depthwise::pack::{self, Block};
use crate::mem::Aligned;
use crate::reference;

/// Packed blocks of 32 bytes, with taps in pairs.
#[derive(Clone, Debug)]
pub(super) struct Packed {
    packed: pack::Packed<i16, 32, 2>,
    /// Whether packing with saturation does all the clamping; see [`pack::saturation_clamps`].
    plain: bool,
}

/// Whether there is a kernel for this window and number of channels, which must fill a vector.
pub(super) fn covers(g: &Conv2dGeometry) -> bool {
    g.dilation == [1, 1]
        && matches!(g.kernel, [3, 3] | [5, 5])
        && matches!(g.stride[1], 1 | 2)
        && g.out_channels >= 32
}

impl Packed {
    pub(super) fn new(_: Avx2, conv: &reference::Conv2d<'_>) -> Self {
        let [kh, kw] = conv.geometry.kernel;
        let last = kh / 2;
        let tap = |kx: usize, group: usize, i: usize| match group == last {
            false => [group * 2 + i, kx],
            true if kx.is_multiple_of(2) => [kh - 1, kx + i],
            // The tap is the second one of its left neighbour's pair.
            true => [kh - 1, kw],
        };
        let blocks = blocks(conv.geometry.out_channels);
        Self { packed: pack::Packed::new(conv, blocks, tap), plain: pack::saturation_clamps(conv) }
    }

    /// Computes one row of the output, for windows with `K` rows in `GROUPS` pairs.
    ///
    /// # Safety
    /// The CPU must support AVX2. The input rows must be `[row.width, channels]` and the output
    /// `[row.output_width(), channels]`.
    #[target_feature(enable = "avx2")]
    unsafe fn run<const K: usize, const GROUPS: usize, const STRIDE: usize>(
        &self,
        row: Row<'_>,
        rows: [Option<&[u8]>; K],
        output: &mut [u8],
    ) {
        for (index, block) in self.packed.blocks.iter().enumerate() {
            let outside = row.outside[block.first_channel..].as_ptr();
            let mut pointers = [(outside, 0); K];
            for (pointer, row) in pointers.iter_mut().zip(rows) {
                if let Some(pixels) = row {
                    *pointer = (pixels[block.first_channel..].as_ptr(), usize::MAX);
                }
            }
            let work = Work {
                weights: &self.packed.weights[index * K * GROUPS..][..K * GROUPS],
                bias: &self.packed.bias[index],
                multiplier: &self.packed.multiplier[index],
                row,
                rows: pointers,
                outside,
                plain: self.plain,
            };
            let output = &mut output[block.first_channel..];
            // SAFETY: the caller guarantees the lengths of the rows and of the output; the channels
            // of a block are among those of the convolution.
            unsafe {
                if K == 3 {
                    work.run::<GROUPS, STRIDE, 4, 0>(output);
                } else {
                    // The accumulators of five outputs with all 32 lanes do not fit into registers.
                    work.run::<GROUPS, STRIDE, 2, 0>(output);
                    work.run::<GROUPS, STRIDE, 2, 2>(output);
                }
            }
        }
    }
}

impl RowKernel for Packed {
    unsafe fn run_row<'a>(
        &self,
        row: Row<'_>,
        rows: &dyn Fn(usize) -> Option<&'a [u8]>,
        output: &mut [u8],
    ) {
        // SAFETY: the token passed to `new` proves AVX2; the caller guarantees the lengths of the
        // rows and of the output.
        unsafe {
            match (row.geometry.kernel[0], row.geometry.stride[1]) {
                (3, 1) => self.run::<3, 2, 1>(row, std::array::from_fn(rows), output),
                (3, 2) => self.run::<3, 2, 2>(row, std::array::from_fn(rows), output),
                (5, 1) => self.run::<5, 3, 1>(row, std::array::from_fn(rows), output),
                (5, 2) => self.run::<5, 3, 2>(row, std::array::from_fn(rows), output),
                _ => unreachable!("`covers` accepts no other window"),
            }
        }
    }

    fn name(&self) -> &'static str {
        "depthwise_avx2"
    }
}

/// Divides channels into blocks of 32. If they cannot be divided evenly, the last block overlaps
/// its neighbour and computes some channels again.
fn blocks(channels: usize) -> Vec<Block> {
    (0..channels)
        .step_by(32)
        .map(|first| Block { first_channel: first.min(channels - 32), channels: 32, pixels: 1 })
        .collect()
}

/// The computation of one block of channels of one output row.
struct Work<'a, const K: usize> {
    weights: &'a [Aligned<[[i16; 2]; 32]>],
    bias: &'a Aligned<[i32; 32]>,
    multiplier: &'a Aligned<[f32; 32]>,
    row: Row<'a>,
    /// Pointer to the first pixel of each row under the window, and a mask that is applied to
    /// offsets: a row in the padding is a single pixel of zero points, for which the mask is 0.
    rows: [(*const u8, usize); K],
    /// Pointer to a pixel of zero points.
    outside: *const u8,
    /// Whether packing with saturation does all the clamping; see [`pack::saturation_clamps`].
    plain: bool,
}

/// Maximum number of outputs that are accumulated at once: a column is under as many windows.
const MAX_IN_PROGRESS: usize = 5;

impl<const K: usize> Work<'_, K> {
    /// Computes vectors `FIRST..FIRST + V` of the four accumulator vectors that 32 lanes have, in a
    /// loop over columns from left to right. Each column is interleaved once and added to all
    /// outputs whose windows it is under.
    ///
    /// # Safety
    /// As for [`Packed::run`].
    #[target_feature(enable = "avx2")]
    #[inline(never)]
    unsafe fn run<const GROUPS: usize, const STRIDE: usize, const V: usize, const FIRST: usize>(
        &self,
        output: &mut [u8],
    ) {
        let channels = self.row.geometry.in_channels;
        let (width, outputs) = (self.row.width, self.row.output_width());
        let weights = self.weights.as_ptr().cast::<__m256i>().wrapping_add(FIRST);
        let bias: *const __m256i = (&raw const self.bias.0).cast();
        let bias = bias.wrapping_add(FIRST);
        let multiplier = self.multiplier.0.as_ptr().wrapping_add(8 * FIRST);
        let epilogue = Epilogue::new(self.row.requantize);
        let output = output.as_mut_ptr();
        let zero = _mm256_setzero_si256();

        let in_progress = K.div_ceil(STRIDE);
        // `acc[m]` is the output that was begun `m` steps ago.
        let mut acc = [[zero; V]; MAX_IN_PROGRESS];
        let mut column = -(self.row.geometry.padding.left as isize);
        for step in 0..outputs + in_progress - 1 {
            for m in (1..in_progress).rev() {
                acc[m] = acc[m - 1];
            }
            // SAFETY: the packed parameters have four vectors for each column and pair of taps, and
            // as many biases and multipliers, all aligned. Each address that is read is that of a
            // pixel within its row or of the zero points, of which 32 channels are read. Outputs
            // are written for pixels below `outputs` only, with the 32 channels of the block.
            unsafe {
                for v in 0..V {
                    acc[0][v] = _mm256_load_si256(bias.add(v));
                }
                macro_rules! pixel {
                    ($ky:expr, $at:expr) => {{
                        let (first, moves) = self.rows[$ky];
                        let at = $at as usize;
                        if at < width { first.add((at * channels) & moves) } else { self.outside }
                    }};
                }
                // Interleaves and widens two pixels, and adds their products to the outputs in
                // progress. Horizontal pairs start at even columns of the window.
                macro_rules! multiply {
                    ($a:expr, $b:expr, $group:expr, $j:expr, $side_by_side:literal) => {
                        let (a, b) = ($a, $b);
                        let a = _mm256_loadu_si256(a.cast());
                        let b = _mm256_loadu_si256(b.cast());
                        for half in 0..V / 2 {
                            let bytes = if FIRST + half * 2 == 0 {
                                _mm256_unpacklo_epi8(a, b)
                            } else {
                                _mm256_unpackhi_epi8(a, b)
                            };
                            let low = _mm256_unpacklo_epi8(bytes, zero);
                            let high = _mm256_unpackhi_epi8(bytes, zero);
                            for m in 0..(K - $j).div_ceil(STRIDE) {
                                let kx = $j + m * STRIDE;
                                if !$side_by_side || kx.is_multiple_of(2) {
                                    let at = weights.add((kx * GROUPS + $group) * 4 + half * 2);
                                    let product = _mm256_madd_epi16(low, _mm256_load_si256(at));
                                    let v = half * 2;
                                    acc[m][v] = _mm256_add_epi32(acc[m][v], product);
                                    let at = at.add(1);
                                    let product = _mm256_madd_epi16(high, _mm256_load_si256(at));
                                    acc[m][v + 1] = _mm256_add_epi32(acc[m][v + 1], product);
                                }
                            }
                        }
                    };
                }
                // Expanded by a macro, because the compiler does not unroll a loop with this body.
                macro_rules! columns {
                    ($($j:literal)*) => {$(
                        if $j < STRIDE {
                            let at = column + $j;
                            multiply!(pixel!(0, at), pixel!(1, at), 0, $j, false);
                            if K == 5 {
                                multiply!(pixel!(2, at), pixel!(3, at), 1, $j, false);
                            }
                            if STRIDE == 1 || $j == 0 {
                                let (a, b) = (pixel!(K - 1, at), pixel!(K - 1, at + 1));
                                multiply!(a, b, GROUPS - 1, $j, true);
                            }
                        }
                    )*};
                }
                columns!(0 1);
                if step + 1 >= in_progress {
                    let at = output.add((step + 1 - in_progress) * channels);
                    let done = acc[in_progress - 1];
                    let mut m = [_mm256_setzero_ps(); V];
                    for v in 0..V {
                        m[v] = _mm256_load_ps(multiplier.add(8 * v));
                    }
                    // If there are only two vectors, each is used twice, and the lower halves of
                    // both 128-bit lanes are the results.
                    let last = V - 2;
                    let done = [done[0], done[1], done[last], done[last + 1]];
                    let m = [m[0], m[1], m[last], m[last + 1]];
                    let bytes = if self.plain {
                        pack_saturating(done, m)
                    } else {
                        epilogue.apply_in_lanes(done, m)
                    };
                    if V == 4 {
                        _mm256_storeu_si256(at.cast(), bytes);
                    } else {
                        let (low, high) =
                            (_mm256_castsi256_si128(bytes), _mm256_extracti128_si256::<1>(bytes));
                        _mm_storel_epi64(at.add(4 * FIRST).cast(), low);
                        _mm_storel_epi64(at.add(4 * FIRST + 16).cast(), high);
                    }
                }
            }
            column += STRIDE as isize;
        }
    }
}

/// Requantizes where packing with saturation does all the clamping.
#[target_feature(enable = "avx2")]
#[inline]
fn pack_saturating(acc: [__m256i; 4], multiplier: [__m256; 4]) -> __m256i {
    let mut scaled = acc;
    for v in 0..4 {
        scaled[v] = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_cvtepi32_ps(acc[v]), multiplier[v]));
    }
    let [a, b, c, d] = scaled;
    _mm256_packus_epi16(_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, d))
}
