//! Why a layer is sensitive, and what to do about it.

use std::fmt;

use serde::Serialize;

use super::facts::{LayerFacts, WeightFacts};
use crate::quantization::{BiasCorrection, ObserverKind, Rounding};

/// A likely reason for the noise of an int8 layer, with the numbers that were measured. It is displayed as
/// a clause.
///
/// ```
/// use posterize::quantization::Cause;
///
/// let cause = Cause::OutlierActivations { largest: 42.0, percentile: 6.0 };
/// assert_eq!(
///     cause.to_string(),
///     "outlier activations: the largest is 42, but 99.9 % are within 6",
/// );
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Cause {
    /// The weights have one scale, which is too coarse for most of their output channels.
    WeightChannelRanges {
        /// The largest absolute weight.
        largest: f32,
        /// The largest absolute weight of the median channel.
        median: f32,
        /// The number of integers, of 255, that the median channel uses.
        levels: usize,
    },
    /// The rounding of the weights is most of the noise of the layer.
    WeightRounding {
        /// The noise of the network's outputs with only these weights rounded, divided by that with the whole
        /// layer in int8; see [`WeightFacts::noise_share`].
        share: f64,
    },
    /// The outputs have one scale, which is too coarse for most of their channels.
    OutputChannelRanges {
        /// The largest absolute output.
        largest: f32,
        /// The largest absolute output of the median channel.
        median: f32,
        /// The number of integers, of 256, that the median channel uses.
        levels: usize,
    },
    /// A few outputs are much larger than all others.
    OutlierActivations {
        /// The largest absolute output.
        largest: f32,
        /// The absolute value that 99.9 % of the outputs do not exceed.
        percentile: f32,
    },
    /// The errors of a channel have the same sign for most pixels.
    BiasShift {
        /// The root mean square over the channels of the mean error of a channel.
        mean: f64,
        /// The root mean square of the error around the mean.
        spread: f64,
    },
    /// The outputs use few of the integers, although their channels have similar ranges.
    FewLevels {
        /// The number of integers, of 256, that the median channel uses.
        levels: usize,
    },
}

/// The ratios of the largest to the median range, of weights and of outputs, from which on ranges are a
/// cause. The median channel has five bits of eight then, and four.
const WEIGHT_RATIO: f64 = 8.0;
const OUTPUT_RATIO: f64 = 16.0;

/// The share of the noise from which on the rounding of the weights is the main part of it.
const MAIN_SHARE: f64 = 0.5;

/// The ratio of the largest value to the 99.9th percentile from which on outliers are a cause.
const OUTLIER_RATIO: f64 = 4.0;

/// The ratio of the mean error to its spread from which on the bias is a cause.
const SHIFT_RATIO: f64 = 0.5;

/// The number of integers of a channel up to which their number is a cause.
const FEW_LEVELS: f64 = 16.0;

impl Cause {
    /// Returns the causes that the facts of a layer show, the most pronounced first.
    pub(super) fn of(facts: &LayerFacts) -> Vec<Self> {
        let mut found = Vec::new();
        let mut add = |excess: f64, cause| {
            if excess >= 1.0 {
                found.push((excess, cause));
            }
        };
        let ratio = |a: f32, b: f32| f64::from(a) / f64::from(b).max(f64::MIN_POSITIVE);
        if let Some(WeightFacts { per_channel, largest, median, levels, noise_share }) =
            facts.weight
        {
            if !per_channel {
                let cause = Self::WeightChannelRanges { largest, median, levels };
                add(ratio(largest, median) / WEIGHT_RATIO, cause);
            }
            add(noise_share / MAIN_SHARE, Self::WeightRounding { share: noise_share });
        }
        let output = facts.output;
        let (largest, levels) = (output.largest, output.levels);
        let ranges = ratio(largest, output.median) / OUTPUT_RATIO;
        add(ranges, Self::OutputChannelRanges { largest, median: output.median, levels });
        let outliers = ratio(largest, output.percentile) / OUTLIER_RATIO;
        add(outliers, Self::OutlierActivations { largest, percentile: output.percentile });
        let (mean, spread) = (output.mean_error, output.spread);
        if mean > 0.0 {
            add(mean / (SHIFT_RATIO * spread), Self::BiasShift { mean, spread });
        }
        if ranges < 1.0 && outliers < 1.0 && largest > 0.0 {
            add(FEW_LEVELS / levels as f64, Self::FewLevels { levels });
        }
        found.sort_by(|(a, _), (b, _)| b.total_cmp(a));
        found.into_iter().map(|(_, cause)| cause).collect()
    }

