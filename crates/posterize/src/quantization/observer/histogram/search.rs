//! The search for the range with the smallest quantization error.
//!
//! It is PyTorch's `HistogramObserver._non_linear_param_search`, the norm minimization of Caffe2:
//! starting with the whole range, a quantile of the values is cut off on one side at a time, on the
//! side where more bins are removed, until the expected squared error of quantization to 256 steps
//! increases. All operations are in PyTorch's order, so that the search ends at the same bins.

use super::super::range::Range;

/// The number of quantization steps that the error is computed for. It is 256 even if the range of
/// integers is reduced, as in PyTorch.
const STEPS: f32 = 256.0;

/// The quantile that is cut off in each iteration.
const GRANULARITY: f64 = 1e-5;

/// Returns the part of `range` to quantize with; `counts` are the numbers of values in its bins.
pub(super) fn search(counts: &[f64], range: Range) -> Range {
    if range.min == range.max {
        return range;
    }
    let counts: Vec<f32> = counts.iter().map(|&count| count as f32).collect();
    let cumulated: Vec<f32> = counts
        .iter()
        .scan(0.0f64, |sum, &count| {
            *sum += f64::from(count);
            Some(*sum as f32)
        })
        .collect();
    let total = f64::from(pairwise_sum(&counts));
    let norm = Norm::new(&counts, range);

    let (mut start, mut end) = (0, counts.len() - 1);
    let (mut below, mut above) = (0.0, 1.0);
    // The first bin that reaches the lower quantile, and the last that does not exceed the upper one.
    // The quantiles only move inwards, and so do the bins.
    let (mut left, mut right) = (0, end);
    let mut min_error = f64::INFINITY;
    while below < above {
        let next_below = below + GRANULARITY;
        let next_above = above - GRANULARITY;
        let lower = (next_below * total) as f32;
        let upper = (next_above * total) as f32;
        left = left.max(start);
        right = right.min(end);
        while left < end && cumulated[left] < lower {
            left += 1;
        }
        while right > start && cumulated[right] > upper {
            right -= 1;
        }
        let (mut next_start, mut next_end) = (start, end);
        // The end may have moved below `left`.
        let reached = left.min(end);
        if reached - start > end - right.max(start) {
            next_start = reached;
            below = next_below;
        } else {
            next_end = right.max(start);
            above = next_above;
        }
        if (next_start, next_end) == (start, end) {
            continue;
        }
        let error = f64::from(norm.of(next_start, next_end));
        if error > min_error {
            break;
        }
        min_error = error;
        (start, end) = (next_start, next_end);
    }
    let bin_width = range.width() / counts.len() as f32;
    Range {
        min: range.min + bin_width * start as f32,
        max: range.min + bin_width * (end + 1) as f32,
    }
}

/// The expected squared error of quantization, if values are distributed uniformly within bins;
/// PyTorch's `_compute_quantization_error`.
struct Norm {
    bin_width: f64,
    /// The count of each bin divided by its width.
    densities: Vec<f32>,
}

impl Norm {
    fn new(counts: &[f32], range: Range) -> Self {
        let bin_width = (f64::from(range.max) - f64::from(range.min)) / counts.len() as f64;
        // Errors are only compared, which a power of two does not change. With a bin width near 1,
        // the cubes of wide and narrow ranges do not overflow or underflow an f32 as in PyTorch.
        let bin_width = bin_width / 2f64.powi(bin_width.log2().floor() as i32);
        let densities = counts.iter().map(|count| count / bin_width as f32).collect();
        Self { bin_width, densities }
    }

    /// Returns the error of quantizing the bins from `start` to `end` to 256 steps.
    ///
    /// The error of a bin is the integral of the squared distance to the center of the step, over the
    /// rest of the step that the bin begins in, all steps that are inside the bin, and the part of
    /// the step that the bin ends in.
    fn of(&self, start: usize, end: usize) -> f32 {
        let step = self.bin_width * (end - start + 1) as f64 / f64::from(STEPS);
        let half = (step / 2.0) as f32;
        let bin_width = self.bin_width as f32;
        let step = step as f32;
        let whole = cubes(-half, half);
        let first = -(start as i32);
        let errors: Vec<f32> = self
            .densities
            .iter()
            .zip(first..)
            .map(|(&density, bin)| {
                let bin_begin = bin as f32 * bin_width;
                let bin_end = bin_begin + bin_width;
                let step_of_begin = step_at(bin_begin, step);
                let step_of_end = step_at(bin_end, step);
                let begin = bin_begin - (step_of_begin + 0.5) * step;
                let end = bin_end - (step_of_end * step + half);
                let mut error = density * cubes(begin, half);
                error += (step_of_end - step_of_begin - 1.0) * (density * whole);
                error + density * cubes(-half, end)
            })
            .collect();
        pairwise_sum(&errors)
    }
}

