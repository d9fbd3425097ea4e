//! Packs weights for AMX tiles, and multiplies panels of them.

use std::mem::MaybeUninit;
use std::ops::Range;

use super::permission::Permission;
use super::positions::{PixelRuns, Positions};
use super::sizes::{COLUMNS, ROWS, TILE};
use super::steps::Steps;
use super::stored::StoredBlock;
use super::tiles::{Block, Configuration, release};
use crate::arch::x86::avx512vnni::add::AddEpilogue;
use crate::arch::x86::avx512vnni::requantize::Epilogue;
use crate::int8::gemm::kernel::Output;
use crate::int8::pack::Operand;
use crate::int8::requantize::{Requantize, effective_multiplier};
use crate::mem::{Aligned, AlignedSlice, LINE};

/// Bytes of later weights that each step of a block of two by two tiles prefetches: half of a
/// step's. Weights mostly come from the third-level cache, whose latency the 16 loads of a tile do
/// not hide.
const PREFETCHED: usize = 1024;

/// Packed panels of one or two tiles of columns. A panel has 16 biases for each tile, 16
/// multipliers for each tile, and then `weight[steps][tiles][step / 4][16][4]`.
#[derive(Debug)]
pub(super) struct Panels {
    requantize: Requantize,
    columns: usize,
    packed: AlignedSlice<u8>,
    /// Bytes of a panel of two tiles.
    panel_bytes: usize,
    steps: Steps,
}

impl Panels {
    pub(super) fn new(
        _: Permission,
        operand: &Operand<'_>,
        requantize: &Requantize,
        steps: Steps,
    ) -> Self {
        let columns = operand.columns;
        let step_bytes = steps.len() * COLUMNS;
        let tile_bytes = 2 * LINE + steps.count() * step_bytes;
        let mut packed = AlignedSlice::zeros(columns.div_ceil(COLUMNS) * tile_bytes);
        let panel_bytes = 2 * tile_bytes;
        let panels = packed.chunks_mut(panel_bytes);
        let mut row = Vec::with_capacity(operand.taps * operand.channels);
        for (first, panel) in (0..columns).step_by(2 * COLUMNS).zip(panels) {
            let tiles = panel.len() / tile_bytes;
            let (header, weights) = panel.split_at_mut(tiles * 2 * LINE);
            let (bias, multiplier) = header.split_at_mut(tiles * LINE);
            for c in 0..(columns - first).min(2 * COLUMNS) {
                let column = first + c;
                bias[c * 4..][..4].copy_from_slice(&operand.folded_bias(column).to_ne_bytes());
                multiplier[c * 4..][..4].copy_from_slice(
                    &effective_multiplier(operand.multiplier[column]).to_ne_bytes(),
                );
                operand.write_row(column, &mut row);
                for (step, part) in steps.parts().iter().enumerate() {
                    let (row, start) = (&row[part.weights.clone()], part.start);
                    let base = (step * tiles + c / COLUMNS) * step_bytes;
                    let place = |k: usize| base + (k / 4 * COLUMNS + c % COLUMNS) * 4 + k % 4;
                    // Four weights at a time, unless the step begins within four.
                    let fours = if start.is_multiple_of(4) { row.len() / 4 } else { 0 };
                    let (fours, rest) = row.split_at(4 * fours);
                    for (k, four) in (start..).step_by(4).zip(fours.as_chunks::<4>().0) {
                        weights[place(k)..][..4].copy_from_slice(four);
                    }
                    for (k, &weight) in (start + fours.len()..).zip(rest) {
                        weights[place(k)] = weight;
                    }
                }
            }
        }
        Self { requantize: requantize.clone(), columns, packed, panel_bytes, steps }
    }

    /// Number of panels.
    pub(super) fn count(&self) -> usize {
        self.columns.div_ceil(2 * COLUMNS)
    }

    pub(super) fn steps(&self) -> &Steps {
        &self.steps
    }

    /// Multiplies all `positions` with some panels and requantizes to `output`, which has all
    /// columns of the pixels. The activations of each step start at its offset.
    ///
    /// # Safety
    /// - The CPU must support AMX-INT8 and AVX-512 BW and VL.
    /// - There must be at least one position. For each position and step, the bytes from the step's
    ///   offset on that it multiplies must be valid for reads.
    /// - `output` must be as for [`Packed::multiply`](crate::int8::gemm::kernel::Packed::multiply).
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    pub(super) unsafe fn u8i8_gemm_amx(
        &self,
        positions: &Positions,
        offsets: &[usize],
        panels: Range<usize>,
        output: Output,
    ) {
        let (len, count) = (positions.len, self.steps.count());
        assert!(offsets.len() >= count, "{} offsets for {count} steps", offsets.len());
        let epilogue = Epilogue::new(&self.requantize);
        let add = output.added.map(|added| AddEpilogue::new(&added.formula));
        let mut accumulators = MaybeUninit::<Aligned<[i32; 4 * TILE]>>::uninit();
        let accumulators = accumulators.as_mut_ptr().cast::<i32>();
        Configuration::new(len.min(ROWS), self.steps.len()).load();
        for panel in panels {
            let mut runs = PixelRuns::default();
            let packed = &self.packed[panel * self.panel_bytes..];
            let column = panel * 2 * COLUMNS;
            let columns = (self.columns - column).min(2 * COLUMNS);
            let tiles = columns.div_ceil(COLUMNS);
            let mut call = Block {
                stride: positions.stride,
                second: 0,
                bias: packed.as_ptr(),
                weights: packed[tiles * 2 * LINE..].as_ptr(),
                tile: self.steps.len() * COLUMNS,
                steps: count,
                offsets: offsets.as_ptr(),
                ahead: packed.as_ptr().wrapping_add(self.panel_bytes),
            };
            for first in (0..len).step_by(2 * ROWS) {
                let rows = positions.row(positions.tile(first));
                let two = first + ROWS < len;
                call.second =
                    positions.row(positions.tile(first + ROWS)).addr().wrapping_sub(rows.addr());
                // SAFETY: the tiles of rows start at existing positions, whose bytes the caller
                // guarantees; the panel was packed for these steps and tiles, and the configuration
                // was made for both; the buffer has room for four tiles of accumulators.
                unsafe {
                    match (two, tiles) {
                        // The first two blocks prefetch half of the next panel each.
                        (true, 2) if first < 4 * ROWS => {
                            call.two_by_two_prefetching(rows, accumulators);
                            call.ahead = call.ahead.wrapping_add(count * PREFETCHED);
                        }
                        (true, 2) => call.two_by_two(rows, accumulators),
                        (true, _) => call.two_by_one(rows, accumulators),
                        (false, 2) if first < 4 * ROWS => {
                            call.one_by_two_prefetching(rows, accumulators);
                        }
                        (false, 2) => call.one_by_two(rows, accumulators),
                        (false, _) => call.one_by_one(rows, accumulators),
                    }
                }
                let stored = StoredBlock {
                    accumulators,
                    multipliers: packed[tiles * LINE..].as_ptr().cast(),
                    output: output.from(0, column),
                    columns,
                    first,
                };
                // SAFETY: the block above has stored all of these accumulators, which are aligned;
                // the caller guarantees the outputs and residuals.
                unsafe { stored.requantize(&epilogue, add.as_ref(), positions, &mut runs) };
            }
        }
        release();
    }
}
