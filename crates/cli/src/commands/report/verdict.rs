//! Says in words whether two networks differ in accuracy.

use posterize::report::{Interval, Outcomes};
use serde::Serialize;

use crate::ui::count;

/// A difference is called real if it would come up more rarely than this between networks of the same
/// accuracy.
const SIGNIFICANCE: f64 = 0.05;

/// How much more accurate the float network is.
#[derive(Debug, Serialize)]
pub(super) struct Difference {
    /// The difference in top-1 accuracy, in percentage points.
    pub(super) points: f64,
    /// In percentage points.
    pub(super) interval: Interval,
    pub(super) p_value: f64,
}

impl Difference {
    pub(super) fn new(outcomes: &Outcomes) -> Self {
        Self {
            points: 100.0 * outcomes.difference(),
            interval: in_percent(outcomes.difference_interval()),
            p_value: outcomes.p_value(),
        }
    }
}

/// Returns an interval of proportions in percent.
pub(super) fn in_percent(Interval { low, high }: Interval) -> Interval {
    Interval { low: 100.0 * low, high: 100.0 * high }
}

/// Describes the difference in accuracy in sentences, and whether it is more than chance.
pub(super) fn verdict(outcomes: &Outcomes, difference: &Difference) -> String {
    let Outcomes { only_float, only_int8, .. } = *outcomes;
    let images = outcomes.images();
    if only_float + only_int8 == 0 {
        return format!(
            "Both networks are right about the same pictures. With {} pictures, the difference in \
             top-1 accuracy is at most {:.2} points (95 % confidence).",
            count(images as u64),
            difference.interval.high
        );
    }
    let what = match only_int8.cmp(&only_float) {
        std::cmp::Ordering::Less => format!(
            "The int8 network is right about {} fewer than the float network",
            pictures(only_float - only_int8)
        ),
        std::cmp::Ordering::Equal => {
            "The int8 network is right about as many pictures as the float network".to_owned()
        }
        std::cmp::Ordering::Greater => format!(
            "The int8 network is right about {} more than the float network",
            pictures(only_int8 - only_float)
        ),
    };
    let chance = 100.0 * difference.p_value;
    let chance = if chance < 0.01 { "less than 0.01".into() } else { format!("{chance:.2}") };
    let is_chance = difference.p_value >= SIGNIFICANCE;
    let meaning = if is_chance && difference.interval.contains(0.0) {
        "so it may be chance"
    } else if is_chance {
        // The exact test is more careful than the interval, which is an approximation.
        "so it may still be chance: more pictures would tell"
    } else if only_float > only_int8 {
        "so it is real: int8 is less accurate"
    } else {
        "so it is real: int8 is more accurate"
    };
    let (low, high) = (-difference.interval.high, -difference.interval.low);
    format!(
        "{what}, {:+.2} points (95 % confidence interval {low:+.2} to {high:+.2}). Of the pictures about \
         which only one network is right, float has {} and int8 {}. If both were equally accurate, a \
         difference at least as large would have a probability of {chance} % (McNemar's exact test), \
         {meaning}.",
        // Not -0.
        0.0 - difference.points,
        count(only_float as u64),
        count(only_int8 as u64)
    )
}

/// Formats a number of pictures.
pub(super) fn pictures(number: usize) -> String {
    format!("{} picture{}", count(number as u64), if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use posterize::report::Outcomes;

    use super::{Difference, verdict};

    /// The verdict on 200 pictures.
    fn of(only_float: usize, only_int8: usize) -> String {
        let both = 200 - only_float - only_int8;
        let outcomes = Outcomes { both, only_float, only_int8, neither: 0 };
        verdict(&outcomes, &Difference::new(&outcomes))
    }

    #[test]
    fn a_verdict_says_whether_the_difference_is_real() {
        let text = of(9, 3);
        assert!(text.starts_with("The int8 network is right about 6 pictures fewer"), "{text}");
        assert!(
            text.contains("float network, -3.00 points (95 % confidence interval -6.44"),
            "{text}"
        );
        // 2 · (1 + 12 + 66 + 220) / 4096.
        assert!(text.contains("a probability of 14.60 % (McNemar's exact test)"), "{text}");
        assert!(text.ends_with("so it may be chance."), "{text}");
        assert!(of(20, 3).ends_with("so it is real: int8 is less accurate."));
        let text = of(0, 30);
        assert!(text.contains("30 pictures more") && text.contains("less than 0.01 %"), "{text}");
        assert!(text.ends_with("so it is real: int8 is more accurate."), "{text}");
        let text = of(2, 2);
        assert!(text.contains("as many pictures as the float network, +0.00 points"), "{text}");
        assert!(of(1, 0).contains("1 picture fewer"));
        // The interval does not include 0, but the test has 5.2 %.
        assert!(of(16, 6).ends_with("so it may still be chance: more pictures would tell."));
        let text = of(0, 0);
        assert!(
            text.contains("With 200 pictures, the difference in top-1 accuracy is at most 0.97")
        );
    }
}
