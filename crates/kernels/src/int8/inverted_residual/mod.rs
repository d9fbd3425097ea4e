//! The inverted residual of MobileNetV2 (Sandler et al. 2018, figure 4b) as one kernel: expand 1x1,
//! depthwise, project 1x1, add.
//!
//! A thread computes stripes of output rows: it expands the input rows that a stripe needs into a
//! ring of rows, runs the depthwise convolution over them into a buffer, and projects that buffer
//! into the output. So the expanded tensor, six times as wide as the block's input, exists only in
//! the thread's own cache, threads meet once a block instead of after each layer, and a picture of a
//! batch stays with one thread. [`Tiling`] says how many rows make a stripe and how threads divide a
//! block.

mod shape;
mod stripes;
mod tiling;

use std::sync::Arc;

use self::shape::Shape;
use self::stripes::Block;
use self::tiling::{STRIPE_BYTES, Tiling};
use super::conv2d::Conv2d;
use super::elementwise::Add;
use crate::lengths::{Lengths, check_len};
use crate::pool::Pool;

/// An inverted residual for inputs of one height and width, made of packed layers, which may run
/// alone as well.
///
/// It computes what they compute one after the other, bit for bit.
#[derive(Debug)]
pub struct InvertedResidual {
    expand: Option<Arc<Conv2d>>,
    depthwise: Arc<Conv2d>,
    project: Arc<Conv2d>,
    /// Adds the block's input, the first side, to the projection.
    add: Option<Add>,
    tiling: Tiling,
}

impl InvertedResidual {
    /// The block of these layers, of which `expand` and `add` may be missing, for inputs of
    /// `size = [h, w]`; `None` where they are no inverted residual: where `expand` or `project` is
    /// no matrix product of pixels, `depthwise` no depthwise convolution, or channels or sizes
    /// differ.
    ///
    /// `add` adds the block's input, its first side, to the projection, its second.
    pub fn new(
        expand: Option<Arc<Conv2d>>,
        depthwise: Arc<Conv2d>,
        project: Arc<Conv2d>,
        add: Option<Add>,
        size: [usize; 2],
    ) -> Option<Self> {
        depthwise.depthwise()?;
        let geometry = *depthwise.geometry();
        let hidden = geometry.in_channels;
        let [projected, outputs] = project.gemm()?.pointwise_channels()?;
        let [inputs, expanded] = match &expand {
            Some(expand) => expand.gemm()?.pointwise_channels()?,
            None => [hidden; 2],
        };
        let output_size = geometry.output_size(size)?;
        let fits = expanded == hidden
            && projected == hidden
            && (add.is_none() || (inputs, size) == (outputs, output_size));
        let shape = Shape {
            expands: expand.is_some(),
            adds: add.is_some(),
            inputs,
            hidden,
            outputs,
            size,
            output_size,
            stride: geometry.stride[0],
            reach: (geometry.kernel[0] - 1) * geometry.dilation[0] + 1,
            top: geometry.padding.top,
        };
        Lengths::of_conv2d(&geometry, 1, size);
        let tiling = Tiling::new(shape, STRIPE_BYTES);
        fits.then_some(Self { expand, depthwise, project, add, tiling })
    }

    /// Whether its stripes are large enough for it to take no longer than its layers do one after
    /// the other.
    pub fn is_worthwhile(&self) -> bool {
        self.tiling.is_worthwhile()
    }

    fn block(&self) -> Block<'_> {
        const PART: &str = "checked when the block was made";
        Block {
            expand: self.expand.as_ref().map(|expand| expand.gemm().expect(PART)),
            depthwise: self.depthwise.depthwise().expect(PART),
            project: self.project.gemm().expect(PART),
            add: self.add.as_ref(),
            tiling: &self.tiling,
        }
    }

    /// Bytes of scratch memory that [`Self::run`] needs with a pool of `threads` threads.
    pub fn scratch_len(&self, threads: usize) -> usize {
        threads * self.tiling.thread_bytes()
    }

    /// Computes the block of `input`, `[batch, h, w, input channels]`, into `output`,
    /// `[batch, oh, ow, output channels]`. Allocates nothing; the bits are those of the layers run
    /// one after the other, for any pool.
    ///
    /// # Panics
    /// When a slice has another length than these shapes (`scratch`: a smaller one than
    /// [`Self::scratch_len`]).
    pub fn run(
        &self,
        pool: &Pool,
        batch: usize,
        input: &[u8],
        output: &mut [u8],
        scratch: &mut [u8],
    ) {
        let shape = &self.tiling.shape;
        let ([h, w], [oh, ow]) = (shape.size, shape.output_size);
        check_len("the input", input.len(), &[batch, h, w, shape.inputs]);
        check_len("the output", output.len(), &[batch, oh, ow, shape.outputs]);
        let needed = self.scratch_len(pool.threads());
        assert!(scratch.len() >= needed, "{} bytes of scratch, {needed} needed", scratch.len());
        self.block().run(pool, batch, input, output, scratch);
    }

    /// What profiles call it: `inverted_residual_amx` and the like.
    pub fn kernel_name(&self) -> &'static str {
        self.block().project.name_of_inverted_residual()
    }
}

#[cfg(test)]
mod tests;
