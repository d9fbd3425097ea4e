//! Scales and zero points, the affine map between f32 values and 8-bit integers.

use std::fmt;

use posterize_kernels::f32::training::FakeQuant;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The 8-bit integer type that values are quantized to; `torch.quint8` or `torch.qint8`.
///
/// ```
/// use posterize::quantization::Dtype;
///
/// assert_eq!(Dtype::Qint8.bounds(), (-128, 127));
/// assert_eq!(Dtype::Quint8.to_string(), "torch.quint8");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    /// Unsigned integers from 0 to 255, for activations.
    Quint8,
    /// Signed integers from −128 to 127, for weights.
    Qint8,
}

impl Dtype {
    /// Returns the smallest and the largest integer.
    pub const fn bounds(self) -> (i32, i32) {
        match self {
            Self::Quint8 => (0, 255),
            Self::Qint8 => (-128, 127),
        }
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Quint8 => "torch.quint8",
            Self::Qint8 => "torch.qint8",
        })
    }
}

/// How scales and zero points are chosen; `torch.qscheme`.
///
/// ```
/// use posterize::quantization::QScheme;
///
/// assert!(QScheme::PerChannelSymmetric.is_per_channel());
/// assert!(!QScheme::PerTensorAffine.is_symmetric());
/// assert_eq!(QScheme::PerTensorAffine.to_string(), "torch.per_tensor_affine");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QScheme {
    /// One scale and zero point for the tensor.
    PerTensorAffine,
    /// One scale for the tensor; the zero point is the middle of the integer range.
    PerTensorSymmetric,
    /// A scale and zero point for each channel.
    PerChannelAffine,
    /// A scale for each channel; the zero point is the middle of the integer range.
    PerChannelSymmetric,
}

impl QScheme {
    /// Returns whether each channel has its own scale.
    pub const fn is_per_channel(self) -> bool {
        matches!(self, Self::PerChannelAffine | Self::PerChannelSymmetric)
    }

    /// Returns whether the zero point is the middle of the integer range.
    pub const fn is_symmetric(self) -> bool {
        matches!(self, Self::PerTensorSymmetric | Self::PerChannelSymmetric)
    }
}

impl fmt::Display for QScheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PerTensorAffine => "torch.per_tensor_affine",
            Self::PerTensorSymmetric => "torch.per_tensor_symmetric",
            Self::PerChannelAffine => "torch.per_channel_affine",
            Self::PerChannelSymmetric => "torch.per_channel_symmetric",
        })
    }
}

/// A scale and a zero point: the integer `q` represents the real value `(q − zero_point) · scale`.
///
/// ```
/// use posterize::quantization::{Dtype, QParams};
///
/// let qparams = QParams { scale: 0.5, zero_point: 10 };
/// assert_eq!(qparams.quantize(1.25, Dtype::Quint8), 12); // 2.5 rounds to even
/// assert_eq!(qparams.dequantize(12), 1.0);
/// assert_eq!(qparams.quantize(-100.0, Dtype::Quint8), 0);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct QParams {
    /// The difference of the real values of two consecutive integers, positive.
    pub scale: f32,
    /// The integer that represents 0.
    pub zero_point: i32,
}

impl QParams {
    /// A scale of 1 and a zero point of 0, PyTorch's initial values.
    pub const IDENTITY: Self = Self { scale: 1.0, zero_point: 0 };

    /// Returns the integer of `x` before clamping, as an f32:
    /// `round_half_even(x · (1 / scale)) + zero_point`.
    ///
    /// As in PyTorch's `quantize_per_tensor` and `fake_quantize_per_tensor_affine`, `x` is multiplied
    /// by the reciprocal of the scale, and the zero point is added after rounding.
    #[inline]
    pub fn unclamped(self, x: f32) -> f32 {
        self.within((i32::MIN, i32::MAX)).unclamped(x)
    }

