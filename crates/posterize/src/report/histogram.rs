//! Histograms with bins of equal width.

use serde::Serialize;

/// A histogram with bins of equal width, and counts of the values outside of them.
///
/// ```
/// use posterize::report::Histogram;
///
/// let mut histogram = Histogram::new(0.0, 1.0, 4);
/// for value in [-0.5, 0.0, 0.3, 0.99, 1.0, 7.0] {
///     histogram.add(value);
/// }
/// assert_eq!(histogram.counts, [1, 1, 0, 1]);
/// assert_eq!((histogram.below, histogram.above), (1, 2));
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Histogram {
    /// The lower bound of the first bin.
    pub low: f64,
    /// The upper bound of the last bin.
    pub high: f64,
    /// The number of values in each bin. A bin includes its lower bound.
    pub counts: Vec<u64>,
    /// The number of values below all bins.
    pub below: u64,
    /// The number of values above all bins, and of NaN.
    pub above: u64,
}

impl Histogram {
    /// Creates a histogram of `bins` empty bins between two bounds, of which `low` is smaller.
    pub fn new(low: f64, high: f64, bins: usize) -> Self {
        Self { low, high, counts: vec![0; bins], below: 0, above: 0 }
    }

    /// Counts a value.
    #[inline]
    pub fn add(&mut self, value: f64) {
        let place = (value - self.low) / (self.high - self.low) * self.counts.len() as f64;
        if place < 0.0 {
            self.below += 1;
        } else if place < self.counts.len() as f64 {
            self.counts[place as usize] += 1;
        } else {
            self.above += 1;
        }
    }

    /// Returns the bounds of the bins, one more than there are bins.
    pub fn edges(&self) -> impl Iterator<Item = f64> + '_ {
        let width = (self.high - self.low) / self.counts.len() as f64;
        (0..=self.counts.len()).map(move |bin| self.low + width * bin as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_counted_once() {
        let mut histogram = Histogram::new(-2.0, 2.0, 8);
        let values = [f64::NEG_INFINITY, -2.0, -1e-300, 0.0, 0.5, 1.999, 2.0, f64::NAN, 1e300];
        for value in values {
            histogram.add(value);
        }
        assert_eq!(histogram.counts, [1, 0, 0, 0, 2, 1, 0, 1]);
        // A value just below 0 is rounded to the bin that begins there.
        assert_eq!((histogram.below, histogram.above), (1, 3));
        let total = histogram.counts.iter().sum::<u64>() + histogram.below + histogram.above;
        assert_eq!(total, values.len() as u64);
        assert_eq!(histogram.edges().collect::<Vec<_>>()[..3], [-2.0, -1.5, -1.0]);
        assert_eq!(histogram.edges().count(), 9);
    }
}
