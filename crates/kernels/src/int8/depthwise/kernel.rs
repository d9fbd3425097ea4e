//! The kernels of depthwise convolutions, as every instruction set has them.

use crate::geometry::Conv2dGeometry;
use crate::int8::requantize::Requantize;

/// What a kernel needs to know about one row of the output besides its input rows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row<'a> {
    pub(crate) geometry: &'a Conv2dGeometry,
    pub(crate) requantize: &'a Requantize,
    /// Zero points, one for each channel and [`OUTSIDE_SLACK`](super::pack::OUTSIDE_SLACK) more.
    pub(crate) outside: &'a [u8],
    /// Pixels of an input row.
    pub(crate) width: usize,
}

/// Packed weights that compute the output row by row.
pub(crate) trait RowKernel: Send + Sync + std::fmt::Debug {
    /// Computes one row of the output, `[ow, channels]`. `rows(ky)` is the input row under row `ky`
    /// of the window, or `None` where that lies in the padding.
    ///
    /// # Safety
    /// Each row must have `row.width` pixels, and the output [`Row::output_width`].
    unsafe fn run_row<'a>(
        &self,
        row: Row<'_>,
        rows: &dyn Fn(usize) -> Option<&'a [u8]>,
        output: &mut [u8],
    );

    /// What profiles call it.
    fn name(&self) -> &'static str;
}

impl Row<'_> {
    /// Pixels of the output row.
    pub(crate) fn output_width(&self) -> usize {
        let Conv2dGeometry { kernel, stride, dilation, padding, .. } = self.geometry;
        let reach = dilation[1] * (kernel[1] - 1) + 1;
        (self.width + padding.left + padding.right - reach) / stride[1] + 1
    }
}
