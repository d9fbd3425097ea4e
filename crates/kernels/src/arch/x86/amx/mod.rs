//! Exact int8 products with AMX tiles.
//!
//! `tdpbusd` multiplies 16 rows of up to 64 u8 with 16 columns of as many i8 and adds to 16 x 16
//! i32 accumulators, without saturation of intermediate results.
//!
//! Rust's intrinsics for tiles are unstable, so inline assembly is used. A block of 32 x 32 outputs
//! is a single `asm!` statement, from loading the biases into the accumulators to storing these, so
//! that no tile has to keep its contents between statements. Only the tile configuration is kept.
//!
//! Accumulators can only leave tiles through memory: those of a block are stored to a buffer of
//! four tiles, and requantized from there at once.
//!
//! The first kernel that is packed requests the operating system's permission to use tiles. Where
//! it is refused, the kernels of AVX-512 VNNI compute the same.

mod direct;
mod gathered;
mod panels;
mod permission;
mod positions;
mod sizes;
mod steps;
mod stored;
mod tiles;
mod token;

use self::direct::Direct;
use self::gathered::Weights;
use self::permission::Permission;
use self::sizes::covers;
pub(crate) use self::token::Amx;
use super::avx512vnni::Avx512Vnni;
use crate::backend::Backend;
use crate::int8::conv_kernel::ConvKernel;
use crate::int8::gemm::kernel::{Kernels, Product, gemm_names};
use crate::int8::gemm::windows::in_order;
use crate::peak::kernel::{Arithmetic, PeakLoop};
use crate::reference;

impl Backend for Amx {
    type Simd = Avx512Vnni;

    fn detect() -> Option<Self> {
        Self::detect()
    }

    fn simd(self) -> Avx512Vnni {
        *self.narrower()
    }

    fn fallback(&self) -> Option<&dyn Backend> {
        Some(self.narrower())
    }

    fn has_tiles(&self) -> bool {
        true
    }

    fn gemm(&self, product: &Product<'_>) -> Option<Kernels> {
        let Some(permission) = covers(product.groups).then(Permission::request).flatten() else {
            return self.narrower().gemm(product);
        };
        let gathers = !in_order(product.geometry);
        Some(Kernels::pack(product, gemm_names!("amx", adds), |operand, requantize| {
            Weights::new(permission, operand, requantize, gathers)
        }))
    }

    fn direct_conv(&self, conv: &reference::Conv2d<'_>) -> Option<Box<dyn ConvKernel>> {
        Some(Box::new(Direct::new(Permission::request()?, conv)?))
    }

    fn peak(&self, arithmetic: Arithmetic) -> Option<PeakLoop> {
        match arithmetic {
            Arithmetic::F32 => self.narrower().peak(arithmetic),
            Arithmetic::Int8 => {
                let Some(permission) = Permission::request() else {
                    return self.narrower().peak(arithmetic);
                };
                Some(PeakLoop::new(4 * 16 * 16 * 64, move |loops| {
                    tiles::multiply_tiles(permission, loops);
                }))
            }
        }
    }
}
