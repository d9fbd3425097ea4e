//! One arena for all values and gradients of a step, and its parts that are in use together.

use std::ops::Range;

/// An arena without the ranges that are being written.
pub(super) struct Rest<'a> {
    /// What is left of it, with the offset where each part begins.
    parts: Vec<(usize, &'a [f32])>,
}

impl<'a> Rest<'a> {
    /// A range that touches none of those being written.
    ///
    /// # Panics
    /// It does touch one.
    pub(super) fn get(&self, range: &Range<usize>) -> &'a [f32] {
        let inside = |(start, part): &&(usize, &'a [f32])| {
            *start <= range.start && range.end <= start + part.len()
        };
        let (start, part) =
            self.parts.iter().find(inside).expect("what is read is not being written");
        &part[range.start - start..range.end - start]
    }
}

/// Borrows disjoint ranges to write, and the rest to read.
///
/// # Panics
/// The ranges overlap or lie outside of the arena.
pub(super) fn split<'a, const N: usize>(
    arena: &'a mut [f32],
    ranges: [&Range<usize>; N],
) -> ([&'a mut [f32]; N], Rest<'a>) {
    let mut order: [usize; N] = std::array::from_fn(|index| index);
    order.sort_by_key(|&index| ranges[index].start);
    let mut written: [&'a mut [f32]; N] = std::array::from_fn(|_| &mut [][..]);
    let mut parts = Vec::with_capacity(N + 1);
    let (mut rest, mut offset) = (arena, 0);
    for index in order {
        let range = ranges[index];
        let (before, from) = std::mem::take(&mut rest).split_at_mut(range.start - offset);
        let (inside, after) = from.split_at_mut(range.len());
        parts.push((offset, &*before));
        written[index] = inside;
        (rest, offset) = (after, range.end);
    }
    parts.push((offset, &*rest));
    (written, Rest { parts })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_and_what_is_read_lie_side_by_side() {
        let mut arena: Vec<f32> = (0..10u8).map(f32::from).collect();
        let ([a, b], rest) = split(&mut arena, [&(6..8), &(1..3)]);
        assert_eq!((&*a, &*b), (&[6.0, 7.0][..], &[1.0, 2.0][..]));
        assert_eq!(rest.get(&(3..6)), [3.0, 4.0, 5.0]);
        assert_eq!(rest.get(&(0..1)), [0.0]);
        assert_eq!(rest.get(&(8..10)), [8.0, 9.0]);
        a[0] = 60.0;
        assert_eq!(arena[6], 60.0);
    }

    #[test]
    #[should_panic(expected = "not being written")]
    fn what_is_being_written_cannot_be_read() {
        let mut arena = [0.0; 4];
        let (_, rest) = split(&mut arena, [&(1..2)]);
        rest.get(&(0..2));
    }
}
