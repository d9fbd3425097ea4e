//! Copies of positions along an axis, shared by slices, channel shuffles and concatenations.

use posterize_kernels::Pool;

use super::kernel::{Made, Shapes, function};
use super::shapes::memory_order;
use super::training::{Backward, Gradient, linear};

/// Number of elements that one task copies.
const TASK: usize = 1 << 14;

/// How an axis lies in a tensor's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Axis {
    /// The size of the axis.
    pub(super) len: usize,
    /// Number of contiguous values at each position along the axis.
    pub(super) inner: usize,
}

impl Axis {
    /// Returns axis `dim` of a shape.
    pub(super) fn new(shape: &[usize], dim: usize) -> Self {
        let order = memory_order(shape.len());
        let at = order.iter().position(|&axis| axis == dim).unwrap_or_default();
        let inner = order[at + 1..].iter().map(|&axis| shape[axis]).product();
        Self { len: shape[dim], inner }
    }

    /// Returns the number of contiguous values of all positions along the axis.
    pub(super) fn values(self) -> usize {
        self.len * self.inner
    }
}

/// Calls `work` with the index and the values of each row of `output`, on all threads of the pool.
/// A row has `width` values.
pub(super) fn for_each_row<T: Send>(
    pool: &Pool,
    output: &mut [T],
    width: usize,
    work: impl Fn(usize, &mut [T]) + Sync,
) {
    if output.is_empty() {
        return;
    }
    let rows = (TASK / width).max(1);
    pool.for_each_chunk_mut(output, rows * width, &|task, chunk| {
        for (row, values) in chunk.chunks_exact_mut(width).enumerate() {
            work(task * rows + row, values);
        }
    });
}

/// A selection of positions along an axis, none of them twice: position `k` of the output is position
/// `indices[k]` of the input.
#[derive(Clone, Debug)]
pub(super) struct Select {
    /// Number of values of the input for all positions along the axis.
    input: usize,
    /// Number of values of the output for all positions along the axis.
    output: usize,
    moves: Moves,
}

/// The offsets in the input of the output's values.
#[derive(Clone, Debug)]
enum Moves {
    /// The offset of each value.
    Values(Vec<usize>),
    /// The offset and the length of each contiguous run of values.
    Runs(Vec<(usize, usize)>),
    /// Runs of `len` values, of which every first value comes first, then every second one: a channel
    /// shuffle, or a part of one.
    Interleaved {
        /// The offset of each run; at least two.
        starts: Vec<usize>,
        len: usize,
    },
}

/// The largest number of runs for which interleaving is faster than copying each value.
const MAX_INTERLEAVED: usize = 8;

impl Moves {
    /// Returns the moves of values, whose offsets are given.
    fn values(from: Vec<usize>) -> Self {
        let interleaves = |runs: usize| {
            from.len() > runs
                && from.len().is_multiple_of(runs)
                && from.iter().enumerate().all(|(i, &at)| at == from[i % runs] + i / runs)
        };
        match (2..=MAX_INTERLEAVED).find(|&runs| interleaves(runs)) {
            Some(runs) => {
                Self::Interleaved { starts: from[..runs].to_vec(), len: from.len() / runs }
            }
            None => Self::Values(from),
        }
    }
}

impl Select {
    /// Creates a selection of `indices` along an axis of the input.
    pub(super) fn new(axis: Axis, indices: impl IntoIterator<Item = usize>) -> Self {
        let mut runs: Vec<(usize, usize)> = Vec::new();
        for index in indices {
            let start = index * axis.inner;
            match runs.last_mut() {
                Some((at, len)) if *at + *len == start => *len += axis.inner,
                _ => runs.push((start, axis.inner)),
            }
        }
        let output = runs.iter().map(|(_, len)| len).sum();
        let moves = if runs.iter().all(|&(_, len)| len == 1) {
            Moves::values(runs.into_iter().map(|(start, _)| start).collect())
        } else {
            Moves::Runs(runs)
        };
        Self { input: axis.values(), output, moves }
    }

    /// Copies the selected values.
    pub(super) fn copy<T: Copy + Send + Sync>(&self, pool: &Pool, input: &[T], output: &mut [T]) {
        for_each_row(pool, output, self.output, |row, output| {
            let input = &input[row * self.input..][..self.input];
            match &self.moves {
                Moves::Interleaved { starts, len } => match *starts.as_slice() {
                    [a, b] => {
                        let (a, b) = (&input[a..a + len], &input[b..b + len]);
                        for (to, (&a, &b)) in
                            output.as_chunks_mut::<2>().0.iter_mut().zip(a.iter().zip(b))
                        {
                            *to = [a, b];
                        }
                    }
                    _ => {
                        for (run, &start) in starts.iter().enumerate() {
                            let to = output[run..].iter_mut().step_by(starts.len());
                            to.zip(&input[start..start + len]).for_each(|(to, &from)| *to = from);
                        }
                    }
                },
                Moves::Values(from) => {
                    output.iter_mut().zip(from).for_each(|(to, &from)| *to = input[from]);
                }
                Moves::Runs(runs) => {
                    let mut rest = output;
                    for &(start, len) in runs {
                        let (to, behind) = rest.split_at_mut(len);
                        to.copy_from_slice(&input[start..start + len]);
                        rest = behind;
                    }
                }
            }
        });
    }

