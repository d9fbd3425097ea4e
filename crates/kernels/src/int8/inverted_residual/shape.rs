//! The shapes within an inverted residual block.

use std::ops::Range;

/// The shapes within an inverted residual block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    /// Whether the block has an expansion.
    pub(super) expands: bool,
    /// Whether the block has an addition.
    pub(super) adds: bool,
    /// Number of input channels.
    pub(super) inputs: usize,
    /// Number of channels of the depthwise convolution.
    pub(super) hidden: usize,
    /// Number of output channels.
    pub(super) outputs: usize,
    /// Height and width of the input.
    pub(super) size: [usize; 2],
    /// Height and width of the output.
    pub(super) output_size: [usize; 2],
    /// Vertical stride of the depthwise convolution.
    pub(super) stride: usize,
    /// Number of input rows that the window spans.
    pub(super) reach: usize,
    /// Rows of padding above the input.
    pub(super) top: usize,
}

impl Shape {
    /// Maximum number of input rows under the windows of `rows` neighbouring output rows.
    pub(super) fn input_rows_under(&self, rows: usize) -> usize {
        (rows.saturating_sub(1) * self.stride + self.reach).min(self.size[0])
    }

    /// Returns the input rows under the windows of output `rows`, of which there must be at least
    /// one.
    pub(super) fn input_rows(&self, rows: &Range<usize>) -> Range<usize> {
        let within = |row: usize| row.saturating_sub(self.top).min(self.size[0]);
        let first = rows.start * self.stride;
        within(first)..within(first + (rows.len() - 1) * self.stride + self.reach)
    }
}
