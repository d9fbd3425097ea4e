//! The inverted residual block of MobileNetV2 as one kernel: 1x1 expansion, depthwise convolution,
//! 1x1 projection, addition.
//!
//! The block is that of [Sandler et al. 2018](https://arxiv.org/abs/1801.04381), figure 4b. Each
//! thread computes stripes of output rows: it expands the input rows that a stripe needs into a
//! ring of rows, runs the depthwise convolution over them into a buffer, and projects that buffer
//! to the output. The expanded activation, six times as wide as the block's input, thus exists only
//! in the thread's own cache, and threads synchronize once for each block instead of once for each
//! layer. With several images in a batch, each image is computed by one thread. [`Tiling`] chooses
//! the number of rows of a stripe and the division between threads.

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

/// An inverted residual block for inputs of one height and width, made of packed layers.
///
/// It computes the same bits as the layers one after the other. The layers can be shared, so that
/// they can also be run alone.
///
/// ```
/// use std::sync::Arc;
///
/// use posterize_kernels::int8::{Conv2d, InvertedResidual, Requantize};
/// use posterize_kernels::{Conv2dGeometry, Isa, Pool};
///
/// let isa = Isa::detect();
/// let to = |multiplier: Vec<f32>| Requantize { multiplier, zero_point: 0, min: 0, max: 255 };
/// let depthwise = Conv2dGeometry::square([8, 8], 3, 1, 8);
/// let depthwise = Conv2d::new(isa, depthwise, &[1; 8 * 9], &[0; 8], 0, &to(vec![1.0; 8]));
/// let project = Conv2dGeometry::pointwise(8, 2);
/// let project = Conv2d::new(isa, project, &[1; 8 * 2], &[0; 2], 0, &to(vec![0.5; 2]));
/// let block = InvertedResidual::new(None, Arc::new(depthwise), Arc::new(project), None, [1, 1])
///     .expect("the layers form an inverted residual");
///
/// let mut output = [0; 2];
/// let mut scratch = vec![0; block.scratch_len(1)];
/// block.run(&Pool::new(1), 1, &[3; 8], &mut output, &mut scratch);
/// assert_eq!(output, [8 * 3 / 2; 2]); // the window's other taps are in the padding
/// ```
#[derive(Debug)]
pub struct InvertedResidual {
    expand: Option<Arc<Conv2d>>,
    depthwise: Arc<Conv2d>,
    project: Arc<Conv2d>,
    /// Adds the input of the block, as first operand, to the projection.
    add: Option<Add>,
    tiling: Tiling,
}

impl InvertedResidual {
    /// Makes a block from its layers, for inputs of `size` = `[H, W]`; `expand` and `add` are
    /// optional.
    ///
    /// `add` adds the block's input, its first operand, to the projection, its second.
    ///
    /// Returns `None` if the layers do not form an inverted residual: if `expand` or `project` is
    /// not a pointwise convolution computed as a matrix product, `depthwise` is not depthwise, or
    /// channels or sizes do not match.
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

    /// Whether stripes are large enough for the block to be at least as fast as its layers one
    /// after the other.
    pub fn is_worthwhile(&self) -> bool {
        self.tiling.is_worthwhile()
    }

    fn block(&self) -> Block<'_> {
        const PART: &str = "`new` has checked the kind of each layer";
        Block {
            expand: self.expand.as_ref().map(|expand| expand.gemm().expect(PART)),
            depthwise: self.depthwise.depthwise().expect(PART),
            project: self.project.gemm().expect(PART),
            add: self.add.as_ref(),
            tiling: &self.tiling,
        }
    }

    /// The number of bytes of scratch memory that [`Self::run`] needs with a pool of `threads`
    /// threads.
    pub fn scratch_len(&self, threads: usize) -> usize {
        threads * self.tiling.thread_bytes()
    }

    /// Computes the block: `input` is `[N, H, W, C]` with N = `batch`, `output` is `[N, OH, OW, out
    /// C]`.
    ///
    /// `scratch` has at least [`Self::scratch_len`] bytes; what they hold does not matter. Does not
    /// allocate memory. The result has the same bits as the layers one after the other, for any
    /// number of threads.
    ///
    /// # Panics
    /// If the length of a slice differs from its shape, or `scratch` is too short.
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
        assert!(
            scratch.len() >= needed,
            "scratch has {} bytes; {needed} are needed",
            scratch.len()
        );
        self.block().run(pool, batch, input, output, scratch);
    }

    /// The name of the kernel, for profiles, for instance `inverted_residual_amx`.
    pub fn kernel_name(&self) -> &'static str {
        self.block().project.name_of_inverted_residual()
    }
}

#[cfg(test)]
mod tests;
