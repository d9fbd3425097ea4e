//! Depthwise kernels for 3x3 and 5x5 windows with `vpdpbusd`: 64 lanes with four taps each.

#![expect(clippy::needless_range_loop, reason = "indices into several arrays of registers")]

use std::arch::x86_64::*;

use super::requantize::Epilogue;
use super::token::Avx512Vnni;
use crate::geometry::Conv2dGeometry;
use crate::int8::depthwise::kernel::{Row, RowKernel};
use crate::int8::depthwise::pack::{self, Block};
use crate::mem::Aligned;
use crate::reference;

/// Packed blocks of 64 bytes, with columns in groups of four rows.
#[derive(Clone, Debug)]
pub(super) struct Packed {
    packed: pack::Packed<i8, 64, 4>,
    /// Whether packing with saturation does all the clamping; see [`pack::saturation_clamps`].
    plain: bool,
}

/// Whether there is a kernel for this window.
pub(super) fn covers(g: &Conv2dGeometry) -> bool {
    g.dilation == [1, 1] && matches!(g.kernel, [3, 3] | [5, 5]) && matches!(g.stride[1], 1 | 2)
}

impl Packed {
    pub(super) fn new(_: Avx512Vnni, conv: &reference::Conv2d<'_>) -> Self {
        let blocks = blocks(conv.geometry.out_channels);
        Self {
            packed: pack::Packed::new(conv, blocks, |kx, group, i| [group * 4 + i, kx]),
            plain: pack::saturation_clamps(conv),
        }
    }

    /// Computes one row of the output, for windows with `K` rows in `GROUPS` groups of four.
    ///
    /// # Safety
    /// The CPU must support AVX-512 F, BW, VL and VNNI. The input rows must be `[row.width,
    /// channels]` and the output `[row.output_width(), channels]`.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
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
                weights: &self.packed.weights[index * K * GROUPS..],
                bias: &self.packed.bias[index],
                multiplier: &self.packed.multiplier[index],
                row,
                rows: pointers,
                outside,
                mask: u64::MAX >> (64 - block.channels),
                plain: self.plain,
            };
            let output = &mut output[block.first_channel..];
            let full = block.channels * block.pixels == 64;
            let contiguous = row.geometry.in_channels * block.pixels == 64;
            // SAFETY: the caller guarantees the lengths of the rows and of the output; the channels
            // of a block are among those of the convolution.
            unsafe {
                match (STRIDE, block.pixels, full) {
                    (1, 1, true) => work.run::<GROUPS, 1, 1, FULL>(output),
                    (1, 1, false) => work.run::<GROUPS, 1, 1, MASKED>(output),
                    (1, 2, true) if contiguous => work.run::<GROUPS, 2, 2, CONTIGUOUS>(output),
                    (1, 2, true) => work.run::<GROUPS, 2, 2, FULL>(output),
                    (1, 2, false) => work.run::<GROUPS, 2, 2, MASKED>(output),
                    (1, 4, true) if contiguous => work.run::<GROUPS, 4, 4, CONTIGUOUS>(output),
                    (1, 4, true) => work.run::<GROUPS, 4, 4, FULL>(output),
                    (1, 4, false) => work.run::<GROUPS, 4, 4, MASKED>(output),
                    (2, 1, true) => work.run::<GROUPS, 1, 2, FULL>(output),
                    (2, 1, false) => work.run::<GROUPS, 1, 2, MASKED>(output),
                    (2, 2, true) => work.run::<GROUPS, 2, 4, FULL>(output),
                    (2, 2, false) => work.run::<GROUPS, 2, 4, MASKED>(output),
                    (2, 4, true) => work.run::<GROUPS, 4, 8, FULL>(output),
                    _ => work.run::<GROUPS, 4, 8, MASKED>(output),
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
        let Conv2dGeometry { kernel, stride, .. } = *row.geometry;
        // SAFETY: the token passed to `new` proves that the CPU has the instructions; the caller
        // guarantees the lengths of the rows and of the output.
        unsafe {
            match (kernel[0], stride[1]) {
                (3, 1) => self.run::<3, 1, 1>(row, std::array::from_fn(rows), output),
                (3, 2) => self.run::<3, 1, 2>(row, std::array::from_fn(rows), output),
                (5, 1) => self.run::<5, 2, 1>(row, std::array::from_fn(rows), output),
                (5, 2) => self.run::<5, 2, 2>(row, std::array::from_fn(rows), output),
                _ => unreachable!("`covers` accepts no other window"),
            }
        }
    }

    fn name(&self) -> &'static str {
        "depthwise_avx512vnni"
    }
}

