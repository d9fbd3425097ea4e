//! Observers, which collect statistics of values and calculate their scale and zero point;
//! `torch.ao.quantization.observer`.

mod counts;
mod entropy;
mod error;
mod extremes;
mod fixed;
mod histogram;
mod min_max;
mod moving_average;
mod range;
mod spec;

use std::{fmt, slice};

use posterize_kernels::Pool;
use serde::{Deserialize, Serialize};

pub use self::error::ObserveError;
pub use self::range::Range;
pub use self::spec::{ObserverKind, ObserverSpec};

use self::counts::Counts;
use self::fixed::Fixed;
use self::histogram::Histogram;
use self::min_max::MinMax;
use self::moving_average::MovingAverage;
use super::qparams::{ChannelLayout, Elided, QuantizationParams, QuantizationTarget};
use crate::error::{Error, Result};

/// Collects statistics of values and calculates their scale and zero point; PyTorch's
/// `UniformQuantizationObserverBase`.
///
/// [`ObserverSpec::build`] creates it. It is displayed as in PyTorch.
///
/// ```
/// use posterize::quantization::ObserverSpec;
///
/// let mut observer = ObserverSpec::histogram().build()?;
/// observer.observe(&[-1.0, 0.5, 2.0, 2.0], &[1, 4]).unwrap();
/// assert!(observer.has_data());
/// assert_eq!(observer.to_string(), "HistogramObserver(min_val=-1, max_val=2)");
/// let qparams = observer.calculate_qparams().unwrap();
/// assert_eq!(qparams.per_tensor().unwrap().zero_point, 85);
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(into = "SavedObserver", try_from = "SavedObserver")]
pub struct Observer {
    spec: ObserverSpec,
    target: QuantizationTarget,
    statistics: Statistics,
}

/// The statistics of an observer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Statistics {
    MinMax(MinMax),
    MovingAverage(MovingAverage),
    Histogram(Histogram),
    Counts(Counts),
    Fixed(Fixed),
}

impl Statistics {
    fn new(spec: &ObserverSpec) -> Self {
        match spec.kind {
            ObserverKind::MinMax | ObserverKind::PerChannelMinMax => {
                Self::MinMax(MinMax::default())
            }
            ObserverKind::MovingAverageMinMax | ObserverKind::MovingAveragePerChannelMinMax => {
                Self::MovingAverage(MovingAverage::default())
            }
            ObserverKind::Histogram => Self::Histogram(Histogram::new(spec.bins)),
            ObserverKind::Percentile | ObserverKind::Mse | ObserverKind::Entropy => {
                Self::Counts(Counts::default())
            }
        }
    }

    /// Returns the range of each channel, or one for the tensor; an empty slice without data.
    fn ranges(&self) -> &[Range] {
        match self {
            Self::MinMax(min_max) => &min_max.ranges,
            Self::MovingAverage(moving) => &moving.average,
            Self::Histogram(histogram) => histogram.range.as_slice(),
            Self::Counts(counts) => counts.range.as_slice(),
            Self::Fixed(fixed) => slice::from_ref(&fixed.observed),
        }
    }
}

impl ObserverSpec {
    /// Creates an observer without data.
    ///
    /// # Errors
    /// Returns [`Error::Argument`] if only one of `kind` and `qscheme` is per channel, if
    /// `averaging_constant` or `bins` is out of range, or if [`QuantizationTarget::new`] fails.
    pub fn build(&self) -> Result<Observer> {
        Observer::new(self.clone())
    }
}

impl Observer {
    pub(super) fn new(spec: ObserverSpec) -> Result<Self> {
        let target = spec.target()?;
        let statistics = Statistics::new(&spec);
        Ok(Self { spec, target, statistics })
    }

    /// Creates an observer with a given range, which values do not change: that of the values that it was
    /// chosen for, and the one that the scale and zero point are calculated from.
    ///
    /// # Errors
    /// Returns an error if a range is not finite or not ordered, or the observer is one of channels.
    pub(super) fn fixed(spec: ObserverSpec, observed: Range, chosen: Range) -> Result<Self> {
        let statistics = Statistics::Fixed(Fixed { observed, chosen });
        Self::try_from(SavedObserver { spec, statistics })
    }

