//! The two passes of resampling, as every instruction set has them, and their arithmetic.

use std::ops::Range;

/// Fractional bits of a weight: eight bits of pixel and two of headroom leave 22 of 32.
pub(crate) const PRECISION_BITS: u32 = 32 - 8 - 2;
pub(crate) const HALF: i32 = 1 << (PRECISION_BITS - 1);
pub(crate) const CHANNELS: usize = 3;

/// The weights of one axis: which input positions make an output position, and how much of each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taps {
    /// First input position of each output position.
    pub(crate) starts: Vec<usize>,
    /// `per_output` weights for each output position, zeros after the last one it has.
    pub(crate) weights: Vec<i32>,
    pub(crate) per_output: usize,
    /// How many positions the whole axis loses.
    pub(super) shrunk_by: i64,
}

impl Taps {
    /// Weights that resize an axis of `input` positions to `output`, for the output positions of
    /// `range`.
    ///
    /// # Panics
    /// `input` or `output` is zero, or `range` leaves `0..output`.
    pub fn bilinear(input: usize, output: usize, range: Range<usize>) -> Self {
        assert!(input > 0 && output > 0, "an axis of {input} positions resized to {output}");
        assert!(
            range.start <= range.end && range.end <= output,
            "positions {range:?} of an axis of {output}"
        );
        let scale = input as f64 / output as f64;
        let support = scale.max(1.0);
        let sharpness = 1.0 / support;
        let windows: Vec<(usize, Vec<i32>)> = range
            .map(|position| {
                let center = (position as f64 + 0.5) * scale;
                let first = (center - support + 0.5).max(0.0) as usize;
                let end = ((center + support + 0.5) as usize).min(input);
                let triangle = |x: usize| {
                    let distance = (x as f64 - center + 0.5) * sharpness;
                    (1.0 - distance.abs()).max(0.0)
                };
                let total: f64 = (first..end).map(triangle).sum();
                let fixed = |x| (0.5 + triangle(x) / total * f64::from(1 << PRECISION_BITS)) as i32;
                (first, (first..end).map(fixed).collect())
            })
            .collect();
        let per_output = windows.iter().map(|(_, weights)| weights.len()).max().unwrap_or(0);
        let shrunk_by = input as i64 - output as i64;
        let mut taps = Self { starts: Vec::new(), weights: Vec::new(), per_output, shrunk_by };
        for (first, weights) in windows {
            // Windows padded to one length keep inside the input, so kernels may read all of them.
            let start = first.min(input - per_output);
            let at = taps.weights.len() + first - start;
            taps.starts.push(start);
            taps.weights.resize(taps.weights.len() + per_output, 0);
            taps.weights[at..at + weights.len()].copy_from_slice(&weights);
        }
        taps
    }

    /// How many output positions there are.
    pub fn len(&self) -> usize {
        self.starts.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// The input positions that any output position needs.
    pub fn input_range(&self) -> Range<usize> {
        let start = self.starts.iter().min().copied().unwrap_or(0);
        let last = self.starts.iter().max().copied().unwrap_or(0);
        start..if self.is_empty() { start } else { last + self.per_output }
    }

    pub(crate) fn row(&self, position: usize) -> (usize, &[i32]) {
        let at = position * self.per_output;
        (self.starts[position], &self.weights[at..at + self.per_output])
    }
}

/// A pass along each axis, with the columns' weights prepared.
pub(crate) trait Passes {
    /// One row from `source`, which begins with the pixel that the taps call `first`.
    fn horizontal(&self, source: &[u8], first: usize, out: &mut [u8]);

    /// One row from those that begin every `stride` bytes of `lines`.
    fn vertical(&self, lines: &[u8], stride: usize, weights: &[i32], out: &mut [u8]);
}

/// An output value from the sum of weighted ones.
pub(crate) fn round(sum: i32) -> u8 {
    (sum >> PRECISION_BITS).clamp(0, 255) as u8
}

/// One output value from the values of its column.
pub(crate) fn weighted<'a>(column: impl Iterator<Item = &'a u8>, weights: &[i32]) -> u8 {
    let sum: i32 = column.zip(weights).map(|(&value, &weight)| i32::from(value) * weight).sum();
    round(HALF + sum)
}
