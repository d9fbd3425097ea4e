//! Exact products with AVX2: both operands widened to i16, `vpmaddwd`.
//!
//! `vpmaddubsw` would need fewer instructions, but it saturates: 2 · 255 · 127 > 32,767.
//!
//! A step of four channels is broadcast and widened to `x0 x1 x2 x3` four times over, so a vector
//! of weights serves four columns, two sums each; the sums meet after the last step.

#[allow(clippy::wildcard_imports, reason = "intrinsics carry their namespace in their names")]
use std::arch::x86_64::*;
use std::ops::Range;

use super::{Output, Packed, Panel, Rows, last_step, part, position};
use crate::int8::Requantize;
use crate::int8::pack::{Lines, Operand};
use crate::int8::requantize::avx2::Epilogue;
use crate::isa::Avx2;

/// Vectors of weights in a step of a panel.
const VECTORS: usize = 4;
/// Columns of a panel.
const PANEL: usize = 16;
/// Bytes of a panel's biases, and of its multipliers.
const HEADER: usize = PANEL * size_of::<i32>();
/// Bytes of a step's weights.
const STEP: usize = PANEL * 4 * size_of::<i16>();
/// Rows of the largest micro-kernel: 12 accumulators, three rows of activations, one product.
const ROWS: usize = 3;
/// Input bytes that a block of rows takes at most, about.
const BLOCK_BYTES: usize = 16 * 1024;

/// Panels of `bias[16] multiplier[16] weight[taps][steps][16][4]`, the weights as i16.
#[derive(Debug)]
pub(super) struct Weights {
    requantize: Requantize,
    panels: Vec<Panel>,
    packed: Lines,
    taps: usize,
    channels: usize,
}

impl Weights {
    pub(super) fn new(_: Avx2, operand: &Operand<'_>, requantize: &Requantize) -> Self {
        let &Operand { columns, channels, taps, .. } = operand;
        let steps = channels.div_ceil(4);
        let panel_bytes = 2 * HEADER + taps * steps * STEP;
        let panels: Vec<Panel> = (0..columns)
            .step_by(PANEL)
            .enumerate()
            .map(|(index, first)| Panel {
                vectors: VECTORS,
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
                        weights[(tap * steps + step) * STEP + (place(c) * 4 + byte) * 2..][..2]
                            .copy_from_slice(&weight.to_ne_bytes());
                    }
                }
            }
        }
        Self { requantize: requantize.clone(), panels, packed, taps, channels }
    }
}

/// Where a column's four weights stand in a step, so that `vphaddd` of each two vectors leaves
/// eight columns in their order: it takes two sums from either vector in each 128-bit lane.
fn place(column: usize) -> usize {
    let (eight, lane, vector, slot) = (column / 8, column / 4 % 2, column / 2 % 2, column % 2);
    eight * 8 + vector * 4 + lane * 2 + slot
}

impl Packed for Weights {
    fn panels(&self) -> usize {
        self.panels.len()
    }

    fn block_rows(&self) -> usize {
        (BLOCK_BYTES / self.channels).clamp(8 * ROWS, 40 * ROWS) / ROWS * ROWS
    }

    unsafe fn multiply(&self, rows: &Rows<'_>, panels: Range<usize>, output: Output) {
        let tiles = rows.len.div_ceil(ROWS);
        for panel in &self.panels[panels] {
            for tile in 0..tiles {
                let tile = part(rows.len, tiles, tile);
                let call = Tile {
                    rows: rows.taps[tile.start..].as_ptr(),
                    capacity: rows.capacity,
                    taps: self.taps,
                    channels: self.channels,
                    panel: self.packed.bytes()[panel.offset..].as_ptr(),
                    requantize: &self.requantize,
                    output: Output { start: output.at(tile.start, panel.first), ..output },
                    columns: panel.columns,
                };
                // SAFETY: the token given to `new` proves AVX2; the panel was packed for these taps
                // and channels; rows and outputs are as the caller promised.
                unsafe { TILES[tile.len() - 1](&call) };
            }
        }
    }
}

