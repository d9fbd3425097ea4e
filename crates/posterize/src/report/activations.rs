//! Statistics of a layer's outputs.

use serde::Serialize;

use super::histogram::Histogram;
use crate::compare::sqnr;
use crate::error::Result;
use crate::quantization::QParams;
use crate::runtime::Shown;

/// The number of bins of a histogram. Half of them are in the range that the int8 output can represent.
const BINS: usize = 128;

/// A channel counts as scaled if the int8 outputs are this many times larger or smaller than the float
/// ones.
const MIN_GAIN: f64 = 1.5;

/// The square of the correlation above which float and int8 outputs of a channel count as proportional.
const MIN_CORRELATION: f64 = 0.9;

/// Statistics of a layer's outputs in the float and in the int8 network.
///
/// [`layer_statistics`](super::layer_statistics) computes them.
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
    /// The float outputs. Half of the bins are in [`Self::range`], a quarter on each side of it; `None` if
    /// the layer stays in float.
    pub histogram: Option<Histogram>,
    /// The share of the float outputs that are out of [`Self::range`] by more than half a scale, 0 to 1.
    pub clipped: f64,
    /// The number of int8 outputs with each integer, from 0 to 255; empty if the layer stays in float.
    pub levels: Vec<u64>,
    /// The root mean square, over the channels, of the mean error of a channel, `int8 − float`, in units
    /// of [`Self::std`]; 0 if the float outputs are all equal.
    pub bias_shift: f64,
    /// The share of the noise that would vanish if the mean error of each channel were subtracted, 0 to 1.
    pub bias_share: f64,
    /// The number of channels whose int8 outputs are a multiple of the float ones, at least 1.5 times as
    /// large or small: channels that were equalized.
    pub scaled_channels: usize,
    /// The signal-to-quantization-noise ratio in decibels after the scaled channels were scaled back;
    /// infinite if the outputs are equal.
    ///
    /// `bias_shift` and `bias_share` are of the channels scaled back, too.
    pub unscaled_sqnr: f64,
}

impl ActivationStatistics {
    /// Returns the number of different integers among the int8 outputs, at most 256; `None` if the layer
    /// stays in float.
    pub fn levels_used(&self) -> Option<usize> {
        let used = || self.levels.iter().filter(|&&count| count > 0).count();
        (!self.levels.is_empty()).then(used)
    }
}

/// Sums of the float outputs `x` and the int8 outputs `y` of a channel.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    x: f64,
    y: f64,
    xx: f64,
    xy: f64,
    yy: f64,
}

impl Sums {
    /// Returns the factor between proportional outputs `y` and `x` if it is far from 1.
    fn scaling(&self) -> Option<f64> {
        let correlated = self.xy > 0.0 && self.xy * self.xy > MIN_CORRELATION * self.xx * self.yy;
        // The factor that is the same from either side.
        let gain = (self.yy / self.xx).sqrt();
        let far = !(MIN_GAIN.recip()..=MIN_GAIN).contains(&gain);
        (correlated && far && gain.is_finite() && gain > 0.0).then(|| self.xy / self.xx)
    }

    /// Returns the sums after all `y` were divided by `gain`.
    fn unscaled(self, gain: f64) -> Self {
        let Self { x, y, xx, xy, yy } = self;
        Self { x, y: y / gain, xx, xy: xy / gain, yy: yy / (gain * gain) }
    }

    /// Returns the sum of the squares of `y − x`.
    fn noise(&self) -> f64 {
        (self.xx - 2.0 * self.xy + self.yy).max(0.0)
    }
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
}

