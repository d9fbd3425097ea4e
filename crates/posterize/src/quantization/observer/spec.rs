//! What an observer is to be, as data.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::quantization::qparams::{Dtype, QScheme, QuantizationTarget};

/// Which statistics an observer keeps. Each is named after PyTorch's class in
/// `torch.ao.quantization.observer`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ObserverKind {
    /// `MinMaxObserver`: the smallest and largest value.
    MinMax,
    /// `MovingAverageMinMaxObserver`: the moving average of the batches' smallest and largest values.
    MovingAverageMinMax,
    /// `PerChannelMinMaxObserver`: the smallest and largest value of each channel.
    PerChannelMinMax,
    /// `MovingAveragePerChannelMinMaxObserver`: their moving averages.
    MovingAveragePerChannelMinMax,
    /// `HistogramObserver`: a histogram, and the range within it that loses least.
    Histogram,
}

impl ObserverKind {
    /// Whether it keeps statistics of each channel.
    pub const fn is_per_channel(self) -> bool {
        matches!(self, Self::PerChannelMinMax | Self::MovingAveragePerChannelMinMax)
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
        })
    }
}

/// Everything that [builds](Self::build) an observer. Fields that a kind has no use for are ignored.
///
/// ```
/// use posterize::quantization::{Dtype, ObserverSpec};
/// let spec = ObserverSpec { reduce_range: true, ..ObserverSpec::min_max() };
/// let mut observer = spec.build()?;
/// observer.observe(&[0.0, 12.7], &[2]).unwrap();
/// let qparams = observer.calculate_qparams().unwrap().per_tensor().unwrap();
/// assert_eq!((qparams.scale, qparams.zero_point), (0.1, 0));
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ObserverSpec {
    /// The statistics.
    pub kind: ObserverKind,
    /// The integer type to quantize to.
    pub dtype: Dtype,
    /// How the scale and zero point are chosen; per channel just where `kind` is.
    pub qscheme: QScheme,
    /// Leaves one bit of the range unused, which PyTorch's fbgemm kernels need so as not to overflow
    /// and ours never do.
    pub reduce_range: bool,
    /// The integers to use, where they are not all of `dtype`.
    pub quant_range: Option<(i32, i32)>,
    /// The smallest scale.
    pub eps: f32,
    /// How far a batch moves a moving average; over 0, at most 1.
    pub averaging_constant: f32,
    /// The number of bins of a histogram.
    pub bins: usize,
    /// The axis of an observed shape that counts channels.
    pub ch_axis: usize,
}

impl ObserverSpec {
    /// The defaults of PyTorch's observers: affine quint8, per tensor or per channel as `kind` is.
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
        }
    }

    /// PyTorch's `MinMaxObserver`.
    pub const fn min_max() -> Self {
        Self::new(ObserverKind::MinMax)
    }

    /// PyTorch's `HistogramObserver`.
    pub const fn histogram() -> Self {
        Self::new(ObserverKind::Histogram)
    }

    /// PyTorch's `default_observer`: minimum and maximum, quantized to 0 to 127.
    pub const fn default_observer() -> Self {
        Self { quant_range: Some((0, 127)), ..Self::min_max() }
    }

    /// PyTorch's `default_weight_observer`: symmetric qint8, one scale for all output channels.
    pub const fn default_weight_observer() -> Self {
        Self {
            dtype: Dtype::Qint8,
            qscheme: QScheme::PerTensorSymmetric,
            ..Self::new(ObserverKind::MinMax)
        }
    }

    /// PyTorch's `default_per_channel_weight_observer`: symmetric qint8, one scale for each output
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

    /// What the observer quantizes to.
    ///
    /// # Errors
    /// As [`Self::build`].
    pub fn target(&self) -> Result<QuantizationTarget> {
        let Self { kind, qscheme, .. } = *self;
        if kind.is_per_channel() != qscheme.is_per_channel() {
            return Err(Error::Argument(format!("{kind} cannot serve the scheme {qscheme}")));
        }
        if !(self.averaging_constant > 0.0 && self.averaging_constant <= 1.0) {
            return Err(Error::Argument(format!(
                "an averaging constant lies over 0 and at most at 1, found {}",
                self.averaging_constant
            )));
        }
        if !(Self::MIN_BINS..=Self::MAX_BINS).contains(&self.bins) {
            return Err(Error::Argument(format!(
                "a histogram has {} to {} bins, found {}",
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
