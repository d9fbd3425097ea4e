//! Exact int8 matrix products with `vpdpbusd`: in each lane, four products of u8 and i8 are added
//! to an i32, without saturation of intermediate results.

use std::arch::x86_64::*;
use std::ops::Range;

use super::requantize::Epilogue;
use super::token::Avx512Vnni;
use crate::arch::x86::panels::{Panel, for_rows, last_step, position};
use crate::int8::gemm::kernel::{MAX_ROWS, Output, Packed, Rows};
use crate::int8::pack::Operand;
use crate::int8::requantize::{Requantize, effective_multiplier};
use crate::mem::AlignedSlice;
use crate::pool::part;

/// Number of columns of a vector of accumulators.
const VECTOR: usize = 16;
/// Number of rows (mr) of the largest micro-kernel for panels of 1, 2, 3 and 4 vectors.
/// Accumulators, the weights of a step and one activation need at most 32 registers.
const ROWS: [usize; 4] = [14, 14, 9, 6];
/// How far ahead, in bytes, weights are prefetched: the latency of the third-level cache is some
/// hundred cycles, in which a micro-kernel reads about as much.
const AHEAD: usize = 4096;
/// Sizes, in bytes, of panels for which the next one is prefetched into the second-level cache: larger
/// than a part of the first-level cache, and so small that the second-level cache holds both.
const NEXT: Range<usize> = 16 * 1024..384 * 1024;
/// Approximate maximum number of input bytes of a block of rows.
const BLOCK_BYTES: usize = 32 * 1024;

/// Packed panels: `bias[n] multiplier[n] weight[taps][steps][n][4]`, where `n` is 16 times the
/// number of vectors of the panel.
#[derive(Debug)]
pub(super) struct Weights {
    requantize: Requantize,
    panels: Vec<Panel>,
    packed: AlignedSlice<u8>,
    taps: usize,
    channels: usize,
    block_rows: usize,
}

impl Weights {
    pub(super) fn new(_: Avx512Vnni, operand: &Operand<'_>, requantize: &Requantize) -> Self {
        let &Operand { columns, channels, taps, .. } = operand;
        let steps = channels.div_ceil(4);
        let mut panels = Vec::new();
        let (mut first, mut offset) = (0, 0);
        for vectors in panel_vectors(columns.div_ceil(VECTOR)) {
            let width = vectors * VECTOR;
            panels.push(Panel { vectors, first, columns: width.min(columns - first), offset });
            first += width;
            offset += width * (8 + taps * steps * 4);
        }
        let mut packed = AlignedSlice::zeros(offset);
        let mut row = Vec::with_capacity(taps * channels);
        for panel in &panels {
            let width = panel.vectors * VECTOR;
            let (header, weights) =
                packed[panel.offset..].split_at_mut(width * 2 * size_of::<i32>());
            for c in 0..panel.columns {
                let column = panel.first + c;
                header[c * 4..][..4].copy_from_slice(&operand.folded_bias(column).to_ne_bytes());
                header[(width + c) * 4..][..4].copy_from_slice(
                    &effective_multiplier(operand.multiplier[column]).to_ne_bytes(),
                );
                operand.write_row(column, &mut row);
                for (tap, row) in row.chunks_exact(channels).enumerate() {
                    let weights = &mut weights[tap * steps * width * 4..];
                    let (fours, rest) = row.as_chunks::<4>();
                    for (step, four) in fours.iter().enumerate() {
                        weights[(step * width + c) * 4..][..4].copy_from_slice(four);
                    }
                    for (channel, &weight) in (channels - rest.len()..).zip(rest) {
                        let (step, byte) = position(channel, channels);
                        weights[(step * width + c) * 4 + byte] = weight;
                    }
                }
            }
        }
        // A multiple of the largest micro-kernel's rows, so that only the last block of a task
        // needs smaller ones.
        let rows = ROWS[panels[0].vectors - 1];
        let block_rows = (BLOCK_BYTES / channels).clamp(4 * rows, MAX_ROWS) / rows * rows;
        Self { requantize: requantize.clone(), panels, packed, taps, channels, block_rows }
    }
}

/// Divides vectors of columns into panels of four, whose micro-kernels need the fewest loads and
/// packs for each product, and panels of three and two for the rest.
fn panel_vectors(vectors: usize) -> impl Iterator<Item = usize> {
    let (fours, rest): (usize, &[usize]) = match (vectors / 4, vectors % 4) {
        (0, 1) => (0, &[1]),
        (fours, 0) => (fours, &[]),
        (fours, 1) => (fours - 1, &[3, 2]),
        (fours, 2) => (fours, &[2]),
        (fours, _) => (fours, &[3]),
    };
    std::iter::repeat_n(4, fours).chain(rest.iter().copied())
}