impl ActivationSums {
    /// Creates empty sums of a layer of that many channels. `int8` has the scale and the zero point of its
    /// output, with the smallest and the largest integer; `None` if it stays in float.
    pub(super) fn new(channels: usize, int8: Option<(QParams, (u8, u8))>) -> Self {
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
        }
    }

    /// Adds float outputs and the int8 outputs in their places, channels innermost.
    ///
    /// # Errors
    /// Returns an error if the system does not give the memory for dequantized values.
    pub(super) fn add(&mut self, float: &[f32], int8: Shown<'_>) -> Result<()> {
        if let Shown::Int8(integers, _) = int8 {
            for &integer in integers {
                self.levels[usize::from(integer)] += 1;
            }
        }
        let int8 = int8.dequantized()?;
        let channels = self.channels.len();
        for (xs, ys) in float.chunks_exact(channels).zip(int8.chunks_exact(channels)) {
            for ((sums, &x), &y) in self.channels.iter_mut().zip(xs).zip(ys) {
                let (x, y) = (f64::from(x), f64::from(y));
                sums.x += x;
                sums.y += y;
                sums.xx += x * x;
                sums.xy += x * y;
                sums.yy += y * y;
            }
        }
        let [low, high] = self.bounds;
        for &x in float {
            self.min = self.min.min(x);
            self.max = self.max.max(x);
            self.clipped += u64::from(x < low || x > high);
        }
        if let Some(histogram) = &mut self.histogram {
            float.iter().for_each(|&x| histogram.add(f64::from(x)));
        }
        self.count += float.len() / channels;
        Ok(())
    }

    /// Computes the statistics.
    pub(super) fn finish(self) -> ActivationStatistics {
        let count = self.count.max(1) as f64;
        let values = count * self.channels.len().max(1) as f64;
        let sum = |of: fn(&Sums) -> f64| self.channels.iter().map(of).sum::<f64>();
        let (mean, signal) = (sum(|sums| sums.x) / values, sum(|sums| sums.xx));
        let std = (signal / values - mean * mean).max(0.0).sqrt();
        let mut scaled_channels = 0;
        let (mut noise, mut shifts) = (0.0, 0.0);
        for sums in &self.channels {
            let scaling = sums.scaling();
            scaled_channels += usize::from(scaling.is_some());
            let sums = scaling.map_or(*sums, |gain| sums.unscaled(gain));
            noise += sums.noise();
            shifts += ((sums.y - sums.x) / count).powi(2);
        }
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
            scaled_channels,
            unscaled_sqnr: sqnr(signal, noise),
        }
    }
}

#[cfg(test)]
mod tests {
    use posterize_kernels::int8::QParams8;

    use super::*;

    const QPARAMS: QParams = QParams { scale: 0.5, zero_point: 2 };

    /// The statistics of outputs of two channels.
    fn of(float: &[f32], integers: &[u8]) -> ActivationStatistics {
        let mut sums = ActivationSums::new(2, Some((QPARAMS, (0, 255))));
        let qparams = QParams8 { scale: 0.5, zero_point: 2 };
        // In two batches.
        let (middle, len) = (float.len() / 4 * 2, float.len());
        for part in [0..middle, middle..len] {
            sums.add(&float[part.clone()], Shown::Int8(&integers[part], qparams)).unwrap();
        }
        sums.finish()
    }

    #[test]
    fn statistics_are_those_computed_by_hand() {
        // In int8 the values are 1, 2, -1, 0, 2, 0 and 126.5, 5.
        let found = of(&[1.0, 2.2, -3.0, 0.0, 2.0, 0.2, 130.0, 5.0], &[4, 6, 0, 2, 6, 2, 255, 12]);
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
        assert!((found.unscaled_sqnr - 10.0 * (squares / noise).log10()).abs() < 1e-4);
        assert_eq!(found.scaled_channels, 0);
        // The bins are 2 wide, from -64.75 on.
        let histogram = found.histogram.unwrap();
        assert_eq!((histogram.low, histogram.high), (-64.75, 190.25));
        assert_eq!(histogram.counts.iter().sum::<u64>(), 8);
        assert_eq!((histogram.below, histogram.above), (0, 0));
    }

    #[test]
    fn equalized_channels_are_scaled_back() {
        // The second channel was divided by 4.
        let float = [1.0, 8.0, 2.0, 16.0, 3.0, 24.0, 4.0, 33.0];
        let found = of(&float, &[4, 6, 6, 10, 8, 14, 10, 18]);
        assert_eq!(found.scaled_channels, 1);
        assert!(found.unscaled_sqnr > 30.0 && found.bias_shift < 0.02, "{found:?}");
        // A channel whose outputs all became 0 is no scaled one.
        let lost = of(&float, &[4, 2, 6, 2, 8, 2, 10, 2]);
        assert_eq!(lost.scaled_channels, 0);
        assert!(lost.unscaled_sqnr < 1.0);
    }

    #[test]
    fn outputs_of_a_float_layer_have_no_range() {
        let mut sums = ActivationSums::new(1, None);
        sums.add(&[1.0, 1.0], Shown::Float(&[1.0, 1.0])).unwrap();
        let found = sums.finish();
        assert_eq!((found.range, found.levels_used(), found.clipped), (None, None, 0.0));
        assert_eq!((found.bias_shift, found.bias_share, found.std), (0.0, 0.0, 0.0));
        assert!(found.histogram.is_none() && found.unscaled_sqnr.is_infinite());
    }
}
