//! Memory that begins on a cache line, which the kernels read and write fastest.

use std::ops::{Deref, DerefMut};

/// Bytes of a cache line, and of the widest vector.
const LINE: usize = 64;

/// Values that begin on a cache line.
#[derive(Debug, Default)]
pub(crate) struct Aligned<T> {
    storage: Vec<T>,
    start: usize,
    len: usize,
}

impl<T: Copy + Default> Aligned<T> {
    /// Makes room for `len` values, if there is less. What was in it is lost then.
    pub(crate) fn reserve(&mut self, len: usize) {
        if len > self.len {
            // The system hands out zeros as pages are first touched. The old memory goes first.
            self.storage = Vec::new();
            self.storage = vec![T::default(); len + LINE / size_of::<T>()];
            self.start = self.storage.as_ptr().align_offset(LINE).min(LINE / size_of::<T>());
            self.len = len;
        }
    }
}

impl<T> Deref for Aligned<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.storage[self.start..][..self.len]
    }
}

impl<T> DerefMut for Aligned<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.storage[self.start..][..self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_length_begins_on_a_line() {
        let mut memory = Aligned::default();
        let mut most = 0;
        for len in [1, 0, 1000, 17, 100_000] {
            memory.reserve(len);
            memory.fill(2.0_f32);
            most = most.max(len);
            assert_eq!(memory.len(), most);
            assert_eq!(memory.as_ptr().addr() % LINE, 0);
        }
    }
}
