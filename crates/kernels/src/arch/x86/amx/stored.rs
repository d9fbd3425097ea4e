//! Requantizes the accumulators that tiles have stored to memory.

use std::arch::x86_64::*;

use super::positions::{PixelRuns, Positions};
use super::sizes::{COLUMNS, ROWS, TILE};
use crate::arch::x86::avx512vnni::add::AddEpilogue;
use crate::arch::x86::avx512vnni::requantize::{Epilogue, in_order};
use crate::int8::gemm::kernel::Output;

/// A block of accumulators in memory, and the place of its outputs.
pub(super) struct StoredBlock {
    /// One or two tiles of columns for each of one or two tiles of rows.
    pub(super) accumulators: *const i32,
    /// The multiplier of each column.
    pub(super) multipliers: *const f32,
    /// The output of the block's first column at the first pixel.
    pub(super) output: Output,
    /// Number of columns; the remaining columns of the last tile are unused.
    pub(super) columns: usize,
    /// Position of the first row that no earlier block has computed.
    pub(super) first: usize,
}

impl StoredBlock {
    /// Requantizes the block and writes its outputs, or its accumulators if those are asked for; `runs` must have come to the position `first`.
    ///
    /// `add` has the constants of the residual addition of `output`, if any.
    ///
    /// # Safety
    /// - The CPU must support AVX-512 BW and VL.
    /// - Accumulators and multipliers must be valid for reads for all tiles of the block, and
    ///   aligned to 64 bytes.
    /// - The outputs of all columns and pixels of the block must be valid for writes, and their
    ///   residuals for reads.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    pub(super) unsafe fn requantize(
        &self,
        epilogue: &Epilogue,
        add: Option<&AddEpilogue>,
        positions: &Positions,
        runs: &mut PixelRuns,
    ) {
        let tiles = self.columns.div_ceil(COLUMNS);
        for tile in 0..2 {
            let first = self.first + tile * ROWS;
            let start = positions.tile(first);
            while let Some(run) = runs.next(positions, positions.len.min(first + ROWS)) {
                let skip = tile * tiles * TILE + (run.position - start) * COLUMNS;
                if self.output.accumulators {
                    // SAFETY: as below.
                    unsafe { self.copy(self.accumulators.add(skip), run.pixel, run.len) };
                    continue;
                }
                let to = self.output.at(run.pixel, 0);
                // SAFETY: `run` consists of positions of this tile, whose accumulators start at
                // `skip`, and of pixels of the block; the caller guarantees that they and their
                // residuals are valid.
                unsafe {
                    let accumulators = self.accumulators.add(skip);
                    match (tiles, add.zip(self.output.added)) {
                        (2, None) => self.requantize_two(epilogue, accumulators, to, run.len),
                        (_, None) => self.requantize_one(epilogue, accumulators, to, run.len),
                        (_, Some((add, added))) => {
                            let residual =
                                added.start.wrapping_add(to.addr() - self.output.start.addr());
                            for half in 0..tiles {
                                self.requantize_and_add(
                                    (epilogue, add),
                                    (accumulators, half),
                                    (to, residual),
                                    run.len,
                                );
                            }
                        }
                    }
                }
            }
        }
    }

    /// Copies `rows` rows of accumulators, of which the first is that of `pixel`.
    ///
    /// # Safety
    /// As for [`StoredBlock::requantize`].
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn copy(&self, accumulators: *const i32, pixel: usize, rows: usize) {
        for first in (0..self.columns).step_by(COLUMNS) {
            let mask = u16::MAX >> (COLUMNS - (self.columns - first).min(COLUMNS));
            for row in 0..rows {
                // SAFETY: the rows of each tile are valid for reads and aligned to 64 bytes; columns
                // that do not exist are masked.
                unsafe {
                    let from = accumulators.add(first / COLUMNS * TILE + row * COLUMNS);
                    let to = self.output.accumulator(pixel + row, first);
                    _mm512_mask_storeu_epi32(to, mask, _mm512_load_si512(from.cast()));
                }
            }
        }
    }

    /// Requantizes `rows` rows of two tiles of columns.
    ///
    /// # Safety
    /// As for [`StoredBlock::requantize`], for two tiles of columns.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn requantize_two(
        &self,
        epilogue: &Epilogue,
        accumulators: *const i32,
        to: *mut u8,
        rows: usize,
    ) {
        // SAFETY: all `rows` rows of both tiles are valid for reads and aligned to 64 bytes, as are
        // the multipliers. If their number is odd, the last row is repeated in registers only.
        // Columns that do not exist are masked, so only existing outputs are written.
        unsafe {
            let left = _mm512_load_ps(self.multipliers);
            let right = _mm512_load_ps(self.multipliers.add(COLUMNS));
            let multipliers = [left, right, left, right];
            let mask = u32::MAX >> (32 - self.columns);
            let (mut p, mut a) = (accumulators, to.cast::<i8>());
            for _ in 0..rows / 2 {
                let q = p.add(COLUMNS);
                let accumulators = [
                    _mm512_load_si512(p.cast()),
                    _mm512_load_si512(p.add(TILE).cast()),
                    _mm512_load_si512(q.cast()),
                    _mm512_load_si512(q.add(TILE).cast()),
                ];
                let bytes = epilogue.apply_fitting(accumulators, multipliers);
                let b = a.wrapping_add(self.output.stride);
                _mm256_mask_storeu_epi8(a, mask, _mm512_castsi512_si256(bytes));
                _mm256_mask_storeu_epi8(b, mask, _mm512_extracti64x4_epi64::<1>(bytes));
                (p, a) = (q.add(COLUMNS), b.wrapping_add(self.output.stride));
            }
            if rows % 2 == 1 {
                let last = [_mm512_load_si512(p.cast()), _mm512_load_si512(p.add(TILE).cast())];
                let bytes =
                    epilogue.apply_fitting([last[0], last[1], last[0], last[1]], multipliers);
                _mm256_mask_storeu_epi8(a, mask, _mm512_castsi512_si256(bytes));
            }
        }
    }

    /// Requantizes `rows` rows of one tile of columns.
    ///
    /// # Safety
    /// As for [`StoredBlock::requantize`], for one tile of columns.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn requantize_one(
        &self,
        epilogue: &Epilogue,
        accumulators: *const i32,
        to: *mut u8,
        rows: usize,
    ) {
        // SAFETY: rows beyond the last are replaced by the last, so that only valid accumulators
        // are read and existing outputs written; columns that do not exist are masked. Accumulators
        // and multipliers are aligned to 64 bytes.
        unsafe {
            let multiplier = _mm512_load_ps(self.multipliers);
            let mask = u16::MAX >> (16 - self.columns);
            for row in (0..rows).step_by(4) {
                let four = [row, row + 1, row + 2, row + 3].map(|row| row.min(rows - 1));
                let bytes = epilogue.apply_fitting(rows_of(accumulators, four), [multiplier; 4]);
                store_rows(four.map(|row| self.place(to, row).cast()), mask, bytes);
            }
        }
    }

    /// Requantizes `rows` rows of one of the tiles of columns and adds the residual. `to` and
    /// `residual` point to the block's first column.
    ///
    /// # Safety
    /// As for [`StoredBlock::requantize`].
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn requantize_and_add(
        &self,
        (epilogue, add): (&Epilogue, &AddEpilogue),
        (accumulators, tile): (*const i32, usize),
        (to, residual): (*mut u8, *const u8),
        rows: usize,
    ) {
        // SAFETY: as in `requantize_one`; the same columns of the same rows of the residual are
        // read.
        unsafe {
            let accumulators = accumulators.add(tile * TILE);
            let multiplier = _mm512_load_ps(self.multipliers.add(tile * COLUMNS));
            let columns = (self.columns - tile * COLUMNS).min(COLUMNS);
            let mask = u16::MAX >> (16 - columns);
            let (to, residual) = (to.add(tile * COLUMNS), residual.add(tile * COLUMNS));
            for row in (0..rows).step_by(4) {
                let four = [row, row + 1, row + 2, row + 3].map(|row| row.min(rows - 1));
                let bytes =
                    epilogue.apply_fitting_in_lanes(rows_of(accumulators, four), [multiplier; 4]);
                let [a, b, c, d] =
                    four.map(|row| residual.wrapping_add(row * self.output.stride).cast::<i8>());
                let residuals = [
                    _mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(mask, a)),
                    _mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(mask, b)),
                    _mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(mask, c)),
                    _mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(mask, d)),
                ];
                let sums = in_order(add.apply_in_lanes(bytes, residuals));
                store_rows(four.map(|row| self.place(to, row).cast()), mask, sums);
            }
        }
    }

    /// Pointer to a row of outputs.
    fn place(&self, to: *mut u8, row: usize) -> *mut u8 {
        to.wrapping_add(row * self.output.stride)
    }
}