/// Divides channels into blocks of 64, and a last one that has two or four pixels if it is small.
fn blocks(channels: usize) -> Vec<Block> {
    let full = channels / 64 * 64;
    let mut blocks: Vec<Block> = (0..full)
        .step_by(64)
        .map(|first_channel| Block { first_channel, channels: 64, pixels: 1 })
        .collect();
    let pixels = match channels - full {
        0 => return blocks,
        1..=16 => 4,
        17..=32 => 2,
        _ => 1,
    };
    blocks.push(Block { first_channel: full, channels: channels - full, pixels });
    blocks
}

/// All lanes of a block are used.
const FULL: u8 = 0;
/// Some lanes are unused, and must be neither read nor written.
const MASKED: u8 = 1;
/// All lanes are used, and the block's pixels are contiguous in memory.
const CONTIGUOUS: u8 = 2;

/// The computation of one block of channels of one output row.
struct Work<'a, const K: usize> {
    /// Weights; those of this block come first.
    weights: &'a [Aligned<[[i8; 4]; 64]>],
    bias: &'a Aligned<[i32; 64]>,
    multiplier: &'a Aligned<[f32; 64]>,
    row: Row<'a>,
    /// Pointer to the first pixel of each row under the window, and a mask that is applied to
    /// offsets: a row in the padding is a single pixel of zero points, for which the mask is 0.
    rows: [(*const u8, usize); K],
    /// Pointer to a pixel of zero points.
    outside: *const u8,
    /// Mask of the block's channels.
    mask: u64,
    /// Whether packing with saturation does all the clamping; see [`pack::saturation_clamps`].
    plain: bool,
}

/// The rows of a column, interleaved in groups of four: dword `d` of vector `v` has four rows of
/// one lane.
type Column<const GROUPS: usize> = [[__m512i; 4]; GROUPS];

/// Maximum number of outputs that are accumulated at once: a column is under as many windows.
const MAX_IN_PROGRESS: usize = 5;