    /// Returns the spec that it was built from.
    pub fn spec(&self) -> &ObserverSpec {
        &self.spec
    }

    /// Returns the integers that it calculates scales and zero points for.
    pub fn target(&self) -> &QuantizationTarget {
        &self.target
    }

    /// Updates the statistics with the values of a batch.
    ///
    /// `values` are those of a row-major tensor of shape `shape`. An empty batch changes nothing. It
    /// runs on the calling thread.
    ///
    /// # Errors
    /// Returns an error, and changes nothing, if a value is NaN or infinite, if the width of the range
    /// overflows an f32, if the shape has another number of values, or if the number of channels is
    /// not that of earlier batches.
    pub fn observe(&mut self, values: &[f32], shape: &[usize]) -> Result<(), ObserveError> {
        self.observe_on(&Pool::new(1), values, shape)
    }

    /// [`Self::observe`] on the threads of a pool. The result does not depend on their number.
    pub(crate) fn observe_on(
        &mut self,
        pool: &Pool,
        values: &[f32],
        shape: &[usize],
    ) -> Result<(), ObserveError> {
        let axis = if self.spec.kind.is_per_channel() { self.spec.ch_axis } else { 0 };
        let shape = if shape.is_empty() { &[1][..] } else { shape };
        let layout = ChannelLayout::of(shape, axis, values.len()).map_err(ObserveError::Shape)?;
        if values.is_empty() {
            return Ok(());
        }
        let ranges = || {
            if self.spec.kind.is_per_channel() {
                extremes::channel_ranges(values, layout)
            } else {
                Range::of_on(pool, values).map(Vec::from_iter)
            }
        };
        match &mut self.statistics {
            Statistics::MinMax(min_max) => min_max.update(&ranges()?),
            Statistics::MovingAverage(moving) => {
                moving.update(&ranges()?, self.spec.averaging_constant)
            }
            Statistics::Histogram(histogram) => histogram.update(pool, values),
            Statistics::Counts(counts) => counts.update(pool, values),
            Statistics::Fixed(_) => Ok(()),
        }
    }

    /// Returns whether it has observed any value.
    pub fn has_data(&self) -> bool {
        !self.statistics.ranges().is_empty()
    }

    /// Returns the smallest and the largest value, or moving average, of all channels; `None` without
    /// data.
    pub fn range(&self) -> Option<Range> {
        self.statistics.ranges().iter().copied().reduce(Range::union)
    }

    /// Returns the range that the scale and zero point are calculated from: that of the values, or the
    /// part of it that the observer chooses. `None` without data, and for observers of channels.
    pub fn chosen_range(&self) -> Option<Range> {
        match &self.statistics {
            Statistics::Histogram(histogram) => histogram.search(),
            Statistics::Counts(counts) => match self.spec.kind {
                ObserverKind::Percentile => counts.percentile(self.spec.percentile),
                ObserverKind::Entropy => counts.least_divergent(),
                _ => counts.min_error(&self.target),
            },
            Statistics::Fixed(fixed) => Some(fixed.chosen),
            _ if self.spec.kind.is_per_channel() => None,
            statistics => statistics.ranges().first().copied(),
        }
    }

    /// Returns the scales and zero points for the observed values; `None` without data, where PyTorch
    /// returns a scale of 1 and a zero point of 0.
    ///
    /// The [chosen range](Self::chosen_range), or that of each channel, is passed to
    /// [`QuantizationTarget::calculate_qparams`].
    pub fn calculate_qparams(&self) -> Option<QuantizationParams> {
        let of = |range: &Range| self.target.calculate_qparams(range.min, range.max);
        let ranges = self.statistics.ranges();
        if self.spec.kind.is_per_channel() && !ranges.is_empty() {
            let channels = ranges.iter().map(of).collect();
            return Some(QuantizationParams::PerChannel { axis: self.spec.ch_axis, channels });
        }
        self.chosen_range().map(|range| QuantizationParams::PerTensor(of(&range)))
    }

    /// Resets the statistics.
    pub fn reset(&mut self) {
        self.statistics = Statistics::new(&self.spec);
    }

