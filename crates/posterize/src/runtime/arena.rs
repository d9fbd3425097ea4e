//! Borrows one value of an arena to write, and what lies around it to read.

use std::ops::Range;

/// An arena without one range of it, which is being written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outside<'a, T> {
    before: &'a [T],
    after: &'a [T],
    /// Where `after` begins in the arena.
    after_start: usize,
}

impl<'a, T> Outside<'a, T> {
    /// A range that does not touch the one being written.
    ///
    /// # Panics
    /// It does touch it, or lies outside of the arena.
    pub(crate) fn get(&self, range: &Range<usize>) -> &'a [T] {
        if range.end <= self.before.len() {
            return &self.before[range.clone()];
        }
        let start = range.start.checked_sub(self.after_start);
        let start = start.expect("what is read is not being written");
        &self.after[start..range.end - self.after_start]
    }
}

/// Borrows `range` of an arena to write, and the rest to read. Allocates nothing.
///
/// # Panics
/// The range lies outside of the arena.
pub(crate) fn split<'a, T>(
    arena: &'a mut [T],
    range: &Range<usize>,
) -> (&'a mut [T], Outside<'a, T>) {
    let (before, rest) = arena.split_at_mut(range.start);
    let (inside, after) = rest.split_at_mut(range.len());
    (inside, Outside { before, after, after_start: range.end })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_and_what_is_read_lie_side_by_side() {
        let mut arena: Vec<u8> = (0..10).collect();
        let (written, outside) = split(&mut arena, &(3..6));
        assert_eq!(written, [3, 4, 5]);
        assert_eq!(outside.get(&(0..3)), [0, 1, 2]);
        assert_eq!(outside.get(&(6..10)), [6, 7, 8, 9]);
        assert_eq!(outside.get(&(7..9)), [7, 8]);
        written[0] = 30;
        assert_eq!(arena[3], 30);
    }

    #[test]
    fn where_nothing_is_written_everything_can_be_read() {
        let mut arena = [1.0_f32, 2.0];
        let (written, outside) = split(&mut arena, &(0..0));
        assert!(written.is_empty());
        assert_eq!(outside.get(&(0..2)), [1.0, 2.0]);
    }

    #[test]
    #[should_panic(expected = "not being written")]
    fn what_is_being_written_cannot_be_read() {
        let mut arena = [0.0_f32; 4];
        let (_, outside) = split(&mut arena, &(1..2));
        outside.get(&(0..2));
    }

    #[test]
    #[should_panic(expected = "range end index 5 out of range")]
    fn nothing_outside_of_the_arena_can_be_read() {
        let mut arena = [0.0_f32; 4];
        let (_, outside) = split(&mut arena, &(0..0));
        outside.get(&(3..5));
    }
}
