//! An axis of a broadcast output.

/// An axis of the output and the strides of both inputs along it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Axis {
    /// Size of the output along the axis; greater than 1 unless it is the only axis.
    pub(crate) size: usize,
    /// For each input, whether it has this size too; otherwise it has size 1 and is broadcast.
    pub(crate) moves: [bool; 2],
    /// Stride of each input in elements; 0 where it is broadcast.
    pub(crate) step: [usize; 2],
}
