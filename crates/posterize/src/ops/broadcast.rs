//! Gradients of operators with broadcast inputs: sums over the broadcast axes.

use super::shapes::memory_order;
use super::training::Backward;

/// Writes the gradient of the input at `position` of an operator with two broadcast inputs.
///
/// `term(gradient, own, other)` gives what an element of the output adds to that of the input, where
/// `own` and `other` are the indices of this and of the other input's element. Sums are taken in f64,
/// in the order of the output, picture by picture, so that they do not depend on the number of
/// threads.
pub(super) fn sum_to_input(
    from: &Backward<'_, '_>,
    term: impl Fn(f32, usize, usize) -> f32 + Sync,
    target: &mut [f32],
) {
    let &Backward { call, shapes, position, gradient, .. } = from;
    // The first axis is the batch, which is never broadcast.
    let output = &in_memory(&shapes.output)[1..];
    let own = Strides::new(&shapes.inputs[position], output);
    let other = Strides::new(&shapes.inputs[1 - position], output);
    let values: usize = output.iter().product();
    let row = output.last().copied().unwrap_or(1);
    call.pool.for_each_chunk_mut(target, own.values.max(1), &|picture, target| {
        let gradient = &gradient[picture * values..][..values];
        let mut sums = vec![0.0_f64; target.len()];
        for (index, gradient) in gradient.chunks_exact(row).enumerate() {
            let (to, from) = (own.row(output, index), other.row(output, index));
            let from = from + picture * other.values;
            for (column, &gradient) in gradient.iter().enumerate() {
                let to = to + column * own.last();
                let term = term(gradient, picture * own.values + to, from + column * other.last());
                sums[to] += f64::from(term);
            }
        }
        target.iter_mut().zip(sums).for_each(|(to, sum)| *to = sum as f32);
    });
}

/// The strides of an input along the axes of the output, for one picture.
struct Strides {
    /// The stride of each axis in elements; 0 for a broadcast axis.
    strides: Vec<usize>,
    /// Number of values of the input for one picture.
    values: usize,
}

impl Strides {
    fn new(input: &[usize], output: &[usize]) -> Self {
        let input = &in_memory(input)[1..];
        let mut strides = vec![0; output.len()];
        let mut values = 1;
        for axis in (0..output.len()).rev() {
            if input[axis] == output[axis] {
                strides[axis] = values;
            }
            values *= input[axis];
        }
        Self { strides, values }
    }

    /// Returns the stride of the last axis.
    fn last(&self) -> usize {
        self.strides.last().copied().unwrap_or(0)
    }

    /// Returns the offset of row number `row` along the last axis.
    fn row(&self, output: &[usize], mut row: usize) -> usize {
        let mut start = 0;
        for axis in (0..output.len().saturating_sub(1)).rev() {
            start += row % output[axis] * self.strides[axis];
            row /= output[axis];
        }
        start
    }
}

/// Returns the sizes of a shape in memory order.
pub(super) fn in_memory(shape: &[usize]) -> Vec<usize> {
    memory_order(shape.len()).into_iter().map(|axis| shape[axis]).collect()
}
