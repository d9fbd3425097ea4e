//! The search for the range that loses least.
//!
//! PyTorch's `HistogramObserver._non_linear_param_search`, which follows caffe2's norm minimization:
//! starting from the whole range, outliers are given up from the end that has fewer, as long as the
//! expected squared error of quantizing to 256 steps does not grow. Steps, roundings and sums are
//! taken in PyTorch's order, so that the search ends at the same bin.

use super::super::range::Range;

/// The integers that the error is computed for: those of 8 bits, also where the range is reduced.
const STEPS: f32 = 256.0;

/// How much of all values is given up at a time.
const GRANULARITY: f64 = 1e-5;

/// The part of `range` to quantize with, for values of which `counts` fell into equal bins.
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
    // The first bin that reaches the lower quantile and the last that does not exceed the upper one:
    // the quantiles only move inwards, and so do the bins.
    let (mut left, mut right) = (0, end);
    let mut least = f64::INFINITY;
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
        // The last bin may have moved in past `left`.
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
        if error > least {
            break;
        }
        least = error;
        (start, end) = (next_start, next_end);
    }
    let bin_width = range.width() / counts.len() as f32;
    Range {
        min: range.min + bin_width * start as f32,
        max: range.min + bin_width * (end + 1) as f32,
    }
}

/// The expected squared error of quantizing, with values spread evenly within their bins.
struct Norm {
    bin_width: f64,
    /// Count per width, of each bin.
    densities: Vec<f32>,
}

impl Norm {
    fn new(counts: &[f32], range: Range) -> Self {
        let bin_width = (f64::from(range.max) - f64::from(range.min)) / counts.len() as f64;
        // Only comparisons of errors matter, and a power of two changes none of them. With bins about
        // 1 wide, the cubes of wide and narrow ranges stay within f32; PyTorch's do not.
        let bin_width = bin_width / 2f64.powi(bin_width.log2().floor() as i32);
        let densities = counts.iter().map(|count| count / bin_width as f32).collect();
        Self { bin_width, densities }
    }

    /// The error of mapping the bins from `start` to `end` onto 256 steps.
    ///
    /// A bin spans parts of one or more steps. Its error is the integral of the squared distance to
    /// the middle of the step: over the rest of the step that it begins in, over the steps that it
    /// covers whole, and over the part of the step that it ends in.
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

/// The step that `x` lies in; values outside belong to the first or last.
#[inline]
fn step_at(x: f32, step: f32) -> f32 {
    // PyTorch takes the floor of the exact quotient. In f64 the quotient of two f32 never rounds up
    // to a whole number, and below 0 the floor is clamped away.
    let quotient = f64::from(x) / f64::from(step);
    quotient.clamp(0.0, f64::from(STEPS - 1.0)) as i32 as f32
}

/// The integral of x² from `begin` to `end`.
#[inline]
fn cubes(begin: f32, end: f32) -> f32 {
    (end * end * end - begin * begin * begin) / 3.0
}

/// Sums as `torch.sum` does on CPUs with 256-bit vectors: 32 running sums, each in blocks of 16
/// whose sums are summed in blocks of 16 in turn.
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
        // A bell with a long tail to the right.
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
    fn sums_of_any_length_are_near_the_exact_sum() {
        for len in 0..200u16 {
            let values: Vec<f32> = (0..len).map(|i| 1.0 / (1.0 + f32::from(i))).collect();
            let exact: f64 = values.iter().map(|&x| f64::from(x)).sum();
            assert!((f64::from(pairwise_sum(&values)) - exact).abs() < 1e-5, "{len}");
        }
    }
}
