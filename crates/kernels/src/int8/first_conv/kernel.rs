//! The kernels of first convolutions, as every instruction set has them.

use crate::geometry::Conv2dGeometry;
use crate::int8::requantize::Requantize;

/// Rows of a window, at most.
pub(crate) const MAX_ROWS: usize = 11;

/// Bytes of the window rows of a tile, at most.
pub(crate) const MAX_BYTES: usize = 1024;

/// Packed weights that compute the output row by row.
pub(crate) trait RowKernel: Send + Sync + std::fmt::Debug {
    /// Computes one row of the output, `[ow, out_channels]`.
    fn run_row(&self, row: &Row<'_>, output: &mut [u8]);

    /// What profiles call it.
    fn name(&self) -> &'static str;
}

/// What a kernel needs to know about one row of the output.
pub(crate) struct Row<'a> {
    pub(crate) geometry: &'a Conv2dGeometry,
    pub(crate) requantize: &'a Requantize,
    pub(crate) input_zero_point: u8,
    pub(crate) outside: &'a [u8],
    /// The input rows under the window, `[width, in_channels]`; `None` in the padding.
    pub(crate) rows: &'a [Option<&'a [u8]>],
}

/// Whether the window rows of a tile of `pixels` outputs, read in groups of `taps`, fit [`MAX_BYTES`].
pub(crate) fn fits(geometry: &Conv2dGeometry, pixels: usize, taps: usize) -> bool {
    // Longer strides and windows do not fit, and would overflow below.
    geometry.stride[1] <= MAX_BYTES
        && geometry.kernel[1] <= MAX_BYTES
        && geometry.kernel[0] * tile_bytes(geometry, pixels, taps) <= MAX_BYTES
}

/// Bytes of one window row of a tile of `pixels` outputs, read in groups of `taps`.
pub(crate) fn tile_bytes(geometry: &Conv2dGeometry, pixels: usize, taps: usize) -> usize {
    let ic = geometry.in_channels;
    (pixels - 1) * geometry.stride[1] * ic + (geometry.kernel[1] * ic).next_multiple_of(taps)
}

impl Row<'_> {
    /// Where in its row the window of output `x` begins, in bytes; negative in the padding.
    pub(crate) fn first_byte(&self, x: usize) -> isize {
        let g = self.geometry;
        ((x * g.stride[1]) as isize - g.padding.left as isize) * g.in_channels as isize
    }

    /// Copies `to.len()` bytes of an input row from byte `first` on, zero points where it has none.
    pub(crate) fn copy(&self, row: Option<&[u8]>, first: isize, to: &mut [u8]) {
        to.fill(self.input_zero_point);
        let Some(row) = row else { return };
        let skip = to.len().min((-first).max(0) as usize);
        let from = row.get(first.max(0) as usize..).unwrap_or_default();
        let count = from.len().min(to.len() - skip);
        to[skip..skip + count].copy_from_slice(&from[..count]);
    }
}