    /// Whether the scale of the outputs is the cause, so that a layer that reads them has it too.
    pub(super) fn is_of_scale(&self) -> bool {
        matches!(
            self,
            Self::OutputChannelRanges { .. }
                | Self::OutlierActivations { .. }
                | Self::FewLevels { .. }
        )
    }

    /// Returns what to try against it, given what was done already.
    pub(super) fn remedy(&self, done: Done) -> Remedy {
        match self {
            Self::WeightChannelRanges { .. } if done.equalized => Remedy::PerChannel,
            Self::WeightChannelRanges { .. } => Remedy::Equalize,
            Self::WeightRounding { .. } if done.rounding == Rounding::Nearest => Remedy::Rounding,
            Self::OutputChannelRanges { .. } if !done.equalized => Remedy::Equalize,
            Self::OutlierActivations { .. } if done.observer != Some(ObserverKind::Percentile) => {
                Remedy::Percentile
            }
            Self::BiasShift { .. } if done.bias_correction != BiasCorrection::Empirical => {
                Remedy::BiasCorrection
            }
            _ => Remedy::KeepInFloat,
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::WeightChannelRanges { largest, median, levels } => write!(
                f,
                "channel ranges of its weights differ {} with one scale (the median channel uses {levels} \
                 of 255 levels)",
                Ratio(largest, median)
            ),
            // Errors that cancel others may be larger than all together.
            Self::WeightRounding { share } => {
                let percent = 100.0 * share.min(1.0);
                write!(f, "rounding of its weights: {percent:.0} % of the noise that it adds")
            }
            Self::OutputChannelRanges { largest, median, levels } => write!(
                f,
                "channel ranges of its outputs differ {} with one scale (the median channel uses {levels} \
                 of 256 levels)",
                Ratio(largest, median)
            ),
            Self::OutlierActivations { largest, percentile } => write!(
                f,
                "outlier activations: the largest is {}, but 99.9 % are within {}",
                Digits(largest.into()),
                Digits(percentile.into())
            ),
            Self::BiasShift { mean, spread } => write!(
                f,
                "bias shift: the mean error of a channel is {}, its spread {}",
                Digits(mean),
                Digits(spread)
            ),
            Self::FewLevels { levels } => {
                write!(f, "few levels used: the median channel of its outputs uses {levels} of 256")
            }
        }
    }
}

/// A ratio as `30 : 1`.
struct Ratio(f32, f32);

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.0} : 1", f64::from(self.0) / f64::from(self.1))
    }
}

/// A number with three significant digits.
struct Digits(f64);

impl fmt::Display for Digits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let magnitude = if self.0 == 0.0 { 0.0 } else { self.0.abs().log10().floor() };
        let decimals = (2.0 - magnitude).clamp(0.0, 12.0) as usize;
        let text = format!("{:.decimals$}", self.0);
        let short = if text.contains('.') { text.trim_end_matches('0') } else { &text };
        f.write_str(short.trim_end_matches('.'))
    }
}

/// What to try so that a layer loses less.
///
/// ```
/// use posterize::quantization::Remedy;
/// assert_eq!(Remedy::Equalize.to_string(), "equalize channels");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Remedy {
    /// [`Equalization::Always`](crate::quantization::Equalization::Always).
    Equalize,
    /// A scale for each output channel of the weights.
    PerChannel,
    /// [`Rounding::CoordinateDescent`] or [`Rounding::AdaRound`].
    Rounding,
    /// [`ObserverSpec::percentile`](crate::quantization::ObserverSpec::percentile).
    Percentile,
    /// [`BiasCorrection::Empirical`].
    BiasCorrection,
    /// The layer stays in float.
    KeepInFloat,
}

impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Equalize => "equalize channels",
            Self::Rounding => "round weights so that the output is close",
            Self::PerChannel => "a scale for each channel of the weights",
            Self::Percentile => "ranges without the largest values",
            Self::BiasCorrection => "correct biases",
            Self::KeepInFloat => "keep the layer in float",
        })
    }
}