impl<const K: usize> Work<'_, K> {
    /// Computes the block, in a loop over columns from left to right, `STEP` (the stride times
    /// `PIXELS`) at a time. Each column is interleaved once and added to all outputs whose windows
    /// it is under.
    ///
    /// # Safety
    /// As for [`Packed::run`]; the block must have `PIXELS` pixels, and its lanes must be as
    /// `LANES` says.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline(never)]
    unsafe fn run<const GROUPS: usize, const PIXELS: usize, const STEP: usize, const LANES: u8>(
        &self,
        output: &mut [u8],
    ) {
        let channels = self.row.geometry.in_channels;
        let outputs = self.row.output_width();
        let weights: *const __m512i = self.weights[..K * GROUPS].as_ptr().cast();
        let bias: *const __m512i = (&raw const self.bias.0).cast();
        let multiplier: *const f32 = (&raw const self.multiplier.0).cast();
        let epilogue = Epilogue::new(self.row.requantize);
        let output = output.as_mut_ptr();

        // The number of columns whose pixels are all inside, and the distance between those pixels.
        let inside = self.row.width.saturating_sub((PIXELS - 1) * (STEP / PIXELS));
        let next = STEP / PIXELS * channels;
        // The interleaved column of a padded position has zero points in all bytes.
        // SAFETY: `outside` points to the zero points of at least one channel.
        let outside = _mm512_set1_epi8(unsafe { *self.outside } as i8);

        let in_progress = K.div_ceil(STEP);
        // `acc[m]` is the output that was begun `m` steps ago.
        let mut acc = [[_mm512_setzero_si512(); 4]; MAX_IN_PROGRESS];
        let mut column = -(self.row.geometry.padding.left as isize);
        let steps = outputs.div_ceil(PIXELS) + in_progress - 1;
        for step in 0..steps {
            for m in (1..in_progress).rev() {
                acc[m] = acc[m - 1];
            }
            // The weights of larger windows do not fit into registers; this keeps the compiler from
            // copying them to the stack before the loop.
            let weights = if K > 3 { std::hint::black_box(weights) } else { weights };
            // SAFETY: the packed parameters have four vectors for each column and group of rows,
            // and as many biases and multipliers, aligned to 64 bytes. Each address that is read is
            // that of a pixel within its row or of the zero points; the block's channels are read,
            // which are 64 bytes if they are contiguous (with further pixels of the row, or further
            // zero points). Outputs are written for pixels below `outputs` only.
            unsafe {
                for v in 0..4 {
                    acc[0][v] = _mm512_load_si512(bias.add(v));
                }
                // Expanded by a macro, because the compiler does not unroll a loop with this body.
                macro_rules! columns {
                    ($($j:literal)*) => {$(
                        if $j < STEP && $j < K {
                            let at = column + $j;
                            let rows = if (at as usize) < inside {
                                let at = at as usize * channels;
                                let mut rows = [_mm512_setzero_si512(); K];
                                for ky in 0..K {
                                    let (first, moves) = self.rows[ky];
                                    let (first, next) = (first.add(at & moves), next & moves);
                                    rows[ky] = if LANES == CONTIGUOUS {
                                        _mm512_loadu_si512(first.cast())
                                    } else {
                                        load::<PIXELS, LANES>(|p| first.add(p * next), self.mask)
                                    };
                                }
                                interleave_groups(rows)
                            } else if PIXELS == 1 {
                                [[outside; 4]; GROUPS]
                            } else {
                                // Copied, because otherwise both branches would go through the
                                // memory of the call's result.
                                let edge = self.column_at_edge::<GROUPS, PIXELS, STEP, LANES>(at);
                                let mut rows = [[outside; 4]; GROUPS];
                                for group in 0..GROUPS {
                                    for v in 0..4 {
                                        rows[group][v] = edge[group][v];
                                    }
                                }
                                rows
                            };
                            for m in 0..(K - $j).div_ceil(STEP) {
                                for group in 0..GROUPS {
                                    for v in 0..4 {
                                        let at = (($j + m * STEP) * GROUPS + group) * 4 + v;
                                        let weight = _mm512_load_si512(weights.add(at));
                                        acc[m][v] =
                                            _mm512_dpbusd_epi32(acc[m][v], rows[group][v], weight);
                                    }
                                }
                            }
                        }
                    )*};
                }
                columns!(0 1 2 3 4);
                if step + 1 >= in_progress {
                    let x = (step + 1 - in_progress) * PIXELS;
                    let multiplier = [
                        _mm512_load_ps(multiplier),
                        _mm512_load_ps(multiplier.add(16)),
                        _mm512_load_ps(multiplier.add(32)),
                        _mm512_load_ps(multiplier.add(48)),
                    ];
                    let done = acc[in_progress - 1];
                    let bytes = if self.plain {
                        pack_saturating(done, multiplier)
                    } else {
                        epilogue.apply_in_lanes(done, multiplier)
                    };
                    let at = output.add(x * channels);
                    if LANES == CONTIGUOUS && outputs - x >= PIXELS {
                        _mm512_storeu_si512(at.cast(), bytes);
                    } else {
                        store::<PIXELS, LANES>(at, channels, outputs - x, self.mask, bytes);
                    }
                }
            }
            column += STEP as isize;
        }
    }

    /// Loads and interleaves the column at pixel `at` of the input, and the columns of the other
    /// outputs, each `STEP / PIXELS` further; some or all of them are in the padding.
    ///
    /// # Safety
    /// As for [`Packed::run`].
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline(never)]
    unsafe fn column_at_edge<
        const GROUPS: usize,
        const PIXELS: usize,
        const STEP: usize,
        const LANES: u8,
    >(
        &self,
        at: isize,
    ) -> Column<GROUPS> {
        let (width, channels) = (self.row.width, self.row.geometry.in_channels);
        let mut rows = [_mm512_setzero_si512(); K];
        for ky in 0..K {
            let (first, moves) = self.rows[ky];
            let pixel = |p: usize| {
                let at = at + (p * (STEP / PIXELS)) as isize;
                if (0..width as isize).contains(&at) {
                    first.wrapping_add((at as usize * channels) & moves)
                } else {
                    self.outside
                }
            };
            // SAFETY: each address is that of a pixel within its row or of the zero points, of
            // which the block's channels are read.
            rows[ky] = unsafe { load::<PIXELS, LANES>(pixel, self.mask) };
        }
        interleave_groups(rows)
    }
}

/// Interleaves the rows of a column in groups of four. Rows that are missing in a group have weight
/// 0, so any bytes may stand for them.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn interleave_groups<const K: usize, const GROUPS: usize>(rows: [__m512i; K]) -> Column<GROUPS> {
    let mut column = [[_mm512_setzero_si512(); 4]; GROUPS];
    for group in 0..GROUPS {
        let row = |i: usize| rows[(group * 4 + i).min(K - 1)];
        column[group] = interleave([row(0), row(1), row(2), row(3)]);
    }
    column
}

