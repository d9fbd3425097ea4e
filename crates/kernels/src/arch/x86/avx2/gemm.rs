//! Exact int8 matrix products with AVX2: both operands are widened to i16 for `vpmaddwd`.
//!
//! `vpmaddubsw` would need fewer instructions, but saturates: 2 · 255 · 127 > 32,767.
//!
//! Rows are widened once for all panels, a block of rows at a time, into a buffer on the stack.
//! Weights are widened when they are packed, unless they then are so large that reading them takes
//! longer than widening them in each tile.

use std::arch::x86_64::*;
use std::mem::MaybeUninit;
use std::ops::Range;

use super::requantize::Epilogue;
use super::token::Avx2;
use crate::arch::x86::panels::{Panel, for_rows, last_step, position};
use crate::int8::gemm::kernel::{Output, Packed, Rows};
use crate::int8::pack::Operand;
use crate::int8::requantize::{Requantize, effective_multiplier};
use crate::mem::{AlignedSlice, LINE};

/// Number of columns of a vector of accumulators.
const VECTOR: usize = 8;
/// Maximum number of vectors of a panel.
const VECTORS: usize = 2;
/// Maximum number of columns of a panel (nr).
const PANEL: usize = VECTORS * VECTOR;
/// Number of rows of the largest micro-kernel (mr): 12 accumulators, two vectors of weights, one
/// activation and one product need all 16 registers.
const ROWS: usize = 6;
/// Maximum number of rows that are widened together: all of a 7x7 image, so that the many weights
/// of such layers are read only once.
const WIDENED_ROWS: usize = 16 * ROWS;
/// Minimum number of weights that are packed as i8: with 16 bits, they would fill half of a
/// second-level cache of 2 MiB, and would be read from the next level in every run.
const NARROW_FROM: usize = 512 * 1024;
/// Number of values of the buffer of widened rows. Its 64 KiB are a small part of a thread's stack
/// (2 MiB by default) and at most a quarter of the second-level cache.
const BUFFER: usize = 32 * 1024;

/// Packed panels: `bias[n] multiplier[n] weight[taps][steps][2][n][2]`, where `n` is 8 times the
/// number of vectors of the panel. Weights are i16, or i8 if there are at least [`NARROW_FROM`].
#[derive(Debug)]
pub(super) struct Weights {
    requantize: Requantize,
    panels: Vec<Panel>,
    packed: AlignedSlice<u8>,
    taps: usize,
    channels: usize,
    kernels: &'static Kernels,
}

/// Number of values of a widened row, in which each tap has a multiple of four.
fn widened(taps: usize, channels: usize) -> usize {
    taps * channels.next_multiple_of(4)
}

impl Weights {
    /// Whether at least one widened row fits into the buffer.
    pub(super) fn covers(operand: &Operand<'_>) -> bool {
        widened(operand.taps, operand.channels) <= BUFFER
    }

