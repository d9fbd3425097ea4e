//! Scratch memory for each thread of a pool.

use super::shared_mut::SharedMut;

/// Scratch memory split into equal parts, one for each thread.
pub(crate) struct Workers<'a, T> {
    memory: SharedMut<'a, T>,
    per_thread: usize,
}

impl<'a, T> Workers<'a, T> {
    /// Splits `memory` into parts of `per_thread` elements.
    pub(crate) fn new(memory: &'a mut [T], per_thread: usize) -> Self {
        Self { memory: SharedMut::new(memory), per_thread }
    }

    /// Returns the scratch memory of a worker.
    ///
    /// # Panics
    /// If the memory has no part `worker`.
    ///
    /// # Safety
    /// Only the thread that is this worker may call it, and no earlier result of it may still be in
    /// use.
    pub(crate) unsafe fn part(&self, worker: usize) -> &'a mut [T] {
        // SAFETY: the parts of different workers do not overlap, and the caller guarantees that
        // this one is not in use.
        unsafe { self.memory.slice(worker * self.per_thread..(worker + 1) * self.per_thread) }
    }
}