/// Interleaves the bytes of four rows: each 128-bit lane keeps its 16 channels, of which vector `v`
/// has the channels from `4 * v` on.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn interleave([a, b, c, d]: [__m512i; 4]) -> [__m512i; 4] {
    let (ab_low, ab_high) = (_mm512_unpacklo_epi8(a, b), _mm512_unpackhi_epi8(a, b));
    let (cd_low, cd_high) = (_mm512_unpacklo_epi8(c, d), _mm512_unpackhi_epi8(c, d));
    [
        _mm512_unpacklo_epi16(ab_low, cd_low),
        _mm512_unpackhi_epi16(ab_low, cd_low),
        _mm512_unpacklo_epi16(ab_high, cd_high),
        _mm512_unpackhi_epi16(ab_high, cd_high),
    ]
}

/// Requantizes where packing with saturation does all the clamping.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn pack_saturating(acc: [__m512i; 4], multiplier: [__m512; 4]) -> __m512i {
    let mut scaled = acc;
    for v in 0..4 {
        scaled[v] = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_cvtepi32_ps(acc[v]), multiplier[v]));
    }
    let [a, b, c, d] = scaled;
    _mm512_packus_epi16(_mm512_packs_epi32(a, b), _mm512_packs_epi32(c, d))
}

/// Loads `64 / PIXELS` bytes from each of `PIXELS` addresses.
///
/// # Safety
/// These bytes must be valid for reads; if `MASKED`, those that `mask` selects.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
#[inline]
unsafe fn load<const PIXELS: usize, const LANES: u8>(
    at: impl Fn(usize) -> *const u8,
    mask: u64,
) -> __m512i {
    // SAFETY: the caller guarantees that the bytes are valid; masked loads read only selected
    // bytes.
    unsafe {
        match PIXELS {
            1 if LANES == MASKED => _mm512_maskz_loadu_epi8(mask, at(0).cast()),
            1 => _mm512_loadu_si512(at(0).cast()),
            2 => {
                let half = |p: usize| {
                    if LANES == MASKED {
                        _mm256_maskz_loadu_epi8(mask as u32, at(p).cast())
                    } else {
                        _mm256_loadu_si256(at(p).cast())
                    }
                };
                _mm512_inserti64x4::<1>(_mm512_castsi256_si512(half(0)), half(1))
            }
            _ => {
                let quarter = |p: usize| {
                    if LANES == MASKED {
                        _mm_maskz_loadu_epi8(mask as u16, at(p).cast())
                    } else {
                        _mm_loadu_si128(at(p).cast())
                    }
                };
                let all = _mm512_castsi128_si512(quarter(0));
                let all = _mm512_inserti32x4::<1>(all, quarter(1));
                let all = _mm512_inserti32x4::<2>(all, quarter(2));
                _mm512_inserti32x4::<3>(all, quarter(3))
            }
        }
    }
}

/// Stores the bytes of the first `left` of `PIXELS` pixels, which are `channels` bytes apart.
///
/// # Safety
/// These bytes must be valid for writes; if `MASKED`, those that `mask` selects.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
#[inline]
unsafe fn store<const PIXELS: usize, const LANES: u8>(
    at: *mut u8,
    channels: usize,
    left: usize,
    mask: u64,
    bytes: __m512i,
) {
    // SAFETY: the caller guarantees that the bytes are valid; masked stores write only selected
    // bytes, and only the first `left` pixels are written.
    unsafe {
        match PIXELS {
            1 if LANES == MASKED => _mm512_mask_storeu_epi8(at.cast(), mask, bytes),
            1 => _mm512_storeu_si512(at.cast(), bytes),
            2 => {
                let half = |at: *mut u8, bytes| {
                    if LANES == MASKED {
                        _mm256_mask_storeu_epi8(at.cast(), mask as u32, bytes);
                    } else {
                        _mm256_storeu_si256(at.cast(), bytes);
                    }
                };
                half(at, _mm512_castsi512_si256(bytes));
                if left > 1 {
                    half(at.add(channels), _mm512_extracti64x4_epi64::<1>(bytes));
                }
            }
            _ => {
                let quarter = |at: *mut u8, bytes| {
                    if LANES == MASKED {
                        _mm_mask_storeu_epi8(at.cast(), mask as u16, bytes);
                    } else {
                        _mm_storeu_si128(at.cast(), bytes);
                    }
                };
                quarter(at, _mm512_castsi512_si128(bytes));
                if left > 1 {
                    quarter(at.add(channels), _mm512_extracti32x4_epi32::<1>(bytes));
                }
                if left > 2 {
                    quarter(at.add(2 * channels), _mm512_extracti32x4_epi32::<2>(bytes));
                }
                if left > 3 {
                    quarter(at.add(3 * channels), _mm512_extracti32x4_epi32::<3>(bytes));
                }
            }
        }
    }
}