    /// Returns the integer of `dtype` for `x`, clamped to its bounds; the zero point for NaN.
    #[inline]
    pub fn quantize(self, x: f32, dtype: Dtype) -> i32 {
        let (quant_min, quant_max) = dtype.bounds();
        self.quantize_within(x, quant_min, quant_max)
    }

    /// Returns the integer for `x`, clamped to `quant_min` and `quant_max`; the zero point for NaN.
    #[inline]
    pub fn quantize_within(self, x: f32, quant_min: i32, quant_max: i32) -> i32 {
        self.within((quant_min, quant_max)).quantize(x)
    }

    /// Returns the kernels' quantization to the integers of a range.
    pub(super) fn within(self, (quant_min, quant_max): (i32, i32)) -> FakeQuant {
        let Self { scale, zero_point } = self;
        FakeQuant { scale, zero_point, quant_min, quant_max }
    }

    /// Returns the real value of the integer `q`.
    #[inline]
    pub fn dequantize(self, q: i32) -> f32 {
        (q - self.zero_point) as f32 * self.scale
    }
}

impl fmt::Display for QParams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "scale={}, zero_point={}", self.scale, self.zero_point)
    }
}

/// The scales and zero points of a tensor: one for all its values, or one for each channel.
///
/// ```
/// use posterize::quantization::{Dtype, QParams, QuantizationParams};
///
/// let channels = [0.5, 1.0].map(|scale| QParams { scale, zero_point: 0 }).to_vec();
/// let qparams = QuantizationParams::PerChannel { axis: 0, channels };
/// // A weight of two output channels.
/// let q = qparams.quantize(&[1.0, 2.0, 1.0, 2.0], &[2, 2], Dtype::Qint8)?;
/// assert_eq!(q, [2, 4, 1, 2]);
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QuantizationParams {
    /// One scale and zero point for all values.
    PerTensor(QParams),
    /// A scale and zero point for each channel.
    PerChannel {
        /// The axis of the channels.
        axis: usize,
        /// The scale and zero point of each channel.
        channels: Vec<QParams>,
    },
}

impl QuantizationParams {
    /// Returns the scale and zero point of the tensor; `None` if each channel has its own.
    pub fn per_tensor(&self) -> Option<QParams> {
        match self {
            Self::PerTensor(qparams) => Some(*qparams),
            Self::PerChannel { .. } => None,
        }
    }

    /// Returns the axis of the channels; `None` if all have the same scale and zero point.
    pub fn axis(&self) -> Option<usize> {
        match self {
            Self::PerTensor(_) => None,
            Self::PerChannel { axis, .. } => Some(*axis),
        }
    }

    /// Returns all scales and zero points: one, or one for each channel.
    pub fn channels(&self) -> &[QParams] {
        match self {
            Self::PerTensor(qparams) => std::slice::from_ref(qparams),
            Self::PerChannel { channels, .. } => channels,
        }
    }

    /// Returns the scale and zero point of a channel.
    ///
    /// # Panics
    /// Panics if each channel has its own and there is no channel at this index.
    pub fn channel(&self, channel: usize) -> QParams {
        match self {
            Self::PerTensor(qparams) => *qparams,
            Self::PerChannel { channels, .. } => channels[channel],
        }
    }

    /// Quantizes the values of a row-major tensor; `torch.quantize_per_tensor` or
    /// `torch.quantize_per_channel`. The integers are within the bounds of `dtype`.
    ///
    /// # Errors
    /// Returns an error if the shape has another number of values than `values`, or does not have a
    /// channel for each scale.
    pub fn quantize(&self, values: &[f32], shape: &[usize], dtype: Dtype) -> Result<Vec<i32>> {
        let mut quantized = Vec::with_capacity(values.len());
        self.for_each_run(values, shape, |run, qparams| {
            quantized.extend(run.iter().map(|&x| qparams.quantize(x, dtype)));
        })
        .map_err(|problem| Error::shape("tensor to quantize", problem))?;
        Ok(quantized)
    }

