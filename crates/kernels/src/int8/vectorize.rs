//! Compiles elementwise loops for each instruction set.
//!
//! A loop that the compiler vectorizes well needs no intrinsics: inlined into functions with
//! different target features, the same code becomes a kernel for each of them. Their results are
//! the same, because Rust's floating-point operations round as IEEE 754 specifies on every
//! instruction set.

#![expect(
    clippy::inline_always,
    reason = "without inlining, the code would not be compiled for the caller's target features"
)]

use crate::arch::with_simd;
use crate::f32::simd::{Kernel, Simd};
use crate::isa::Isa;

/// A loop to be compiled for each instruction set. Implementations of `run` must be
/// `#[inline(always)]`, otherwise they are compiled for the baseline instruction set.
pub(crate) trait Loop {
    /// Runs the loop.
    fn run(self);
}

/// Runs `body` with the instructions of `isa`.
pub(crate) fn vectorize(isa: Isa, body: impl Loop) {
    with_simd!(isa, simd => simd.run(Body(body)));
}

/// A [`Loop`] as a [`Kernel`] that does not use the vectors.
struct Body<L>(L);

impl<S: Simd, L: Loop> Kernel<S> for Body<L> {
    #[inline(always)]
    fn call(self, _: S) {
        self.0.run();
    }
}
