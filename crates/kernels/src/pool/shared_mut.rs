//! A slice that several threads write.

use std::marker::PhantomData;
use std::ops::Range;

/// A mutable slice whose disjoint parts several tasks of a [`Pool::run`](super::Pool::run) write.
#[derive(Debug)]
pub struct SharedMut<'a, T> {
    data: *mut T,
    len: usize,
    lifetime: PhantomData<&'a mut [T]>,
}

// SAFETY: it stands for a `&mut [T]` of which each thread takes other elements (the promise that
// `slice` asks for), which is sending `&mut T`s to those threads.
unsafe impl<T: Send> Sync for SharedMut<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for SharedMut<'_, T> {}

impl<'a, T> SharedMut<'a, T> {
    /// Borrows `data` for as long as its parts are in use.
    pub fn new(data: &'a mut [T]) -> Self {
        Self { data: data.as_mut_ptr(), len: data.len(), lifetime: PhantomData }
    }

    /// Elements of the whole slice.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the whole slice is empty.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The elements of `range`.
    ///
    /// # Panics
    /// When `range` is not within the slice.
    ///
    /// # Safety
    /// No other part that is alive may overlap `range`, on any thread.
    pub unsafe fn slice(&self, range: Range<usize>) -> &'a mut [T] {
        assert!(
            range.start <= range.end && range.end <= self.len,
            "part {range:?} of a slice of {} elements",
            self.len
        );
        // SAFETY: within the borrowed slice, checked above; not aliased, by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.data.add(range.start), range.len()) }
    }

    /// The first element's address, for kernels that write a block of rows with gaps between them,
    /// which no slice can describe. Writing through it is bound by the rule of
    /// [`SharedMut::slice`]: elements that no other thread reads or writes meanwhile.
    pub fn as_mut_ptr(&self) -> *mut T {
        self.data
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::Pool;

    #[test]
    fn parts_of_a_shared_slice() {
        let pool = Pool::new(4);
        let mut data = vec![0_u32; 1003];
        let shared = SharedMut::new(&mut data);
        assert_eq!((shared.len(), shared.is_empty()), (1003, false));
        pool.run(11, &|task, _| {
            let end = (task * 100 + 100).min(shared.len());
            // SAFETY: each task has its own hundred elements.
            let part = unsafe { shared.slice(task * 100..end) };
            part.fill(task as u32 + 1);
        });
        assert!(data.iter().enumerate().all(|(i, &x)| x == (i / 100) as u32 + 1));
    }

    #[test]
    #[should_panic(expected = "part 2..5 of a slice of 4 elements")]
    fn a_part_outside_the_slice_is_refused() {
        let mut data = [0_u8; 4];
        // SAFETY: the only part; it must be refused.
        let _ = unsafe { SharedMut::new(&mut data).slice(2..5) };
    }
}
