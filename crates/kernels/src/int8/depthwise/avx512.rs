//! 3x3 and 5x5 windows with `vpdpbusd`: 64 lanes, four taps a lane.

use std::arch::x86_64::*;

use super::Row;
use super::pack::{self, Block, Parameters};
use crate::geometry::Conv2dGeometry;
use crate::int8::requantize::avx512::Epilogue;
use crate::isa::Avx512Vnni;

/// Blocks of 64 bytes, columns in groups of four rows.
#[derive(Clone, Debug)]
pub(super) struct Packed(pack::Packed<i8, 64, 4>);

/// Whether there is a kernel for this window.
pub(super) fn covers(g: &Conv2dGeometry) -> bool {
    g.dilation == [1, 1] && matches!(g.kernel, [3, 3] | [5, 5]) && matches!(g.stride[1], 1 | 2)
}

impl Packed {
    pub(super) fn new(parameters: &Parameters<'_>) -> Self {
        Self(pack::Packed::new(parameters, blocks(parameters.channels())))
    }

    pub(super) fn run_row<'a>(
        &self,
        _: Avx512Vnni,
        row: Row<'_>,
        rows: impl Fn(usize) -> Option<&'a [u8]>,
        output: &mut [u8],
    ) {
        // SAFETY: the token proves that the CPU has the instructions. The caller has checked that
        // the rows and the output have the lengths that the width calls for.
        unsafe {
            match (row.geometry.kernel[0], row.geometry.stride[1]) {
                (3, 1) => self.run::<3, 1, 1>(row, std::array::from_fn(rows), output),
                (3, 2) => self.run::<3, 1, 2>(row, std::array::from_fn(rows), output),
                (5, 1) => self.run::<5, 2, 1>(row, std::array::from_fn(rows), output),
                (5, 2) => self.run::<5, 2, 2>(row, std::array::from_fn(rows), output),
                _ => unreachable!("`covers` admits no other window"),
            }
        }
    }

    /// # Safety
    /// The rows must have `row.width` pixels, and the output as many as follow from it.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    unsafe fn run<const K: usize, const GROUPS: usize, const STRIDE: usize>(
        &self,
        row: Row<'_>,
        rows: [Option<&[u8]>; K],
        output: &mut [u8],
    ) {
        for (index, block) in self.0.blocks.iter().enumerate() {
            let work = Work {
                packed: &self.0,
                index,
                block: *block,
                row,
                // A row in the padding is one pixel of zero points that never advances.
                rows: rows.map(|row_| match row_ {
                    Some(pixels) => {
                        (pixels[block.first_channel..].as_ptr(), row.geometry.in_channels)
                    }
                    None => (row.outside[block.first_channel..].as_ptr(), 0),
                }),
                outside: row.outside[block.first_channel..].as_ptr(),
            };
            let full = block.channels * block.pixels == 64;
            // SAFETY: by the caller's promise, and blocks lie within the channels.
            unsafe {
                match (block.pixels, full) {
                    (1, true) => work.run::<GROUPS, STRIDE, 1, false>(output),
                    (1, false) => work.run::<GROUPS, STRIDE, 1, true>(output),
                    (2, true) => work.run::<GROUPS, STRIDE, 2, false>(output),
                    (2, false) => work.run::<GROUPS, STRIDE, 2, true>(output),
                    (4, true) => work.run::<GROUPS, STRIDE, 4, false>(output),
                    _ => work.run::<GROUPS, STRIDE, 4, true>(output),
                }
            }
        }
    }
}

/// As many blocks of 64 channels as fit; then the rest, of two or four pixels where it is small.
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

/// One block of channels of one row of the output.
struct Work<'a, const K: usize> {
    packed: &'a pack::Packed<i8, 64, 4>,
    index: usize,
    block: Block,
    row: Row<'a>,
    /// The first pixel of each row under the window, and the distance to the next.
    rows: [(*const u8, usize); K],
    /// A pixel of zero points.
    outside: *const u8,
}

/// The rows of a column, interleaved by fours: dword `d` of vector `v` holds four rows of one lane.
type Column<const GROUPS: usize> = [[__m512i; 4]; GROUPS];

