//! The two passes of resampling that each instruction set implements, and their weights and
//! rounding.

use std::ops::Range;

use super::filter::Filter;

/// Fractional bits of a weight: of 32 bits, 8 are for the pixel and 2 for headroom.
pub(crate) const PRECISION_BITS: u32 = 32 - 8 - 2;
pub(crate) const HALF: i32 = 1 << (PRECISION_BITS - 1);
pub(crate) const CHANNELS: usize = 3;

/// The filter weights along one axis: for each output position, the input positions that contribute
/// to it and their weights.
///
/// ```
/// use posterize_kernels::resample::Taps;
///
/// // Each of the two output positions depends on its two input positions and one neighbour.
/// let taps = Taps::bilinear(4, 2, 0..2);
/// assert_eq!((taps.len(), taps.input_range()), (2, 0..4));
/// assert_eq!(Taps::bilinear(4, 2, 0..1).input_range(), 0..3);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taps {
    /// The first input position of each output position.
    pub(crate) starts: Vec<usize>,
    /// `per_output` weights in 22-bit fixed point for each output position; unused ones are 0.
    pub(crate) weights: Vec<i32>,
    pub(crate) per_output: usize,
    /// Input size minus output size of the whole axis.
    pub(super) shrunk_by: i64,
}

impl Taps {
    /// Makes the weights of a bilinear filter that resize an axis from `input` to `output` positions,
    /// for the output positions in `range`.
    ///
    /// # Panics
    /// If `input` or `output` is 0, or `range` is not within `0..output`.
    pub fn bilinear(input: usize, output: usize, range: Range<usize>) -> Self {
        Self::new(Filter::Bilinear, input, output, range)
    }

    /// Makes the weights of a filter that resize an axis from `input` to `output` positions, for the
    /// output positions in `range`.
    ///
    /// # Panics
    /// If `input` or `output` is 0, or `range` is not within `0..output`.
    pub fn new(filter: Filter, input: usize, output: usize, range: Range<usize>) -> Self {
        assert!(input > 0 && output > 0, "cannot resize an axis of {input} positions to {output}");
        assert!(
            range.start <= range.end && range.end <= output,
            "range {range:?} is not within the {output} output positions"
        );
        let windows = if filter == Filter::Nearest {
            nearest(input, output, range)
        } else {
            weighted_windows(filter, input, output, range)
        };
        let per_output = windows.iter().map(|(_, weights)| weights.len()).max().unwrap_or(0);
        let shrunk_by = input as i64 - output as i64;
        let mut taps = Self { starts: Vec::new(), weights: Vec::new(), per_output, shrunk_by };
        for (first, weights) in windows {
            // All windows get the same length, shifted to lie within the input, so that kernels may
            // read all `per_output` positions.
            let start = first.min(input - per_output);
            let at = taps.weights.len() + first - start;
            taps.starts.push(start);
            taps.weights.resize(taps.weights.len() + per_output, 0);
            taps.weights[at..at + weights.len()].copy_from_slice(&weights);
        }
        taps
    }

    /// Number of output positions.
    pub fn len(&self) -> usize {
        self.starts.len()
    }

    /// Whether there are no output positions.
    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// The range of input positions that the output positions depend on.
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

/// The first input position of an output position, and the weights from there on.
type Window = (usize, Vec<i32>);

/// Returns the windows of the filters with antialiasing, which are widened by the scale if the axis
/// shrinks.
fn weighted_windows(
    filter: Filter,
    input: usize,
    output: usize,
    range: Range<usize>,
) -> Vec<Window> {
    let scale = input as f64 / output as f64;
    let widened_by = scale.max(1.0);
    let support = filter.support() * widened_by;
    let sharpness = 1.0 / widened_by;
    let window = |position: usize| {
        let center = (position as f64 + 0.5) * scale;
        let first = (center - support + 0.5).max(0.0) as usize;
        let end = ((center + support + 0.5) as usize).min(input);
        let value = |x: usize| filter.value((x as f64 - center + 0.5) * sharpness);
        let total: f64 = (first..end).map(value).sum();
        let fixed = |x| {
            let weight = value(x) / total * f64::from(1 << PRECISION_BITS);
            (weight + 0.5_f64.copysign(weight)) as i32
        };
        (first, (first..end).map(fixed).collect())
    };
    range.map(window).collect()
}

/// Returns the windows of the nearest input positions. Pillow adds the scale once for each position,
/// and the rounding errors of that sum decide between two neighbours.
fn nearest(input: usize, output: usize, range: Range<usize>) -> Vec<Window> {
    let scale = input as f64 / output as f64;
    let centers = std::iter::successors(Some(scale * 0.5), |center| Some(center + scale));
    centers
        .skip(range.start)
        .take(range.len())
        .map(|center| ((center as usize).min(input - 1), vec![1 << PRECISION_BITS]))
        .collect()
}

/// The horizontal and the vertical pass, with the weights of the columns packed.
pub(crate) trait Passes {
    /// Computes one output row from the input row `source`, which starts with input position
    /// `first`.
    fn horizontal(&self, source: &[u8], first: usize, out: &mut [u8]);

    /// Computes one row as the weighted sum of `weights.len()` rows of `lines`, which start
    /// `stride` bytes apart.
    fn vertical(&self, lines: &[u8], stride: usize, weights: &[i32], out: &mut [u8]);
}

/// Converts a sum of weighted values to an output value.
pub(crate) fn round(sum: i32) -> u8 {
    (sum >> PRECISION_BITS).clamp(0, 255) as u8
}

/// Computes one output value from the input values of its window.
pub(crate) fn weighted<'a>(column: impl Iterator<Item = &'a u8>, weights: &[i32]) -> u8 {
    let sum: i32 = column.zip(weights).map(|(&value, &weight)| i32::from(value) * weight).sum();
    round(HALF + sum)
}
