//! Sums over the taps of depthwise windows, for rows of pixels.

use crate::f32::simd::{Kernel, Simd};
use crate::mem::AlignedSlice;

/// Number of outputs whose sums are kept in registers at once: a divisor of the widths of layers, 7
/// to 112, for 224x224 images.
const TILE: usize = 7;

/// A tap of a depthwise window: the line that it reads, the offset in it for the first output, and
/// the index of its weight.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tap {
    pub(super) line: usize,
    pub(super) offset: usize,
    pub(super) weight: usize,
}

/// Computes `count` outputs of all channels, `out_step` floats apart from `out` on.
///
/// Each output is the sum over the taps of the weight times the value that the tap reads, which is
/// `step` floats further for each output. `packed` has `weights` vectors for each vector of
/// channels.
///
/// # Safety
/// All values that the taps reach must be valid for reads. `channels` floats of each output must be
/// valid for writes, and no other thread may access them during the call.
pub(super) unsafe fn convolve_row<S: Simd>(
    simd: S,
    lines: &[*const f32],
    taps: &[Tap],
    packed: &AlignedSlice<f32>,
    weights: usize,
    channels: usize,
    step: usize,
    count: usize,
    out: *mut f32,
    out_step: usize,
) {
    assert!(packed.len() >= channels.div_ceil(S::LANES) * weights * S::LANES);
    assert!(taps.iter().all(|tap| tap.line < lines.len() && tap.weight < weights));
    simd.run(Convolve { lines, taps, packed, weights, channels, step, count, out, out_step });
}

struct Convolve<'a> {
    lines: &'a [*const f32],
    taps: &'a [Tap],
    packed: &'a [f32],
    weights: usize,
    channels: usize,
    step: usize,
    count: usize,
    out: *mut f32,
    out_step: usize,
}

impl<S: Simd> Kernel<S> for Convolve<'_> {
    #[inline(always)]
    fn call(self, simd: S) {
        let mut at = 0;
        // SAFETY: the caller of `convolve_row` guarantees that all outputs and their taps are
        // valid.
        unsafe {
            if self.count < TILE {
                while at < self.count {
                    outputs::<S, 1>(simd, &self, at);
                    at += 1;
                }
                return;
            }
            while at < self.count {
                // The last tile starts earlier if needed and computes some outputs again.
                at = at.min(self.count - TILE);
                outputs::<S, TILE>(simd, &self, at);
                at += TILE;
            }
        }
    }
}

/// Computes `T` outputs from index `at` on.
///
/// # Safety
/// As for [`convolve_row`]; these outputs must exist.
#[inline(always)]
unsafe fn outputs<S: Simd, const T: usize>(simd: S, row: &Convolve<'_>, at: usize) {
    let whole = row.channels / S::LANES;
    // SAFETY: the caller guarantees that the outputs and their taps are valid; a last vector that
    // is not whole is masked.
    unsafe {
        for vector in 0..whole {
            outputs_vector::<S, T, false>(simd, row, at, vector);
        }
        if whole * S::LANES < row.channels {
            outputs_vector::<S, T, true>(simd, row, at, whole);
        }
    }
}

/// Computes one vector of channels of `T` outputs.
///
/// # Safety
/// As for [`outputs`]; without `MASKED`, all lanes must be channels.
#[inline(always)]
#[expect(clippy::needless_range_loop, reason = "indices into both registers and memory")]
unsafe fn outputs_vector<S: Simd, const T: usize, const MASKED: bool>(
    simd: S,
    row: &Convolve<'_>,
    at: usize,
    vector: usize,
) {
    let channel = vector * S::LANES;
    let mask = simd.mask(row.channels - channel);
    let mut sums = [simd.splat(0.0); T];
    // SAFETY: the caller guarantees that the outputs and their taps are valid, and `convolve_row`
    // has checked the lines and weights of the taps and the length of `packed`.
    unsafe {
        let packed = row.packed.as_ptr().add(vector * row.weights * S::LANES);
        for tap in row.taps {
            let w = simd.load(packed.add(tap.weight * S::LANES));
            let from = row.lines.get_unchecked(tap.line).add(tap.offset + at * row.step + channel);
            for t in 0..T {
                let from = from.add(t * row.step);
                let x = if MASKED { simd.load_masked(from, mask) } else { simd.load(from) };
                sums[t] = simd.mul_add(x, w, sums[t]);
            }
        }
        let to = row.out.add(at * row.out_step + channel);
        for t in 0..T {
            if MASKED {
                simd.store_masked(to.add(t * row.out_step), sums[t], mask);
            } else {
                simd.store(to.add(t * row.out_step), sums[t]);
            }
        }
    }
}

