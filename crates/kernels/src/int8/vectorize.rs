//! One definition of a loop, compiled once for each instruction set.
//!
//! The loops that the compiler vectorizes well need no intrinsics: the same body, inlined into a
//! function with other target features, becomes another kernel. Its results cannot differ, since
//! Rust's floating-point operations round as IEEE 754 says on every instruction set.

use crate::isa::Isa;

/// A loop to be compiled for each instruction set. Implementations of `run` must be
/// `#[inline(always)]`, or they keep the baseline's instructions.
pub(crate) trait Loop {
    /// Runs the loop.
    fn run(self);
}

/// Runs `body` with the instructions of `isa`.
pub(crate) fn vectorize(isa: Isa, body: impl Loop) {
    match isa {
        Isa::Scalar => body.run(),
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the token proves that the CPU has these instructions.
        Isa::Avx2(_) => unsafe { with_avx2(body) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Isa::Avx512Vnni(_) | Isa::Amx(_) => unsafe { with_avx512(body) },
        #[cfg(not(target_arch = "x86_64"))]
        _ => unreachable!("tokens of x86 instruction sets exist on x86 only"),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn with_avx2(body: impl Loop) {
    body.run();
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
fn with_avx512(body: impl Loop) {
    body.run();
}
