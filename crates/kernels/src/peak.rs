//! How many multiply-adds a second the instructions of a set reach at most, measured.
//!
//! The loops touch no memory: what they reach is the roof over every kernel of that instruction
//! set, at the clock that the CPU has under such load.

use std::sync::Barrier;
use std::time::{Duration, Instant};

use crate::isa::Isa;

/// What is multiplied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arithmetic {
    /// f32, with fused multiply-adds.
    F32,
    /// u8 times i8 into i32: `tdpbusd`, `vpdpbusd`, or `vpmaddwd` with `vpaddd` on AVX2.
    Int8,
}

/// How long one measurement takes at least.
const SAMPLE: Duration = Duration::from_millis(2);
/// The first samples, in which the clock settles, are slower.
const SAMPLES: usize = 6;

/// Multiply-adds a second of `threads` threads (at least 1) together, the best of some samples of a
/// few milliseconds; `None` for [`Isa::Scalar`], whose code the compiler chooses.
///
/// ```
/// use posterize_kernels::Isa;
/// use posterize_kernels::peak::{Arithmetic, peak};
///
/// let isa = Isa::detect();
/// assert_eq!(peak(isa, Arithmetic::F32, 1).is_some(), isa != Isa::Scalar);
/// assert_eq!(peak(Isa::Scalar, Arithmetic::Int8, 1), None);
/// ```
pub fn peak(isa: Isa, arithmetic: Arithmetic, threads: usize) -> Option<f64> {
    let kernel = Kernel::of(isa, arithmetic)?;
    let barrier = Barrier::new(threads.max(1));
    let measure = || {
        let mut loops = 1000;
        let mut best = 0.0_f64;
        let mut samples = 0;
        while samples < SAMPLES {
            barrier.wait();
            let start = Instant::now();
            kernel.run(loops);
            let time = start.elapsed();
            best = best.max((loops * kernel.multiply_adds) as f64 / time.as_secs_f64());
            // Every thread takes as many samples, whatever its speed: they wait for each other.
            loops = (best * SAMPLE.as_secs_f64()) as u64 / kernel.multiply_adds + 1;
            samples += 1;
        }
        best
    };
    Some(std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(measure)).collect();
        let own = measure();
        others.into_iter().fold(own, |sum, other| sum + other.join().unwrap_or(0.0))
    }))
}

/// A loop of nothing but products.
#[derive(Clone, Copy)]
struct Kernel {
    instructions: Instructions,
    /// Of one turn of the loop.
    multiply_adds: u64,
}

#[derive(Clone, Copy)]
#[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "x86 only"))]
enum Instructions {
    Avx2F32(crate::isa::Avx2),
    Avx2Int8(crate::isa::Avx2),
    Avx512F32(crate::isa::Avx512Vnni),
    Avx512Int8(crate::isa::Avx512Vnni),
    Amx(crate::isa::Amx),
}

impl Kernel {
    fn of(isa: Isa, arithmetic: Arithmetic) -> Option<Self> {
        let (instructions, multiply_adds) = match (isa, arithmetic) {
            (Isa::Scalar, _) => return None,
            // Twelve vectors of eight.
            (Isa::Avx2(token), Arithmetic::F32) => (Instructions::Avx2F32(token), 12 * 8),
            // Six pairs of instructions of sixteen.
            (Isa::Avx2(token), Arithmetic::Int8) => (Instructions::Avx2Int8(token), 6 * 16),
            (Isa::Avx512Vnni(token), Arithmetic::F32) => (Instructions::Avx512F32(token), 12 * 16),
            (Isa::Amx(token), Arithmetic::F32) => {
                (Instructions::Avx512F32(token.avx512vnni()), 12 * 16)
            }
            (Isa::Avx512Vnni(token), Arithmetic::Int8) => {
                (Instructions::Avx512Int8(token), 12 * 64)
            }
            (Isa::Amx(token), Arithmetic::Int8) => (Instructions::Amx(token), 4 * 16 * 16 * 64),
        };
        Some(Self { instructions, multiply_adds })
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn run(self, _: u64) {}

    #[cfg(target_arch = "x86_64")]
    fn run(self, loops: u64) {
        match self.instructions {
            Instructions::Avx2F32(_) => x86::avx2_f32(loops),
            Instructions::Avx2Int8(_) => x86::avx2_int8(loops),
            Instructions::Avx512F32(_) => x86::avx512_f32(loops),
            Instructions::Avx512Int8(_) => x86::avx512_int8(loops),
            Instructions::Amx(token) => crate::int8::multiply_tiles(token, loops),
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::asm;

    /// A function that runs `$products`, which add to the registers `$sums`, again and again.
    macro_rules! products {
        ($name:ident: $sums:literal, $($products:literal),*) => {
            pub(super) fn $name(loops: u64) {
                // SAFETY: computes in registers only, with instructions that exist: the caller has
                // the token of their set. The registers are zero, for which products take no longer.
                unsafe {
                    asm!(
                        ".irp i, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15",
                        "vpxor xmm\\i, xmm\\i, xmm\\i",
                        ".endr",
                        "2:",
                        concat!(".irp i, ", $sums),
                        $($products,)*
                        ".endr",
                        "dec rcx",
                        "jnz 2b",
                        inout("rcx") loops.max(1) => _,
                        clobber_abi("sysv64"),
                        options(nomem, nostack),
                    );
                }
            }
        };
    }

    products!(avx2_f32: "0,1,2,3,4,5,6,7,8,9,10,11", "vfmadd231ps ymm\\i, ymm12, ymm13");
    products!(
        avx2_int8: "0,1,2,3,4,5",
        "vpmaddwd ymm12, ymm13, ymm14",
        "vpaddd ymm\\i, ymm\\i, ymm12"
    );
    products!(avx512_f32: "0,1,2,3,4,5,6,7,8,9,10,11", "vfmadd231ps zmm\\i, zmm12, zmm13");
    products!(avx512_int8: "0,1,2,3,4,5,6,7,8,9,10,11", "vpdpbusd zmm\\i, zmm12, zmm13");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wider_instructions_do_more() {
        let peaks = |arithmetic| -> Vec<f64> {
            Isa::supported().into_iter().filter_map(|isa| peak(isa, arithmetic, 1)).collect()
        };
        for peaks in [peaks(Arithmetic::F32), peaks(Arithmetic::Int8)] {
            // A few multiply-adds a cycle at a few GHz.
            assert!(peaks.iter().all(|&peak| peak > 1e9), "{peaks:?}");
        }
    }
}
