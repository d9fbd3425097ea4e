//! Memory that begins where a cache line does, so that vectors in it are never split between lines.

use std::fmt;
use std::ops::{Deref, DerefMut};

/// A value at a multiple of 64 bytes.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(crate) struct Aligned<T>(pub(crate) T);

/// Bytes of a cache line.
pub(crate) const LINE: usize = 64;

/// A number of which every pattern of bits is a value.
///
/// # Safety
/// All zeros and every other pattern of bits must be values, and [`LINE`] a multiple of the size and of
/// the alignment.
pub(crate) unsafe trait Number: Copy + 'static {}
// SAFETY: an integer of one byte.
unsafe impl Number for u8 {}
// SAFETY: a float of four bytes.
unsafe impl Number for f32 {}

/// A boxed slice that begins where a cache line does.
#[derive(Clone)]
pub(crate) struct AlignedSlice<T> {
    lines: Box<[Aligned<[u8; LINE]>]>,
    len: usize,
    of: std::marker::PhantomData<T>,
}

impl<T: Number> AlignedSlice<T> {
    /// `len` zeros.
    pub(crate) fn zeros(len: usize) -> Self {
        let lines = (len * size_of::<T>()).div_ceil(LINE);
        let lines = vec![Aligned([0; LINE]); lines].into_boxed_slice();
        Self { lines, len, of: std::marker::PhantomData }
    }
}

impl<T: Number> Deref for AlignedSlice<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: lines are bytes without padding, enough for `len` numbers; they are aligned, and
        // every pattern of bits is a number.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.len) }
    }
}

impl<T: Number> DerefMut for AlignedSlice<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `deref`, and borrowed mutably.
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
