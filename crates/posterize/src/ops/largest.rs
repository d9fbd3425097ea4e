//! The larger of two values.

/// A value of a tensor that is compared with others.
pub(super) trait Compare: Copy + Send + Sync + 'static {
    /// The smallest value.
    const LOWEST: Self;
    /// The largest value.
    const HIGHEST: Self;

    /// Returns the larger one; a NaN if one of both is.
    fn larger(self, other: Self) -> Self;

    /// Returns the smaller one; a NaN if one of both is.
    fn smaller(self, other: Self) -> Self;
}

impl Compare for f32 {
    const LOWEST: Self = Self::NEG_INFINITY;
    const HIGHEST: Self = Self::INFINITY;

    fn larger(self, other: Self) -> Self {
        if other > self || other.is_nan() { other } else { self }
    }

    fn smaller(self, other: Self) -> Self {
        if other < self || other.is_nan() { other } else { self }
    }
}

impl Compare for u8 {
    const LOWEST: Self = Self::MIN;
    const HIGHEST: Self = Self::MAX;

    fn larger(self, other: Self) -> Self {
        self.max(other)
    }

    fn smaller(self, other: Self) -> Self {
        self.min(other)
    }
}