    /// Merges the statistics of `later`, as if its values had been observed after those of this
    /// observer.
    ///
    /// Minima and maxima are exact, and moving averages are exact up to rounding. Histograms are exact
    /// if their ranges are equal; otherwise counts may move to a neighboring bin, as when the range of
    /// one observer is extended.
    ///
    /// # Errors
    /// Returns an error if the observers have different specs or numbers of channels, if one has a
    /// [given range](crate::quantization::Ranges), or if the width of the merged range overflows an f32.
    pub fn merge(&mut self, later: &Self) -> Result<()> {
        if self.spec != later.spec {
            return Err(Error::Argument(format!(
                "observers with different specs cannot be merged: {:?} and {:?}",
                self.spec, later.spec
            )));
        }
        match (&mut self.statistics, &later.statistics) {
            (Statistics::MinMax(this), Statistics::MinMax(later)) => {
                if later.ranges.is_empty() {
                    Ok(())
                } else {
                    this.update(&later.ranges)
                }
            }
            (Statistics::MovingAverage(this), Statistics::MovingAverage(later)) => {
                this.merge(later, self.spec.averaging_constant)
            }
            (Statistics::Histogram(this), Statistics::Histogram(later)) => this.merge(later),
            (Statistics::Counts(this), Statistics::Counts(later)) => this.merge(later),
            (Statistics::Fixed(_), _) | (_, Statistics::Fixed(_)) => {
                return Err(Error::Argument(
                    "an observer with a given range cannot be merged".into(),
                ));
            }
            _ => unreachable!("equal specs have equal statistics"),
        }
        .map_err(|error| Error::Argument(format!("observers cannot be merged: {error}")))
    }
}

impl Observer {
    /// Returns the text of PyTorch's `extra_repr`: the observed minimum and maximum.
    pub(crate) fn extra_repr(&self) -> String {
        let ranges = self.statistics.ranges();
        if self.spec.kind.is_per_channel() {
            let minima: Vec<f32> = ranges.iter().map(|range| range.min).collect();
            let maxima: Vec<f32> = ranges.iter().map(|range| range.max).collect();
            format!("min_val={}, max_val={}", Elided(&minima), Elided(&maxima))
        } else {
            let (min, max) = ranges
                .first()
                .map_or((f32::INFINITY, f32::NEG_INFINITY), |range| (range.min, range.max));
            format!("min_val={min}, max_val={max}")
        }
    }
}

impl fmt::Display for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({})", self.spec.kind, self.extra_repr())
    }
}

/// The serialized form. The statistics are checked against the spec when it is read.
#[derive(Serialize, Deserialize)]
struct SavedObserver {
    spec: ObserverSpec,
    statistics: Statistics,
}

impl From<Observer> for SavedObserver {
    fn from(observer: Observer) -> Self {
        Self { spec: observer.spec, statistics: observer.statistics }
    }
}

impl TryFrom<SavedObserver> for Observer {
    type Error = Error;

    fn try_from(SavedObserver { spec, statistics }: SavedObserver) -> Result<Self> {
        let mut observer = Self::new(spec)?;
        let channels_fit = |ranges: usize| observer.spec.kind.is_per_channel() || ranges <= 1;
        let consistent = match (&observer.statistics, &statistics) {
            (Statistics::MinMax(_), Statistics::MinMax(saved)) => channels_fit(saved.ranges.len()),
            (Statistics::MovingAverage(_), Statistics::MovingAverage(saved)) => {
                channels_fit(saved.average.len())
                    && saved.first.len() == saved.average.len()
                    && saved.first.is_empty() == (saved.batches == 0)
                    && saved.first.iter().all(|range| range.is_valid())
            }
            (Statistics::Histogram(new), Statistics::Histogram(saved)) => {
                saved.is_valid() && new.counts.len() == saved.counts.len()
            }
            (Statistics::Counts(_), Statistics::Counts(saved)) => saved.is_valid(),
            (_, Statistics::Fixed(saved)) => {
                saved.is_valid() && !observer.spec.kind.is_per_channel()
            }
            _ => false,
        };
        if !consistent || !statistics.ranges().iter().all(|range| range.is_valid()) {
            return Err(Error::Argument(format!(
                "the saved statistics of a {} are damaged or those of another observer",
                observer.spec.kind
            )));
        }
        observer.statistics = statistics;
        Ok(observer)
    }
}

#[cfg(test)]
mod tests;
