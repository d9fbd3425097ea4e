//! From stored accumulators to outputs.

#[allow(clippy::wildcard_imports, reason = "intrinsics carry their namespace in their names")]
use std::arch::x86_64::*;

use super::super::Output;
use super::{COLUMNS, ROWS, TILE};
use crate::int8::requantize::avx512::Epilogue;

/// A block whose accumulators have been stored.
pub(super) struct Done {
    /// One or two tiles of columns for each of one or two tiles of rows.
    pub(super) accumulators: *const i32,
    pub(super) multipliers: *const f32,
    pub(super) output: Output,
    /// How many of the tiles' columns exist.
    pub(super) columns: usize,
    /// How many rows there are from the block's first one on, maybe beyond the block.
    pub(super) rows: usize,
    /// Rows at the start of each tile that belong to the tile before it.
    pub(super) skip: [usize; 2],
}

impl Done {
    /// # Safety
    /// Needs AVX-512 BW and VL; accumulators and multipliers of these columns and rows must be
    /// readable, and their outputs writable.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    pub(super) unsafe fn requantize(&self, epilogue: &Epilogue) {
        let tiles = self.columns.div_ceil(COLUMNS);
        for (i, row) in [0, ROWS].into_iter().enumerate().take(self.rows.div_ceil(ROWS)) {
            // SAFETY: as the caller promised.
            unsafe {
                let accumulators = self.accumulators.add(i * tiles * TILE + self.skip[i] * COLUMNS);
                let output = Output { start: self.output.at(row, 0), ..self.output };
                let rows = (self.rows - row).min(ROWS);
                if tiles == 2 {
                    self.requantize_two(epilogue, accumulators, output, rows);
                } else {
                    self.requantize_one(epilogue, accumulators, output, rows);
                }
            }
        }
    }

    /// # Safety
    /// As for [`Done::requantize`], for two tiles of columns.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn requantize_two(
        &self,
        epilogue: &Epilogue,
        accumulators: *const i32,
        output: Output,
        rows: usize,
    ) {
        // SAFETY: rows beyond the last are taken to be the last; columns that do not exist are
        // masked. Buffers and headers are aligned to 64 bytes.
        unsafe {
            let left = _mm512_load_ps(self.multipliers);
            let right = _mm512_load_ps(self.multipliers.add(COLUMNS));
            let mask = u32::MAX >> (32 - self.columns);
            for row in (0..rows).step_by(2) {
                let next = (row + 1).min(rows - 1);
                let (p, q) = (accumulators.add(row * COLUMNS), accumulators.add(next * COLUMNS));
                let bytes = epilogue.apply_fitting(
                    [
                        _mm512_load_si512(p.cast()),
                        _mm512_load_si512(p.add(TILE).cast()),
                        _mm512_load_si512(q.cast()),
                        _mm512_load_si512(q.add(TILE).cast()),
                    ],
                    [left, right, left, right],
                );
                let [a, b] = [row, next].map(|row| output.at(row, 0).cast::<i8>());
                // In this order: where both are the same row, the first half is as good.
                _mm256_mask_storeu_epi8(a, mask, _mm512_castsi512_si256(bytes));
                _mm256_mask_storeu_epi8(b, mask, _mm512_extracti64x4_epi64::<1>(bytes));
            }
        }
    }

    /// # Safety
    /// As for [`Done::requantize`], for one tile of columns.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn requantize_one(
        &self,
        epilogue: &Epilogue,
        accumulators: *const i32,
        output: Output,
        rows: usize,
    ) {
        // SAFETY: as for two tiles.
        unsafe {
            let multiplier = _mm512_load_ps(self.multipliers);
            let mask = u16::MAX >> (16 - self.columns);
            for row in (0..rows).step_by(4) {
                let [a, b, c, d] = [row, row + 1, row + 2, row + 3].map(|row| row.min(rows - 1));
                let bytes = epilogue.apply_fitting(
                    [
                        _mm512_load_si512(accumulators.add(a * COLUMNS).cast()),
                        _mm512_load_si512(accumulators.add(b * COLUMNS).cast()),
                        _mm512_load_si512(accumulators.add(c * COLUMNS).cast()),
                        _mm512_load_si512(accumulators.add(d * COLUMNS).cast()),
                    ],
                    [multiplier; 4],
                );
                let output = |row: usize| output.at(row, 0).cast::<i8>();
                _mm_mask_storeu_epi8(output(a), mask, _mm512_castsi512_si128(bytes));
                _mm_mask_storeu_epi8(output(b), mask, _mm512_extracti32x4_epi32::<1>(bytes));
                _mm_mask_storeu_epi8(output(c), mask, _mm512_extracti32x4_epi32::<2>(bytes));
                _mm_mask_storeu_epi8(output(d), mask, _mm512_extracti32x4_epi32::<3>(bytes));
            }
        }
    }
}
