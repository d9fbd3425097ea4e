//! Splits a broadcast output into pieces that one thread computes: consecutive rows.

use std::ops::Range;

use super::Broadcast;
use super::axis::Axis;
use crate::pool::{Pool, part};

/// Elements of one task.
const TASK: usize = 16 * 1024;

/// Consecutive rows of the output. For each row, an input has either a row or a single element.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Piece {
    /// Index of the first element of the output.
    pub(crate) output: usize,
    /// Index of the first element of each input.
    pub(crate) input: [usize; 2],
    /// Number of rows.
    pub(crate) rows: usize,
    /// Elements of an output row.
    pub(crate) len: usize,
    /// Elements from one row to the next of each input.
    pub(crate) step: [usize; 2],
}

impl Piece {
    /// The elements of the output.
    pub(crate) fn range(&self) -> Range<usize> {
        self.output..self.output + self.rows * self.len
    }
}

impl Broadcast {
    /// Elements of a row, along the innermost axis.
    pub(crate) fn row_len(&self) -> usize {
        self.axes()[self.axes().len() - 1].size
    }

    /// For each input, whether it has a row for each output row; otherwise it has a single element.
    pub(crate) fn row_moves(&self) -> [bool; 2] {
        self.axes()[self.axes().len() - 1].moves
    }

    /// Calls `work` with pieces that together cover each element of `count` outputs once, on the
    /// threads of `pool`.
    pub(crate) fn run(&self, pool: &Pool, count: usize, work: impl Fn(Piece) + Sync) {
        if self.is_empty() {
            return;
        }
        let len = self.row_len();
        let rows = count * (self.len() / len);
        if len >= TASK {
            // Rows are longer than a task, so they are split.
            let parts = len.div_ceil(TASK);
            let moves = self.row_moves();
            pool.run(rows * parts, &|task, _| {
                let row = task / parts;
                let columns = part(len, parts, task % parts);
                self.for_each_piece(row..row + 1, |piece| {
                    let shifted = |side: usize| {
                        piece.input[side] + if moves[side] { columns.start } else { 0 }
                    };
                    work(Piece {
                        output: piece.output + columns.start,
                        input: [shifted(0), shifted(1)],
                        len: columns.len(),
                        ..piece
                    });
                });
            });
        } else {
            let at_once = TASK / len;
            pool.run(rows.div_ceil(at_once), &|task, _| {
                let rows = task * at_once..rows.min((task + 1) * at_once);
                self.for_each_piece(rows, &work);
            });
        }
    }

    /// Calls `work` with pieces that cover `rows`, in order.
    pub(crate) fn for_each_piece(&self, rows: Range<usize>, mut work: impl FnMut(Piece)) {
        let len = self.row_len();
        let outer = &self.axes()[..self.axes().len() - 1];
        let (second, outer) = match outer.split_last() {
            Some((second, outer)) => (*second, outer),
            None => (Axis { size: 1, moves: [false; 2], step: [0; 2] }, outer),
        };
        let mut row = rows.start;
        while row < rows.end {
            let within = row % second.size;
            let mut input = second.step.map(|step| within * step);
            let mut index = row / second.size;
            for axis in outer.iter().rev() {
                let position = index % axis.size;
                for (first, step) in input.iter_mut().zip(axis.step) {
                    *first += position * step;
                }
                index /= axis.size;
            }
            // What is left is the tensor that the row belongs to.
            for (first, len) in input.iter_mut().zip(self.input_len()) {
                *first += index * len;
            }
            let count = (second.size - within).min(rows.end - row);
            work(Piece { output: row * len, input, rows: count, len, step: second.step });
            row += count;
        }
    }
}
