//! Streaming stores, for results that are too large to stay in the cache until they are read again.
//!
//! They are computed in a block of scratch memory and then stored without filling the caches. An
//! ordinary store would first read the cache line that it overwrites, which is half of the memory
//! traffic.

use crate::f32::simd::{Kernel, Simd};

/// Minimum number of floats that no core's cache holds. In tests it is small, so that they stream
/// too.
const STREAM_FLOATS: usize = if cfg!(test) { 4096 } else { 1024 * 1024 };

/// Whether a result of `len` floats should be streamed.
pub(super) fn should_stream(len: usize) -> bool {
    len >= STREAM_FLOATS
}

/// Copies without filling the caches.
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
        // Elements before the first aligned address are copied one by one.
        let ahead = self.to.as_ptr().align_offset(S::LANES * size_of::<f32>()).min(len);
        self.to[..ahead].copy_from_slice(&self.from[..ahead]);
        let (from, to) = (self.from.as_ptr(), self.to.as_mut_ptr());
        let mut i = ahead;
        // SAFETY: both slices have `len` floats, and from `ahead` on, `to` is aligned to vectors;
        // the last vector is masked.
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
