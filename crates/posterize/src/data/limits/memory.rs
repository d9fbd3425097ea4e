//! The memory that decoding threads share.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// A number of bytes that threads take from and give back to.
pub(in super::super) struct Memory {
    limit: u64,
    state: Mutex<State>,
    given_back: Condvar,
}

struct State {
    taken: u64,
    /// The number of the next request, and of the one that is served next: a large request is not
    /// overtaken for ever by small ones.
    last: u64,
    served: u64,
}

/// Bytes taken from a [`Memory`], given back when it is dropped.
pub(in super::super) struct Share<'a> {
    memory: &'a Memory,
    bytes: u64,
}

impl Memory {
    pub(in super::super) const fn new(limit: u64) -> Self {
        Self {
            limit,
            state: Mutex::new(State { taken: 0, last: 0, served: 0 }),
            given_back: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes `bytes`. Waits for other threads to give back theirs where too many are taken.
    ///
    /// # Errors
    /// Returns an error if `bytes` exceed the limit.
    pub(in super::super) fn take(&self, bytes: u64) -> Result<Share<'_>, String> {
        if bytes > self.limit {
            return Err(format!(
                "decoding it takes {bytes} bytes of memory; the limit is {} for all pictures that \
                 are decoded at a time",
                self.limit
            ));
        }
        let mut state = self.lock();
        let number = state.last;
        state.last += 1;
        while number != state.served || state.taken + bytes > self.limit {
            state = self.given_back.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.served += 1;
        state.taken += bytes;
        drop(state);
        // There may be enough for the next request, too.
        self.given_back.notify_all();
        Ok(Share { memory: self, bytes })
    }
}

impl Share<'_> {
    /// Gives back all but `bytes`.
    pub(in super::super) fn keep(&mut self, bytes: u64) {
        let bytes = bytes.min(self.bytes);
        self.memory.lock().taken -= self.bytes - bytes;
        self.bytes = bytes;
        self.memory.given_back.notify_all();
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        self.keep(0);
    }
}

/// Returns a vector of `length` zeros.
///
/// # Errors
/// Returns an error if there is not enough memory.
pub(in super::super) fn zeros<T: Copy + Default>(length: usize) -> Result<Vec<T>, String> {
    let mut zeros = reserved(length)?;
    zeros.resize(length, T::default());
    Ok(zeros)
}

/// Returns an empty vector with room for `capacity` values.
///
/// # Errors
/// Returns an error if there is not enough memory.
pub(in super::super) fn reserved<T>(capacity: usize) -> Result<Vec<T>, String> {
    let mut values = Vec::new();
    values
        .try_reserve_exact(capacity)
        .map_err(|_| no_memory(capacity as u64 * size_of::<T>() as u64))?;
    Ok(values)
}

/// The error for `bytes` that could not be allocated.
pub(in super::super) fn no_memory(bytes: u64) -> String {
    format!("not enough memory: decoding it takes {bytes} more bytes")
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
    use std::thread;

    use super::*;

    #[test]
    fn no_more_than_the_limit_is_taken_at_a_time() {
        let memory = Memory::new(100);
        let (taken, highest) = (AtomicU64::new(0), AtomicU64::new(0));
        thread::scope(|scope| {
            for thread in 0..8 {
                let (memory, taken, highest) = (&memory, &taken, &highest);
                scope.spawn(move || {
                    for round in 0..200 {
                        let bytes = 1 + (thread * 37 + round * 11) % 100;
                        let mut share = memory.take(bytes).unwrap();
                        highest.fetch_max(taken.fetch_add(bytes, SeqCst) + bytes, SeqCst);
                        thread::yield_now();
                        taken.fetch_sub(bytes - bytes / 2, SeqCst);
                        share.keep(bytes / 2);
                        taken.fetch_sub(bytes / 2, SeqCst);
                    }
                });
            }
        });
        let highest = highest.into_inner();
        assert!((51..=100).contains(&highest), "{highest}");
        assert_eq!(memory.lock().taken, 0);
    }

    #[test]
    fn more_than_the_limit_is_an_error() {
        let memory = Memory::new(100);
        let message = memory.take(101).err().unwrap();
        assert!(message.contains("takes 101 bytes of memory; the limit is 100"), "{message}");
        assert!(memory.take(100).is_ok() && memory.take(100).is_ok());
    }

    #[test]
    fn a_vector_that_does_not_fit_is_an_error() {
        let message = zeros::<u16>(usize::MAX / 8).unwrap_err();
        assert!(message.contains("not enough memory"), "{message}");
        assert_eq!(zeros::<u16>(3).unwrap(), [0; 3]);
    }
}
