//! The AVX2 backend, with FMA: 256-bit vectors.

mod depthwise;
mod first_conv;
mod gemm;
mod peak;
mod requantize;
mod resample;
mod simd;
mod table;
mod token;

pub(crate) use self::token::Avx2;
use crate::arch::portable::Portable;
use crate::backend::Backend;
use crate::int8::depthwise::kernel::RowKernel as DepthwiseKernel;
use crate::int8::first_conv::kernel::RowKernel as FirstConvKernel;
use crate::int8::gemm::kernel::{Kernels, Product, gemm_names};
use crate::peak::kernel::{Arithmetic, PeakLoop};
use crate::reference;
use crate::resample::passes::{Passes, Taps};

impl Backend for Avx2 {
    type Simd = Self;

    fn detect() -> Option<Self> {
        Self::detect()
    }

    fn simd(self) -> Self {
        self
    }

    fn fallback(&self) -> Option<&dyn Backend> {
        Some(&Portable)
    }

    fn gemm(&self, product: &Product<'_>) -> Option<Kernels> {
        if !gemm::Weights::covers(&product.groups[0]) {
            return Portable.gemm(product);
        }
        Some(Kernels::pack(product, gemm_names!("avx2"), |operand, requantize| {
            gemm::Weights::new(*self, operand, requantize)
        }))
    }

    fn columns(&self) -> usize {
        8
    }

    fn depthwise(&self, conv: &reference::Conv2d<'_>) -> Option<Box<dyn DepthwiseKernel>> {
        depthwise::covers(&conv.geometry)
            .then(|| Box::new(depthwise::Packed::new(*self, conv)) as _)
    }

    fn first_conv(&self, conv: &reference::Conv2d<'_>) -> Option<Box<dyn FirstConvKernel>> {
        Some(Box::new(first_conv::FirstConv::new(*self, conv)?))
    }

    unsafe fn look_up(&self, table: &[u8; 256], from: *const u8, to: *mut u8, len: usize) {
        // SAFETY: the token proves AVX2; the caller guarantees that the memory is valid.
        unsafe { table::look_up(table, from, to, len) };
    }

    fn resample<'a>(&self, columns: &'a Taps) -> Option<Box<dyn Passes + 'a>> {
        Some(Box::new(resample::Columns::new(*self, columns)))
    }

    fn peak(&self, arithmetic: Arithmetic) -> Option<PeakLoop> {
        Some(match arithmetic {
            // Twelve vectors of eight lanes.
            Arithmetic::F32 => PeakLoop::new(12 * 8, peak::avx2_f32),
            // Six pairs of instructions with sixteen products each.
            Arithmetic::Int8 => PeakLoop::new(6 * 16, peak::avx2_int8),
        })
    }
}
