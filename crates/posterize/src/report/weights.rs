//! Statistics of a layer's weights.

use serde::Serialize;

use crate::metrics::sqnr;
use crate::quantization::QuantizedLayer;
use crate::tensor::{MemoryFormat, Tensor};

/// The float weights of an output channel, and the scale that the channel has in int8.
///
/// ```
/// use posterize::report::ChannelWeights;
///
/// let channel = ChannelWeights { min: -0.5, max: 0.25, scale: 1.0 / 256.0, max_int8: 0.5 };
/// // The number of steps from 0 to the largest weight.
/// assert_eq!(channel.max_abs() / channel.scale, 128.0);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ChannelWeights {
    /// The smallest float weight.
    pub min: f32,
    /// The largest float weight.
    pub max: f32,
    /// The scale of the int8 weights. They represent values from `-128 · scale` to `127 · scale`.
    pub scale: f32,
    /// The largest absolute value that an int8 weight represents.
    pub max_int8: f32,
}

impl ChannelWeights {
    /// Returns the largest absolute value of a float weight.
    pub fn max_abs(&self) -> f32 {
        self.max.max(-self.min)
    }
}

/// Statistics of the int8 weights of a layer, and of the float weights from which they were made.
///
/// ```
/// use posterize::Tensor;
/// use posterize::quantization::{QParams, QuantizationParams, QuantizedLayer};
/// use posterize::report::WeightStatistics;
///
/// // Two channels share a scale, which the weights of the second are too small for.
/// let float = Tensor::new([2, 2], vec![1.27, -0.5, 0.004, 0.002])?;
/// let int8 = QuantizedLayer {
///     shape: vec![2, 2],
///     weight: vec![127, -50, 0, 0],
///     qparams: QuantizationParams::PerTensor(QParams { scale: 0.01, zero_point: 0 }),
///     bias: vec![0, 0],
/// };
/// let weights = WeightStatistics::new(&float, &int8);
/// assert_eq!((weights.levels_used(), weights.lost_channels), (3, 1));
/// assert!(weights.sqnr() > 45.0 && weights.range_ratio() > 300.0);
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WeightStatistics {
    /// The output channels in order.
    pub channels: Vec<ChannelWeights>,
    /// Whether each channel has its own scale.
    pub per_channel: bool,
    /// The number of weights with each integer, from -128 to 127.
    pub counts: Vec<u64>,
    /// The number of channels whose integers are all 0 although their float weights are not.
    pub lost_channels: usize,
    /// The share of weights whose integer differs by more than 1 from that of the float weight, 0 to 1.
    /// It is not 0 if the network was trained further: then the float weights are not those that were
    /// quantized.
    pub changed: f64,
    /// Sum of the squares of the float weights.
    pub signal: f64,
    /// Sum of the squares of the differences between the float weights and the int8 ones.
    pub noise: f64,
}

impl WeightStatistics {
    /// Computes the statistics of a layer. `float` is the weight from which `int8` was made, with output
    /// channels along axis 0.
    pub fn new(float: &Tensor, int8: &QuantizedLayer) -> Self {
        let mut found = Self {
            channels: Vec::new(),
            per_channel: int8.qparams.axis().is_some(),
            counts: vec![0; 256],
            lost_channels: 0,
            changed: 0.0,
            signal: 0.0,
            noise: 0.0,
        };
        let float = float.to_format(MemoryFormat::Contiguous);
        let each = (int8.weight.len() / int8.bias.len().max(1)).max(1);
        let mut changed = 0_usize;
        let channels = float.data().chunks_exact(each).zip(int8.weight.chunks_exact(each));
        for (channel, (weights, integers)) in channels.enumerate() {
            let qparams = int8.qparams.channel(channel);
            let (mut min, mut max, mut largest) = (f32::INFINITY, f32::NEG_INFINITY, 0);
            for (&weight, &q) in weights.iter().zip(integers) {
                (min, max) = (min.min(weight), max.max(weight));
                largest = largest.max(q.unsigned_abs());
                found.counts[(i32::from(q) + 128) as usize] += 1;
                let rounded = qparams.quantize_within(weight, -128, 127);
                changed += usize::from(rounded.abs_diff(i32::from(q)) > 1);
                found.signal += f64::from(weight).powi(2);
                found.noise += f64::from(weight - qparams.dequantize(i32::from(q))).powi(2);
            }
            found.lost_channels += usize::from(largest == 0 && (min, max) != (0.0, 0.0));
            let (scale, max_int8) = (qparams.scale, f32::from(largest) * qparams.scale);
            found.channels.push(ChannelWeights { min, max, scale, max_int8 });
        }
        found.changed = changed as f64 / int8.weight.len().max(1) as f64;
        found
    }

