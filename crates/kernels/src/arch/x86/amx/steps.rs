//! Divides the depth of a product into steps: one tile of activations times one tile of weights.

use std::ops::Range;

/// Maximum number of values of a row or column of a tile.
const MAX_DEPTH: usize = 64;

/// Steps of equal length over activations that consist of one or several contiguous runs of bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Steps {
    /// Number of values of a step: a multiple of 4, at most 64.
    len: usize,
    parts: Vec<Part>,
}

/// The activations and weights of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// The run of activations.
    run: usize,
    /// Offset of the step in its run.
    from: usize,
    /// Indices of the step's weights within a column.
    pub(super) weights: Range<usize>,
    /// Index, within the step, of its first weight; the weights outside are 0.
    pub(super) start: usize,
}

impl Steps {
    /// Makes the steps for one run in the order of the `weights` weights of a column.
    ///
    /// Of each row, `readable` bytes may be read: at least 4 and at least `weights`. If they cannot
    /// be divided evenly, the last step starts earlier and reads some again, with weights of 0,
    /// rather than bytes beyond.
    pub(super) fn in_order(weights: usize, readable: usize) -> Self {
        let cut = |count: usize| (readable.div_ceil(count).next_multiple_of(4), count);
        let fewest = cut(readable.div_ceil(MAX_DEPTH));
        let (len, count) = if fewest.0 <= readable { fewest } else { cut(2) };
        let part = |step: usize| {
            let first = step * len;
            let from = first.min(readable - len);
            let start = first - from;
            Part { run: 0, from, weights: first..weights.min(first + len - start), start }
        };
        Self { len, parts: (0..count).map(part).collect() }
    }

    /// Makes the steps for `runs` runs of `run` bytes, which together are in the order of the
    /// weights of a column. Up to 63 bytes after each run must be readable.
    pub(super) fn in_runs(runs: usize, run: usize) -> Self {
        let len = run.div_ceil(run.div_ceil(MAX_DEPTH)).next_multiple_of(4);
        let parts = (0..runs).flat_map(|index| {
            (0..run).step_by(len).map(move |from| Part {
                run: index,
                from,
                weights: index * run + from..index * run + run.min(from + len),
                start: 0,
            })
        });
        Self { len, parts: parts.collect() }
    }

    /// Number of values of a step.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Number of steps.
    pub(super) fn count(&self) -> usize {
        self.parts.len()
    }

    /// The activations and weights of each step.
    pub(super) fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Returns the offset of each step, given that of each run.
    pub(super) fn offsets(&self, run: impl Fn(usize) -> usize) -> impl Iterator<Item = usize> {
        self.parts.iter().map(move |part| run(part.run) + part.from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that each weight is multiplied once, with the activation that belongs to it.
    fn check(steps: &Steps, weights: usize, run: impl Fn(usize) -> usize, len: usize) {
        assert!(steps.len() <= MAX_DEPTH && steps.len().is_multiple_of(4));
        let mut next = 0;
        for (offset, part) in steps.offsets(&run).zip(steps.parts()) {
            assert!(part.start + part.weights.len() <= steps.len());
            for (i, weight) in part.weights.clone().enumerate() {
                assert_eq!(weight, next);
                assert_eq!(offset + part.start + i, run(weight / len) + weight % len);
                next += 1;
            }
        }
        assert_eq!(next, weights);
    }

    #[test]
    fn every_weight_is_multiplied_once_with_its_activation() {
        for weights in 4..300usize {
            for readable in [weights, weights.next_multiple_of(4)] {
                let steps = Steps::in_order(weights, readable);
                check(&steps, weights, |_| 0, weights);
                assert!(steps.offsets(|_| 0).all(|offset| offset + steps.len() <= readable));
            }
        }
        for run in 1..200 {
            let steps = Steps::in_runs(3, run);
            check(&steps, 3 * run, |index| [5000, 0, 1000][index], run);
            assert!(steps.offsets(|_| 0).all(|offset| offset + steps.len() <= run + 63));
        }
    }
}
