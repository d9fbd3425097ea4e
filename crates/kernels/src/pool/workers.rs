//! Memory of each thread of a pool.

use super::shared_mut::SharedMut;

/// Scratch memory in equal parts, one for each thread.
pub(crate) struct Workers<'a, T> {
    memory: SharedMut<'a, T>,
    per_thread: usize,
}

impl<'a, T> Workers<'a, T> {
    /// `per_thread` elements of `memory` for each thread.
    pub(crate) fn new(memory: &'a mut [T], per_thread: usize) -> Self {
        Self { memory: SharedMut::new(memory), per_thread }
    }

    /// The part of a worker.
    ///
    /// # Panics
    /// When the memory has no part for so many.
    ///
    /// # Safety
    /// Only the worker itself may ask for it, and no earlier part of it may be alive.
    pub(crate) unsafe fn part(&self, worker: usize) -> &'a mut [T] {
        // SAFETY: parts of different workers do not overlap.
        unsafe { self.memory.slice(worker * self.per_thread..(worker + 1) * self.per_thread) }
    }
}
