//! Where the output of an operator gets its scale from in int8.

/// Whether an operator can be computed in int8, and where its output's scale comes from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Int8Rule {
    /// It has no int8 kernel and stays in float.
    Float {
        /// Why, as a sentence without a full stop.
        reason: &'static str,
    },
    /// Its output has a scale of its own, which an observer finds.
    OwnScale,
    /// Its output has a scale that follows from the function: sigmoid's values lie in 0..1, so that
    /// PyTorch gives them the scale 1/256.
    FixedScale {
        /// The scale.
        scale: f32,
        /// The zero point.
        zero_point: u8,
    },
    /// Its output keeps the scale of its input.
    InputScale {
        /// Whether it computes values that are no integers at that scale, such as averages, and
        /// rounds them; moving or dropping values does not.
        rounds: bool,
    },
}

impl Int8Rule {
    /// Whether the output keeps the scale of the input.
    pub const fn keeps_scale(self) -> bool {
        matches!(self, Self::InputScale { .. })
    }
}
