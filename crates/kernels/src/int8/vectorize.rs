//! One definition of a loop, compiled once for each instruction set.
//!
//! The loops that the compiler vectorizes well need no intrinsics: the same body, inlined into a
//! function with other target features, becomes another kernel. Its results cannot differ, since
//! Rust's floating-point operations round as IEEE 754 says on every instruction set.

#![expect(clippy::inline_always, reason = "a call would keep the baseline's instructions")]

use crate::arch::with_simd;
use crate::f32::simd::{Kernel, Simd};
use crate::isa::Isa;

/// A loop to be compiled for each instruction set. Implementations of `run` must be
/// `#[inline(always)]`, or they keep the baseline's instructions.
pub(crate) trait Loop {
    /// Runs the loop.
    fn run(self);
}

/// Runs `body` with the instructions of `isa`.
pub(crate) fn vectorize(isa: Isa, body: impl Loop) {
    with_simd!(isa, simd => simd.run(Body(body)));
}

/// A loop as a kernel that makes no use of vectors itself.
struct Body<L>(L);

impl<S: Simd, L: Loop> Kernel<S> for Body<L> {
    #[inline(always)]
    fn call(self, _: S) {
        self.0.run();
    }
}
