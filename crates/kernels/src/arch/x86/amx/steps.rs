//! How the products of an output are cut into steps: one tile of activations times one of weights.

use std::ops::Range;

/// Values that a row or column of a tile holds at most.
const MOST_DEPTH: usize = 64;

/// Steps of equal length, over activations in one or several runs of bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Steps {
    /// Values of a step: a multiple of 4, at most 64.
    len: usize,
    parts: Vec<Part>,
}

/// What a step multiplies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// The run of activations, and where in it the step begins.
    run: usize,
    from: usize,
    /// Which weights of a column.
    pub(super) weights: Range<usize>,
    /// The place of the first one in the step; all other places have weights of zero.
    pub(super) start: usize,
}

impl Steps {
    /// For one run, in the order of the weights of a column, of which there are `weights`.
    /// `readable` bytes, at least 4 and no fewer than weights, may be read: where they do not come
    /// out even, the last step reads some again, with weights of zero, rather than beyond.
    pub(super) fn in_order(weights: usize, readable: usize) -> Self {
        let cut = |count: usize| (readable.div_ceil(count).next_multiple_of(4), count);
        let least = cut(readable.div_ceil(MOST_DEPTH));
        let (len, count) = if least.0 <= readable { least } else { cut(2) };
        let part = |step: usize| {
            let first = step * len;
            let from = first.min(readable - len);
            let start = first - from;
            Part { run: 0, from, weights: first..weights.min(first + len - start), start }
        };
        Self { len, parts: (0..count).map(part).collect() }
    }

    /// For several runs of `run` bytes, which together are in the order of the weights of a column.
    /// Up to 63 bytes behind each run must be readable.
    pub(super) fn in_runs(runs: usize, run: usize) -> Self {
        let len = run.div_ceil(run.div_ceil(MOST_DEPTH)).next_multiple_of(4);
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

    /// Values of a step.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// How many steps there are.
    pub(super) fn count(&self) -> usize {
        self.parts.len()
    }

    pub(super) fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Where each step begins, given where each run does.
    pub(super) fn offsets(&self, run: impl Fn(usize) -> usize) -> impl Iterator<Item = usize> {
        self.parts.iter().map(move |part| run(part.run) + part.from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each weight is multiplied once, by the activation that it belongs to.
    fn check(steps: &Steps, weights: usize, run: impl Fn(usize) -> usize, len: usize) {
        assert!(steps.len() <= MOST_DEPTH && steps.len().is_multiple_of(4));
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
    fn every_weight_meets_its_activation_once() {
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