    /// Returns the number of different integers among the weights, at most 256.
    pub fn levels_used(&self) -> usize {
        self.counts.iter().filter(|&&count| count > 0).count()
    }

    /// Returns the signal-to-quantization-noise ratio of the weights in decibels, as
    /// [`LayerError::sqnr`](crate::LayerError::sqnr) that of outputs.
    pub fn sqnr(&self) -> f64 {
        sqnr(self.signal, self.noise)
    }

    /// Returns how many times larger the largest weight of the largest channel is than that of the median
    /// channel; infinite if all weights of that are 0. With one scale for all channels, half of the channels
    /// have at most `255 / range_ratio` integers.
    pub fn range_ratio(&self) -> f64 {
        let mut ranges: Vec<f32> = self.channels.iter().map(ChannelWeights::max_abs).collect();
        ranges.sort_unstable_by(f32::total_cmp);
        let median = ranges.get(ranges.len().saturating_sub(1) / 2).copied().unwrap_or(0.0);
        let max = ranges.last().copied().unwrap_or(0.0);
        if max == 0.0 { 1.0 } else { f64::from(max) / f64::from(median) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quantization::{QParams, QuantizationParams};

    fn layer(weight: Vec<i8>, scales: &[f32]) -> QuantizedLayer {
        let channels: Vec<QParams> =
            scales.iter().map(|&scale| QParams { scale, zero_point: 0 }).collect();
        QuantizedLayer {
            shape: vec![2, weight.len() / 2],
            weight,
            qparams: QuantizationParams::PerChannel { axis: 0, channels },
            bias: vec![0; 2],
        }
    }

    #[test]
    fn statistics_of_two_channels_are_those_computed_by_hand() {
        let float = Tensor::new([2, 3], vec![0.5, -1.0, 0.24, 8.0, -2.0, 4.1]).unwrap();
        let int8 = layer(vec![5, -10, 2, 80, -20, 40], &[0.1, 0.1]);
        let found = WeightStatistics::new(&float, &int8);
        assert!(found.per_channel);
        assert_eq!((found.levels_used(), found.lost_channels, found.changed), (6, 0, 0.0));
        assert_eq!((found.counts[128 + 80], found.counts[128 - 20]), (1, 1));
        let channel = found.channels[0];
        assert_eq!((channel.min, channel.max, channel.max_abs()), (-1.0, 0.5, 1.0));
        assert!((channel.max_int8 - 1.0).abs() < 1e-6);
        // 0.24 is 0.2 in int8, and 4.1 is 4.0.
        assert!((found.noise - (0.04_f64.powi(2) + 0.1_f64.powi(2))).abs() < 1e-6);
        assert_eq!(found.signal as f32, 0.25 + 1.0 + 0.0576 + 64.0 + 4.0 + 16.81);
        // Of two channels the smaller one is the median.
        assert_eq!(found.range_ratio(), 8.0);
    }

    #[test]
    fn weights_that_are_no_rounding_of_the_float_ones_are_counted() {
        let float = Tensor::new([2, 2], vec![1.0, 2.0, 0.0, 50.0]).unwrap();
        // One is rounded the other way, one is half as large, and one is clipped.
        let found = WeightStatistics::new(&float, &layer(vec![11, 10, 0, 127], &[0.1, 0.1]));
        assert_eq!((found.changed, found.lost_channels), (0.25, 0));
        let found = WeightStatistics::new(&float, &layer(vec![10, 20, 0, 0], &[0.1, 200.0]));
        assert_eq!(found.lost_channels, 1);
        assert_eq!(found.levels_used(), 3);
    }
}