impl Weights {
    /// Returns the distance from `panel` to the one behind it if the `tiles` of `panel` prefetch that. They
    /// share it, so that it comes from the third-level cache at an even rate: the first tile, which would
    /// wait for all of it, computes only some rows.
    fn distance_to_next(&self, panel: &Panel, tiles: usize) -> Option<usize> {
        let distance = panel.vectors * VECTOR * (8 + self.taps * self.channels.div_ceil(4) * 4);
        (tiles > 1 && NEXT.contains(&distance)).then_some(distance)
    }
}

impl Packed for Weights {
    fn panels(&self) -> usize {
        self.panels.len()
    }

    fn block_rows(&self) -> usize {
        self.block_rows
    }

    unsafe fn multiply(&self, rows: &Rows<'_>, panels: Range<usize>, output: Output, _: &mut [u8]) {
        for panel in &self.panels[panels] {
            let tiles = rows.len.div_ceil(ROWS[panel.vectors - 1]);
            let next = self.distance_to_next(panel, tiles);
            for index in 0..tiles {
                let tile = part(rows.len, tiles, index);
                let call = Tile {
                    rows: rows.taps[tile.start..].as_ptr(),
                    capacity: rows.capacity,
                    taps: self.taps,
                    channels: self.channels,
                    panel: self.packed[panel.offset..].as_ptr(),
                    requantize: &self.requantize,
                    output: output.from(tile.start, panel.first),
                    columns: panel.columns,
                    // The first tile of rows prefetches the panel for all of them.
                    fetch: index == 0,
                    next: Next {
                        distance: next.unwrap_or_default(),
                        first: if next.is_some() { index } else { usize::MAX },
                        step: tiles,
                    },
                };
                // SAFETY: the token passed to `new` proves that the CPU has the instructions; the
                // panel was packed for these taps and channels; rows and outputs are as the caller
                // guarantees.
                unsafe { TILES[panel.vectors - 1][tile.len() - 1](&call) };
            }
        }
    }
}

/// The arguments of a micro-kernel.
struct Tile<'a> {
    /// `capacity` pointers for each tap, each to a row of `channels` values.
    rows: *const *const u8,
    capacity: usize,
    taps: usize,
    channels: usize,
    panel: *const u8,
    requantize: &'a Requantize,
    output: Output,
    columns: usize,
    /// Whether to prefetch weights of this panel.
    fetch: bool,
    next: Next,
}

/// The part of the next panel that a tile prefetches.
#[derive(Clone, Copy)]
struct Next {
    /// Distance to the next panel in bytes.
    distance: usize,
    /// Of the cache lines of four steps, the first, beyond their number for none, and the distance to the
    /// following.
    first: usize,
    step: usize,
}

