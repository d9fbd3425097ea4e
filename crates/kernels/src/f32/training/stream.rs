//! Results that are too large to stay in the cache until they are read again. They are computed in
//! a block of scratch memory and then stored past the caches: an ordinary store would first read
//! the line that it is about to overwrite, which is half of the traffic.

use crate::f32::simd::{Kernel, Simd};

/// Results of so many floats no cache of a core holds. Tests stream small ones too.
const FAR: usize = if cfg!(test) { 4096 } else { 1024 * 1024 };

/// Whether a result of `len` floats should be streamed.
pub(super) fn is_far(len: usize) -> bool {
    len >= FAR
}

/// Copies past the caches.
pub(super) fn stream<S: Simd>(simd: S, from: &[f32], to: &mut [f32]) {
    assert_eq!(from.len(), to.len());
    simd.run(Stream { from, to });
}

struct Stream<'a> {
    from: &'a [f32],
    to: &'a mut [f32],
}

impl<S: Simd> Kernel<S> for Stream<'_> {
    #[inline(always)]
    fn call(self, simd: S) {
        let len = self.to.len();
        // Up to the first boundary, element by element.
        let ahead = self.to.as_ptr().align_offset(S::LANES * size_of::<f32>()).min(len);
        self.to[..ahead].copy_from_slice(&self.from[..ahead]);
        let (from, to) = (self.from.as_ptr(), self.to.as_mut_ptr());
        let mut i = ahead;
        // SAFETY: both have `len` floats, and `to + i` is on a boundary from `ahead` on.
        unsafe {
            while i + S::LANES <= len {
                simd.stream(to.add(i), simd.load(from.add(i)));
                i += S::LANES;
            }
            let mask = simd.mask(len - i);
            simd.store_masked(to.add(i), simd.load_masked(from.add(i), mask), mask);
        }
        simd.fence();
    }
}
