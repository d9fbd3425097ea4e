//! The kernels that an instruction set provides.

use crate::f32::simd::Simd;
use crate::int8::conv_kernel::ConvKernel;
use crate::int8::depthwise::kernel::RowKernel as DepthwiseKernel;
use crate::int8::first_conv::kernel::RowKernel as FirstConvKernel;
use crate::int8::gemm::kernel::{Kernels, Product};
use crate::peak::kernel::{Arithmetic, PeakLoop};
use crate::reference;
use crate::resample::passes::{Passes, Taps};

/// The kernels of an instruction set: a vector type for which generic kernels are compiled, and
/// kernels written by hand.
///
/// Implementing types are tokens: only [`Backend::detect`] creates one, so a value proves that the
/// CPU has the instructions. Each lives in a folder under `arch/` and has one line in the list of
/// `arch/mod.rs`, from which [`Isa`](crate::Isa) takes names, order and detection. Tests iterate
/// over that list, so every test covers a new backend too.
///
/// There are two kinds of kernels:
///
/// * The f32 kernels and the elementwise loops are written once, generic over [`Simd`] or as a
///   `vectorize::Loop`; `with_simd!` compiles them for [`Backend::Simd`].
/// * int8 matrix products, int8 convolutions and image resampling have kernels written for an
///   instruction set. The methods for these return `None` where there is no kernel for a shape;
///   what a backend does not implement is taken from its [`Backend::fallback`].
///
/// On every backend, int8 kernels give the bits that [`crate::reference`] defines.
pub(crate) trait Backend: Send + Sync {
    /// The f32 vectors for which generic kernels are compiled on this instruction set.
    type Simd: Simd
    where
        Self: Sized;

    /// Returns the token if the CPU and the operating system support the instruction set.
    fn detect() -> Option<Self>
    where
        Self: Sized;

    /// Returns the f32 vectors.
    fn simd(self) -> Self::Simd
    where
        Self: Sized;

    /// Returns the next narrower instruction set, which every CPU that has this one has too; `None`
    /// for the portable backend.
    fn fallback(&self) -> Option<&dyn Backend>;

    /// Whether this is a matrix-product unit (AMX) on top of the vectors of its
    /// [`Backend::fallback`], which compute everything else.
    fn has_tiles(&self) -> bool {
        false
    }

    /// Packs the weights of int8 matrix products, one for each group of a convolution, all for the
    /// same kernel so that they can be split into tasks together.
    ///
    /// The portable backend supports every product.
    fn gemm(&self, product: &Product<'_>) -> Option<Kernels> {
        self.fallback()?.gemm(product)
    }

    /// Number of columns that an int8 matrix product computes as fast as fewer. Groups with fewer are
    /// multiplied together.
    fn columns(&self) -> usize {
        self.fallback().map_or(1, Backend::columns)
    }

    /// Packs an int8 convolution with a window larger than 1x1 for a kernel that needs no im2row.
    fn direct_conv(&self, conv: &reference::Conv2d<'_>) -> Option<Box<dyn ConvKernel>> {
        self.fallback()?.direct_conv(conv)
    }

    /// Packs an int8 depthwise convolution for a kernel that computes a row of the output at a
    /// time. Where no backend has one, a loop over the channels is compiled for the instruction
    /// set.
    fn depthwise(&self, conv: &reference::Conv2d<'_>) -> Option<Box<dyn DepthwiseKernel>> {
        self.fallback()?.depthwise(conv)
    }

    /// Packs an int8 convolution with few input channels for a kernel that computes a row of the
    /// output at a time. Where no backend has one, it is computed as a matrix product.
    fn first_conv(&self, conv: &reference::Conv2d<'_>) -> Option<Box<dyn FirstConvKernel>> {
        self.fallback()?.first_conv(conv)
    }

    /// Looks up bytes in a table: `to[i] = table[from[i]]` for each `i < len`. The portable backend
    /// looks up one byte at a time.
    ///
    /// # Safety
    /// `from` must be valid for reads of `len` bytes and `to` for writes of `len` bytes. The two
    /// ranges must be the same or not overlap.
    unsafe fn look_up(&self, table: &[u8; 256], from: *const u8, to: *mut u8, len: usize) {
        match self.fallback() {
            // SAFETY: the caller guarantees what this method requires of `narrower` too.
            Some(narrower) => unsafe { narrower.look_up(table, from, to, len) },
            None => {
                for i in 0..len {
                    // SAFETY: `i < len`, so the caller guarantees that both bytes are valid; byte i
                    // is read before it is written, so the ranges may be the same.
                    unsafe { *to.add(i) = table[usize::from(*from.add(i))] };
                }
            }
        }
    }

    /// Returns the two passes of image resampling, for output columns with the weights `columns`.
    ///
    /// The portable backend implements them.
    fn resample<'a>(&self, columns: &'a Taps) -> Option<Box<dyn Passes + 'a>> {
        self.fallback()?.resample(columns)
    }

    /// Returns a loop that executes multiply-adds at the highest rate of the instruction set.
    fn peak(&self, arithmetic: Arithmetic) -> Option<PeakLoop> {
        self.fallback()?.peak(arithmetic)
    }
}
