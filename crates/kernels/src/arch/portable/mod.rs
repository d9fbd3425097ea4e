//! The portable backend, in plain Rust.

mod gemm;
mod resample;
mod simd;
mod token;

pub(crate) use self::token::Portable;

use crate::backend::Backend;
use crate::int8::gemm::kernel::{Kernels, Product, gemm_names};
use crate::resample::passes::{Passes, Taps};

impl Backend for Portable {
    type Simd = Self;

    fn detect() -> Option<Self> {
        Some(Self)
    }

    fn simd(self) -> Self {
        self
    }

    fn fallback(&self) -> Option<&dyn Backend> {
        None
    }

    fn gemm(&self, product: &Product<'_>) -> Option<Kernels> {
        Some(Kernels::pack(product, gemm_names!("scalar"), gemm::Weights::new))
    }

    fn resample<'a>(&self, columns: &'a Taps) -> Option<Box<dyn Passes + 'a>> {
        Some(Box::new(resample::Scalar(columns)))
    }
}