/// What was done about the causes when the network was quantized.
#[derive(Clone, Copy, Debug)]
pub(super) struct Done {
    pub(super) equalized: bool,
    pub(super) bias_correction: BiasCorrection,
    pub(super) rounding: Rounding,
    /// The observer of the layer's output.
    pub(super) observer: Option<ObserverKind>,
}

#[cfg(test)]
mod tests {
    use super::super::facts::OutputFacts;
    use super::*;

    const PLAIN: OutputFacts = OutputFacts {
        largest: 6.0,
        median: 3.0,
        percentile: 4.0,
        levels: 128,
        mean_error: 0.001,
        spread: 0.01,
    };
    const DONE: Done = Done {
        equalized: false,
        bias_correction: BiasCorrection::None,
        rounding: Rounding::Nearest,
        observer: None,
    };

    fn causes(weight: Option<WeightFacts>, output: OutputFacts) -> Vec<Cause> {
        Cause::of(&LayerFacts { weight, output })
    }

    #[test]
    fn each_cause_is_found_by_its_facts_alone() {
        assert_eq!(causes(None, PLAIN), []);
        let wide = WeightFacts {
            per_channel: false,
            largest: 3.0,
            median: 0.1,
            levels: 9,
            noise_share: 0.4,
        };
        let found = causes(Some(wide), PLAIN);
        assert_eq!(found[0].remedy(DONE), Remedy::Equalize);
        assert_eq!(found[0].remedy(Done { equalized: true, ..DONE }), Remedy::PerChannel);
        assert_eq!(
            found[0].to_string(),
            "channel ranges of its weights differ 30 : 1 with one scale (the median channel uses 9 of \
             255 levels)"
        );
        assert_eq!(found.len(), 1);
        assert_eq!(causes(Some(WeightFacts { per_channel: true, ..wide }), PLAIN), []);

        let rounded = WeightFacts { per_channel: true, noise_share: 0.61, ..wide };
        let found = causes(Some(rounded), PLAIN);
        assert_eq!(found, [Cause::WeightRounding { share: 0.61 }]);
        assert_eq!(found[0].to_string(), "rounding of its weights: 61 % of the noise that it adds");
        assert_eq!(found[0].remedy(DONE), Remedy::Rounding);
        for rounding in [Rounding::CoordinateDescent, Rounding::AdaRound] {
            assert_eq!(found[0].remedy(Done { rounding, ..DONE }), Remedy::KeepInFloat);
        }
        // Channels that are far apart are the reason for the rounding.
        let found = causes(Some(WeightFacts { noise_share: 0.9, ..wide }), PLAIN);
        assert!(matches!(
            found[..],
            [Cause::WeightChannelRanges { .. }, Cause::WeightRounding { .. }]
        ));

        let found = causes(None, OutputFacts { median: 0.3, levels: 12, ..PLAIN });
        assert!(matches!(found[..], [Cause::OutputChannelRanges { levels: 12, .. }]), "{found:?}");
        let found = causes(None, OutputFacts { percentile: 1.25, ..PLAIN });
        assert_eq!(found, [Cause::OutlierActivations { largest: 6.0, percentile: 1.25 }]);
        assert_eq!(found[0].remedy(DONE), Remedy::Percentile);
        let known = Done { observer: Some(ObserverKind::Percentile), ..DONE };
        assert_eq!(found[0].remedy(known), Remedy::KeepInFloat);
        let found = causes(None, OutputFacts { mean_error: 0.03, ..PLAIN });
        assert_eq!(found[0].remedy(DONE), Remedy::BiasCorrection);
        assert_eq!(
            found[0].to_string(),
            "bias shift: the mean error of a channel is 0.03, its spread 0.01"
        );
        assert_eq!(
            causes(None, OutputFacts { levels: 4, ..PLAIN }),
            [Cause::FewLevels { levels: 4 }]
        );
    }

    #[test]
    fn the_most_pronounced_cause_is_first() {
        let output = OutputFacts { median: 0.3, percentile: 0.1, ..PLAIN };
        let found = causes(None, output);
        assert!(
            matches!(
                found[..],
                [Cause::OutlierActivations { .. }, Cause::OutputChannelRanges { .. }]
            ),
            "{found:?}"
        );
    }

    #[test]
    fn numbers_have_three_digits() {
        let texts = [0.0, 0.012_345, 1.0, 41.26, 1234.5].map(|x| Digits(x).to_string());
        assert_eq!(texts, ["0", "0.0123", "1", "41.3", "1234"]);
    }
}