/// Loads four rows of a tile of accumulators.
///
/// # Safety
/// The rows must be valid for reads and aligned to 64 bytes.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn rows_of(accumulators: *const i32, [a, b, c, d]: [usize; 4]) -> [__m512i; 4] {
    // SAFETY: the caller guarantees that these rows are valid for reads and aligned.
    unsafe {
        [
            _mm512_load_si512(accumulators.add(a * COLUMNS).cast()),
            _mm512_load_si512(accumulators.add(b * COLUMNS).cast()),
            _mm512_load_si512(accumulators.add(c * COLUMNS).cast()),
            _mm512_load_si512(accumulators.add(d * COLUMNS).cast()),
        ]
    }
}

/// Stores the columns of `mask` of four rows.
///
/// # Safety
/// In each row, the columns of the mask must be valid for writes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn store_rows([a, b, c, d]: [*mut i8; 4], mask: u16, bytes: __m512i) {
    // SAFETY: only the columns of the mask are written, for which the caller guarantees validity.
    unsafe {
        _mm_mask_storeu_epi8(a, mask, _mm512_castsi512_si128(bytes));
        _mm_mask_storeu_epi8(b, mask, _mm512_extracti32x4_epi32::<1>(bytes));
        _mm_mask_storeu_epi8(c, mask, _mm512_extracti32x4_epi32::<2>(bytes));
        _mm_mask_storeu_epi8(d, mask, _mm512_extracti32x4_epi32::<3>(bytes));
    }
}
