//! Memory that begins on a cache line, which the kernels read and write fastest.

use std::ops::{Deref, DerefMut};

/// Bytes of a cache line, and of the widest vector.
const LINE: usize = 64;

/// Values that begin on a cache line.
#[derive(Debug, Default)]
pub(super) struct Aligned<T> {
    storage: Vec<T>,
    start: usize,
    len: usize,
}

impl<T: Copy> Aligned<T> {
    /// Makes room for `len` values. What was in it is lost.
    pub(super) fn resize(&mut self, len: usize, value: T) {
        self.storage.resize(len + LINE / size_of::<T>(), value);
        self.start = self.storage.as_ptr().align_offset(LINE).min(LINE / size_of::<T>());
        self.len = len;
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
        for len in [0, 1, 1000, 17, 100_000] {
            memory.resize(len, 1.0_f32);
            assert_eq!(memory.len(), len);
            assert_eq!(memory.as_ptr().addr() % LINE, 0);
            memory.fill(2.0);
        }
    }
}
