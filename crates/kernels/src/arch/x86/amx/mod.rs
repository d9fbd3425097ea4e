//! Exact products with AMX tiles: `tdpbusd` multiplies 16 rows of up to 64 u8 with 16 columns of as
//! many i8 and adds to 16 x 16 accumulators of i32, without saturating on the way.
//!
//! Rust's intrinsics for tiles are unstable, hence assembly. A block of 32 x 32 outputs is one
//! statement, from loading biases into the accumulators to storing these, so that no tile has to
//! survive from one statement to the next; only their configuration does, as does the rounding
//! mode of other instructions.
//!
//! Accumulators can leave tiles through memory only: those of a block are stored, and requantized
//! from there at once, which takes one buffer of four tiles.

mod direct;
mod done;
mod gathered;
mod panels;
mod permission;
mod positions;
mod steps;
mod tiles;

use self::direct::Direct;
use self::gathered::Weights;
use super::avx512vnni::Avx512Vnni;
use crate::backend::Backend;
use crate::int8::conv_kernel::ConvKernel;
use crate::int8::gemm::kernel::{Kernels, Product, gemm_names};
use crate::int8::gemm::windows::in_order;
use crate::int8::pack::Operand;
use crate::peak::kernel::{Arithmetic, PeakLoop};
use crate::reference;

/// Proof that this CPU has AMX tiles with int8 products, that the operating system lets this
/// process use them, and [`Avx512Vnni`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Amx(Avx512Vnni);

impl Backend for Amx {
    type Simd = Avx512Vnni;

    /// Detects AMX-TILE and AMX-INT8.
    ///
    /// Where the CPU has them, this [asks the system](permission::request) for permission to use tiles,
    /// which holds for all threads of the process from then on.
    fn detect() -> Option<Self> {
        let vnni = Avx512Vnni::detect()?;
        permission::request().then_some(Self(vnni))
    }

    fn simd(self) -> Avx512Vnni {
        self.0
    }

    fn fallback(&self) -> Option<&dyn Backend> {
        Some(&self.0)
    }

    fn has_tiles(&self) -> bool {
        true
    }

    fn gemm(&self, product: &Product<'_>) -> Option<Kernels> {
        if !covers(product.groups) {
            return self.0.gemm(product);
        }
        let gathers = !in_order(product.geometry);
        Some(Kernels::pack(product, gemm_names!("amx", adds), |operand, requantize| {
            Weights::new(*self, operand, requantize, gathers)
        }))
    }

    fn direct_conv(&self, conv: &reference::Conv2d<'_>) -> Option<Box<dyn ConvKernel>> {
        Some(Box::new(Direct::new(*self, conv)?))
    }

    fn peak(&self, arithmetic: Arithmetic) -> Option<PeakLoop> {
        match arithmetic {
            Arithmetic::F32 => self.0.peak(arithmetic),
            Arithmetic::Int8 => {
                let amx = *self;
                Some(PeakLoop::new(4 * 16 * 16 * 64, move |loops| {
                    tiles::multiply_tiles(amx, loops)
                }))
            }
        }
    }
}

/// Rows of a tile of activations or accumulators.
const ROWS: usize = 16;
/// Columns of a tile of weights or accumulators.
const COLUMNS: usize = 16;
/// Accumulators of a tile.
const TILE: usize = ROWS * COLUMNS;
/// Input bytes that a block of rows takes at most, about: a part of the L2 cache.
const BLOCK_BYTES: usize = 320 * 1024;

/// Fewer products than this an output leave nearly all the time to requantization, and vectors need
/// not store accumulators before it.
const LEAST_DEPTH: usize = 24;

/// Whether tiles serve these groups better than vectors do.
fn covers(groups: &[Operand<'_>]) -> bool {
    groups[0].taps * groups[0].channels >= LEAST_DEPTH && groups.iter().all(Operand::products_fit)
}
