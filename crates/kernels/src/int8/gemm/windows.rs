//! The rows of a matrix product's left operand: for each output pixel, pointers to the pixels under
//! the taps of its window (indirect im2row).

use std::ops::Range;

use super::kernel::Rows;
use crate::geometry::{Conv2dGeometry, Padding};

/// The windows of one group over an `[N, H, W, C]` input.
#[derive(Clone, Copy, Debug)]
pub(super) struct Windows<'a> {
    /// `[N, H, W, in_channels]`.
    pub(super) input: &'a [u8],
    /// Zero points for taps outside the input: one for each input channel of the group.
    pub(super) padding: &'a [u8],
    pub(super) geometry: &'a Conv2dGeometry,
    /// Height and width of the input.
    pub(super) size: [usize; 2],
    /// Height and width of the output.
    pub(super) output_size: [usize; 2],
    /// First input channel of the group.
    pub(super) first_channel: usize,
}

/// Whether the rows are the pixels of the input, in their order.
pub(crate) fn in_order(geometry: &Conv2dGeometry) -> bool {
    let g = geometry;
    g.kernel == [1, 1] && g.stride == [1, 1] && g.padding == Padding::default()
}

impl Windows<'_> {
    /// Sets the pointers for the windows of output `pixels`, which are counted over the whole
    /// batch.
    ///
    /// `taps` must have room for at least as many windows. Each pointer points to a slice with the
    /// group's number of channels.
    pub(super) fn gather<'a>(&self, pixels: Range<usize>, taps: &'a mut [*const u8]) -> Rows<'a> {
        let g = self.geometry;
        let capacity = taps.len() / (g.kernel[0] * g.kernel[1]);
        let len = pixels.len();
        let channels = self.padding.len();
        if in_order(g) {
            // Only one bounds check is needed for pixels in order.
            let first = pixels.start * g.in_channels + self.first_channel;
            let block = &self.input[first..][..(len - 1) * g.in_channels + channels];
            for (i, pointer) in taps[..len].iter_mut().enumerate() {
                *pointer = block[i * g.in_channels..].as_ptr();
            }
            return Rows { taps, capacity, len };
        }
        let [oh, ow] = self.output_size;
        let (mut n, mut oy, mut ox) =
            (pixels.start / (oh * ow), pixels.start / ow % oh, pixels.start % ow);
        let mut i = 0;
        while i < len {
            let run = (ow - ox).min(len - i);
            let mut first = i;
            for ky in 0..g.kernel[0] {
                // For a tap above the input, the subtraction wraps to a position below it.
                let y = (oy * g.stride[0] + ky * g.dilation[0]).wrapping_sub(g.padding.top);
                for kx in 0..g.kernel[1] {
                    let x = ox * g.stride[1] + kx * g.dilation[1];
                    self.gather_run([n, y], x, &mut taps[first..first + run]);
                    first += capacity;
                }
            }
            i += run;
            ox += run;
            if ox == ow {
                (ox, oy) = (0, oy + 1);
                if oy == oh {
                    (oy, n) = (0, n + 1);
                }
            }
        }
        Rows { taps, capacity, len }
    }

    /// Sets the pointers of one tap for neighboring windows of a row. `y` is the tap's row in picture
    /// `n`, and `x` its column in the padded input for the first window.
    fn gather_run(&self, [n, y]: [usize; 2], x: usize, taps: &mut [*const u8]) {
        let g = self.geometry;
        let ([h, w], stride) = (self.size, g.stride[1]);
        if y >= h {
            return taps.fill(self.padding.as_ptr());
        }
        // The windows before `start` have the tap in the padding on the left, those from `end` on in
        // that on the right.
        let windows_to = |edge: usize| edge.saturating_sub(x).div_ceil(stride).min(taps.len());
        let (start, end) = (windows_to(g.padding.left), windows_to(g.padding.left + w));
        taps[..start].fill(self.padding.as_ptr());
        taps[end..].fill(self.padding.as_ptr());
        let inside = &mut taps[start..end];
        if inside.is_empty() {
            return;
        }
        // Only one bounds check is needed for a row.
        let first = (n * h + y) * w + x + start * stride - g.padding.left;
        let step = stride * g.in_channels;
        let row = &self.input[first * g.in_channels + self.first_channel..];
        let row = &row[..(inside.len() - 1) * step + self.padding.len()];
        for (i, pointer) in inside.iter_mut().enumerate() {
            *pointer = row[i * step..].as_ptr();
        }
    }
}
