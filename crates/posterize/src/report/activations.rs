//! Statistics of a layer's outputs.

use serde::Serialize;

use super::histogram::Histogram;
use crate::compare::Outputs;
use crate::quantization::QParams;

/// The number of bins of a histogram. Half of them are in the range that the int8 output can represent.
const BINS: usize = 128;

/// Statistics of a layer's outputs in the float and in the int8 network.
///
/// [`layer_statistics`](super::layer_statistics) computes them.
///
/// ```
/// use posterize::report::ActivationStatistics;
///
/// /// Whether the range of a layer is much wider than most of its outputs.
/// fn has_outliers(found: &ActivationStatistics) -> bool {
///     found.range.is_some_and(|[low, high]| f64::from(high - low) > 30.0 * found.std)
/// }
/// # let _ = has_outliers;
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ActivationStatistics {
    /// The smallest float output.
    pub min: f32,
    /// The largest float output.
    pub max: f32,
    /// The mean of the float outputs.
    pub mean: f64,
    /// The standard deviation of the float outputs.
    pub std: f64,
    /// The smallest and the largest value that the int8 output can represent; `None` if the layer stays in
    /// float.
    pub range: Option<[f32; 2]>,
    /// The float outputs, divided by the channels' factors if the network was equalized. Half of the bins
    /// are in [`Self::range`], a quarter on each side of it; `None` if the layer stays in float.
    pub histogram: Option<Histogram>,
    /// The share of these values that are out of [`Self::range`] by more than half a scale, 0 to 1.
    pub clipped: f64,
    /// The number of int8 outputs with each integer, from 0 to 255; empty if the layer stays in float.
    pub levels: Vec<u64>,
    /// The root mean square, over the channels, of the mean error of a channel, `int8 − float`, in units
    /// of [`Self::std`]; 0 if the float outputs are all equal.
    pub bias_shift: f64,
    /// The share of the noise that would vanish if the mean error of each channel were subtracted, 0 to 1.
    pub bias_share: f64,
}

impl ActivationStatistics {
    /// Returns the number of different integers among the int8 outputs, at most 256; `None` if the layer
    /// stays in float.
    pub fn levels_used(&self) -> Option<usize> {
        let used = || self.levels.iter().filter(|&&count| count > 0).count();
        (!self.levels.is_empty()).then(used)
    }
}

/// Sums over the outputs of a channel.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    /// Of the float outputs.
    x: f64,
    /// Of their squares.
    xx: f64,
    /// Of the errors, int8 − float.
    error: f64,
    /// Of their squares.
    noise: f64,
}

/// Collects the statistics of a layer's outputs.
#[derive(Debug)]
pub(super) struct ActivationSums {
    channels: Vec<Sums>,
    /// Number of outputs of a channel.
    count: usize,
    min: f32,
    max: f32,
    range: Option<[f32; 2]>,
    /// The bounds beyond which values are clipped.
    bounds: [f32; 2],
    clipped: u64,
    histogram: Option<Histogram>,
    levels: Vec<u64>,
    /// What the channels were divided by when the network was equalized.
    factors: Option<Vec<f32>>,
}

impl ActivationSums {
    /// Creates empty sums of a layer of that many channels. `int8` has the scale and the zero point of its
    /// output, with the smallest and the largest integer; `None` if it stays in float. `factors` are what
    /// the channels were divided by when the network was equalized.
    pub(super) fn new(
        channels: usize,
        int8: Option<(QParams, (u8, u8))>,
        factors: Option<Vec<f32>>,
    ) -> Self {
        let range = int8.map(|(qparams, (min, max))| {
            [min, max].map(|integer| qparams.dequantize(i32::from(integer)))
        });
        let half = int8.map_or(0.0, |(qparams, _)| qparams.scale / 2.0);
        let [low, high] = range.unwrap_or([f32::NEG_INFINITY, f32::INFINITY]);
        let histogram = range.map(|range| {
            let [low, high] = range.map(f64::from);
            let margin = (high - low).max(f64::from(half)) / 2.0;
            Histogram::new(low - margin, high + margin, BINS)
        });
        Self {
            channels: vec![Sums::default(); channels],
            count: 0,
            min: f32::INFINITY,
            max: f32::NEG_INFINITY,
            range,
            bounds: [low - half, high + half],
            clipped: 0,
            histogram,
            levels: if int8.is_some() { vec![0; 256] } else { Vec::new() },
            factors,
        }
    }

    /// Adds outputs, channels innermost.
    pub(super) fn add(&mut self, Outputs { float, int8, integers }: Outputs<'_>) {
        for &integer in integers.unwrap_or_default() {
            self.levels[usize::from(integer)] += 1;
        }
        let channels = self.channels.len();
        let [low, high] = self.bounds;
        for (xs, ys) in float.chunks_exact(channels).zip(int8.chunks_exact(channels)) {
            for (channel, (&x, &y)) in xs.iter().zip(ys).enumerate() {
                let sums = &mut self.channels[channel];
                let error = f64::from(y - x);
                sums.x += f64::from(x);
                sums.xx += f64::from(x) * f64::from(x);
                sums.error += error;
                sums.noise += error * error;
                self.min = self.min.min(x);
                self.max = self.max.max(x);
                // What was quantized.
                let x = self.factors.as_ref().map_or(x, |factors| x / factors[channel]);
                self.clipped += u64::from(x < low || x > high);
                if let Some(histogram) = &mut self.histogram {
                    histogram.add(f64::from(x));
                }
            }
        }
        self.count += float.len() / channels;
    }

