//! What a kernel for convolutions is to the layer that runs it.

use crate::int8::elementwise::formula::AddFormula;
use crate::pool::Pool;

/// What a convolution reads.
#[derive(Clone, Copy)]
pub(crate) struct Inputs<'a> {
    /// `[batch, h, w, in_channels]`.
    pub(crate) input: &'a [u8],
    /// An addition whose first side is what the convolution gives, and its second one, in the shape
    /// of the output.
    pub(crate) added: Option<(AddFormula, &'a [u8])>,
}

impl<'a> From<&'a [u8]> for Inputs<'a> {
    fn from(input: &'a [u8]) -> Self {
        Self { input, added: None }
    }
}

/// A way to compute one convolution, with its weights packed.
pub(crate) trait ConvKernel: Send + Sync + std::fmt::Debug {
    /// Bytes of scratch memory that [`ConvKernel::run`] needs.
    fn scratch_len(&self, threads: usize, batch: usize, size: [usize; 2]) -> usize;

    /// Convolves into `output`, `[batch, oh, ow, out_channels]`; the lengths of all slices have
    /// been checked.
    fn run(
        &self,
        pool: &Pool,
        batch_and_size: (usize, [usize; 2]),
        inputs: Inputs<'_>,
        output: &mut [u8],
        scratch: &mut [u8],
    );

    /// What profiles call it where it adds. `None` where [`ConvKernel::run`] does not add what the
    /// inputs say: then they must say nothing.
    fn name_with_add(&self) -> Option<&'static str> {
        None
    }

    /// What profiles call it.
    fn name(&self) -> &'static str;
}