    /// Calls `visit` for each run of consecutive values of a row-major tensor with the same scale and
    /// zero point.
    ///
    /// # Errors
    /// Returns a message with the expected and the found numbers if the shape does not fit.
    pub(super) fn for_each_run(
        &self,
        values: &[f32],
        shape: &[usize],
        mut visit: impl FnMut(&[f32], QParams),
    ) -> Result<(), String> {
        match self {
            Self::PerTensor(qparams) => visit(values, *qparams),
            Self::PerChannel { axis, channels } => {
                let layout = ChannelLayout::of(shape, *axis, values.len())?;
                if layout.channels != channels.len() {
                    return Err(format!(
                        "expected {} channels, one for each scale, found axis {axis} of {shape:?} \
                         with {}",
                        channels.len(),
                        layout.channels
                    ));
                }
                for (run, qparams) in
                    values.chunks_exact(layout.inner.max(1)).zip(channels.iter().cycle())
                {
                    visit(run, *qparams);
                }
            }
        }
        Ok(())
    }
}

impl fmt::Display for QuantizationParams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PerTensor(qparams) => qparams.fmt(f),
            Self::PerChannel { channels, .. } => {
                let scales: Vec<f32> = channels.iter().map(|qparams| qparams.scale).collect();
                let zero_points: Vec<i32> =
                    channels.iter().map(|qparams| qparams.zero_point).collect();
                write!(f, "scale={}, zero_point={}", Elided(&scales), Elided(&zero_points))
            }
        }
    }
}

/// Displays a one-dimensional tensor as in PyTorch; of many values only the first and last three.
pub(super) struct Elided<'a, T>(pub(super) &'a [T]);

impl<T: fmt::Display> fmt::Display for Elided<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const EDGE: usize = 3;
        f.write_str("tensor([")?;
        let skipped = if self.0.len() > 2 * EDGE + 2 { EDGE..self.0.len() - EDGE } else { 0..0 };
        for (index, value) in self.0.iter().enumerate() {
            if skipped.contains(&index) {
                if index == skipped.start {
                    f.write_str(", ...")?;
                }
                continue;
            }
            let separator = if index == 0 { "" } else { ", " };
            write!(f, "{separator}{value}")?;
        }
        f.write_str("])")
    }
}

/// The layout of the channels in a row-major tensor.
///
/// The value at index `o` of the axes before the channel axis, `c` of the channel axis and `i` of
/// the axes after it is at `(o · channels + c) · inner + i`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChannelLayout {
    /// The number of consecutive values of a channel: the product of the sizes after its axis.
    pub(crate) inner: usize,
    /// The number of channels.
    pub(crate) channels: usize,
}

impl ChannelLayout {
    /// Returns the layout of a tensor of `shape` with `values` values and the channel axis `axis`.
    ///
    /// # Errors
    /// Returns a message if `shape` has another number of values, or no such axis.
    pub(crate) fn of(shape: &[usize], axis: usize, values: usize) -> Result<Self, String> {
        let held = shape.iter().try_fold(1usize, |product, &size| product.checked_mul(size));
        if held != Some(values) {
            return Err(format!("shape {shape:?} does not fit {values} values"));
        }
        let Some(&channels) = shape.get(axis) else {
            return Err(format!("shape {shape:?} has no channel axis {axis}"));
        };
        Ok(Self { inner: shape[axis + 1..].iter().product(), channels })
    }
}

/// The integers that a range of real values is quantized to, and how the scale and zero point are
/// chosen.
///
/// ```
/// use posterize::quantization::{Dtype, QParams, QScheme, QuantizationTarget};
///
/// let target =
///     QuantizationTarget::new(Dtype::Quint8, QScheme::PerTensorAffine, None, false, f32::EPSILON)?;
/// assert_eq!(target.quant_range(), (0, 255));
/// let qparams = target.calculate_qparams(-1.0, 254.0);
/// assert_eq!(qparams, QParams { scale: 1.0, zero_point: 1 });
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct QuantizationTarget {
    pub(crate) dtype: Dtype,
    pub(crate) qscheme: QScheme,
    pub(crate) quant_min: i32,
    pub(crate) quant_max: i32,
    /// Whether the range was given and is not that of the dtype. The zero point of symmetric quint8
    /// depends on it.
    pub(crate) customized: bool,
    pub(crate) eps: f32,
}

