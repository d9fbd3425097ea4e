//! The specifications that observers are built from.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::quantization::qparams::{Dtype, QScheme, QuantizationTarget};

/// The statistics that an observer collects. Each kind is displayed as the name of its class in
/// `torch.ao.quantization.observer`.
///
/// ```
/// use posterize::quantization::ObserverKind;
///
/// assert_eq!(ObserverKind::MinMax.to_string(), "MinMaxObserver");
/// assert!(ObserverKind::PerChannelMinMax.is_per_channel());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ObserverKind {
    /// `MinMaxObserver`: the smallest and largest value.
    MinMax,
    /// `MovingAverageMinMaxObserver`: moving averages of the smallest and largest value of each batch.
    MovingAverageMinMax,
    /// `PerChannelMinMaxObserver`: the smallest and largest value of each channel.
    PerChannelMinMax,
    /// `MovingAveragePerChannelMinMaxObserver`: moving averages of the smallest and largest value of
    /// each channel.
    MovingAveragePerChannelMinMax,
    /// `HistogramObserver`: a histogram, from which the range with the smallest quantization error is
    /// chosen.
    Histogram,
    /// The range without a part of the values at either end, [`ObserverSpec::percentile`]. It is displayed as
    /// `PercentileObserver`; PyTorch has none.
    Percentile,
    /// The range with the smallest squared error of the quantized values. It is displayed as
    /// `MSEObserver`; PyTorch has none.
    Mse,
    /// The range whose values, quantized to 128 levels, have the smallest Kullback-Leibler divergence from
    /// all values; `EntropyCalibrater` of ONNX Runtime with 2,048 bins. It is displayed as
    /// `EntropyObserver`; PyTorch has none.
    Entropy,
}

impl ObserverKind {
    /// Returns whether it collects statistics for each channel.
    pub const fn is_per_channel(self) -> bool {
        matches!(self, Self::PerChannelMinMax | Self::MovingAveragePerChannelMinMax)
    }

    /// Returns whether it needs all values of a batch, and not only the smallest and the largest.
    #[cfg(feature = "training")]
    pub(crate) const fn needs_all_values(self) -> bool {
        matches!(self, Self::Histogram | Self::Percentile | Self::Mse | Self::Entropy)
    }
}

impl fmt::Display for ObserverKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::MinMax => "MinMaxObserver",
            Self::MovingAverageMinMax => "MovingAverageMinMaxObserver",
            Self::PerChannelMinMax => "PerChannelMinMaxObserver",
            Self::MovingAveragePerChannelMinMax => "MovingAveragePerChannelMinMaxObserver",
            Self::Histogram => "HistogramObserver",
            Self::Percentile => "PercentileObserver",
            Self::Mse => "MSEObserver",
            Self::Entropy => "EntropyObserver",
        })
    }
}

/// The specification of an observer: its kind and its arguments. [`Self::build`] creates the observer.
///
/// Arguments that a kind does not use are ignored.
///
/// ```
/// use posterize::quantization::ObserverSpec;
///
/// let spec = ObserverSpec { reduce_range: true, ..ObserverSpec::min_max() };
/// let mut observer = spec.build()?;
/// observer.observe(&[0.0, 12.7], &[2]).unwrap();
/// let qparams = observer.calculate_qparams().unwrap().per_tensor().unwrap();
/// assert_eq!((qparams.scale, qparams.zero_point), (0.1, 0));
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ObserverSpec {
    /// The statistics that it collects.
    pub kind: ObserverKind,
    /// The integer type to quantize to.
    pub dtype: Dtype,
    /// How the scale and zero point are chosen. It must be per channel if and only if `kind` is.
    pub qscheme: QScheme,
    /// Whether to halve the range of integers. PyTorch's FBGEMM kernels need it to avoid overflow on
    /// CPUs without VNNI; the kernels of this crate do not.
    pub reduce_range: bool,
    /// The smallest and the largest integer; `None` for the bounds of `dtype`.
    pub quant_range: Option<(i32, i32)>,
    /// The smallest scale, positive.
    pub eps: f32,
    /// The weight of each batch in a moving average; greater than 0, at most 1.
    pub averaging_constant: f32,
    /// The number of bins of a histogram, from 8 to 65536.
    pub bins: usize,
    /// The channel axis of the observed shapes.
    pub ch_axis: usize,
    /// The part of the values that is not above the range of a [`ObserverKind::Percentile`], and the part
    /// that is not below it; from 0.5 to 1.
    #[serde(default = "default_percentile", skip_serializing_if = "is_default_percentile")]
    pub percentile: f64,
}

const DEFAULT_PERCENTILE: f64 = 0.99999;

