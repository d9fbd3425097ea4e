//! Loops that measure peak throughput, provided by each instruction set.

/// The number type whose multiply-adds are measured.
///
/// ```
/// use posterize_kernels::Isa;
/// use posterize_kernels::peak::{Arithmetic, peak};
///
/// // Portable code has no instructions of its own to measure.
/// assert_eq!(peak(Isa::SCALAR, Arithmetic::F32, 1), None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arithmetic {
    /// f32 fused multiply-adds.
    F32,
    /// u8 times i8 accumulated in i32: `tdpbusd`, `vpdpbusd`, or `vpmaddwd` with `vpaddd` on AVX2.
    Int8,
}

/// A loop of multiply-adds that accesses no memory.
pub(crate) struct PeakLoop {
    multiply_adds: u64,
    run: Box<dyn Fn(u64) + Sync>,
}

impl PeakLoop {
    /// A loop that executes `multiply_adds` in each iteration; `run` takes the number of
    /// iterations.
    #[allow(dead_code, reason = "only kernels written for an instruction set use it")]
    pub(crate) fn new(multiply_adds: u64, run: impl Fn(u64) + Sync + 'static) -> Self {
        Self { multiply_adds, run: Box::new(run) }
    }

    /// Multiply-adds of one iteration.
    pub(crate) fn multiply_adds(&self) -> u64 {
        self.multiply_adds
    }

    /// Runs `loops` iterations, at least one.
    pub(crate) fn run(&self, loops: u64) {
        (self.run)(loops);
    }
}