    pub(super) fn new(_: Avx2, operand: &Operand<'_>, requantize: &Requantize) -> Self {
        let &Operand { columns, channels, taps, .. } = operand;
        let steps = channels.div_ceil(4);
        let narrow = columns * channels * taps >= NARROW_FROM;
        let weight_bytes = if narrow { size_of::<i8>() } else { size_of::<i16>() };
        let mut panels = Vec::new();
        let mut offset = 0;
        for first in (0..columns).step_by(PANEL) {
            let columns = PANEL.min(columns - first);
            let vectors = columns.div_ceil(VECTOR);
            panels.push(Panel { vectors, first, columns, offset });
            let bytes = vectors * VECTOR * (8 + taps * steps * 4 * weight_bytes);
            offset += bytes.next_multiple_of(LINE);
        }
        let mut packed = AlignedSlice::zeros(offset);
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
                for tap in 0..taps {
                    for channel in 0..channels {
                        let (step, byte) = position(channel, channels);
                        // An i8 is the lower byte of the i16 that it is widened to.
                        let weight = i16::from(operand.at(column, tap, channel)).to_le_bytes();
                        let pair = (tap * steps + step) * 2 + byte / 2;
                        let place = (pair * width + c) * 2 + byte % 2;
                        weights[place * weight_bytes..][..weight_bytes]
                            .copy_from_slice(&weight[..weight_bytes]);
                    }
                }
            }
        }
        let kernels = if narrow {
            &NARROW
        } else if operand.products_fit() {
            &FITTING
        } else {
            &CLAMPING
        };
        Self { requantize: requantize.clone(), panels, packed, taps, channels, kernels }
    }

    /// Implements [`Packed::multiply`].
    ///
    /// # Safety
    /// The CPU must support AVX2; the arguments must be as for [`Packed::multiply`].
    #[target_feature(enable = "avx2")]
    unsafe fn widen_and_multiply(&self, rows: &Rows<'_>, panels: Range<usize>, output: Output) {
        let depth = widened(self.taps, self.channels);
        #[expect(clippy::large_stack_arrays, reason = "running a layer must not allocate memory")]
        let mut buffer = [const { MaybeUninit::<i16>::uninit() }; BUFFER];
        let buffer = &mut buffer[..rows.len * depth];
        for (i, buffer) in buffer.chunks_exact_mut(depth).enumerate() {
            let taps = buffer.chunks_exact_mut(self.channels.next_multiple_of(4));
            for (tap, buffer) in taps.enumerate() {
                let row = rows.taps[tap * rows.capacity + i];
                // SAFETY: the caller guarantees that the row has `channels` bytes, and `buffer` has
                // room for the next multiple of four values.
                unsafe { widen(row, self.channels, buffer.as_mut_ptr().cast()) };
            }
        }
        // Tiles of the largest micro-kernel, then one of the remaining rows.
        let (tiles, rest) = (rows.len / ROWS, rows.len % ROWS);
        let first_of_rest = rows.len - rest;
        for panel in &self.panels[panels] {
            let kernels = &self.kernels[panel.vectors - 1];
            let output = output.from(0, panel.first);
            let mut call = Tiles {
                count: tiles,
                rows: buffer.as_ptr().cast(),
                depth,
                panel: self.packed[panel.offset..].as_ptr(),
                requantize: &self.requantize,
                output,
                columns: panel.columns,
            };
            // SAFETY: the tiles' rows have been written to the buffer above; the panel was packed
            // for rows of this depth; the caller guarantees the outputs.
            unsafe {
                if tiles > 0 {
                    kernels[ROWS - 1](&call);
                }
                if rest > 0 {
                    call.count = 1;
                    call.rows = buffer[first_of_rest * depth..].as_ptr().cast();
                    call.output = output.from(first_of_rest, 0);
                    kernels[rest - 1](&call);
                }
            }
        }
    }
}

impl Packed for Weights {
    fn panels(&self) -> usize {
        self.panels.len()
    }

    fn block_rows(&self) -> usize {
        // As many rows as fit into the buffer, in whole tiles if there is at least one.
        let rows = (BUFFER / widened(self.taps, self.channels)).min(WIDENED_ROWS);
        if rows > ROWS { rows / ROWS * ROWS } else { rows }
    }

    fn block_rows_of(&self, rows: usize) -> usize {
        // Blocks of equal size, because a block of only a few rows would read all weights too.
        let max_rows = self.block_rows();
        let blocks = rows.div_ceil(max_rows).max(1);
        rows.div_ceil(blocks).next_multiple_of(ROWS).min(max_rows)
    }

    unsafe fn multiply(&self, rows: &Rows<'_>, panels: Range<usize>, output: Output, _: &mut [u8]) {
        // SAFETY: the token passed to `new` proves AVX2; the caller guarantees the rest.
        unsafe { self.widen_and_multiply(rows, panels, output) }
    }
}

/// Widens a row to steps of four values; see [`position`] for the last one.
///
/// # Safety
/// The CPU must support AVX2. `row` must be valid for reads of `channels` bytes, and `output` for
/// writes of the next multiple of four values.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn widen(row: *const u8, channels: usize, output: *mut i16) {
    let mut k = 0;
    // SAFETY: each load is within the `channels` bytes (see `last_step` for the last one), and each
    // store within the next multiple of four values.
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
struct Tiles<'a> {
    /// Number of tiles, one below the other.
    count: usize,
    /// Rows of `depth` values, without gaps.
    rows: *const i16,
    /// Number of values of a row: a multiple of four.
    depth: usize,
    panel: *const u8,
    requantize: &'a Requantize,
    output: Output,
    columns: usize,
}