fn default_percentile() -> f64 {
    DEFAULT_PERCENTILE
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_default_percentile(percentile: &f64) -> bool {
    *percentile == DEFAULT_PERCENTILE
}

impl ObserverSpec {
    /// Creates a specification with the default arguments of PyTorch's observers: affine quint8, per
    /// tensor or per channel as `kind` is.
    pub const fn new(kind: ObserverKind) -> Self {
        let qscheme = if kind.is_per_channel() {
            QScheme::PerChannelAffine
        } else {
            QScheme::PerTensorAffine
        };
        Self {
            kind,
            dtype: Dtype::Quint8,
            qscheme,
            reduce_range: false,
            quant_range: None,
            eps: f32::EPSILON,
            averaging_constant: 0.01,
            bins: 2048,
            ch_axis: 0,
            percentile: DEFAULT_PERCENTILE,
        }
    }

    /// PyTorch's `MinMaxObserver` with default arguments.
    pub const fn min_max() -> Self {
        Self::new(ObserverKind::MinMax)
    }

    /// PyTorch's `HistogramObserver` with default arguments.
    pub const fn histogram() -> Self {
        Self::new(ObserverKind::Histogram)
    }

    /// The range without a part of the values at either end.
    pub const fn percentile(percentile: f64) -> Self {
        Self { percentile, ..Self::new(ObserverKind::Percentile) }
    }

    /// The range with the smallest squared error of the quantized values.
    pub const fn mse() -> Self {
        Self::new(ObserverKind::Mse)
    }

    /// The range with the smallest Kullback-Leibler divergence.
    pub const fn entropy() -> Self {
        Self::new(ObserverKind::Entropy)
    }

    /// PyTorch's `default_observer`: minimum and maximum, with the integers 0 to 127.
    pub const fn default_observer() -> Self {
        Self { quant_range: Some((0, 127)), ..Self::min_max() }
    }

    /// PyTorch's `default_weight_observer`: symmetric qint8, with one scale for the weight.
    pub const fn default_weight_observer() -> Self {
        Self {
            dtype: Dtype::Qint8,
            qscheme: QScheme::PerTensorSymmetric,
            ..Self::new(ObserverKind::MinMax)
        }
    }

    /// PyTorch's `default_per_channel_weight_observer`: symmetric qint8, with a scale for each output
    /// channel.
    pub const fn default_per_channel_weight_observer() -> Self {
        Self {
            dtype: Dtype::Qint8,
            qscheme: QScheme::PerChannelSymmetric,
            ..Self::new(ObserverKind::PerChannelMinMax)
        }
    }

    /// The observer of PyTorch's `default_weight_fake_quant`: as [`Self::default_weight_observer`],
    /// with moving averages.
    pub const fn default_weight_fake_quant() -> Self {
        Self { kind: ObserverKind::MovingAverageMinMax, ..Self::default_weight_observer() }
    }

    /// The observer of PyTorch's `default_per_channel_weight_fake_quant`: as
    /// [`Self::default_per_channel_weight_observer`], with moving averages.
    pub const fn default_per_channel_weight_fake_quant() -> Self {
        Self {
            kind: ObserverKind::MovingAveragePerChannelMinMax,
            ..Self::default_per_channel_weight_observer()
        }
    }

    /// Returns the integers that the observer calculates scales and zero points for.
    ///
    /// # Errors
    /// Returns the error of [`Self::build`].
    pub fn target(&self) -> Result<QuantizationTarget> {
        let Self { kind, qscheme, .. } = *self;
        if kind.is_per_channel() != qscheme.is_per_channel() {
            return Err(Error::Argument(format!(
                "a {kind} cannot have the qscheme {qscheme}; both must be per channel, or both per \
                 tensor"
            )));
        }
        if !(self.averaging_constant > 0.0 && self.averaging_constant <= 1.0) {
            return Err(Error::Argument(format!(
                "averaging_constant must be greater than 0 and at most 1, found {}",
                self.averaging_constant
            )));
        }
        if !(self.percentile >= 0.5 && self.percentile <= 1.0) {
            return Err(Error::Argument(format!(
                "percentile must be from 0.5 to 1, found {}",
                self.percentile
            )));
        }
        if !(Self::MIN_BINS..=Self::MAX_BINS).contains(&self.bins) {
            return Err(Error::Argument(format!(
                "bins must be from {} to {}, found {}",
                Self::MIN_BINS,
                Self::MAX_BINS,
                self.bins
            )));
        }
        QuantizationTarget::new(self.dtype, qscheme, self.quant_range, self.reduce_range, self.eps)
    }

    const MIN_BINS: usize = 8;
    const MAX_BINS: usize = 1 << 16;
}
