//! The interface of the first-convolution kernels that each instruction set implements.

use crate::geometry::Conv2dGeometry;
use crate::int8::requantize::Requantize;

/// Maximum height of a window.
pub(crate) const MAX_ROWS: usize = 11;

/// Maximum number of bytes that the window rows of a tile have together.
pub(crate) const MAX_BYTES: usize = 1024;

/// A first-convolution kernel that computes rows of the output, with its weights packed.
pub(crate) trait RowKernel: Send + Sync + std::fmt::Debug {
    /// Computes one row of the output, `[ow, out_channels]`.
    fn run_row(&self, row: &Row<'_>, output: &mut [u8]);

    /// The name for profiles.
    fn name(&self) -> &'static str;
}

/// The parameters and the input of one output row.
pub(crate) struct Row<'a> {
    pub(crate) geometry: &'a Conv2dGeometry,
    pub(crate) requantize: &'a Requantize,
    pub(crate) input_zero_point: u8,
    /// A row of zero points, [`MAX_BYTES`] long, which is read for rows in the padding.
    pub(crate) outside: &'a [u8],
    /// The input row under each row of the window, `[width, in_channels]`; `None` in the padding.
    pub(crate) rows: &'a [Option<&'a [u8]>],
}

/// Whether the window rows of a tile of `pixels` outputs, read in groups of `taps` bytes, fit into
/// [`MAX_BYTES`].
pub(crate) fn fits(geometry: &Conv2dGeometry, pixels: usize, taps: usize) -> bool {
    // Larger strides and windows do not fit either, and would overflow below.
    geometry.stride[1] <= MAX_BYTES
        && geometry.kernel[1] <= MAX_BYTES
        && geometry.kernel[0] * tile_bytes(geometry, pixels, taps) <= MAX_BYTES
}

/// Number of bytes of one window row of a tile of `pixels` outputs, read in groups of `taps` bytes.
pub(crate) fn tile_bytes(geometry: &Conv2dGeometry, pixels: usize, taps: usize) -> usize {
    let ic = geometry.in_channels;
    (pixels - 1) * geometry.stride[1] * ic + (geometry.kernel[1] * ic).next_multiple_of(taps)
}

impl Row<'_> {
    /// Offset in bytes, within its input row, of the window of output `x`; negative in the padding.
    pub(crate) fn first_byte(&self, x: usize) -> isize {
        let g = self.geometry;
        ((x * g.stride[1]) as isize - g.padding.left as isize) * g.in_channels as isize
    }

    /// Copies `to.len()` bytes of an input row from offset `first` on; outside the row, sets zero
    /// points.
    pub(crate) fn copy(&self, row: Option<&[u8]>, first: isize, to: &mut [u8]) {
        to.fill(self.input_zero_point);
        let Some(row) = row else { return };
        let skip = to.len().min((-first).max(0) as usize);
        let from = row.get(first.max(0) as usize..).unwrap_or_default();
        let count = from.len().min(to.len() - skip);
        to[skip..skip + count].copy_from_slice(&from[..count]);
    }
}
