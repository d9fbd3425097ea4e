//! Operators that only move values: each value of the output is one of the input, or a constant.

use posterize_kernels::Pool;

use super::kernel::{Made, Shapes, function};
use super::select::for_each_row;
use super::shapes::memory_order;
use super::training::{Backward, Gradient, linear};

/// The offset of positions that are not in the input.
const OUTSIDE: usize = usize::MAX;

/// For each value of the output the offset of one in the input.
///
/// The offset is a sum of what each of the output's axes adds to it.
#[derive(Clone, Debug)]
pub(super) struct Moves {
    /// The offsets that the positions of each axis add, in memory order, without the batch; [`OUTSIDE`]
    /// for positions with the constant. At least one axis.
    axes: Vec<Vec<usize>>,
    /// Number of values of an input and an output picture.
    input: usize,
    output: usize,
}

/// Returns the distance in memory between neighbors along each axis of a shape.
pub(super) fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![0; shape.len()];
    let mut stride = 1;
    for axis in memory_order(shape.len()).into_iter().rev() {
        strides[axis] = stride;
        stride *= shape[axis];
    }
    strides
}

impl Moves {
    /// Creates the moves from an input to an output of these shapes. `offset` gives what a position
    /// along an axis of the output adds to the offset in the input; `None` for the constant.
    pub(super) fn new(shapes: &Shapes, offset: impl Fn(usize, usize) -> Option<usize>) -> Self {
        let output = &shapes.output;
        let axis = |axis: usize| {
            let offsets = (0..output[axis]).map(|index| offset(axis, index).unwrap_or(OUTSIDE));
            offsets.collect::<Vec<_>>()
        };
        let mut axes: Vec<Vec<usize>> =
            memory_order(output.len()).into_iter().filter(|&of| of > 0).map(axis).collect();
        // An axis of one position at offset 0 adds nothing.
        axes.retain(|offsets| *offsets != [0]);
        if axes.is_empty() {
            axes.push(vec![0]);
        }
        let values = |shape: &[usize]| shape.iter().skip(1).product();
        Self { axes, input: values(&shapes.inputs[0]), output: values(output) }
    }

    /// Whether the output is the input as it lies in memory.
    fn is_identity(&self) -> bool {
        let mut stride = 1;
        let in_order = self.axes.iter().rev().all(|offsets| {
            let ordered = offsets.iter().enumerate().all(|(i, &at)| at == i * stride);
            stride *= offsets.len();
            ordered
        });
        in_order && self.input == self.output
    }

    /// Returns the offsets along the last axis in memory.
    fn last(&self) -> &[usize] {
        self.axes.last().map_or(&[], Vec::as_slice)
    }

    /// Returns the offset of a row of the output along its last axis in memory; `None` for the constant.
    fn row(&self, mut row: usize) -> Option<usize> {
        let mut start = 0;
        for offsets in self.axes.iter().rev().skip(1) {
            match offsets[row % offsets.len()] {
                OUTSIDE => return None,
                offset => start += offset,
            }
            row /= offsets.len();
        }
        Some(start + row * self.input)
    }

    /// Moves the values of a batch.
    fn copy<T: Copy + Send + Sync>(&self, pool: &Pool, outside: T, input: &[T], output: &mut [T]) {
        let last = self.last();
        let run = last.iter().enumerate().all(|(i, &at)| at != OUTSIDE && at == last[0] + i);
        for_each_row(pool, output, last.len(), |row, output| {
            let Some(start) = self.row(row) else { return output.fill(outside) };
            if run {
                return output.copy_from_slice(&input[start + last[0]..][..output.len()]);
            }
            for (to, &at) in output.iter_mut().zip(last) {
                *to = if at == OUTSIDE { outside } else { input[start + at] };
            }
        });
    }

    /// Writes the gradient of the input: the sum of those of the places that each value was moved to.
    fn backward(&self, pool: &Pool, gradient: &[f32], target: &mut [f32]) {
        let last = self.last();
        let width = last.len().max(1);
        let rows = self.output / width;
        for_each_row(pool, target, self.input, |picture, target| {
            target.fill(0.0);
            let gradient = &gradient[picture * self.output..][..self.output];
            for (row, gradient) in (0..rows).zip(gradient.chunks_exact(width)) {
                let Some(start) = self.row(row) else { continue };
                for (&at, gradient) in last.iter().zip(gradient) {
                    if at != OUTSIDE {
                        target[start + at] += gradient;
                    }
                }
            }
        });
    }
}

/// Creates the kernel that moves values, called `name` in profiles. `outside` is the constant.
pub(super) fn kernel<T: Copy + Send + Sync + 'static>(
    name: &'static str,
    moves: Moves,
    outside: T,
) -> Made<T> {
    if moves.is_identity() {
        return Ok(None);
    }
    function(name, move |call, input, output: &mut [T]| {
        moves.copy(call.pool, outside, input(0), output);
    })
}

/// Returns the gradient; `moves` creates the moves for the shapes of a call.
pub(super) fn gradient(moves: impl Fn(&Shapes) -> Moves + Send + Sync + 'static) -> Gradient {
    linear(move |Backward { call, shapes, gradient, .. }, target| {
        moves(shapes).backward(call.pool, gradient, target);
    })
}

/// Implements the kernels and the gradient of an operator that only moves values, with a method
/// `moves` that creates the [`Moves`] for the shapes of a call.
macro_rules! only_moves {
    ($name:ident, $kernel:literal) => {
        impl $crate::ops::Layer for $name {
            fn class(&self) -> &'static str {
                stringify!($name)
            }
        }

        impl $crate::ops::operator::Saved for $name {
            const VERSION: u32 = 1;
        }

        impl $crate::ops::kernel::Compute for $name {
            fn float(
                &self,
                _: &$crate::ops::kernel::FloatContext<'_>,
                shapes: &$crate::ops::kernel::Shapes,
            ) -> $crate::ops::kernel::Made<f32> {
                $crate::ops::moves::kernel($kernel, self.moves(shapes), 0.0)
            }

            fn int8(
                &self,
                _: &$crate::ops::kernel::Int8Context<'_>,
                shapes: &$crate::ops::kernel::Shapes,
            ) -> $crate::ops::kernel::Made<u8> {
                $crate::ops::moves::kernel($kernel, self.moves(shapes), 0)
            }
        }

        impl $crate::ops::training::Train for $name {
            fn training(&self) -> $crate::ops::training::Training {
                let op = Clone::clone(self);
                let gradient = $crate::ops::moves::gradient(move |shapes| op.moves(shapes));
                $crate::ops::training::Training::Function(gradient)
            }
        }
    };
}

/// The answers of an operator that only moves the values of its one input.
macro_rules! moves_values {
    () => {
        $crate::ops::answers::prints_as_a_layer!();
        $crate::ops::answers::takes_one_input!();
        $crate::ops::answers::no_parameters!();
        $crate::ops::answers::reads_each_value_once!();
        $crate::ops::answers::fuses_nothing!();

        fn int8_rule(&self) -> $crate::ops::Int8Rule {
            $crate::ops::Int8Rule::InputScale { rounds: false }
        }
    };
}

pub(super) use {moves_values, only_moves};