impl QuantizationTarget {
    /// Creates a target as PyTorch's observers do: `quant_range` defaults to the bounds of `dtype`,
    /// and `reduce_range` halves it to save one bit.
    ///
    /// `eps` is the smallest scale.
    ///
    /// # Errors
    /// Returns an error if the range does not contain 0 or is not within the bounds of `dtype`, if
    /// `eps` is not positive, or if the range of symmetric quint8 is reduced, since its zero point of
    /// 128 would be outside the range.
    pub fn new(
        dtype: Dtype,
        qscheme: QScheme,
        quant_range: Option<(i32, i32)>,
        reduce_range: bool,
        eps: f32,
    ) -> Result<Self> {
        let (lowest, highest) = dtype.bounds();
        let (mut quant_min, mut quant_max) = quant_range.unwrap_or((lowest, highest));
        if !(lowest <= quant_min && quant_min <= 0 && 0 <= quant_max && quant_max <= highest)
            || quant_max - quant_min < 1 + i32::from(reduce_range)
        {
            return Err(Error::Argument(format!(
                "the quantization range must contain 0 and at least {} integers, and be within \
                 {lowest} to {highest}, the bounds of {dtype}; found {quant_min} to {quant_max}",
                2 + i32::from(reduce_range)
            )));
        }
        if reduce_range {
            if dtype == Dtype::Quint8 && qscheme.is_symmetric() {
                return Err(Error::Argument(
                    "the range of symmetric quint8 cannot be reduced; use qint8 or an affine qscheme"
                        .into(),
                ));
            }
            quant_min = quant_min.div_euclid(2);
            quant_max = quant_max.div_euclid(2);
        }
        if !(eps > 0.0 && eps.is_normal()) {
            return Err(Error::Argument(format!("eps must be positive, found {eps}")));
        }
        Ok(Self { dtype, qscheme, quant_min, quant_max, customized: quant_range.is_some(), eps })
    }

    /// Returns the smallest and the largest integer that is used.
    pub fn quant_range(&self) -> (i32, i32) {
        (self.quant_min, self.quant_max)
    }

    /// Returns the integer type.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// Returns how the scale and zero point are chosen.
    pub fn qscheme(&self) -> QScheme {
        self.qscheme
    }

