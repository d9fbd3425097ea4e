//! The rows of the left operand: for each output pixel the taps of its window, found without ever
//! writing the whole matrix down.

use std::ops::Range;

use super::kernel::Rows;
use crate::geometry::{Conv2dGeometry, Padding};

/// One group's windows over an NHWC input.
#[derive(Clone, Copy, Debug)]
pub(super) struct Windows<'a> {
    /// `[batch, h, w, in_channels]`.
    pub(super) input: &'a [u8],
    /// As many zero points as the group has channels: what taps outside the input read.
    pub(super) padding: &'a [u8],
    pub(super) geometry: &'a Conv2dGeometry,
    /// Height and width of the input.
    pub(super) size: [usize; 2],
    /// Height and width of the output.
    pub(super) output_size: [usize; 2],
    /// The group's first input channel.
    pub(super) first_channel: usize,
}

/// Whether the rows are the input's pixels in their order, one behind the other.
pub(crate) fn in_order(geometry: &Conv2dGeometry) -> bool {
    let g = geometry;
    g.kernel == [1, 1] && g.stride == [1, 1] && g.padding == Padding::default()
}

impl Windows<'_> {
    /// Finds the windows of output `pixels`, counted over the whole batch. `taps` has room for as
    /// many or more windows.
    pub(super) fn gather<'a>(&self, pixels: Range<usize>, taps: &'a mut [*const u8]) -> Rows<'a> {
        let g = self.geometry;
        let capacity = taps.len() / (g.kernel[0] * g.kernel[1]);
        let len = pixels.len();
        let channels = self.padding.len();
        if in_order(g) {
            // Pixels in their order: one check for all of them.
            let first = pixels.start * g.in_channels + self.first_channel;
            let block = &self.input[first..][..(len - 1) * g.in_channels + channels];
            for (i, pointer) in taps[..len].iter_mut().enumerate() {
                *pointer = block[i * g.in_channels..].as_ptr();
            }
            return Rows { taps, capacity, len };
        }
        let pixel = |index: usize| {
            self.input[index * g.in_channels + self.first_channel..][..channels].as_ptr()
        };
        let [h, w] = self.size;
        let [oh, ow] = self.output_size;
        let (mut n, mut oy, mut ox) =
            (pixels.start / (oh * ow), pixels.start / ow % oh, pixels.start % ow);
        for i in 0..len {
            let mut tap = i;
            for ky in 0..g.kernel[0] {
                // A tap above or left of the input wraps around to a position far beyond it.
                let y = (oy * g.stride[0] + ky * g.dilation[0]).wrapping_sub(g.padding.top);
                for kx in 0..g.kernel[1] {
                    let x = (ox * g.stride[1] + kx * g.dilation[1]).wrapping_sub(g.padding.left);
                    let inside = y < h && x < w;
                    taps[tap] =
                        if inside { pixel((n * h + y) * w + x) } else { self.padding.as_ptr() };
                    tap += capacity;
                }
            }
            ox += 1;
            if ox == ow {
                (ox, oy) = (0, oy + 1);
                if oy == oh {
                    (oy, n) = (0, n + 1);
                }
            }
        }
        Rows { taps, capacity, len }
    }
}
