//! The interface of convolution kernels.

use crate::int8::elementwise::formula::AddFormula;
use crate::pool::Pool;

/// The inputs of a convolution kernel.
#[derive(Clone, Copy)]
pub(crate) struct Inputs<'a> {
    /// `[batch, h, w, in_channels]`.
    pub(crate) input: &'a [u8],
    /// A residual addition: its formula, whose first input is the result of the convolution, and
    /// its second input, which has the shape of the output.
    pub(crate) added: Option<(AddFormula, &'a [u8])>,
}

impl<'a> From<&'a [u8]> for Inputs<'a> {
    fn from(input: &'a [u8]) -> Self {
        Self { input, added: None }
    }
}

/// A kernel that computes one convolution, with its weights packed.
pub(crate) trait ConvKernel: Send + Sync + std::fmt::Debug {
    /// The number of bytes of scratch memory that [`ConvKernel::run`] needs.
    fn scratch_len(&self, threads: usize, batch: usize, size: [usize; 2]) -> usize;

    /// Convolves into `output`, `[N, OH, OW, out_channels]`. The caller has checked the lengths of
    /// all slices.
    fn run(
        &self,
        pool: &Pool,
        batch_and_size: (usize, [usize; 2]),
        inputs: Inputs<'_>,
        output: &mut [u8],
        scratch: &mut [u8],
    );

    /// The name for profiles with a residual addition; `None` if the kernel does not support
    /// [`Inputs::added`], which then must be `None`.
    fn name_with_add(&self) -> Option<&'static str> {
        None
    }

    /// The name for profiles.
    fn name(&self) -> &'static str;
}