type TileFn = unsafe fn(&Tile<'_>);

macro_rules! tiles {
    ($vectors:literal: $($rows:literal)*) => { &[$(u8i8_gemm_avx512vnni::<$rows, $vectors>),*] };
}

/// The micro-kernels, by number of vectors and number of rows, each minus one.
static TILES: [&[TileFn]; 4] = [
    tiles!(1: 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
    tiles!(2: 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
    tiles!(3: 1 2 3 4 5 6 7 8 9),
    tiles!(4: 1 2 3 4 5 6),
];

/// Multiplies `R` rows with `V` vectors of 16 columns.
///
/// # Safety
/// - The CPU must support AVX-512 F, BW, VL and VNNI.
/// - `rows` must have, for each tap, `R` pointers that are valid for reads of `channels` bytes.
/// - `panel` must have been packed for these taps and channels with `V` vectors.
/// - `output` must be valid for writes of `columns` (at most `16 * V`, more than `16 * (V - 1)`) outputs of
///   each row.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn u8i8_gemm_avx512vnni<const R: usize, const V: usize>(tile: &Tile<'_>) {
    let header = tile.panel;
    let zero = _mm512_setzero_si512();
    // SAFETY: the panel is aligned to 64 bytes. Its header has `V` vectors of biases and as many of
    // multipliers, followed by `V` vectors of weights for each tap and each step of four channels.
    // Of each row, only its `channels` bytes are read. The mask selects the `columns` bytes of each
    // output row, which the caller guarantees to be valid for writes.
    unsafe {
        let mut acc = [[zero; V]; R];
        for acc in &mut acc {
            for (v, acc) in acc.iter_mut().enumerate() {
                *acc = _mm512_load_si512(header.add(v * 64).cast());
            }
        }
        let mut weights = header.add(V * 128);
        for tap in 0..tile.taps {
            let mut rows = [std::ptr::null::<u8>(); R];
            for_rows!(I in 0 1 2 3 4 5 6 7 8 9 10 11 12 13 => {
                rows[I] = *tile.rows.add(tap * tile.capacity + I);
            });
            macro_rules! step {
                (|$row:ident| $value:expr) => {
                    let mut w = [zero; V];
                    for (v, w) in w.iter_mut().enumerate() {
                        *w = _mm512_load_si512(weights.add(v * 64).cast());
                    }
                    weights = weights.add(V * 64);
                    for_rows!(I in 0 1 2 3 4 5 6 7 8 9 10 11 12 13 => {
                        let $row = rows[I];
                        let x = _mm512_set1_epi32($value);
                        for (acc, &w) in acc[I].iter_mut().zip(&w) {
                            *acc = _mm512_dpbusd_epi32(*acc, x, w);
                        }
                    });
                };
            }
            let mut k = 0;
            while k + 16 <= tile.channels {
                if tile.fetch {
                    for line in 0..4 * V {
                        let ahead = weights.wrapping_add(AHEAD + line * 64);
                        _mm_prefetch::<_MM_HINT_T0>(ahead.cast());
                    }
                }
                // Not for the micro-kernels of many rows, whose pointers need all registers.
                if V > 2 {
                    let mut line = tile.next.first;
                    while line < 4 * V {
                        let next = weights.wrapping_add(tile.next.distance + line * 64);
                        _mm_prefetch::<_MM_HINT_T1>(next.cast());
                        line += tile.next.step;
                    }
                }
                step!(|row| row.add(k).cast::<i32>().read_unaligned());
                step!(|row| row.add(k + 4).cast::<i32>().read_unaligned());
                step!(|row| row.add(k + 8).cast::<i32>().read_unaligned());
                step!(|row| row.add(k + 12).cast::<i32>().read_unaligned());
                k += 16;
            }
            while k + 4 <= tile.channels {
                step!(|row| row.add(k).cast::<i32>().read_unaligned());
                k += 4;
            }
            if k < tile.channels {
                step!(|row| last_step(row, tile.channels));
            }
        }

        if tile.output.accumulators {
            for_rows!(I in 0 1 2 3 4 5 6 7 8 9 10 11 12 13 => {
                for (v, &acc) in acc[I].iter().enumerate() {
                    let columns = (tile.columns - v * VECTOR).min(VECTOR);
                    let to = tile.output.accumulator(I, v * VECTOR);
                    _mm512_mask_storeu_epi32(to, u16::MAX >> (VECTOR - columns), acc);
                }
            });
            return;
        }
        let epilogue = Epilogue::new(tile.requantize);
        let mut m = [_mm512_setzero_ps(); V];
        for (v, m) in m.iter_mut().enumerate() {
            *m = _mm512_load_ps(header.add((V + v) * 64).cast());
        }
        let mask = u64::MAX >> (64 - tile.columns);
        let output = |row: usize| tile.output.at(row, 0).cast::<i8>();
        // Four vectors of accumulators become 64 bytes: four rows of one vector, two rows of two,
        // or one row of three or four. Missing rows and vectors are replaced by the last.
        let last = V - 1;
        match V {
            1 => for_rows!(I in 0 4 8 12 => {
                let at = |row: usize| acc[row.min(R - 1)][0];
                let rows = [at(I), at(I + 1), at(I + 2), at(I + 3)];
                let bytes = epilogue.apply_fitting(rows, [m[0]; 4]);
                let mask = mask as __mmask16;
                _mm_mask_storeu_epi8(output(I), mask, _mm512_castsi512_si128(bytes));
                if I + 1 < R {
                    let bytes = _mm512_extracti32x4_epi32::<1>(bytes);
                    _mm_mask_storeu_epi8(output(I + 1), mask, bytes);
                }
                if I + 2 < R {
                    let bytes = _mm512_extracti32x4_epi32::<2>(bytes);
                    _mm_mask_storeu_epi8(output(I + 2), mask, bytes);
                }
                if I + 3 < R {
                    let bytes = _mm512_extracti32x4_epi32::<3>(bytes);
                    _mm_mask_storeu_epi8(output(I + 3), mask, bytes);
                }
            }),
            2 => for_rows!(I in 0 2 4 6 8 10 12 => {
                let (a, b) = (acc[I], acc[(I + 1).min(R - 1)]);
                let m = [m[0], m[last], m[0], m[last]];
                let bytes = epilogue.apply_fitting([a[0], a[last], b[0], b[last]], m);
                let mask = mask as __mmask32;
                _mm256_mask_storeu_epi8(output(I), mask, _mm512_castsi512_si256(bytes));
                if I + 1 < R {
                    let bytes = _mm512_extracti64x4_epi64::<1>(bytes);
                    _mm256_mask_storeu_epi8(output(I + 1), mask, bytes);
                }
            }),
            _ => for_rows!(I in 0 1 2 3 4 5 6 7 8 => {
                let (second, third) = (1.min(last), 2.min(last));
                let (a, m) = (acc[I], [m[0], m[second], m[third], m[last]]);
                let bytes = epilogue.apply_fitting([a[0], a[second], a[third], a[last]], m);
                _mm512_mask_storeu_epi8(output(I), mask, bytes);
            }),
        }
    }
}
