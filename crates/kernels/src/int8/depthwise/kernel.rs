//! The interface of the depthwise kernels that each instruction set implements.

use crate::geometry::Conv2dGeometry;
use crate::int8::requantize::Requantize;

/// The parameters of one output row, besides its input rows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row<'a> {
    pub(crate) geometry: &'a Conv2dGeometry,
    pub(crate) requantize: &'a Requantize,
    /// Zero points: one for each channel and [`OUTSIDE_SLACK`](super::pack::OUTSIDE_SLACK) more.
    pub(crate) outside: &'a [u8],
    /// Number of pixels of an input row.
    pub(crate) width: usize,
}

/// A depthwise kernel that computes rows of the output, with its weights packed.
pub(crate) trait RowKernel: Send + Sync + std::fmt::Debug {
    /// Computes one row of the output, `[ow, channels]`.
    ///
    /// `rows(ky)` is the input row under row `ky` of the window, or `None` where it lies in the
    /// padding.
    ///
    /// # Safety
    /// Each input row must be `[row.width, channels]` and the output `[row.output_width(),
    /// channels]`, with the channels of the packed convolution; `row` must have its geometry and
    /// its requantization parameters.
    unsafe fn run_row<'a>(
        &self,
        row: Row<'_>,
        rows: &dyn Fn(usize) -> Option<&'a [u8]>,
        output: &mut [u8],
    );

    /// The name for profiles.
    fn name(&self) -> &'static str;
}

impl Row<'_> {
    /// Number of pixels of the output row.
    pub(crate) fn output_width(&self) -> usize {
        let Conv2dGeometry { kernel, stride, dilation, padding, .. } = self.geometry;
        let reach = dilation[1] * (kernel[1] - 1) + 1;
        (self.width + padding.left + padding.right - reach) / stride[1] + 1
    }
}