type TilesFn = unsafe fn(&Tiles<'_>);

/// The micro-kernels, by number of vectors and number of rows, each minus one.
type Kernels = [[TilesFn; ROWS]; VECTORS];

macro_rules! kernels {
    ($weight:ty, $fitting:literal: $($rows:literal)*) => {
        [
            [$(u8i8_gemm_avx2::<$weight, $rows, 1, $fitting>),*],
            [$(u8i8_gemm_avx2::<$weight, $rows, 2, $fitting>),*],
        ]
    };
}

/// For i16 weights, if no product of an accumulator and its multiplier overflows.
static FITTING: Kernels = kernels!(i16, true: 1 2 3 4 5 6);
/// For i16 weights.
static CLAMPING: Kernels = kernels!(i16, false: 1 2 3 4 5 6);
/// For i8 weights, whose columns are so long that the clamp hardly matters.
static NARROW: Kernels = kernels!(i8, false: 1 2 3 4 5 6);

/// The type of packed weights.
trait Weight {
    /// Loads 16 weights as i16.
    ///
    /// # Safety
    /// The CPU must support AVX2. `from` must be valid for reads of 16 weights and aligned to their
    /// size in bytes.
    unsafe fn load(from: *const u8) -> __m256i;
}

impl Weight for i16 {
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn load(from: *const u8) -> __m256i {
        // SAFETY: the caller guarantees 32 aligned bytes.
        unsafe { _mm256_load_si256(from.cast()) }
    }
}

impl Weight for i8 {
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn load(from: *const u8) -> __m256i {
        // SAFETY: the caller guarantees 16 aligned bytes.
        unsafe { _mm256_cvtepi8_epi16(_mm_load_si128(from.cast())) }
    }
}

/// Multiplies `R` rows with `V` vectors of 8 columns, for each tile.
///
/// `FITTING` says that no product of an accumulator and its multiplier overflows.
///
/// # Safety
/// - The CPU must support AVX2.
/// - `rows` must have `R` rows for each tile.
/// - `panel` must have been packed for rows of this depth with `V` vectors and weights of type `W`.
/// - `output` must be valid for writes of `columns` (at most `8 * V`, more than `8 * (V - 1)`) outputs of
///   each row.
#[target_feature(enable = "avx2")]
unsafe fn u8i8_gemm_avx2<W: Weight, const R: usize, const V: usize, const FITTING: bool>(
    tiles: &Tiles<'_>,
) {
    let header = tiles.panel;
    let stride = tiles.depth * size_of::<i16>();
    let epilogue = Epilogue::new(tiles.requantize);
    let last = V - 1;
    let whole = tiles.columns == V * VECTOR;
    // Bytes of the weights for a pair of channels of one vector, and of all weights of a panel.
    let (vector, panel) = (VECTOR * 2 * size_of::<W>(), tiles.depth * V * VECTOR * size_of::<W>());
    // SAFETY: the panel is aligned to 64 bytes. Its header has `V` vectors of biases and as many of
    // multipliers, followed by `V` vectors of weights for each pair of channels. Of each row, only
    // its `depth` values are read. Whole vectors are written only if all columns exist; the caller
    // guarantees that the outputs are valid for writes.
    unsafe {
        let multiplier = header.add(V * 32);
        let m =
            [_mm256_load_ps(multiplier.cast()), _mm256_load_ps(multiplier.add(last * 32).cast())];
        let mut rows = tiles.rows.cast::<u8>();
        let mut output = tiles.output;
        for _ in 0..tiles.count {
            let zero = _mm256_setzero_si256();
            let mut bias = [zero; V];
            for (v, bias) in bias.iter_mut().enumerate() {
                *bias = _mm256_load_si256(header.add(v * 32).cast());
            }
            let mut acc = [bias; R];
            let mut weights = header.add(V * 64);
            let mut k = 0;
            while k < stride {
                let mut w = [zero; V];
                for (v, w) in w.iter_mut().enumerate() {
                    *w = W::load(weights.add(v * vector));
                }
                for_rows!(I in 0 1 2 3 4 5 => {
                    let x = rows.add(I * stride + k).cast::<i32>().read_unaligned();
                    let x = _mm256_set1_epi32(x);
                    acc[I][0] = _mm256_add_epi32(acc[I][0], _mm256_madd_epi16(x, w[0]));
                    if V > 1 {
                        let product = _mm256_madd_epi16(x, w[last]);
                        acc[I][last] = _mm256_add_epi32(acc[I][last], product);
                    }
                });
                // Prefetches the weights of the next panel into the second-level cache. For the
                // last panel, the address may be outside the allocation, which a prefetch
                // tolerates.
                _mm_prefetch::<_MM_HINT_T1>(weights.wrapping_add(panel).cast());
                weights = weights.add(V * vector);
                k += 4;
            }

            if output.accumulators {
                for_rows!(I in 0 1 2 3 4 5 => {
                    for (v, &acc) in acc[I].iter().enumerate() {
                        let lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
                        let columns = (tiles.columns - v * VECTOR).min(VECTOR) as i32;
                        let mask = _mm256_cmpgt_epi32(_mm256_set1_epi32(columns), lanes);
                        _mm256_maskstore_epi32(output.accumulator(I, v * VECTOR), mask, acc);
                    }
                });
                rows = rows.add(R * stride);
                output = output.from(R, 0);
                continue;
            }

            // If columns are missing, whole vectors are first stored to the stack. Copies of a
            // variable number of bytes are calls, which would spill the accumulators if they were
            // made here.
            let mut staged = [MaybeUninit::<[u8; 16]>::uninit(); R];
            let to =
                if whole { output } else { Output::new(staged.as_mut_ptr().cast(), PANEL, None) };
            // Four vectors of accumulators become 32 bytes: two rows of two vectors or four rows of
            // one. Missing rows are replaced by the last.
            macro_rules! requantize {
                ($acc:expr) => {{
                    let m = [m[0], m[last], m[0], m[last]];
                    if FITTING { epilogue.apply_fitting($acc, m) } else { epilogue.apply($acc, m) }
                }};
            }
            if V == 2 {
                for_rows!(I in 0 2 4 => {
                    let (a, b) = (acc[I], acc[if I + 1 < R { I + 1 } else { I }]);
                    let bytes = requantize!([a[0], a[last], b[0], b[last]]);
                    _mm_storeu_si128(to.at(I, 0).cast(), _mm256_castsi256_si128(bytes));
                    if I + 1 < R {
                        let bytes = _mm256_extracti128_si256::<1>(bytes);
                        _mm_storeu_si128(to.at(I + 1, 0).cast(), bytes);
                    }
                });
            } else {
                for_rows!(I in 0 4 => {
                    let (b, c, d) = (
                        if I + 1 < R { I + 1 } else { I },
                        if I + 2 < R { I + 2 } else { I },
                        if I + 3 < R { I + 3 } else { I },
                    );
                    let bytes = requantize!([acc[I][0], acc[b][0], acc[c][0], acc[d][0]]);
                    let (low, high) =
                        (_mm256_castsi256_si128(bytes), _mm256_extracti128_si256::<1>(bytes));
                    _mm_storel_epi64(to.at(I, 0).cast(), low);
                    if I + 1 < R {
                        _mm_storel_epi64(to.at(I + 1, 0).cast(), _mm_unpackhi_epi64(low, low));
                    }
                    if I + 2 < R {
                        _mm_storel_epi64(to.at(I + 2, 0).cast(), high);
                    }
                    if I + 3 < R {
                        let bytes = _mm_unpackhi_epi64(high, high);
                        _mm_storel_epi64(to.at(I + 3, 0).cast(), bytes);
                    }
                });
            }
            if !whole {
                for i in 0..R {
                    output.at(i, 0).copy_from_nonoverlapping(to.at(i, 0), tiles.columns);
                }
            }
            rows = rows.add(R * stride);
            output = output.from(R, 0);
        }
    }
}
