//! From stored accumulators to outputs.

#[allow(clippy::wildcard_imports, reason = "intrinsics carry their namespace in their names")]
use std::arch::x86_64::*;

use super::super::Output;
use super::positions::{Positions, Walk};
use super::{COLUMNS, ROWS, TILE};
use crate::int8::requantize::avx512::Epilogue;

/// A block whose accumulators have been stored.
pub(super) struct Done {
    /// One or two tiles of columns for each of one or two tiles of rows.
    pub(super) accumulators: *const i32,
    pub(super) multipliers: *const f32,
    /// The first of the columns, of the first pixel.
    pub(super) output: Output,
    /// How many of the tiles' columns exist.
    pub(super) columns: usize,
    /// The position of the first row that no earlier block has computed.
    pub(super) first: usize,
}

impl Done {
    /// The walk has come to the first position.
    ///
    /// # Safety
    /// Needs AVX-512 BW and VL; accumulators and multipliers of these columns and rows must be
    /// readable, and their outputs writable.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    pub(super) unsafe fn requantize(
        &self,
        epilogue: &Epilogue,
        positions: &Positions,
        walk: &mut Walk,
    ) {
        let tiles = self.columns.div_ceil(COLUMNS);
        for tile in 0..2 {
            let first = self.first + tile * ROWS;
            let start = positions.tile(first);
            while let Some(run) = walk.next(positions, positions.len.min(first + ROWS)) {
                let skip = tile * tiles * TILE + (run.position - start) * COLUMNS;
                let output = Output { start: self.output.at(run.pixel, 0), ..self.output };
                // SAFETY: as the caller promised.
                unsafe {
                    let accumulators = self.accumulators.add(skip);
                    if tiles == 2 {
                        self.requantize_two(epilogue, accumulators, output, run.len);
                    } else {
                        self.requantize_one(epilogue, accumulators, output, run.len);
                    }
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
        // SAFETY: of the last row of an odd number both halves are the same; columns that do not
        // exist are masked. Buffers and headers are aligned to 64 bytes.
        unsafe {
            let left = _mm512_load_ps(self.multipliers);
            let right = _mm512_load_ps(self.multipliers.add(COLUMNS));
            let multipliers = [left, right, left, right];
            let mask = u32::MAX >> (32 - self.columns);
            let (mut p, mut a) = (accumulators, output.at(0, 0).cast::<i8>());
            for _ in 0..rows / 2 {
                let q = p.add(COLUMNS);
                let accumulators = [
                    _mm512_load_si512(p.cast()),
                    _mm512_load_si512(p.add(TILE).cast()),
                    _mm512_load_si512(q.cast()),
                    _mm512_load_si512(q.add(TILE).cast()),
                ];
                let bytes = epilogue.apply_fitting(accumulators, multipliers);
                let b = a.wrapping_add(output.stride);
                _mm256_mask_storeu_epi8(a, mask, _mm512_castsi512_si256(bytes));
                _mm256_mask_storeu_epi8(b, mask, _mm512_extracti64x4_epi64::<1>(bytes));
                (p, a) = (q.add(COLUMNS), b.wrapping_add(output.stride));
            }
            if rows % 2 == 1 {
                let last = [_mm512_load_si512(p.cast()), _mm512_load_si512(p.add(TILE).cast())];
                let bytes =
                    epilogue.apply_fitting([last[0], last[1], last[0], last[1]], multipliers);
                _mm256_mask_storeu_epi8(a, mask, _mm512_castsi512_si256(bytes));
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
