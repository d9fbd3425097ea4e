//! AMX products of rows that are at equal distances in memory, or are copied so that they are
//! (im2row).

use std::arch::x86_64::*;
use std::ops::Range;

use super::panels::Panels;
use super::permission::Permission;
use super::positions::Positions;
use super::sizes::{BLOCK_BYTES, ROWS};
use super::steps::Steps;
use crate::int8::gemm::kernel::{MAX_ROWS, Output, Packed, Rows};
use crate::int8::pack::Operand;
use crate::int8::requantize::Requantize;

/// Packed panels of weights, and how the rows that they are multiplied with are laid out.
#[derive(Debug)]
pub(super) struct Weights {
    panels: Panels,
    /// Offset of each step in a row.
    offsets: Vec<usize>,
    taps: usize,
    channels: usize,
    /// Bytes from one copied row to the next; `None` if rows are at equal distances and read in
    /// place.
    gathered: Option<usize>,
    block_rows: usize,
}

impl Weights {
    /// Packs the weights; `gathers` says that rows are not at equal distances and have to be
    /// copied.
    pub(super) fn new(
        permission: Permission,
        operand: &Operand<'_>,
        requantize: &Requantize,
        gathers: bool,
    ) -> Self {
        let &Operand { channels, taps, .. } = operand;
        let gathers = gathers || taps > 1;
        let depth = taps * channels;
        let readable = if gathers { depth.next_multiple_of(4) } else { depth };
        let steps = Steps::in_order(depth, readable);
        // An odd number of cache lines, so that the rows of a tile are spread over all cache sets.
        let gathered = gathers.then(|| (readable.div_ceil(64) | 1) * 64);
        let block_rows = match gathered {
            Some(bytes) => (BLOCK_BYTES / bytes).clamp(2 * ROWS, MAX_ROWS),
            None => MAX_ROWS,
        };
        Self {
            offsets: steps.offsets(|_| 0).collect(),
            panels: Panels::new(permission, operand, requantize, steps),
            taps,
            channels,
            gathered,
            block_rows: block_rows / (2 * ROWS) * (2 * ROWS),
        }
    }

    /// Copies `rows` into `scratch`, with the taps of each row one after another (im2row).
    ///
    /// # Safety
    /// The CPU must support AVX-512 BW; `rows` must be as for [`Packed::multiply`].
    #[target_feature(enable = "avx512f,avx512bw")]
    unsafe fn gather(&self, rows: &Rows<'_>, scratch: &mut [u8], stride: usize) {
        let needed = rows.len * stride;
        assert!(scratch.len() >= needed, "scratch has {} bytes of {needed}", scratch.len());
        let (whole, rest) = (self.channels / 64 * 64, self.channels % 64);
        let mask = (1 << rest) - 1;
        for (i, to) in scratch.chunks_exact_mut(stride).take(rows.len).enumerate() {
            for tap in 0..self.taps {
                // SAFETY: the caller guarantees that `channels` bytes at each pointer are valid for
                // reads; the mask keeps the last vector within them. `to` has `stride` bytes, and
                // all taps together have at most as many.
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
}

impl Packed for Weights {
    fn panels(&self) -> usize {
        self.panels.count()
    }

    fn block_rows(&self) -> usize {
        self.block_rows
    }

    fn scratch_bytes(&self) -> usize {
        // 63 bytes more than the rows, for alignment to a cache line.
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
        // SAFETY: the token passed to `new` proves that the CPU has AMX and AVX-512. `rows` and
        // `output` are as the caller guarantees. The steps read `readable` bytes of each row: a
        // copied row has `stride` bytes, which are no fewer, and of a row in place they are its
        // channels only.
        unsafe {
            let positions = if let Some(stride) = self.gathered {
                let aligned = scratch.as_ptr().align_offset(64);
                let scratch = &mut scratch[aligned..];
                self.gather(rows, scratch, stride);
                Positions::in_order(scratch.as_ptr(), stride, rows.len)
            } else {
                let start = rows.taps[0];
                let stride = if rows.len > 1 { rows.taps[1].addr() - start.addr() } else { 0 };
                Positions::in_order(start, stride, rows.len)
            };
            self.panels.u8i8_gemm_amx(&positions, &self.offsets, panels, output);
        }
    }
}