/// The part of the weights' gradient that comes from one row of outputs.
pub(super) struct WeightRow<'a> {
    pub(super) lines: &'a [*const f32],
    pub(super) taps: &'a [Tap],
    pub(super) channels: usize,
    /// Floats from the values of one output to those of the next.
    pub(super) step: usize,
    pub(super) count: usize,
    /// The gradients of the outputs, `[count, channels]`.
    pub(super) grad: *const f32,
    /// The sums, `[taps, channels]`.
    pub(super) sums: *mut f32,
}

impl WeightRow<'_> {
    /// Adds the products of all outputs to the sums.
    ///
    /// # Safety
    /// All values that the taps reach and all gradients must be valid for reads. The sums of all
    /// taps must be valid for reads and writes, and no other thread may access them during the
    /// call.
    pub(super) unsafe fn run<S: Simd>(self, simd: S) {
        assert!(self.taps.iter().all(|tap| tap.line < self.lines.len()));
        simd.run(self);
    }
}

impl<S: Simd> Kernel<S> for WeightRow<'_> {
    #[inline(always)]
    fn call(self, simd: S) {
        let whole = self.channels / S::LANES;
        // SAFETY: the caller of `run` guarantees that the memory is valid; a last vector that is
        // not whole is masked.
        unsafe {
            for vector in 0..whole {
                weight_vector::<S, false>(simd, &self, vector);
            }
            if whole * S::LANES < self.channels {
                weight_vector::<S, true>(simd, &self, whole);
            }
        }
    }
}

/// Adds to the sums of one vector of channels.
///
/// # Safety
/// As for [`WeightRow::run`]; without `MASKED`, all lanes must be channels.
#[inline(always)]
unsafe fn weight_vector<S: Simd, const MASKED: bool>(simd: S, row: &WeightRow<'_>, vector: usize) {
    let mut tap = 0;
    // SAFETY: the caller guarantees that the memory is valid; each call is for taps that exist.
    unsafe {
        while tap + 9 <= row.taps.len() {
            weight_taps::<S, 9, MASKED>(simd, row, vector, tap);
            tap += 9;
        }
        while tap + 5 <= row.taps.len() {
            weight_taps::<S, 5, MASKED>(simd, row, vector, tap);
            tap += 5;
        }
        while tap < row.taps.len() {
            weight_taps::<S, 1, MASKED>(simd, row, vector, tap);
            tap += 1;
        }
    }
}

/// Adds to the sums of `T` taps from index `first` on.
///
/// # Safety
/// As for [`weight_vector`]; these taps must exist.
#[inline(always)]
#[expect(clippy::needless_range_loop, reason = "indices into both registers and memory")]
unsafe fn weight_taps<S: Simd, const T: usize, const MASKED: bool>(
    simd: S,
    row: &WeightRow<'_>,
    vector: usize,
    first: usize,
) {
    let channel = vector * S::LANES;
    let mask = simd.mask(row.channels - channel);
    let mut sums = [simd.splat(0.0); T];
    let mut from = [std::ptr::null::<f32>(); T];
    // SAFETY: the caller guarantees that the memory is valid, and `run` has checked the lines of
    // the taps.
    unsafe {
        for t in 0..T {
            let tap = row.taps.get_unchecked(first + t);
            from[t] = row.lines.get_unchecked(tap.line).add(tap.offset + channel);
        }
        for ox in 0..row.count {
            let grad = row.grad.add(ox * row.channels + channel);
            let g = if MASKED { simd.load_masked(grad, mask) } else { simd.load(grad) };
            for t in 0..T {
                let from = from[t].add(ox * row.step);
                let x = if MASKED { simd.load_masked(from, mask) } else { simd.load(from) };
                sums[t] = simd.mul_add(x, g, sums[t]);
            }
        }
        for t in 0..T {
            let tap = row.taps.get_unchecked(first + t).weight;
            let to = row.sums.add(tap * row.channels + channel);
            if MASKED {
                let before = simd.load_masked(to, mask);
                simd.store_masked(to, simd.add(before, sums[t]), mask);
            } else {
                simd.store(to, simd.add(simd.load(to), sums[t]));
            }
        }
    }
}