impl<const K: usize> Work<'_, K> {
    /// # Safety
    /// As for [`Packed::run`]; the block has `PIXELS` pixels and 64 lanes in use unless `MASKED`.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn run<
        const GROUPS: usize,
        const STRIDE: usize,
        const PIXELS: usize,
        const MASKED: bool,
    >(
        &self,
        output: &mut [u8],
    ) {
        let channels = self.row.geometry.in_channels;
        let outputs = self.row.output_width();
        let left = self.row.geometry.padding.left as isize;
        let weights: *const __m512i =
            self.packed.weights[self.index * K * GROUPS..].as_ptr().cast();
        let bias: *const __m512i = (&raw const self.packed.bias[self.index]).cast();
        let multiplier: *const f32 = (&raw const self.packed.multiplier[self.index]).cast();
        let epilogue = Epilogue::new(self.row.requantize);
        let mask = u64::MAX >> (64 - self.block.channels);
        // Outputs move on by PIXELS; what a step shares with the next one is kept.
        let step = STRIDE * PIXELS;
        let output = output[self.block.first_channel..].as_mut_ptr();

        let mut columns: [Column<GROUPS>; K] = [[[_mm512_setzero_si512(); 4]; GROUPS]; K];
        for (k, column) in columns.iter_mut().enumerate().skip(step) {
            // SAFETY: as below.
            *column = unsafe {
                self.column::<GROUPS, STRIDE, PIXELS, MASKED>((k - step) as isize - left, mask)
            };
        }
        let mut x = 0;
        while x < outputs {
            for k in 0..K {
                columns[k] = if k + step < K {
                    columns[k + step]
                } else {
                    // SAFETY: by the caller's promise.
                    unsafe {
                        self.column::<GROUPS, STRIDE, PIXELS, MASKED>(
                            (x * STRIDE + k) as isize - left,
                            mask,
                        )
                    }
                };
            }
            // SAFETY: the packed parameters hold four vectors for each column and group of rows of
            // each block, and as many biases and multipliers; outputs below `outputs` exist.
            unsafe {
                let mut acc: [__m512i; 4] = std::array::from_fn(|v| _mm512_load_si512(bias.add(v)));
                for (k, column) in columns.iter().enumerate() {
                    for (group, rows) in column.iter().enumerate() {
                        for v in 0..4 {
                            let weight =
                                _mm512_load_si512(weights.add((k * GROUPS + group) * 4 + v));
                            acc[v] = _mm512_dpbusd_epi32(acc[v], rows[v], weight);
                        }
                    }
                }
                let multiplier = std::array::from_fn(|v| _mm512_load_ps(multiplier.add(16 * v)));
                let bytes = epilogue.apply_in_lanes(acc, multiplier);
                store::<PIXELS, MASKED>(
                    output.add(x * channels),
                    channels,
                    outputs - x,
                    mask,
                    bytes,
                );
            }
            x += PIXELS;
        }
    }

    /// The column at pixel `at` of the input, and those `STRIDE` apart of the other outputs.
    ///
    /// # Safety
    /// As for [`Packed::run`].
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn column<
        const GROUPS: usize,
        const STRIDE: usize,
        const PIXELS: usize,
        const MASKED: bool,
    >(
        &self,
        at: isize,
        mask: u64,
    ) -> Column<GROUPS> {
        let load = |ky: usize| {
            let (first, pixel) = self.rows[ky];
            let address = |p: usize| {
                let at = at + (p * STRIDE) as isize;
                if (0..self.row.width as isize).contains(&at) {
                    first.wrapping_add(at as usize * pixel)
                } else {
                    self.outside
                }
            };
            // SAFETY: each address is that of a pixel within its row, or of zero points; of either
            // `block.channels` bytes are read, which the mask tells unless they fill the lanes.
            unsafe { load::<PIXELS, MASKED>(address, mask) }
        };
        let rows: [__m512i; K] = std::array::from_fn(load);
        // Where rows are missing in a group of four, weights are zero: any bytes will do.
        std::array::from_fn(|group| {
            let row = |i: usize| rows[(group * 4 + i).min(K - 1)];
            interleave([row(0), row(1), row(2), row(3)])
        })
    }
}

/// Bytes of four rows, interleaved: lanes of 128 bits keep their 16 channels, vector `v` holds
/// channels `4 * v..` of each.
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

/// `64 / PIXELS` bytes from each of `PIXELS` addresses.
///
/// # Safety
/// The bytes (of which `mask` selects some, if `MASKED`) must be readable.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
#[inline]
unsafe fn load<const PIXELS: usize, const MASKED: bool>(
    address: impl Fn(usize) -> *const u8,
    mask: u64,
) -> __m512i {
    // SAFETY: by the caller's promise.
    unsafe {
        match PIXELS {
            1 if MASKED => _mm512_maskz_loadu_epi8(mask, address(0).cast()),
            1 => _mm512_loadu_si512(address(0).cast()),
            2 => {
                let half = |p: usize| {
                    if MASKED {
                        _mm256_maskz_loadu_epi8(mask as u32, address(p).cast())
                    } else {
                        _mm256_loadu_si256(address(p).cast())
                    }
                };
                _mm512_inserti64x4::<1>(_mm512_castsi256_si512(half(0)), half(1))
            }
            _ => {
                let quarter = |p: usize| {
                    if MASKED {
                        _mm_maskz_loadu_epi8(mask as u16, address(p).cast())
                    } else {
                        _mm_loadu_si128(address(p).cast())
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

/// Writes the bytes of the first `left` of `PIXELS` pixels, `channels` bytes apart.
///
/// # Safety
/// The bytes (of which `mask` selects some, if `MASKED`) must be writable.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
#[inline]
unsafe fn store<const PIXELS: usize, const MASKED: bool>(
    at: *mut u8,
    channels: usize,
    left: usize,
    mask: u64,
    bytes: __m512i,
) {
    // SAFETY: by the caller's promise.
    unsafe {
        match PIXELS {
            1 if MASKED => _mm512_mask_storeu_epi8(at.cast(), mask, bytes),
            1 => _mm512_storeu_si512(at.cast(), bytes),
            2 => {
                let half = |at: *mut u8, bytes| {
                    if MASKED {
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
                    if MASKED {
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
