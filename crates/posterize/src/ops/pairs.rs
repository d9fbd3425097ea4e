//! Where the values of two inputs lie that each value of an output is made of.

use super::moves::strides;
use super::shapes::memory_order;

/// The offsets in two inputs for each position of an output, in the order of the output's memory.
#[derive(Clone, Debug)]
pub(super) struct Pairs {
    /// The size of each axis of a picture of the output, and the distance between neighbors in both
    /// inputs: 0 where an input does not have the axis.
    axes: Vec<(usize, [usize; 2])>,
    /// Number of values of a picture of both inputs.
    values: [usize; 2],
}

impl Pairs {
    /// Creates the offsets for an output of a shape. `distance` gives the distance between neighbors of an
    /// input along an axis of the output, of that input's strides.
    pub(super) fn new(
        output: &[usize],
        inputs: [&[usize]; 2],
        distance: impl Fn(usize, &[usize], usize) -> usize,
    ) -> Self {
        let strides = inputs.map(strides);
        let order = memory_order(output.len()).into_iter().filter(|&axis| axis > 0);
        let axes = order.map(|axis| {
            let of = [0, 1].map(|input| distance(input, &strides[input], axis));
            (output[axis], of)
        });
        let values = inputs.map(|shape| shape.iter().skip(1).product());
        Self { axes: axes.collect(), values }
    }

    /// Creates the offsets of two inputs that are broadcast to an output.
    pub(super) fn broadcast(output: &[usize], inputs: [&[usize]; 2]) -> Self {
        Self::new(output, inputs, |input, strides, axis| {
            if inputs[input][axis] == output[axis] { strides[axis] } else { 0 }
        })
    }

    /// Returns the size of the last axis in memory, and the distances along it.
    pub(super) fn last(&self) -> (usize, [usize; 2]) {
        self.axes.last().copied().unwrap_or((1, [0, 0]))
    }

    /// Returns the offsets at which a row along the last axis of a batch begins.
    pub(super) fn row(&self, mut row: usize) -> [usize; 2] {
        let mut offsets = [0, 0];
        for (size, distances) in self.axes.iter().rev().skip(1) {
            let index = row % size;
            row /= size;
            offsets = [0, 1].map(|input| offsets[input] + index * distances[input]);
        }
        [0, 1].map(|input| offsets[input] + row * self.values[input])
    }
}