/// The arguments of a micro-kernel.
struct Tile<'a> {
    /// For each tap, `capacity` pointers to rows of `channels` values.
    rows: *const *const u8,
    capacity: usize,
    taps: usize,
    channels: usize,
    panel: *const u8,
    requantize: &'a Requantize,
    output: Output,
    columns: usize,
}

type TileFn = unsafe fn(&Tile<'_>);

/// Micro-kernels by rows, less one.
static TILES: [TileFn; ROWS] = [u8i8_gemm_avx2::<1>, u8i8_gemm_avx2::<2>, u8i8_gemm_avx2::<3>];

/// `R` rows times 16 columns.
///
/// # Safety
/// Needs AVX2. `rows` must hold, at each tap, `R` pointers to `channels` readable bytes; `panel`
/// must have been packed for these taps and channels; `output` must be writable at the first
/// `columns ≤ 16` bytes of each row.
#[target_feature(enable = "avx2")]
unsafe fn u8i8_gemm_avx2<const R: usize>(tile: &Tile<'_>) {
    let header = tile.panel;
    let zero = _mm256_setzero_si256();
    // SAFETY: the panel is aligned to 64 bytes; its header holds 16 biases and 16 multipliers; for
    // each tap and each step of four channels, `STEP` bytes of weights follow. Rows are read within
    // their `channels` bytes. Outputs are as the caller promised.
    unsafe {
        let mut acc = [[zero; VECTORS]; R];
        let mut weights = header.add(2 * HEADER);
        for tap in 0..tile.taps {
            let mut rows = [std::ptr::null::<u8>(); R];
            for (i, row) in rows.iter_mut().enumerate() {
                *row = *tile.rows.add(tap * tile.capacity + i);
            }
            macro_rules! step {
                (|$row:ident| $value:expr) => {
                    let mut x = [zero; R];
                    for (&$row, x) in rows.iter().zip(&mut x) {
                        *x = _mm256_cvtepu8_epi16(_mm_set1_epi32($value));
                    }
                    for v in 0..VECTORS {
                        let w = _mm256_load_si256(weights.add(v * 32).cast());
                        for (acc, &x) in acc.iter_mut().zip(&x) {
                            acc[v] = _mm256_add_epi32(acc[v], _mm256_madd_epi16(x, w));
                        }
                    }
                    weights = weights.add(STEP);
                };
            }
            let mut k = 0;
            while k + 4 <= tile.channels {
                step!(|row| row.add(k).cast::<i32>().read_unaligned());
                k += 4;
            }
            if k < tile.channels {
                step!(|row| last_step(row, tile.channels));
            }
        }

        let epilogue = Epilogue::new(tile.requantize);
        let bias = [_mm256_load_si256(header.cast()), _mm256_load_si256(header.add(32).cast())];
        let multiplier = header.add(HEADER);
        let m = [_mm256_load_ps(multiplier.cast()), _mm256_load_ps(multiplier.add(32).cast())];
        let mut sums = [[zero; 2]; R];
        for (sums, acc) in sums.iter_mut().zip(&acc) {
            sums[0] = _mm256_add_epi32(_mm256_hadd_epi32(acc[0], acc[1]), bias[0]);
            sums[1] = _mm256_add_epi32(_mm256_hadd_epi32(acc[2], acc[3]), bias[1]);
        }
        for i in (0..R).step_by(2) {
            let (a, b) = (sums[i], sums[(i + 1).min(R - 1)]);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_a_permutation() {
        let mut places: Vec<usize> = (0..PANEL).map(place).collect();
        assert_eq!(places[..8], [0, 1, 4, 5, 2, 3, 6, 7]);
        places.sort_unstable();
        assert!(places.iter().copied().eq(0..PANEL));
    }
}
