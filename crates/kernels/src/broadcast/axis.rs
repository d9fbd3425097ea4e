//! The axes along which two inputs broadcast.

/// An axis of the output and how the inputs move along it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Axis {
    /// Positions; more than 1 where there are several axes.
    pub(crate) size: usize,
    /// Whether each input has elements of its own for each position.
    pub(crate) moves: [bool; 2],
    /// Elements between neighbouring positions of each input, 0 where it does not move.
    pub(crate) step: [usize; 2],
}
