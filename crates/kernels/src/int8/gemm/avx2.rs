//! Exact products with AVX2: both operands widened to i16, `vpmaddwd`.
//!
//! `vpmaddubsw` would need fewer instructions, but it saturates: 2 · 255 · 127 > 32,767.
//!
//! Rows are widened once for all panels, some rows at a time, into a buffer on the stack.

#[allow(clippy::wildcard_imports, reason = "intrinsics carry their namespace in their names")]
use std::arch::x86_64::*;
use std::mem::MaybeUninit;
use std::ops::Range;

use super::{Output, Packed, Panel, Rows, last_step, part, position};
use crate::int8::Requantize;
use crate::int8::pack::{Lines, Operand};
use crate::int8::requantize::avx2::Epilogue;
use crate::isa::Avx2;

/// Columns of a panel: two vectors of accumulators.
const PANEL: usize = 16;
/// Bytes of a panel's biases, and of its multipliers.
const HEADER: usize = PANEL * size_of::<i32>();
/// Bytes of a step's weights: two pairs of channels, a vector of eight columns after the other.
const STEP: usize = PANEL * 4 * size_of::<i16>();
/// Rows of the largest micro-kernel: 12 accumulators, two weights, one activation, one product.
const ROWS: usize = 6;
/// Rows that are widened together, at most.
const WIDENED_ROWS: usize = 4 * ROWS;
/// Values that the buffer of widened rows holds. What a pool's thread has for a stack is 16 times
/// as large, and the second-level cache at least four times.
const BUFFER: usize = 32 * 1024;

/// Panels of `bias[16] multiplier[16] weight[taps][steps][2][16][2]`, the weights as i16.
#[derive(Debug)]
pub(super) struct Weights {
    requantize: Requantize,
    panels: Vec<Panel>,
    packed: Lines,
    taps: usize,
    channels: usize,
}

/// Values of a widened row: every step has four.
fn widened(taps: usize, channels: usize) -> usize {
    taps * channels.next_multiple_of(4)
}

impl Weights {
    /// Whether at least one row fits into the buffer.
    pub(super) fn covers(operand: &Operand<'_>) -> bool {
        widened(operand.taps, operand.channels) <= BUFFER
    }

    pub(super) fn new(_: Avx2, operand: &Operand<'_>, requantize: &Requantize) -> Self {
        let &Operand { columns, channels, taps, .. } = operand;
        let steps = channels.div_ceil(4);
        let panel_bytes = 2 * HEADER + taps * steps * STEP;
        let panels: Vec<Panel> = (0..columns)
            .step_by(PANEL)
            .enumerate()
            .map(|(index, first)| Panel {
                vectors: 2,
                first,
                columns: PANEL.min(columns - first),
                offset: index * panel_bytes,
            })
            .collect();
        let mut packed = Lines::zeroed(panels.len() * panel_bytes / Lines::LEN);
        for panel in &panels {
            let (header, weights) =
                packed.bytes_mut()[panel.offset..][..panel_bytes].split_at_mut(2 * HEADER);
            for c in 0..panel.columns {
                let column = panel.first + c;
                header[c * 4..][..4].copy_from_slice(&operand.folded_bias(column).to_ne_bytes());
                header[HEADER + c * 4..][..4]
                    .copy_from_slice(&operand.multiplier[column].to_ne_bytes());
                for tap in 0..taps {
                    for channel in 0..channels {
                        let (step, byte) = position(channel, channels);
                        let weight = i16::from(operand.at(column, tap, channel));
                        let place = (byte / 2 * PANEL + c) * 2 + byte % 2;
                        weights[(tap * steps + step) * STEP + place * 2..][..2]
                            .copy_from_slice(&weight.to_ne_bytes());
                    }
                }
            }
        }
        Self { requantize: requantize.clone(), panels, packed, taps, channels }
    }
}

impl Packed for Weights {
    fn panels(&self) -> usize {
        self.panels.len()
    }

    fn block_rows(&self) -> usize {
        // What fits into the buffer, in tiles of the largest kernel where one fits.
        let rows = (BUFFER / widened(self.taps, self.channels)).min(WIDENED_ROWS);
        if rows > ROWS { rows / ROWS * ROWS } else { rows }
    }

    unsafe fn multiply(&self, rows: &Rows<'_>, panels: Range<usize>, output: Output, _: &mut [u8]) {
        let depth = widened(self.taps, self.channels);
        #[expect(clippy::large_stack_arrays, reason = "a run allocates nothing")]
        let mut buffer = [const { MaybeUninit::<i16>::uninit() }; BUFFER];
        let buffer = &mut buffer[..rows.len * depth];
        for (i, buffer) in buffer.chunks_exact_mut(depth).enumerate() {
            let taps = buffer.chunks_exact_mut(self.channels.next_multiple_of(4));
            for (tap, buffer) in taps.enumerate() {
                let row = rows.taps[tap * rows.capacity + i];
                // SAFETY: the token given to `new` proves AVX2; the row has `channels` values, by
                // the caller's promise, and the buffer room for all steps of four.
                unsafe { widen(row, self.channels, buffer.as_mut_ptr().cast()) };
            }
        }
        let tiles = rows.len.div_ceil(ROWS);
        for panel in &self.panels[panels] {
            for tile in 0..tiles {
                let tile = part(rows.len, tiles, tile);
                let call = Tile {
                    rows: buffer[tile.start * depth..].as_ptr().cast(),
                    depth,
                    panel: self.packed.bytes()[panel.offset..].as_ptr(),
                    requantize: &self.requantize,
                    output: Output { start: output.at(tile.start, panel.first), ..output },
                    columns: panel.columns,
                };
                // SAFETY: AVX2 as above; all values of the rows have been written; the panel was
                // packed for rows of this depth; the caller's promise covers the outputs.
                unsafe { TILES[tile.len() - 1](&call) };
            }
        }
    }
}

