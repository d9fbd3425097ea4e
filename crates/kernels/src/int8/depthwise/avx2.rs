//! 3x3 and 5x5 windows with `vpmaddwd`: 32 lanes, two taps a lane, widened to 16 bits.

#[allow(clippy::wildcard_imports, reason = "intrinsics carry their namespace in their names")]
use std::arch::x86_64::*;

use super::Row;
use super::pack::{self, Block};
use crate::geometry::Conv2dGeometry;
use crate::int8::requantize::avx2::Epilogue;
use crate::isa::Avx2;
use crate::reference;

/// Blocks of 32 bytes, columns in pairs of rows.
#[derive(Clone, Debug)]
pub(super) struct Packed(pack::Packed<i16, 32, 2>);

/// Whether there is a kernel for this window: it needs a vector of channels.
pub(super) fn covers(g: &Conv2dGeometry) -> bool {
    g.dilation == [1, 1]
        && matches!(g.kernel, [3, 3] | [5, 5])
        && matches!(g.stride[1], 1 | 2)
        && g.out_channels >= 32
}

impl Packed {
    pub(super) fn new(conv: &reference::Conv2d<'_>) -> Self {
        Self(pack::Packed::new(conv, blocks(conv.geometry.out_channels)))
    }

    pub(super) fn run_row<'a>(
        &self,
        _: Avx2,
        row: Row<'_>,
        rows: impl Fn(usize) -> Option<&'a [u8]>,
        output: &mut [u8],
    ) {
        // SAFETY: the token proves that the CPU has the instructions. The caller has checked that
        // the rows and the output have the lengths that the width calls for.
        unsafe {
            match (row.geometry.kernel[0], row.geometry.stride[1]) {
                (3, 1) => self.run::<3, 2, 1>(row, std::array::from_fn(rows), output),
                (3, 2) => self.run::<3, 2, 2>(row, std::array::from_fn(rows), output),
                (5, 1) => self.run::<5, 3, 1>(row, std::array::from_fn(rows), output),
                (5, 2) => self.run::<5, 3, 2>(row, std::array::from_fn(rows), output),
                _ => unreachable!("`covers` admits no other window"),
            }
        }
    }

    /// # Safety
    /// The rows must have `row.width` pixels, and the output as many as follow from it.
    #[target_feature(enable = "avx2")]
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
            // SAFETY: by the caller's promise, and blocks lie within the channels.
            unsafe { work.run::<GROUPS, STRIDE>(&mut output[block.first_channel..]) };
        }
    }
}

/// Blocks of 32 channels; where they do not come out even, the last one overlaps its neighbour and
/// computes some channels again.
fn blocks(channels: usize) -> Vec<Block> {
    (0..channels)
        .step_by(32)
        .map(|first| Block { first_channel: first.min(channels - 32), channels: 32, pixels: 1 })
        .collect()
}

/// One block of channels of one row of the output.
struct Work<'a, const K: usize> {
    packed: &'a pack::Packed<i16, 32, 2>,
    index: usize,
    row: Row<'a>,
    /// The first pixel of each row under the window, and the distance to the next.
    rows: [(*const u8, usize); K],
    /// A pixel of zero points.
    outside: *const u8,
}

/// The rows of a column, interleaved in pairs of 16-bit values: dword `d` of vector `v` holds two
/// rows of one lane.
type Column<const GROUPS: usize> = [[__m256i; 4]; GROUPS];

impl<const K: usize> Work<'_, K> {
    /// # Safety
    /// As for [`Packed::run`].
    #[target_feature(enable = "avx2")]
    #[inline]
    unsafe fn run<const GROUPS: usize, const STRIDE: usize>(&self, output: &mut [u8]) {
        let channels = self.row.geometry.in_channels;
        let left = self.row.geometry.padding.left as isize;
        let weights: *const __m256i =
            self.packed.weights[self.index * K * GROUPS..].as_ptr().cast();
        let bias: *const __m256i = (&raw const self.packed.bias[self.index]).cast();
        let multiplier: *const f32 = (&raw const self.packed.multiplier[self.index]).cast();
        let epilogue = Epilogue::new(self.row.requantize);

        let mut columns: [Column<GROUPS>; K] = [[[_mm256_setzero_si256(); 4]; GROUPS]; K];
        for (k, column) in columns.iter_mut().enumerate().skip(STRIDE) {
            // SAFETY: by the caller's promise.
            *column = unsafe { self.column((k - STRIDE) as isize - left) };
        }
        for x in 0..self.row.output_width() {
            for k in 0..K {
                columns[k] = if k + STRIDE < K {
                    columns[k + STRIDE]
                } else {
                    // SAFETY: by the caller's promise.
                    unsafe { self.column((x * STRIDE + k) as isize - left) }
                };
            }
            // SAFETY: the packed parameters hold four vectors for each column and group of rows of
            // each block, and as many biases and multipliers; the output has this pixel.
            unsafe {
                let mut acc: [__m256i; 4] = std::array::from_fn(|v| _mm256_load_si256(bias.add(v)));
                for (k, column) in columns.iter().enumerate() {
                    for (group, rows) in column.iter().enumerate() {
                        for v in 0..4 {
                            let weight =
                                _mm256_load_si256(weights.add((k * GROUPS + group) * 4 + v));
                            acc[v] = _mm256_add_epi32(acc[v], _mm256_madd_epi16(rows[v], weight));
                        }
                    }
                }
                let multiplier = std::array::from_fn(|v| _mm256_load_ps(multiplier.add(8 * v)));
                let bytes = epilogue.apply_in_lanes(acc, multiplier);
                _mm256_storeu_si256(output[x * channels..][..32].as_mut_ptr().cast(), bytes);
            }
        }
    }

    /// The column at pixel `at` of the input.
    ///
    /// # Safety
    /// As for [`Packed::run`].
    #[target_feature(enable = "avx2")]
    #[inline]
    unsafe fn column<const GROUPS: usize>(&self, at: isize) -> Column<GROUPS> {
        let inside = (0..self.row.width as isize).contains(&at);
        let rows: [__m256i; K] = std::array::from_fn(|ky| {
            let (first, pixel) = self.rows[ky];
            let address =
                if inside { first.wrapping_add(at as usize * pixel) } else { self.outside };
            // SAFETY: the address is that of a pixel within its row, or of zero points; of either
            // there are 32 channels.
            unsafe { _mm256_loadu_si256(address.cast()) }
        });
        // Where a pair lacks a row, its weight is zero: any bytes will do.
        std::array::from_fn(|group| {
            let (a, b) = (rows[group * 2], rows[(group * 2 + 1).min(K - 1)]);
            let zero = _mm256_setzero_si256();
            let (low, high) = (_mm256_unpacklo_epi8(a, b), _mm256_unpackhi_epi8(a, b));
            [
                _mm256_unpacklo_epi8(low, zero),
                _mm256_unpackhi_epi8(low, zero),
                _mm256_unpacklo_epi8(high, zero),
                _mm256_unpackhi_epi8(high, zero),
            ]
        })
    }
}