    /// Writes the gradient of the input: the output's at the selected positions, 0 elsewhere.
    pub(super) fn backward(&self, pool: &Pool, gradient: &[f32], target: &mut [f32]) {
        for_each_row(pool, target, self.input, |row, target| {
            let gradient = &gradient[row * self.output..][..self.output];
            target.fill(0.0);
            match &self.moves {
                Moves::Interleaved { starts, len } => {
                    for (run, &start) in starts.iter().enumerate() {
                        let gradient = gradient[run..].iter().step_by(starts.len());
                        let target = &mut target[start..start + len];
                        target.iter_mut().zip(gradient).for_each(|(to, &from)| *to = from);
                    }
                }
                Moves::Values(to) => {
                    to.iter().zip(gradient).for_each(|(&to, &gradient)| target[to] = gradient);
                }
                Moves::Runs(runs) => {
                    let mut rest = gradient;
                    for &(start, len) in runs {
                        let (from, behind) = rest.split_at(len);
                        target[start..start + len].copy_from_slice(from);
                        rest = behind;
                    }
                }
            }
        });
    }
}

/// Creates the kernel that copies the selected values, called `name` in profiles.
pub(super) fn kernel<T: Copy + Send + Sync + 'static>(
    name: &'static str,
    select: Select,
) -> Made<T> {
    function(name, move |call, input, output| select.copy(call.pool, input(0), output))
}

/// Returns the gradient of a selection; `select` creates the selection for the shapes of a call.
pub(super) fn gradient(select: impl Fn(&Shapes) -> Select + Send + Sync + 'static) -> Gradient {
    linear(move |Backward { call, shapes, gradient, .. }, target| {
        select(shapes).backward(call.pool, gradient, target);
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Positions along an axis by their indices, for shapes of several ranks, on one and three
    /// threads.
    #[test]
    fn positions_are_those_of_the_indices() {
        let cases: [(&[usize], usize, &[usize]); 9] = [
            (&[2, 6, 3, 4], 1, &[0, 3, 1, 4, 2, 5]),
            (&[2, 12, 2, 1], 1, &[1, 8, 2, 9]),
            (&[1, 7, 2, 2], 1, &[0, 2, 5, 1, 3, 6]),
            (&[2, 6, 3, 4], 1, &[1, 3, 5]),
            (&[2, 6, 3, 4], 1, &[2, 3, 4]),
            (&[2, 6, 3, 4], 2, &[2, 0]),
            (&[2, 6, 3, 4], 3, &[1, 2]),
            (&[2, 6, 5], 1, &[0, 3, 1, 4, 2, 5]),
            (&[3, 7], 1, &[6]),
        ];
        for (shape, dim, indices) in cases {
            let mut out = shape.to_vec();
            out[dim] = indices.len();
            let input: Vec<f32> = (0..shape.iter().product::<usize>()).map(|i| i as f32).collect();
            let select = Select::new(Axis::new(shape, dim), indices.iter().copied());
            for pool in [1, 3].map(Pool::new) {
                let mut output = vec![f32::NAN; out.iter().product()];
                select.copy(&pool, &input, &mut output);
                let mut expected = Vec::new();
                let mut back = vec![0.0; input.len()];
                each_index(&out, |at| {
                    let mut from = at.to_vec();
                    from[dim] = indices[at[dim]];
                    let from = offset(shape, &from);
                    expected.push(input[from]);
                    back[from] = 1.0 + expected.len() as f32;
                });
                assert_eq!(output, expected, "{shape:?}, {dim}, {indices:?}");
                let gradient: Vec<f32> = (0..output.len()).map(|i| 2.0 + i as f32).collect();
                let mut target = vec![f32::NAN; input.len()];
                select.backward(&pool, &gradient, &mut target);
                assert_eq!(target, back, "{shape:?}, {dim}, {indices:?}");
            }
        }
    }

    /// Calls `visit` with the indices of each element of a shape, in the order of memory.
    fn each_index(shape: &[usize], mut visit: impl FnMut(&[usize])) {
        let order = memory_order(shape.len());
        for index in 0..shape.iter().product() {
            let (mut rest, mut at) = (index, vec![0; shape.len()]);
            for &axis in order.iter().rev() {
                (at[axis], rest) = (rest % shape[axis], rest / shape[axis]);
            }
            visit(&at);
        }
    }

    fn offset(shape: &[usize], at: &[usize]) -> usize {
        memory_order(shape.len()).iter().fold(0, |offset, &axis| offset * shape[axis] + at[axis])
    }
}
