//! Exact products with AMX tiles: `tdpbusd` multiplies 16 rows of up to 64 u8 with 16 columns of as
//! many i8 and adds to 16 x 16 accumulators of i32, without saturating on the way.
//!
//! Rust's intrinsics for tiles are unstable, hence assembly. A block of 32 x 32 outputs is one
//! statement, from loading biases into the accumulators to storing these, so that no tile has to
//! survive from one statement to the next; only their configuration does, as does the rounding
//! mode of other instructions.
//!
//! Accumulators can leave tiles through memory only. While the tiles compute one block, the
//! vector units requantize the one before it.

mod done;
mod tiles;

#[allow(clippy::wildcard_imports, reason = "intrinsics carry their namespace in their names")]
use std::arch::x86_64::*;
use std::mem::MaybeUninit;
use std::ops::Range;

use self::done::Done;
pub(crate) use self::tiles::multiply_tiles;
use self::tiles::{Block, Configuration, release};
use super::{MOST_ROWS, Output, Packed, Rows};
use crate::int8::Requantize;
use crate::int8::aligned::Aligned;
use crate::int8::pack::{Lines, Operand};
use crate::int8::requantize::avx512::Epilogue;
use crate::int8::requantize::effective_multiplier;
use crate::isa::Amx;

/// Rows of a tile of activations or accumulators.
const ROWS: usize = 16;
/// Columns of a tile of weights or accumulators.
const COLUMNS: usize = 16;
/// Accumulators of a tile.
const TILE: usize = ROWS * COLUMNS;
/// Values that a row or column of a tile holds at most.
const MOST_DEPTH: usize = 64;
/// Bytes of weights that a step of a block of two tiles of rows and columns fetches for later: half
/// of a step's. Weights mostly come from the third-level cache, whose latency a tile's 16 loads do
/// not hide.
const FETCHED: usize = 1024;
/// Input bytes that a block of gathered rows takes at most, about: a part of the L2 cache.
const GATHERED_BYTES: usize = 320 * 1024;

/// Fewer products than this an output leave nearly all the time to requantization, and vectors need
/// not store accumulators before it.
const LEAST_DEPTH: usize = 24;

/// Whether tiles serve this product better than vectors do.
pub(super) fn covers(operand: &Operand<'_>) -> bool {
    operand.taps * operand.channels >= LEAST_DEPTH
}

/// How a column of weights is cut into steps of equal length. Where that does not come out even,
/// the last step reads some values again, with weights of zero, rather than beyond the last one.
#[derive(Clone, Copy, Debug)]
struct Steps {
    /// Values of a row.
    depth: usize,
    /// Values of a step: a multiple of 4, at most [`MOST_DEPTH`] and `depth`.
    len: usize,
    count: usize,
}

impl Steps {
    /// `depth` is at least 4.
    fn new(depth: usize) -> Self {
        let cut =
            |count: usize| Self { depth, len: depth.div_ceil(count).next_multiple_of(4), count };
        let least = cut(depth.div_ceil(MOST_DEPTH));
        if least.len <= depth { least } else { cut(2) }
    }

    /// The first value of a row that a step multiplies and no earlier one, and its place in the step.
    fn first(self, step: usize) -> (usize, usize) {
        let first = step * self.len;
        (first, if step + 1 == self.count { first - self.last() } else { 0 })
    }

    /// Where the last step begins.
    fn last(self) -> usize {
        self.depth - self.len
    }
}

/// Panels of one or two tiles of columns: for each tile 16 biases, for each 16 multipliers, then
/// `weight[steps][tiles][step / 4][16][4]`.
#[derive(Debug)]
pub(super) struct Weights {
    requantize: Requantize,
    columns: usize,
    packed: Lines,
    /// Bytes of a panel of two tiles.
    panel_bytes: usize,
    steps: Steps,
    taps: usize,
    channels: usize,
    /// Bytes from one gathered row to the next; `None` where rows lie in order and are read where
    /// they are.
    gathered: Option<usize>,
    block_rows: usize,
}

