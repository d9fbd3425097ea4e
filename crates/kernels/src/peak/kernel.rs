//! Loops of nothing but products, as every instruction set has them.

/// What is multiplied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arithmetic {
    /// f32, with fused multiply-adds.
    F32,
    /// u8 times i8 into i32: `tdpbusd`, `vpdpbusd`, or `vpmaddwd` with `vpaddd` on AVX2.
    Int8,
}

/// A loop of nothing but products.
pub(crate) struct PeakLoop {
    multiply_adds: u64,
    run: Box<dyn Fn(u64) + Sync>,
}

impl PeakLoop {
    /// A loop that does so many multiply-adds a turn; `run` takes as many turns as it is told.
    #[allow(dead_code, reason = "only kernels written for an instruction set use it")]
    pub(crate) fn new(multiply_adds: u64, run: impl Fn(u64) + Sync + 'static) -> Self {
        Self { multiply_adds, run: Box::new(run) }
    }

    /// Multiply-adds of one turn of the loop.
    pub(crate) fn multiply_adds(&self) -> u64 {
        self.multiply_adds
    }

    /// Takes so many turns, at least one.
    pub(crate) fn run(&self, loops: u64) {
        (self.run)(loops);
    }
}
