//! Confidence intervals of proportions.

use serde::Serialize;

/// The 97.5 % quantile of the standard normal distribution, between which and its negative lie 95 %.
pub(super) const Z: f64 = 1.959_963_984_540_054;

/// A confidence interval of 95 %.
///
/// ```
/// use posterize::report::Interval;
///
/// let interval = Interval { low: -0.01, high: 0.02 };
/// assert!(interval.contains(0.0) && !interval.contains(0.03));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Interval {
    /// The lower bound.
    pub low: f64,
    /// The upper bound.
    pub high: f64,
}

impl Interval {
    /// Whether a value is in the interval, bounds included.
    pub fn contains(self, value: f64) -> bool {
        (self.low..=self.high).contains(&value)
    }
}

/// Computes the 95 % confidence interval of a proportion, of which `successes` of `trials` were seen.
///
/// It is Wilson's score interval, `proportion_confint(…, method="wilson")` in statsmodels; with
/// `p = successes / trials` and `z = 1.96`:
///
/// `(p + z² / 2n ± z · sqrt(p (1 − p) / n + z² / 4n²)) / (1 + z² / n)`
///
/// Source: Wilson 1927, [Probable Inference, the Law of Succession, and Statistical
/// Inference](https://doi.org/10.1080/01621459.1927.10502953). It is in `0..=1` and is usable for few
/// trials and for proportions near 0 and 1. Without trials it is `0..=1`.
///
/// ```
/// use posterize::report::wilson_interval;
///
/// let top1 = wilson_interval(825, 1000);
/// assert!((top1.low - 0.8002).abs() < 1e-4 && (top1.high - 0.8473).abs() < 1e-4);
/// ```
pub fn wilson_interval(successes: usize, trials: usize) -> Interval {
    if trials == 0 {
        return Interval { low: 0.0, high: 1.0 };
    }
    let n = trials as f64;
    let p = successes as f64 / n;
    let center = p + Z * Z / (2.0 * n);
    let half = Z * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).max(0.0).sqrt();
    let bound = |value: f64| (value / (1.0 + Z * Z / n)).clamp(0.0, 1.0);
    Interval { low: bound(center - half), high: bound(center + half) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Successes, trials, and the bounds of `proportion_confint(…, 0.05, "wilson")` of statsmodels 0.15.
    const EXPECTED: [(usize, usize, f64, f64); 6] = [
        (0, 10, 0.0, 0.277_532_799_862_889_26),
        (10, 10, 0.722_467_200_137_110_6, 1.0),
        (839, 1000, 0.814_929_990_306_280_7, 0.860_475_467_440_513),
        (825, 1000, 0.800_218_354_614_785, 0.847_294_252_369_604_1),
        (1, 3, 0.061_491_944_720_396_26, 0.792_340_399_197_952_3),
        (500, 50_000, 0.009_164_735_940_778_85, 0.010_910_550_867_883_251),
    ];

    #[test]
    fn intervals_equal_those_of_statsmodels() {
        for (successes, trials, low, high) in EXPECTED {
            let found = wilson_interval(successes, trials);
            assert!((found.low - low).abs() < 1e-13, "{successes} of {trials}: {found:?}");
            assert!((found.high - high).abs() < 1e-13, "{successes} of {trials}: {found:?}");
        }
        assert_eq!(wilson_interval(0, 0), Interval { low: 0.0, high: 1.0 });
    }
}