    /// Returns the scale and zero point for values from `min` to `max` (finite, `min <= max`).
    ///
    /// It is the formula of PyTorch's `UniformQuantizationObserverBase._calculate_qparams`, in f32
    /// and in the same order. The range is extended to contain 0, so that 0 is represented exactly.
    /// Affine:
    /// `scale = (max − min) / (quant_max − quant_min)` and
    /// `zero_point = quant_min − round_half_even(min / scale)`. Symmetric:
    /// `scale = max(−min, max) / ((quant_max − quant_min) / 2)`, the zero point 0 for qint8 and the
    /// middle for quint8. A scale is at least `eps`.
    pub fn calculate_qparams(&self, min: f32, max: f32) -> QParams {
        let steps = (self.quant_max - self.quant_min) as f32;
        let min = min.min(0.0);
        let max = max.max(0.0);
        if self.qscheme.is_symmetric() {
            let scale = (max.max(-min) / (steps / 2.0)).max(self.eps);
            let zero_point = match self.dtype {
                Dtype::Qint8 => 0,
                Dtype::Quint8 if self.customized => (self.quant_min + self.quant_max).div_euclid(2),
                Dtype::Quint8 => 128,
            };
            QParams { scale, zero_point }
        } else {
            let scale = ((max - min) / steps).max(self.eps);
            let zero_point = self.quant_min - (min / scale).round_ties_even() as i32;
            QParams { scale, zero_point: zero_point.clamp(self.quant_min, self.quant_max) }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn affine(dtype: Dtype) -> QuantizationTarget {
        QuantizationTarget::new(dtype, QScheme::PerTensorAffine, None, false, f32::EPSILON).unwrap()
    }

    #[test]
    fn channels_are_quantized_along_their_axis() {
        let channels = [1.0, 2.0, 4.0].map(|scale| QParams { scale, zero_point: 0 }).to_vec();
        let qparams = QuantizationParams::PerChannel { axis: 1, channels };
        let quantized = qparams.quantize(&[8.0; 12], &[2, 3, 2], Dtype::Qint8).unwrap();
        assert_eq!(quantized, [8, 8, 4, 4, 2, 2, 8, 8, 4, 4, 2, 2]);
        for (shape, values) in [(&[2, 3][..], 12), (&[12], 12), (&[2, 6, 1], 12)] {
            assert!(
                qparams.quantize(&vec![0.0; values], shape, Dtype::Qint8).is_err(),
                "{shape:?}"
            );
        }
    }

    #[test]
    fn invalid_quantization_ranges_are_errors() {
        let new = |dtype, qscheme, range, reduce, eps| {
            QuantizationTarget::new(dtype, qscheme, range, reduce, eps)
        };
        let affine = QScheme::PerTensorAffine;
        for range in [(1, 5), (-5, -1), (0, 256), (-1, 255), (0, 0), (5, 0)] {
            assert!(new(Dtype::Quint8, affine, Some(range), false, 1e-7).is_err(), "{range:?}");
        }
        for eps in [0.0, -1.0, 1e-40, f32::NAN, f32::INFINITY] {
            assert!(new(Dtype::Quint8, affine, None, false, eps).is_err(), "{eps}");
        }
        assert!(new(Dtype::Quint8, QScheme::PerTensorSymmetric, None, true, 1e-7).is_err());
        let reduced = new(Dtype::Qint8, affine, None, true, 1e-7).unwrap();
        assert_eq!(reduced.quant_range(), (-64, 63));
    }

    proptest! {
        #[test]
        fn a_round_trip_within_the_range_errs_by_at_most_half_a_scale(
            bounds in (-1e6f32..1e6, -1e6f32..1e6),
            at in 0.0f32..=1.0,
            signed: bool,
        ) {
            let (min, max) = (bounds.0.min(bounds.1), bounds.0.max(bounds.1));
            let dtype = if signed { Dtype::Qint8 } else { Dtype::Quint8 };
            let qparams = affine(dtype).calculate_qparams(min, max);
            // The representable range begins at an integer multiple of the scale, so that an end of
            // the observed range can be up to half a scale outside of it.
            let x = (min + (max - min) * at).clamp(min, max);
            let (lowest, highest) = dtype.bounds();
            let x = x.clamp(qparams.dequantize(lowest), qparams.dequantize(highest));
            let error = (qparams.dequantize(qparams.quantize(x, dtype)) - x).abs();
            prop_assert!(error <= qparams.scale * 0.500_05, "{x} errs by {error}, {qparams}");
        }

        #[test]
        fn zero_is_exact(min in -1e30f32..1e30, width in 0.0f32..1e30, signed: bool) {
            let dtype = if signed { Dtype::Qint8 } else { Dtype::Quint8 };
            let qparams = affine(dtype).calculate_qparams(min, min + width);
            prop_assert_eq!(qparams.quantize(0.0, dtype), qparams.zero_point);
            prop_assert_eq!(qparams.dequantize(qparams.zero_point), 0.0);
        }

        #[test]
        fn every_integer_round_trips(scale in 1e-6f32..1e6, zero_point in 0i32..256) {
            let qparams = QParams { scale, zero_point };
            for q in 0..256 {
                prop_assert_eq!(qparams.quantize(qparams.dequantize(q), Dtype::Quint8), q);
            }
        }
    }
}
