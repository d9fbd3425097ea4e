//! The sizes of a block.

use std::ops::Range;

/// The sizes of a block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) expands: bool,
    pub(super) adds: bool,
    /// Channels of the input.
    pub(super) inputs: usize,
    /// Channels of the depthwise convolution.
    pub(super) hidden: usize,
    /// Channels of the output.
    pub(super) outputs: usize,
    /// Height and width of the input.
    pub(super) size: [usize; 2],
    /// Height and width of the output.
    pub(super) output_size: [usize; 2],
    /// Input rows from one output row to the next.
    pub(super) stride: usize,
    /// Input rows under the window of one output row.
    pub(super) reach: usize,
    /// Rows of padding above the input.
    pub(super) top: usize,
}

impl Shape {
    /// How many input rows are under the windows of so many neighbouring output rows, at most.
    pub(super) fn input_rows_under(&self, rows: usize) -> usize {
        (rows.saturating_sub(1) * self.stride + self.reach).min(self.size[0])
    }

    /// The input rows under the windows of output rows, which are at least one.
    pub(super) fn input_rows(&self, rows: &Range<usize>) -> Range<usize> {
        let within = |row: usize| row.saturating_sub(self.top).min(self.size[0]);
        let first = rows.start * self.stride;
        within(first)..within(first + (rows.len() - 1) * self.stride + self.reach)
    }
}
