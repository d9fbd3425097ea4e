//! Observers watch the values that flow past during calibration and say with which scale and zero
//! point to quantize them.

mod error;
mod extremes;
mod histogram;
mod min_max;
mod moving_average;
mod range;
mod spec;

use std::fmt;

use posterize_kernels::Pool;
use serde::{Deserialize, Serialize};

pub use self::error::ObserveError;
pub use self::range::Range;
pub use self::spec::{ObserverKind, ObserverSpec};

use self::histogram::Histogram;
use self::min_max::MinMax;
use self::moving_average::MovingAverage;
use super::qparams::{ChannelLayout, Elided, QuantizationParams, QuantizationTarget};
use crate::error::{Error, Result};

/// Collects the statistics of values and derives their scale and zero point.
///
/// Built from an [`ObserverSpec`], or read with serde; printed as PyTorch prints its observers.
///
/// ```
/// use posterize::quantization::ObserverSpec;
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

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Statistics {
    MinMax(MinMax),
    MovingAverage(MovingAverage),
    Histogram(Histogram),
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
        }
    }

    /// The extremes, for each channel where there are several; empty before data.
    fn ranges(&self) -> &[Range] {
        match self {
            Self::MinMax(min_max) => &min_max.ranges,
            Self::MovingAverage(moving) => &moving.average,
            Self::Histogram(histogram) => histogram.range.as_slice(),
        }
    }
}

impl ObserverSpec {
    /// An observer that has seen nothing yet.
    ///
    /// # Errors
    /// The scheme does not go with the kind; the integer range does not lie within the dtype or does
    /// not hold 0; symmetric quint8 with a reduced range; a constant out of its range.
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

    /// What it was built from.
    pub fn spec(&self) -> &ObserverSpec {
        &self.spec
    }

    /// What it quantizes to.
    pub fn target(&self) -> &QuantizationTarget {
        &self.target
    }

    /// Takes in a batch: the values of a tensor in memory order, and its shape as it lies in memory.
    ///
    /// A batch without values changes nothing. Runs on the caller's thread.
    ///
    /// # Errors
    /// A value is NaN or infinite, or the range is beyond f32; the shape does not hold the values; the
    /// number of channels differs from before. The observer is then as it was.
    pub fn observe(&mut self, values: &[f32], shape: &[usize]) -> Result<(), ObserveError> {
        self.observe_on(&Pool::new(1), values, shape)
    }

    /// The same on the threads of a pool. The result does not depend on how many there are.
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
        }
    }

    /// Whether it has seen any value.
    pub fn has_data(&self) -> bool {
        !self.statistics.ranges().is_empty()
    }

    /// The smallest and largest value over all channels (of moving averages, the extremes of those);
    /// none before data.
    pub fn range(&self) -> Option<Range> {
        self.statistics.ranges().iter().copied().reduce(Range::union)
    }

    /// The scale and zero point for what was seen; none before data.
    ///
    /// PyTorch returns a scale of 1 and a zero point of 0 before data, and warns.
    pub fn calculate_qparams(&self) -> Option<QuantizationParams> {
        let of = |range: &Range| self.target.calculate_qparams(range.min, range.max);
        match &self.statistics {
            Statistics::Histogram(histogram) => {
                histogram.search().map(|range| QuantizationParams::PerTensor(of(&range)))
            }
            statistics => {
                let ranges = statistics.ranges();
                if self.spec.kind.is_per_channel() && !ranges.is_empty() {
                    let channels = ranges.iter().map(of).collect();
                    Some(QuantizationParams::PerChannel { axis: self.spec.ch_axis, channels })
                } else {
                    ranges.first().map(|range| QuantizationParams::PerTensor(of(range)))
                }
            }
        }
    }

    /// Forgets all data.
    pub fn reset(&mut self) {
        self.statistics = Statistics::new(&self.spec);
    }

    /// Takes in what `later` has seen, as though this observer had seen it after its own data.
    ///
    /// Exact for minimum and maximum. Moving averages are continued, equal up to rounding. Histograms
    /// add up exactly where their ranges are equal; else a count can land in the bin beside its own,
    /// as it does when one observer's range grows.
    ///
    /// # Errors
    /// The observers are built from different specs, have different numbers of channels, or their
    /// common range is beyond f32.
    pub fn merge(&mut self, later: &Self) -> Result<()> {
        if self.spec != later.spec {
            return Err(Error::Argument(format!(
                "observers of different specs cannot be merged: {:?} and {:?}",
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
            _ => unreachable!("equal specs have equal statistics"),
        }
        .map_err(|error| Error::Argument(format!("observers cannot be merged: {error}")))
    }
}

impl Observer {
    /// What it has seen, as PyTorch's `extra_repr` prints it.
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

/// What serde sees: the target follows from the spec, and the statistics are checked against it.
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
            _ => false,
        };
        if !consistent || !statistics.ranges().iter().all(|range| range.is_valid()) {
            return Err(Error::Argument(format!(
                "the saved statistics are not those of a {}",
                observer.spec.kind
            )));
        }
        observer.statistics = statistics;
        Ok(observer)
    }
}

#[cfg(test)]
mod tests;
