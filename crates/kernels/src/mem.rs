//! Buffers aligned to cache lines, so that aligned vector loads never cross a line, and large ones
//! that may not be had.

use std::alloc::{Layout, alloc_zeroed};
use std::fmt;
use std::ops::{Deref, DerefMut};

/// A value aligned to 64 bytes.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(crate) struct Aligned<T>(pub(crate) T);

/// Size of a cache line in bytes.
pub(crate) const LINE: usize = 64;

/// A number type of which every bit pattern is a valid value.
///
/// ```
/// use posterize_kernels::{Number, try_zeros};
///
/// fn buffer<T: Number>(len: usize) -> Vec<T> {
///     try_zeros(len).expect("there is enough memory")
/// }
/// assert_eq!(buffer::<u8>(2), [0, 0]);
/// ```
///
/// # Safety
/// Every bit pattern, all zeros among them, must be a valid value, and 64 must be a multiple of
/// the type's size and alignment.
pub unsafe trait Number: Copy + 'static {}
// SAFETY: every byte is a valid u8, and its size and alignment are 1.
unsafe impl Number for u8 {}
// SAFETY: every bit pattern is a valid f32, and its size and alignment of 4 divide 64.
unsafe impl Number for f32 {}

/// Returns a vector of `len` zeros; `None` if the system does not give so much memory.
///
/// It is as fast as `vec![0; len]`: the system hands out zeros as its pages are first written.
///
/// ```
/// use posterize_kernels::try_zeros;
///
/// assert_eq!(try_zeros::<f32>(3), Some(vec![0.0; 3]));
/// assert_eq!(try_zeros::<f32>(usize::MAX / 2), None);
/// ```
pub fn try_zeros<T: Number>(len: usize) -> Option<Vec<T>> {
    let layout = Layout::array::<T>(len).ok()?;
    if layout.size() == 0 {
        return Some(Vec::new());
    }
    // SAFETY: the layout's size is not 0.
    let start = unsafe { alloc_zeroed(layout) };
    if start.is_null() {
        return None;
    }
    let values = std::ptr::slice_from_raw_parts_mut(start.cast::<T>(), len);
    // SAFETY: the global allocator, which `Box` uses as well, gave memory for an array of `len`
    // elements, whose bytes are zeros; those are valid values.
    Some(unsafe { Box::from_raw(values) }.into_vec())
}

/// A boxed slice aligned to a cache line.
#[derive(Clone)]
pub(crate) struct AlignedSlice<T> {
    lines: Box<[Aligned<[u8; LINE]>]>,
    len: usize,
    of: std::marker::PhantomData<T>,
}

impl<T: Number> AlignedSlice<T> {
    /// Allocates `len` zeros.
    pub(crate) fn zeros(len: usize) -> Self {
        let lines = (len * size_of::<T>()).div_ceil(LINE);
        let lines = vec![Aligned([0; LINE]); lines].into_boxed_slice();
        Self { lines, len, of: std::marker::PhantomData }
    }
}

impl<T: Number> Deref for AlignedSlice<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: `lines` holds at least `len * size_of::<T>()` initialized bytes (rounded up in
        // `zeros`) without padding between its elements; it is aligned to 64 bytes, a multiple of
        // T's alignment, and every bit pattern is a valid T.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.len) }
    }
}

impl<T: Number> DerefMut for AlignedSlice<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `deref`; `self` is borrowed mutably, so no other reference to it exists.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.len) }
    }
}

impl<T> fmt::Debug for AlignedSlice<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}; {}]", std::any::type_name::<T>(), self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_that_the_system_does_not_have_are_none() {
        let mut values = try_zeros::<f32>(1000).unwrap();
        assert_eq!((values.len(), values.capacity()), (1000, 1000));
        values.push(1.0);
        assert_eq!(values[999..], [0.0, 1.0]);
        assert_eq!(try_zeros::<u8>(0), Some(Vec::new()));
        assert_eq!(try_zeros::<u8>(isize::MAX as usize), None);
        assert_eq!(try_zeros::<f32>(usize::MAX), None);
    }

    #[test]
    fn slices_are_aligned_zeros_and_can_be_written() {
        let mut bytes = AlignedSlice::<u8>::zeros(191);
        assert_eq!((bytes.len(), bytes.as_ptr().align_offset(LINE)), (191, 0));
        bytes[190] = 7;
        assert_eq!(bytes[189..], [0, 7]);
        let floats = AlignedSlice::<f32>::zeros(17);
        assert_eq!((floats.as_ptr().align_offset(LINE), &*floats), (0, &[0.0; 17][..]));
        assert_eq!(format!("{floats:?}"), "[f32; 17]");
        assert!(AlignedSlice::<f32>::zeros(0).is_empty());
    }
}
