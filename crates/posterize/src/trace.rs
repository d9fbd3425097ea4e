//! Spans of the crate `tracing`, which exist with the Cargo feature of that name.

/// Enters a span, at a level of `tracing::Level`, until the end of the block. Without the feature
/// `tracing` nothing is computed, the values of the fields included.
#[cfg(feature = "tracing")]
macro_rules! span {
    ($level:ident, $name:literal $(, $field:ident = $value:expr)* $(,)?) => {
        let _span =
            tracing::span!(tracing::Level::$level, $name $(, $field = $value)*).entered();
    };
}

#[cfg(not(feature = "tracing"))]
macro_rules! span {
    ($level:ident, $name:literal $(, $field:ident = $value:expr)* $(,)?) => {
        // Never called; it is there so that the values are used and have a type.
        let _ = || { $(let _ = &$value;)* };
    };
}

pub(crate) use span;
/// Makes a field of what can be printed.
#[cfg(feature = "tracing")]
pub(crate) use tracing::field::display;

#[cfg(not(feature = "tracing"))]
pub(crate) const fn display<T>(value: T) -> T {
    value
}
