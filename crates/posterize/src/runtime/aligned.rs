//! Memory that begins on a cache line, which the kernels read and write fastest.

use std::ops::{Deref, DerefMut};

use posterize_kernels::{Number, try_zeros};

use crate::error::{Error, Result};

/// Bytes of a cache line, and of the widest vector.
const LINE: usize = 64;

/// Values that begin on a cache line.
#[derive(Debug, Default)]
pub(crate) struct Aligned<T> {
    storage: Vec<T>,
    start: usize,
    len: usize,
}

impl<T: Number> Aligned<T> {
    /// Makes room for `len` values, if there is less. What was in it is lost then.
    ///
    /// # Errors
    /// Returns an error, and has no memory, if the system does not give so much.
    pub(crate) fn reserve(&mut self, len: usize) -> Result<()> {
        if len > self.len {
            // The old memory goes first.
            (self.storage, self.start, self.len) = (Vec::new(), 0, 0);
            let with_slack = len.saturating_add(LINE / size_of::<T>());
            self.storage = try_zeros(with_slack)
                .ok_or_else(|| Error::no_memory(with_slack.saturating_mul(size_of::<T>())))?;
            self.start = self.storage.as_ptr().align_offset(LINE).min(LINE / size_of::<T>());
            self.len = len;
        }
        Ok(())
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
            memory.reserve(len).unwrap();
            memory.fill(2.0_f32);
            most = most.max(len);
            assert_eq!(memory.len(), most);
            assert_eq!(memory.as_ptr().addr() % LINE, 0);
        }
    }

    #[test]
    fn memory_that_the_system_does_not_have_is_an_error() {
        let mut memory = Aligned::default();
        memory.reserve(10).unwrap();
        for len in [usize::MAX, usize::MAX / 4] {
            let error = memory.reserve(len).map(|()| memory[0] = 1.0_f32).unwrap_err();
            assert_eq!(error.kind(), crate::ErrorKind::OutOfResources);
            assert!(memory.is_empty());
        }
        memory.reserve(3).unwrap();
        assert_eq!(memory[..], [0.0; 3]);
    }
}