/// Returns the step that contains `x`; the first or last step if it is outside.
#[inline]
fn step_at(x: f32, step: f32) -> f32 {
    // PyTorch's floor division is exact. The quotient of two f32 in f64 is never rounded up to an
    // integer, so that truncating it is exact too; negative quotients are clamped to 0.
    let quotient = f64::from(x) / f64::from(step);
    quotient.clamp(0.0, f64::from(STEPS - 1.0)) as i32 as f32
}

/// Returns the integral of x² from `begin` to `end`.
#[inline]
fn cubes(begin: f32, end: f32) -> f32 {
    (end * end * end - begin * begin * begin) / 3.0
}

/// Returns the sum in the order of `torch.sum` on CPUs with 256-bit vectors: 32 interleaved sums, each
/// a cascade of blocks of 16 (`aten/src/ATen/native/cpu/SumKernel.cpp`).
fn pairwise_sum(values: &[f32]) -> f32 {
    const LANES: usize = 8;
    const RUNS: usize = 4;
    const LEVELS: usize = 4;
    const BLOCK_BITS: usize = 4;
    let (rows, rest) = values.as_chunks::<{ LANES * RUNS }>();
    let mut sums = [[0.0f32; LANES * RUNS]; LEVELS];
    let add = |sum: &mut [f32; LANES * RUNS], row: &[f32; LANES * RUNS]| {
        for (sum, x) in sum.iter_mut().zip(row) {
            *sum += x;
        }
    };
    for (index, row) in rows.iter().enumerate() {
        add(&mut sums[0], row);
        let mut done = index + 1;
        for level in 1..LEVELS {
            if done % (1 << BLOCK_BITS) != 0 {
                break;
            }
            done >>= BLOCK_BITS;
            let full = std::mem::replace(&mut sums[level - 1], [0.0; LANES * RUNS]);
            add(&mut sums[level], &full);
        }
    }
    let [mut sum, upper @ ..] = sums;
    for level in &upper {
        add(&mut sum, level);
    }
    let (runs, _) = sum.as_chunks::<LANES>();
    let mut lanes = runs[0];
    let (vectors, scalars) = rest.as_chunks::<LANES>();
    for vector in vectors.iter().chain(&runs[1..]) {
        for (lane, x) in lanes.iter_mut().zip(vector) {
            *lane += x;
        }
    }
    lanes.iter().fold(scalars.iter().fold(0.0, |sum, x| sum + x), |sum, x| sum + x)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_search_ends_at_the_same_bins_at_every_magnitude() {
        // A bell curve with a long tail on the right.
        let counts: Vec<f64> = (0..2048)
            .map(|bin| {
                let x = f64::from(bin) / 300.0 - 2.0;
                (1e5 * (-x * x).exp() + 3.0 * (-x / 4.0).exp()).floor()
            })
            .collect();
        let at_one = search(&counts, Range { min: -1.0, max: 3.0 });
        assert!(at_one.max < 2.9, "{at_one:?}");
        for exponent in [-90, -40, -13, 5, 44, 90, 120] {
            let factor = 2f32.powi(exponent);
            let scaled = |range: Range| Range { min: range.min * factor, max: range.max * factor };
            let found = search(&counts, scaled(Range { min: -1.0, max: 3.0 }));
            assert_eq!(found, scaled(at_one), "times 2^{exponent}");
        }
    }

    #[test]
    fn a_few_values_at_the_lower_end_are_cut_off_as_in_pytorch() {
        let mut counts = vec![0.0; 2048];
        (counts[0], counts[2047]) = (1.0, 1.0);
        counts[896..1280].fill(1000.0);
        let found = search(&counts, Range { min: -1.0, max: 1.0 });
        // What `_non_linear_param_search` returns in PyTorch 2.15.
        assert_eq!(found, Range { min: -0.125, max: 1.0 });
    }

    #[test]
    fn pairwise_sums_of_any_length_are_close_to_the_exact_sum() {
        for len in 0..200u16 {
            let values: Vec<f32> = (0..len).map(|i| 1.0 / (1.0 + f32::from(i))).collect();
            let exact: f64 = values.iter().map(|&x| f64::from(x)).sum();
            assert!((f64::from(pairwise_sum(&values)) - exact).abs() < 1e-5, "{len}");
        }
    }
}
