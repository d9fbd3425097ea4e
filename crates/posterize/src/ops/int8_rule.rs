//! The rule by which the output of an operator gets its scale in int8.

/// Whether an operator can be computed in int8, and how its output gets its scale.
///
/// ```
/// use posterize::ops::{Conv2d, Int8Rule, MaxPool2d, Op};
///
/// assert_eq!(Op::from(Conv2d::new(3, 8, 3)).int8_rule(), Int8Rule::OwnScale);
/// assert!(Op::from(MaxPool2d::new(2)).int8_rule().keeps_scale());
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Int8Rule {
    /// It has no int8 kernel and stays in float.
    Float {
        /// Why, as a sentence without a full stop.
        reason: &'static str,
    },
    /// Its output has a scale of its own, which an observer finds.
    OwnScale,
    /// The output has a fixed scale: the values of a sigmoid are in 0..1, for which PyTorch uses the
    /// scale 1/256.
    FixedScale {
        /// The scale.
        scale: f32,
        /// The zero point.
        zero_point: u8,
    },
    /// The output has the scale and zero point of the input.
    InputScale {
        /// Whether it rounds. Averages are rounded to the integers of that scale; operators that
        /// only move or select values are exact.
        rounds: bool,
    },
}

impl Int8Rule {
    /// Returns whether the output has the scale of the input.
    pub const fn keeps_scale(self) -> bool {
        matches!(self, Self::InputScale { .. })
    }
}
