//! Adds im2row rows back to the pixels that they were made from.

use std::ops::Range;

use super::operands::Shape;
use super::weight_sums::AddTo;
use crate::f32::simd::Simd;

/// Adds im2row rows, in the order (row of the window, column of the window, channel), to the pixels
/// of some images under those windows. Values in the padding are dropped.
pub(super) fn scatter<S: Simd>(
    simd: S,
    shape: Shape<'_>,
    group: usize,
    pixels: Range<usize>,
    row_stride: usize,
    rows: &[f32],
    images: &mut [f32],
) {
    let geometry = shape.geometry;
    let [h, w] = shape.size;
    let channels = geometry.in_channels / geometry.groups;
    let merged = geometry.groups == 1 && geometry.dilation[1] == 1;
    for (pixel, row) in pixels.zip(rows.chunks_exact(row_stride)) {
        let [oh, ow] = shape.out;
        let (n, oy, ox) = (pixel / (oh * ow), pixel / ow % oh, pixel % ow);
        let image = &mut images[n * shape.input_image()..];
        let x0 = ox * geometry.stride[1];
        for (ky, taps) in
            (0..geometry.kernel[0]).zip(row.chunks_exact(geometry.kernel[1] * channels))
        {
            let y = (oy * geometry.stride[0] + ky * geometry.dilation[0])
                .wrapping_sub(geometry.padding.top);
            if y >= h {
                continue;
            }
            let line = &mut image[y * w * geometry.in_channels..][..w * geometry.in_channels];
            if merged {
                // The taps of a window row are contiguous in memory.
                let from = geometry.padding.left.saturating_sub(x0).min(geometry.kernel[1]);
                let to =
                    (w + geometry.padding.left).saturating_sub(x0).clamp(from, geometry.kernel[1]);
                if from < to {
                    let x = x0 + from - geometry.padding.left;
                    let taps = &taps[from * channels..to * channels];
                    simd.run(AddTo { from: taps, to: &mut line[x * channels..][..taps.len()] });
                }
            } else {
                for (kx, tap) in taps.chunks_exact(channels).enumerate() {
                    let x = (x0 + kx * geometry.dilation[1]).wrapping_sub(geometry.padding.left);
                    if x < w {
                        let to = &mut line[x * geometry.in_channels + group * channels..];
                        simd.run(AddTo { from: tap, to: &mut to[..channels] });
                    }
                }
            }
        }
    }
}
