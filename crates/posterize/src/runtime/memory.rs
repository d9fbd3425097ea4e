//! Where each value lies in one arena, so that values that are never alive together share memory.

use std::ops::Range;

/// A value to place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lifetime {
    /// How many elements it takes.
    pub size: usize,
    /// The step that writes it.
    pub first: usize,
    /// The last step that reads it.
    pub last: usize,
}

/// A place for every value, in the order of the values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    pub ranges: Vec<Range<usize>>,
    /// Elements of the whole arena.
    pub total: usize,
}

/// Places values largest first, each at the lowest offset where no value that is alive at the same
/// time lies (greedy by size; Pisarchyk and Lee 2020, "Efficient Memory Management for Deep Neural
/// Net Inference"). Offsets are multiples of `align` elements. Where the arena has more elements than
/// an integer can count, `total` is `usize::MAX`.
pub(crate) fn place(values: &[Lifetime], align: usize) -> Layout {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by_key(|&index| (std::cmp::Reverse(values[index].size), values[index].first));
    let mut ranges = vec![0..0; values.len()];
    let mut placed: Vec<usize> = Vec::with_capacity(values.len());
    let mut total = 0;
    for index in order {
        let value = &values[index];
        let mut others: Vec<&Range<usize>> = placed
            .iter()
            .filter(|&&other| {
                values[other].first <= value.last && value.first <= values[other].last
            })
            .map(|&other| &ranges[other])
            .collect();
        others.sort_by_key(|range| range.start);
        let mut start = 0_usize;
        for other in others {
            if start.saturating_add(value.size) <= other.start {
                break;
            }
            let end = other.end.checked_next_multiple_of(align).unwrap_or(usize::MAX);
            start = start.max(end);
        }
        ranges[index] = start..start.saturating_add(value.size);
        total = total.max(ranges[index].end);
        placed.push(index);
    }
    Layout { ranges, total }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_chain_needs_only_its_two_largest_neighbours() {
        let chain: Vec<Lifetime> = [8, 100, 20, 60]
            .iter()
            .enumerate()
            .map(|(step, &size)| Lifetime { size, first: step, last: step + 1 })
            .collect();
        assert_eq!(place(&chain, 1).total, 120);
    }

    #[test]
    fn an_arena_that_no_integer_can_count_is_the_largest_integer() {
        let value = Lifetime { size: 1 << 60, first: 0, last: 1 };
        assert_eq!(place(&vec![value; 20], 64).total, usize::MAX);
    }

    proptest! {
        #[test]
        fn values_alive_together_never_overlap(
            values in prop::collection::vec((1usize..50, 0usize..20, 0usize..6), 1..40),
            align in prop::sample::select(vec![1usize, 16]),
        ) {
            let values: Vec<Lifetime> = values
                .into_iter()
                .map(|(size, first, length)| Lifetime { size, first, last: first + length })
                .collect();
            let layout = place(&values, align);
            for (i, a) in values.iter().enumerate() {
                prop_assert_eq!(layout.ranges[i].len(), a.size);
                prop_assert_eq!(layout.ranges[i].start % align, 0);
                prop_assert!(layout.ranges[i].end <= layout.total);
                for (j, b) in values.iter().enumerate().skip(i + 1) {
                    let together = a.first <= b.last && b.first <= a.last;
                    let (x, y) = (&layout.ranges[i], &layout.ranges[j]);
                    prop_assert!(!together || x.end <= y.start || y.end <= x.start);
                }
            }
        }
    }
}