impl Weights {
    /// `gathers`: rows are not at equal distances from each other.
    pub(super) fn new(
        _: Amx,
        operand: &Operand<'_>,
        requantize: &Requantize,
        gathers: bool,
    ) -> Self {
        let &Operand { columns, channels, taps, .. } = operand;
        let gathers = gathers || taps > 1;
        let depth = taps * channels;
        let steps = Steps::new(if gathers { depth.next_multiple_of(4) } else { depth });
        let tile_bytes = 2 * Lines::LEN + steps.count * steps.len * COLUMNS;
        let mut packed = Lines::zeroed(columns.div_ceil(COLUMNS) * tile_bytes / Lines::LEN);
        let panel_bytes = 2 * tile_bytes;
        let panels = packed.bytes_mut().chunks_mut(panel_bytes);
        let mut row = Vec::with_capacity(taps * channels);
        for (first, panel) in (0..columns).step_by(2 * COLUMNS).zip(panels) {
            let tiles = panel.len() / tile_bytes;
            let (header, weights) = panel.split_at_mut(tiles * 2 * Lines::LEN);
            let (bias, multiplier) = header.split_at_mut(tiles * Lines::LEN);
            for c in 0..(columns - first).min(2 * COLUMNS) {
                let column = first + c;
                bias[c * 4..][..4].copy_from_slice(&operand.folded_bias(column).to_ne_bytes());
                multiplier[c * 4..][..4].copy_from_slice(
                    &effective_multiplier(operand.multiplier[column]).to_ne_bytes(),
                );
                operand.write_row(column, &mut row);
                for step in 0..steps.count {
                    let (first, start) = steps.first(step);
                    let row = &row[first..depth.min(first + steps.len - start)];
                    let base = (step * tiles + c / COLUMNS) * steps.len * COLUMNS;
                    let place = |k: usize| base + (k / 4 * COLUMNS + c % COLUMNS) * 4 + k % 4;
                    // Groups of four, but for a step that begins within one.
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
        // An odd number of cache lines, so that the rows of a tile spread over all sets.
        let gathered = gathers.then(|| (steps.depth.div_ceil(64) | 1) * 64);
        let block_rows = match gathered {
            Some(bytes) => (GATHERED_BYTES / bytes).clamp(2 * ROWS, MOST_ROWS),
            None => MOST_ROWS,
        };
        Self {
            requantize: requantize.clone(),
            columns,
            packed,
            panel_bytes,
            steps,
            taps,
            channels,
            gathered,
            block_rows: block_rows / (2 * ROWS) * (2 * ROWS),
        }
    }

    /// Copies `rows` into `scratch`, the taps of each behind each other.
    ///
    /// # Safety
    /// Needs AVX-512 BW; `rows` as for [`Packed::multiply`].
    #[target_feature(enable = "avx512f,avx512bw")]
    unsafe fn gather(&self, rows: &Rows<'_>, scratch: &mut [u8], stride: usize) {
        assert!(scratch.len() >= rows.len * stride, "scratch memory for all gathered rows");
        let (whole, rest) = (self.channels / 64 * 64, self.channels % 64);
        let mask = (1 << rest) - 1;
        for (i, to) in scratch.chunks_exact_mut(stride).take(rows.len).enumerate() {
            for tap in 0..self.taps {
                // SAFETY: `channels` bytes are read at each tap, as the caller promised; all taps'
                // fit into the stride.
                unsafe {
                    let from = rows.taps[tap * rows.capacity + i].cast::<i8>();
                    let to = to.as_mut_ptr().add(tap * self.channels).cast::<i8>();
                    for k in (0..whole).step_by(64) {
                        _mm512_storeu_epi8(to.add(k), _mm512_loadu_epi8(from.add(k)));
                    }
                    if rest > 0 {
                        let bytes = _mm512_maskz_loadu_epi8(mask, from.add(whole));
                        _mm512_mask_storeu_epi8(to.add(whole), mask, bytes);
                    }
                }
            }
        }
    }

    /// [`Packed::multiply`] for rows that begin every `stride` bytes from `start` on.
    ///
    /// # Safety
    /// Needs AMX-INT8 and AVX-512 BW and VL; each row has [`Steps::depth`] readable bytes; outputs
    /// as for [`Packed::multiply`].
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn u8i8_gemm_amx(
        &self,
        (start, stride, len): (*const u8, usize, usize),
        panels: Range<usize>,
        output: Output,
    ) {
        let Steps { len: step, count, .. } = self.steps;
        let epilogue = Epilogue::new(&self.requantize);
        let mut buffers = [MaybeUninit::<Aligned<[i32; 4 * TILE]>>::uninit(); 2];
        let buffers = [&raw mut buffers[0], &raw mut buffers[1]].map(<*mut _>::cast::<i32>);
        let mut pending: Option<Done> = None;
        let mut block = 0;
        Configuration::new(len.min(ROWS), step).load();
        for panel in panels {
            let packed = &self.packed.bytes()[panel * self.panel_bytes..];
            let first = panel * 2 * COLUMNS;
            let columns = (self.columns - first).min(2 * COLUMNS);
            let tiles = columns.div_ceil(COLUMNS);
            let mut call = Block {
                stride,
                bias: packed.as_ptr(),
                weights: packed[tiles * 2 * Lines::LEN..].as_ptr(),
                steps: count - 1,
                step,
                tile: step * COLUMNS,
                ahead: packed.as_ptr(),
                last: self.steps.depth.wrapping_sub(count * step),
            };
            for row in (0..len).step_by(2 * ROWS) {
                // The last tile begins early rather than be cut short.
                let rows =
                    |row: usize| start.wrapping_add(row.min(len.saturating_sub(ROWS)) * stride);
                let accumulators = buffers[block % 2];
                block += 1;
                let second = row + ROWS < len;
                // The first two blocks fetch half of the next panel each, later ones what is there.
                call.ahead = match row / (2 * ROWS) {
                    half @ (0 | 1) => {
                        packed.as_ptr().wrapping_add(self.panel_bytes + half * count * FETCHED)
                    }
                    _ => packed.as_ptr(),
                };
                // SAFETY: rows are within the input, and the panel has been packed for these steps
                // and tiles; the configuration fits both; a buffer holds four tiles.
                unsafe {
                    match (second, tiles) {
                        (true, 2) => call.two_by_two(rows(row), rows(row + ROWS), accumulators),
                        (true, _) => call.two_by_one(rows(row), rows(row + ROWS), accumulators),
                        (false, 2) => call.one_by_two(rows(row), accumulators),
                        (false, _) => call.one_by_one(rows(row), accumulators),
                    }
                }
                let done = Done {
                    accumulators,
                    multipliers: packed[tiles * Lines::LEN..].as_ptr().cast(),
                    output: Output { start: output.at(row, first), ..output },
                    columns,
                    rows: len - row,
                    skip: [row, row + ROWS].map(|row| row - row.min(len.saturating_sub(ROWS))),
                };
                if let Some(done) = pending.replace(done) {
                    // SAFETY: all of its accumulators have been stored, and its outputs are the
                    // caller's.
                    unsafe { done.requantize(&epilogue) };
                }
            }
        }
        release();
        if let Some(done) = pending {
            // SAFETY: as above.
            unsafe { done.requantize(&epilogue) };
        }
    }
}

impl Packed for Weights {
    fn panels(&self) -> usize {
        self.columns.div_ceil(2 * COLUMNS)
    }

    fn block_rows(&self) -> usize {
        self.block_rows
    }

    fn scratch_bytes(&self) -> usize {
        // Up to a line more, to begin at one.
        self.gathered.map_or(0, |stride| self.block_rows * stride + 63)
    }

    unsafe fn multiply(
        &self,
        rows: &Rows<'_>,
        panels: Range<usize>,
        output: Output,
        scratch: &mut [u8],
    ) {
        if rows.len == 0 {
            return;
        }
        // SAFETY: the token given to `new` proves the instructions; rows and outputs are as the
        // caller promised. Rows that are not gathered lie in order.
        unsafe {
            if let Some(stride) = self.gathered {
                let aligned = scratch.as_ptr().align_offset(64);
                let scratch = &mut scratch[aligned..];
                self.gather(rows, scratch, stride);
                self.u8i8_gemm_amx((scratch.as_ptr(), stride, rows.len), panels, output);
            } else {
                let start = rows.taps[0];
                let stride = if rows.len > 1 { rows.taps[1].addr() - start.addr() } else { 0 };
                self.u8i8_gemm_amx((start, stride, rows.len), panels, output);
            }
        }
    }
}
