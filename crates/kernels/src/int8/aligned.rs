//! Memory that begins where a cache line does.

/// A value at a multiple of 64 bytes, so that vectors in it are never split between cache lines.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(crate) struct Aligned<T>(pub(crate) T);
