//! A mutable slice that several threads write to.

use std::marker::PhantomData;
use std::ops::Range;

/// A mutable slice of which the tasks of a [`Pool::run`](super::Pool::run) write disjoint parts.
///
/// [`Pool::for_each_chunk_mut`](super::Pool::for_each_chunk_mut) is the safe way to write chunks of
/// equal length.
///
/// ```
/// use posterize_kernels::pool::SharedMut;
///
/// let mut data = [0; 4];
/// let shared = SharedMut::new(&mut data);
/// // SAFETY: the two ranges do not overlap.
/// let (left, right) = unsafe { (shared.slice(0..2), shared.slice(2..4)) };
/// left.fill(1);
/// right.fill(2);
/// assert_eq!(data, [1, 1, 2, 2]);
/// ```
#[derive(Debug)]
pub struct SharedMut<'a, T> {
    data: *mut T,
    len: usize,
    lifetime: PhantomData<&'a mut [T]>,
}

// SAFETY: threads that share a `SharedMut` can only get `&mut T`s to different elements from it
// (`slice` requires that its ranges do not overlap), which is sound where `T` may be sent to them.
unsafe impl<T: Send> Sync for SharedMut<'_, T> {}
// SAFETY: it is a `&mut [T]`, which is `Send` where `T` is.
unsafe impl<T: Send> Send for SharedMut<'_, T> {}

impl<'a, T> SharedMut<'a, T> {
    /// Wraps `data`, which stays mutably borrowed as long as the parts are in use.
    pub fn new(data: &'a mut [T]) -> Self {
        Self { data: data.as_mut_ptr(), len: data.len(), lifetime: PhantomData }
    }

    /// Number of elements of the whole slice.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the whole slice is empty.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns the elements of `range`.
    ///
    /// # Panics
    /// If `range` is not within the slice.
    ///
    /// # Safety
    /// While the returned slice is in use, no thread may access any of its elements by other means:
    /// not by another slice that overlaps it, nor by [`Self::as_mut_ptr`].
    pub unsafe fn slice(&self, range: Range<usize>) -> &'a mut [T] {
        assert!(
            range.start <= range.end && range.end <= self.len,
            "part {range:?} of a slice of {} elements",
            self.len
        );
        // SAFETY: the range is within the slice borrowed for `'a`, as checked above, and the caller
        // guarantees that nothing else accesses its elements while the result is in use.
        unsafe { std::slice::from_raw_parts_mut(self.data.add(range.start), range.len()) }
    }

    /// Returns a pointer to the first element, for kernels that write blocks of rows with gaps
    /// between them, which a slice cannot describe.
    ///
    /// Accesses through it follow the rule of [`SharedMut::slice`]: only elements that no other
    /// thread accesses at the same time.
    pub fn as_mut_ptr(&self) -> *mut T {
        self.data
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::Pool;

    #[test]
    fn tasks_write_their_parts_of_a_shared_slice() {
        let pool = Pool::new(4);
        let mut data = vec![0_u32; 1003];
        let shared = SharedMut::new(&mut data);
        assert_eq!((shared.len(), shared.is_empty()), (1003, false));
        pool.run(11, &|task, _| {
            let end = (task * 100 + 100).min(shared.len());
            // SAFETY: each task takes its own hundred elements, once.
            let part = unsafe { shared.slice(task * 100..end) };
            part.fill(task as u32 + 1);
        });
        assert!(data.iter().enumerate().all(|(i, &x)| x == (i / 100) as u32 + 1));
    }

    #[test]
    #[should_panic(expected = "part 2..5 of a slice of 4 elements")]
    fn a_part_outside_the_slice_is_refused() {
        let mut data = [0_u8; 4];
        // SAFETY: it is the only slice, and the call panics.
        let _ = unsafe { SharedMut::new(&mut data).slice(2..5) };
    }
}