/// Widens a row to whole steps of four values; see [`position`] for the last one.
///
/// # Safety
/// Needs AVX2. `row` must have `channels` readable bytes, `output` room for the next multiple of
/// four values.
#[target_feature(enable = "avx2")]
unsafe fn widen(row: *const u8, channels: usize, output: *mut i16) {
    let mut k = 0;
    // SAFETY: the caller's promise.
    unsafe {
        while k + 16 <= channels {
            let wide = _mm256_cvtepu8_epi16(_mm_loadu_si128(row.add(k).cast()));
            _mm256_storeu_si256(output.add(k).cast(), wide);
            k += 16;
        }
        while k < channels {
            let step = if k + 4 <= channels {
                row.add(k).cast::<i32>().read_unaligned()
            } else {
                last_step(row, channels)
            };
            _mm_storel_epi64(output.add(k).cast(), _mm_cvtepu8_epi16(_mm_cvtsi32_si128(step)));
            k += 4;
        }
    }
}

/// The arguments of a micro-kernel.
struct Tile<'a> {
    /// Rows of `depth` values, one after the other.
    rows: *const i16,
    /// A multiple of four.
    depth: usize,
    panel: *const u8,
    requantize: &'a Requantize,
    output: Output,
    columns: usize,
}

type TileFn = unsafe fn(&Tile<'_>);

/// Micro-kernels by rows, less one.
static TILES: [TileFn; ROWS] = [
    u8i8_gemm_avx2::<1>,
    u8i8_gemm_avx2::<2>,
    u8i8_gemm_avx2::<3>,
    u8i8_gemm_avx2::<4>,
    u8i8_gemm_avx2::<5>,
    u8i8_gemm_avx2::<6>,
];

/// `R` rows times 16 columns.
///
/// # Safety
/// Needs AVX2. `rows` must hold `R` rows; `panel` must have been packed for rows of this depth;
/// `output` must be writable at the first `columns ≤ 16` bytes of each row.
#[target_feature(enable = "avx2")]
unsafe fn u8i8_gemm_avx2<const R: usize>(tile: &Tile<'_>) {
    let header = tile.panel;
    // SAFETY: the panel is aligned to 64 bytes; its header holds 16 biases and 16 multipliers; for
    // each pair of channels, 64 bytes of weights follow. Rows are read within their `depth` values.
    // Outputs are as the caller promised.
    unsafe {
        let bias = [_mm256_load_si256(header.cast()), _mm256_load_si256(header.add(32).cast())];
        let mut acc = [bias; R];
        let mut weights = header.add(2 * HEADER);
        let mut k = 0;
        // Two pairs a turn would be slower by a tenth, measured on Sapphire Rapids.
        while k < tile.depth {
            let w = [_mm256_load_si256(weights.cast()), _mm256_load_si256(weights.add(32).cast())];
            for (i, acc) in acc.iter_mut().enumerate() {
                let x = tile.rows.add(i * tile.depth + k).cast::<i32>().read_unaligned();
                let x = _mm256_set1_epi32(x);
                acc[0] = _mm256_add_epi32(acc[0], _mm256_madd_epi16(x, w[0]));
                acc[1] = _mm256_add_epi32(acc[1], _mm256_madd_epi16(x, w[1]));
            }
            weights = weights.add(STEP / 2);
            k += 2;
        }

        let epilogue = Epilogue::new(tile.requantize);
        let multiplier = header.add(HEADER);
        let m = [_mm256_load_ps(multiplier.cast()), _mm256_load_ps(multiplier.add(32).cast())];
        for i in (0..R).step_by(2) {
            let (a, b) = (acc[i], acc[(i + 1).min(R - 1)]);
            let bytes = epilogue.apply([a[0], a[1], b[0], b[1]], [m[0], m[1], m[0], m[1]]);
            store(_mm256_castsi256_si128(bytes), tile, i);
            if i + 1 < R {
                store(_mm256_extracti128_si256::<1>(bytes), tile, i + 1);
            }
        }
    }
}

/// Writes the columns that exist.
///
/// # Safety
/// As for the micro-kernel that calls it.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn store(bytes: __m128i, tile: &Tile<'_>, row: usize) {
    let output = tile.output.at(row, 0);
    // SAFETY: the caller's promise.
    unsafe {
        if tile.columns == PANEL {
            _mm_storeu_si128(output.cast(), bytes);
        } else {
            let mut values = [0u8; PANEL];
            _mm_storeu_si128(values.as_mut_ptr().cast(), bytes);
            output.copy_from_nonoverlapping(values.as_ptr(), tile.columns);
        }
    }
}
