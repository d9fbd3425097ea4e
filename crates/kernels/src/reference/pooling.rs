//! Reference implementations of pooling.

use super::quantize::round;
use crate::geometry::Pool2dGeometry;

/// Averages windows of pixels as `adaptive_avg_pool2d`.
///
/// `input` is `[N, H, W, C]` and `output` `[N, OH, OW, C]`. Along an axis of `n` input and `o`
/// output pixels, window `i` is `floor(i · n / o)..ceil((i + 1) · n / o)`; the sum of `q −
/// zero_point` over the window is multiplied by `1 / pixels` in f32 and rounded half to even.
pub fn adaptive_avg_pool2d(
    batch: usize,
    [h, w]: [usize; 2],
    channels: usize,
    [oh, ow]: [usize; 2],
    zero_point: u8,
    input: &[u8],
    output: &mut [u8],
) {
    let window = |i: usize, o: usize, n: usize| i * n / o..((i + 1) * n).div_ceil(o);
    for n in 0..batch {
        for (y, x) in (0..oh).flat_map(|y| (0..ow).map(move |x| (y, x))) {
            for c in 0..channels {
                let (mut sum, mut pixels) = (0, 0);
                for iy in window(y, oh, h) {
                    for ix in window(x, ow, w) {
                        let q = input[((n * h + iy) * w + ix) * channels + c];
                        sum += i32::from(q) - i32::from(zero_point);
                        pixels += 1;
                    }
                }
                let mean = sum as f32 * (1.0 / pixels as f32);
                output[((n * oh + y) * ow + x) * channels + c] = round(mean, zero_point, 0, 255);
            }
        }
    }
}

/// Takes the maximum of each window of pixels; 0 where a window lies in the padding.
///
/// `input` is `[N, H, W, C]` and `output` `[N, OH, OW, C]`.
///
/// # Panics
/// If the window does not fit into the padded input.
pub fn max_pool2d(
    geometry: &Pool2dGeometry,
    batch: usize,
    [h, w]: [usize; 2],
    channels: usize,
    input: &[u8],
    output: &mut [u8],
) {
    let [oh, ow] = geometry.output_size([h, w]).expect("the window does not fit into the input");
    let Pool2dGeometry { kernel, stride, dilation, padding } = *geometry;
    for n in 0..batch {
        for (y, x) in (0..oh).flat_map(|y| (0..ow).map(move |x| (y, x))) {
            for c in 0..channels {
                let mut greatest = 0;
                for (ky, kx) in (0..kernel[0]).flat_map(|ky| (0..kernel[1]).map(move |kx| (ky, kx)))
                {
                    let iy = (y * stride[0] + ky * dilation[0]).wrapping_sub(padding.top);
                    let ix = (x * stride[1] + kx * dilation[1]).wrapping_sub(padding.left);
                    if iy < h && ix < w {
                        greatest = greatest.max(input[((n * h + iy) * w + ix) * channels + c]);
                    }
                }
                output[((n * oh + y) * ow + x) * channels + c] = greatest;
            }
        }
    }
}
