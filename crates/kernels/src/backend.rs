//! What an instruction set provides to the operators.

use crate::f32::simd::Simd;
use crate::int8::conv_kernel::ConvKernel;
use crate::int8::depthwise::kernel::RowKernel as DepthwiseKernel;
use crate::int8::first_conv::kernel::RowKernel as FirstConvKernel;
use crate::int8::gemm::kernel::{Kernels, Product};
use crate::peak::kernel::{Arithmetic, PeakLoop};
use crate::reference;
use crate::resample::passes::{Passes, Taps};

/// An instruction set: the vectors that kernels written once are compiled for, and the kernels that
/// are written by hand.
///
/// Implementing types are tokens: a value proves that the CPU has the instructions, because only
/// [`Backend::detect`] makes one. Each is a folder under `arch/` and one line in the list of
/// `arch/mod.rs`, from which [`Isa`](crate::Isa) takes names, order and detection. Tests walk over
/// that list, so a new backend is tested by every case there is.
///
/// Two kinds of kernels meet here:
///
/// * The f32 kernels and the loops over elements are written once, over [`Simd`] and
///   `vectorize::Loop`; `with_simd!` compiles them for [`Backend::Simd`].
/// * The int8 products, convolutions and the resampling of pictures have kernels of their own for an
///   instruction set. The methods for these give `None` where there is no kernel for a shape. What
///   a backend does not implement is what [`Backend::fallback`] has.
///
/// Whatever the backend, int8 kernels give the bits that [`crate::reference`] defines.
pub(crate) trait Backend: Send + Sync {
    /// The vectors of floats that kernels written once are compiled for, on this instruction set.
    type Simd: Simd
    where
        Self: Sized;

    /// Finds out whether this CPU and this system have the instruction set.
    fn detect() -> Option<Self>
    where
        Self: Sized;

    /// The vectors of floats.
    fn simd(self) -> Self::Simd
    where
        Self: Sized;

    /// The next narrower instruction set, which every CPU with this one has; `None` for the
    /// portable one.
    fn fallback(&self) -> Option<&dyn Backend>;

    /// Whether it is a unit for matrix products beside the vectors of its [`Backend::fallback`],
    /// which do everything else.
    fn has_tiles(&self) -> bool {
        false
    }

    /// Packs the weights of int8 matrix products. All groups of a convolution are packed for one
    /// kernel, since they share one division into tasks.
    ///
    /// The portable backend covers every product.
    fn gemm(&self, product: &Product<'_>) -> Option<Kernels> {
        self.fallback()?.gemm(product)
    }

    /// An int8 convolution with windows of several taps that needs no gathered rows.
    fn direct_conv(&self, conv: &reference::Conv2d<'_>) -> Option<Box<dyn ConvKernel>> {
        self.fallback()?.direct_conv(conv)
    }

    /// An int8 depthwise convolution, by rows of the output. Where there is none, a loop over channels is
    /// compiled for the instruction set.
    fn depthwise(&self, conv: &reference::Conv2d<'_>) -> Option<Box<dyn DepthwiseKernel>> {
        self.fallback()?.depthwise(conv)
    }

    /// An int8 convolution of few input channels, by rows of the output. Where there is none, it is a
    /// matrix product.
    fn first_conv(&self, conv: &reference::Conv2d<'_>) -> Option<Box<dyn FirstConvKernel>> {
        self.fallback()?.first_conv(conv)
    }

    /// Looks up bytes: `to[i] = table[from[i]]` for each `i < len`. The portable backend does so one by
    /// one.
    ///
    /// # Safety
    /// `len` bytes at `from` can be read and as many at `to` be written; they are the same or do not
    /// overlap.
    unsafe fn look_up(&self, table: &[u8; 256], from: *const u8, to: *mut u8, len: usize) {
        match self.fallback() {
            // SAFETY: the caller's promise.
            Some(narrower) => unsafe { narrower.look_up(table, from, to, len) },
            None => {
                for i in 0..len {
                    // SAFETY: the caller's promise.
                    unsafe { *to.add(i) = table[usize::from(*from.add(i))] };
                }
            }
        }
    }

    /// The two passes of resampling a picture, whose output columns are made as `columns` says.
    ///
    /// The portable backend has them.
    fn resample<'a>(&self, columns: &'a Taps) -> Option<Box<dyn Passes + 'a>> {
        self.fallback()?.resample(columns)
    }

    /// A loop that does as many multiply-adds as the instruction set can.
    fn peak(&self, arithmetic: Arithmetic) -> Option<PeakLoop> {
        self.fallback()?.peak(arithmetic)
    }
}