    /// Computes the statistics.
    pub(super) fn finish(self) -> ActivationStatistics {
        let count = self.count.max(1) as f64;
        let values = count * self.channels.len().max(1) as f64;
        let sum = |of: fn(&Sums) -> f64| self.channels.iter().map(of).sum::<f64>();
        let (mean, signal) = (sum(|sums| sums.x) / values, sum(|sums| sums.xx));
        let std = (signal / values - mean * mean).max(0.0).sqrt();
        let noise = sum(|sums| sums.noise);
        let shifts = self.channels.iter().map(|sums| (sums.error / count).powi(2)).sum::<f64>();
        let bias_shift = (shifts / self.channels.len().max(1) as f64).sqrt() / std;
        ActivationStatistics {
            min: self.min,
            max: self.max,
            mean,
            std,
            range: self.range,
            histogram: self.histogram,
            clipped: self.clipped as f64 / values,
            levels: self.levels,
            bias_shift: if std > 0.0 { bias_shift } else { 0.0 },
            bias_share: if noise > 0.0 { (shifts * count / noise).min(1.0) } else { 0.0 },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QPARAMS: QParams = QParams { scale: 0.5, zero_point: 2 };

    /// The statistics of outputs of two channels, of which the second was divided by `factor`.
    fn of(float: &[f32], integers: &[u8], factor: Option<f32>) -> ActivationStatistics {
        let factors = factor.map(|factor| vec![1.0, factor]);
        let mut sums = ActivationSums::new(2, Some((QPARAMS, (0, 255))), factors);
        let int8: Vec<f32> = integers
            .iter()
            .enumerate()
            .map(|(place, &q)| {
                QPARAMS.dequantize(q.into())
                    * if place % 2 == 1 { factor.unwrap_or(1.0) } else { 1.0 }
            })
            .collect();
        // In two batches.
        let (middle, len) = (float.len() / 4 * 2, float.len());
        for part in [0..middle, middle..len] {
            sums.add(Outputs {
                float: &float[part.clone()],
                int8: &int8[part.clone()],
                integers: Some(&integers[part]),
            });
        }
        sums.finish()
    }

    #[test]
    fn statistics_are_those_computed_by_hand() {
        // In int8 the values are 1, 2, -1, 0, 2, 0 and 126.5, 5.
        let float = [1.0, 2.2, -3.0, 0.0, 2.0, 0.2, 130.0, 5.0];
        let found = of(&float, &[4, 6, 0, 2, 6, 2, 255, 12], None);
        assert_eq!((found.min, found.max, found.range), (-3.0, 130.0, Some([-1.0, 126.5])));
        // -3 and 130 are clipped.
        assert_eq!((found.clipped, found.levels_used()), (0.25, Some(6)));
        let mean = (1.0 + 2.2 - 3.0 + 2.0 + 0.2 + 130.0 + 5.0) / 8.0;
        assert!((found.mean - mean).abs() < 1e-6);
        let squares = 1.0 + 4.84 + 9.0 + 4.0 + 0.04 + 16_900.0 + 25.0;
        let std = (squares / 8.0 - mean * mean).sqrt();
        assert!((found.std - std).abs() < 1e-5);
        // Errors of the first channel: 0, 2, 0, -3.5, of the second: -0.2, 0, -0.2, 0.
        let shifts: [f64; 2] = [-1.5 / 4.0, -0.4 / 4.0];
        let squared = shifts[0].powi(2) + shifts[1].powi(2);
        assert!((found.bias_shift - (squared / 2.0).sqrt() / std).abs() < 1e-7);
        let noise = 4.0 + 12.25 + 0.04 + 0.04;
        assert!((found.bias_share - 4.0 * squared / noise).abs() < 1e-5, "{found:?}");
        let histogram = found.histogram.unwrap();
        assert_eq!((histogram.low, histogram.high), (-64.75, 190.25));
        assert_eq!(histogram.counts.iter().sum::<u64>(), 8);
        assert_eq!((histogram.below, histogram.above), (0, 0));
    }

    #[test]
    fn ranges_are_compared_with_what_was_quantized() {
        // The second channel was divided by 4: 600 is clipped, 100 and 480 are not.
        let float = [1.0, 100.0, 2.0, 480.0, 1.0, 600.0, 2.0, 480.0];
        let found = of(&float, &[4, 52, 6, 242, 4, 255, 6, 242], Some(4.0));
        assert_eq!((found.max, found.clipped), (600.0, 0.125));
        assert_eq!(found.levels_used(), Some(5));
        assert!(found.bias_shift > 0.05, "{found:?}");
        let histogram = found.histogram.unwrap();
        assert_eq!((histogram.counts.iter().sum::<u64>(), histogram.above), (8, 0));
    }

    #[test]
    fn outputs_of_a_float_layer_have_no_range() {
        let mut sums = ActivationSums::new(1, None, None);
        sums.add(Outputs { float: &[1.0, 1.0], int8: &[1.0, 1.0], integers: None });
        let found = sums.finish();
        assert_eq!((found.range, found.levels_used(), found.clipped), (None, None, 0.0));
        assert_eq!((found.bias_shift, found.bias_share, found.std), (0.0, 0.0, 0.0));
        assert!(found.histogram.is_none());
    }
}
