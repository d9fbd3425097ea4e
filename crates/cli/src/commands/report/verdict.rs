//! Says in words whether two networks differ in accuracy.

use posterize::report::Outcomes;

use super::numbers::Numbers;
use crate::ui::count;

/// A difference is called real if it would come up more rarely than this between networks of the same
/// accuracy.
const SIGNIFICANCE: f64 = 0.05;

/// Describes the difference in accuracy in sentences, and whether it is more than chance.
pub(super) fn verdict(numbers: &Numbers) -> String {
    let Numbers { outcomes, difference, .. } = numbers;
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
    let meaning = if difference.p_value >= SIGNIFICANCE {
        "so it may be chance"
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
