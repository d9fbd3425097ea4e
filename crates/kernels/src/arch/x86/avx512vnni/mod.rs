//! The AVX-512 VNNI backend: 512-bit vectors, and `vpdpbusd`, which adds four products of bytes at
//! once.

pub(super) mod add;
mod depthwise;
mod first_conv;
mod gemm;
mod peak;
pub(super) mod requantize;
mod simd;
mod table;
mod token;

pub(crate) use self::token::Avx512Vnni;
use crate::backend::Backend;
use crate::int8::depthwise::kernel::RowKernel as DepthwiseKernel;
use crate::int8::first_conv::kernel::RowKernel as FirstConvKernel;
use crate::int8::gemm::kernel::{Kernels, Product, gemm_names};
use crate::int8::pack::Operand;
use crate::peak::kernel::{Arithmetic, PeakLoop};
use crate::reference;

impl Backend for Avx512Vnni {
    type Simd = Self;

    fn detect() -> Option<Self> {
        Self::detect()
    }

    fn simd(self) -> Self {
        self
    }

    fn fallback(&self) -> Option<&dyn Backend> {
        Some(self.narrower())
    }

    fn gemm(&self, product: &Product<'_>) -> Option<Kernels> {
        // Products that overflow come from large multipliers, where the output is nearly constant.
        // That is too rare to clamp every vector of outputs in all other layers.
        if !product.groups.iter().all(Operand::products_fit) {
            return self.narrower().gemm(product);
        }
        Some(Kernels::pack(product, gemm_names!("avx512vnni"), |operand, requantize| {
            gemm::Weights::new(*self, operand, requantize)
        }))
    }

    fn columns(&self) -> usize {
        16
    }

    fn depthwise(&self, conv: &reference::Conv2d<'_>) -> Option<Box<dyn DepthwiseKernel>> {
        depthwise::covers(&conv.geometry)
            .then(|| Box::new(depthwise::Packed::new(*self, conv)) as _)
    }

    fn first_conv(&self, conv: &reference::Conv2d<'_>) -> Option<Box<dyn FirstConvKernel>> {
        Some(Box::new(first_conv::FirstConv::new(*self, conv)?))
    }

    unsafe fn look_up(&self, table: &[u8; 256], from: *const u8, to: *mut u8, len: usize) {
        // SAFETY: `exists` says whether the CPU has VBMI; the token proves AVX2. The caller
        // guarantees that the memory is valid.
        unsafe {
            if table::exists() {
                table::look_up(table, from, to, len);
            } else {
                self.narrower().look_up(table, from, to, len);
            }
        }
    }

    fn peak(&self, arithmetic: Arithmetic) -> Option<PeakLoop> {
        Some(match arithmetic {
            // Twelve vectors of sixteen lanes.
            Arithmetic::F32 => PeakLoop::new(12 * 16, peak::avx512_f32),
            // Twelve vectors of 64 products.
            Arithmetic::Int8 => PeakLoop::new(12 * 64, peak::avx512_int8),
        })
    }
}
