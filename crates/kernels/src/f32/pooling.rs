//! f32 pooling.

use std::marker::PhantomData;

use super::simd::{Kernel, Simd};
use super::split::part;
use crate::Isa;
use crate::arch::with_simd;
use crate::geometry::Pool2dGeometry;
use crate::lengths::{Lengths, check_len};
use crate::pool::{Pool, SharedMut};

/// Inputs of one task.
const TASK: usize = 16 * 1024;

/// Max pooling, as `torch.nn.MaxPool2d`.
///
/// `input` is `[N, H, W, C]` with N = `batch`, `[H, W]` = `size` and C = `channels`; `output` is
/// `[N, OH, OW, C]`. Padded pixels are never the maximum; a window that contains a NaN gives a NaN,
/// and one that lies in the padding minus infinity.
///
/// # Panics
/// If `channels` is 0, the window does not fit into the padded input, or the length of a slice
/// differs from its shape.
///
/// ```
/// use posterize_kernels::f32::max_pool2d;
/// use posterize_kernels::{Isa, Padding, Pool, Pool2dGeometry};
///
/// let geometry = Pool2dGeometry {
///     kernel: [1, 2],
///     stride: [1, 2],
///     dilation: [1, 1],
///     padding: Padding::default(),
/// };
/// let mut output = [0.0; 2];
/// let input = [1.0, -2.0, -4.0, -3.0];
/// max_pool2d(Isa::detect(), &Pool::new(1), geometry, 1, [1, 4], 1, &input, &mut output);
/// assert_eq!(output, [1.0, -3.0]);
/// ```
pub fn max_pool2d(
    isa: Isa,
    pool: &Pool,
    geometry: Pool2dGeometry,
    batch: usize,
    size: [usize; 2],
    channels: usize,
    input: &[f32],
    output: &mut [f32],
) {
    let Pool2dGeometry { kernel, stride, dilation, padding } = geometry;
    let out = Lengths::of_pool2d(&geometry, batch, size, channels).output_size();
    check(batch, size, out, channels, input, output);
    let area = kernel[0].saturating_mul(kernel[1]);
    pixels(pool, batch * out[0] * out[1], channels, area, output, &|pixel, output| {
        let (n, oy, ox) = (pixel / (out[0] * out[1]), pixel / out[1] % out[0], pixel % out[1]);
        let image = &input[n * size[0] * size[1] * channels..][..size[0] * size[1] * channels];
        let taps = Taps {
            image,
            width: size[1],
            rows: Axis::new(oy * stride[0], padding.top, kernel[0], dilation[0], size[0]),
            columns: Axis::new(ox * stride[1], padding.left, kernel[1], dilation[1], size[1]),
        };
        with_simd!(isa, simd => simd.run(Pixel { taps, output, reduce: PhantomData::<Max> }));
    });
}

/// Average pooling to a fixed output size, as `torch.nn.AdaptiveAvgPool2d`.
///
/// `input` is `[N, H, W, C]` with N = `batch`, `[H, W]` = `size` and C = `channels`; `output` is
/// `[N, OH, OW, C]` with `[OH, OW]` = `output_size`, for which `[1, 1]` is global average pooling.
/// Along an axis of `n` input and `o` output pixels, output `i` is the mean of the inputs `floor(i
/// · n / o)..ceil((i + 1) · n / o)`.
///
/// # Panics
/// If a size is 0, or the length of a slice differs from its shape.
pub fn adaptive_avg_pool2d(
    isa: Isa,
    pool: &Pool,
    batch: usize,
    size: [usize; 2],
    channels: usize,
    output_size: [usize; 2],
    input: &[f32],
    output: &mut [f32],
) {
    let out = output_size;
    assert!(
        !size.contains(&0) && !out.contains(&0),
        "average pooling of {size:?} pixels to {out:?}; all sizes must be at least 1"
    );
    check(batch, size, out, channels, input, output);
    let area = size[0].div_ceil(out[0]) * size[1].div_ceil(out[1]);
    pixels(pool, batch * out[0] * out[1], channels, area, output, &|pixel, output| {
        let (n, oy, ox) = (pixel / (out[0] * out[1]), pixel / out[1] % out[0], pixel % out[1]);
        let image = &input[n * size[0] * size[1] * channels..][..size[0] * size[1] * channels];
        let axis = |i: usize, size: usize, out: usize| {
            let start = i * size / out;
            Axis { start, step: 1, count: ((i + 1) * size).div_ceil(out) - start }
        };
        let taps = Taps {
            image,
            width: size[1],
            rows: axis(oy, size[0], out[0]),
            columns: axis(ox, size[1], out[1]),
        };
        with_simd!(isa, simd => simd.run(Pixel { taps, output, reduce: PhantomData::<Mean> }));
    });
}

fn check(
    batch: usize,
    size: [usize; 2],
    out: [usize; 2],
    channels: usize,
    input: &[f32],
    output: &[f32],
) {
    assert!(channels > 0, "channels is 0; it must be at least 1");
    check_len("the input", input.len(), &[batch, size[0], size[1], channels]);
    check_len("the output", output.len(), &[batch, out[0], out[1], channels]);
}

/// Calls `compute(pixel, its channels)` for each output pixel, on the threads of the pool.
fn pixels(
    pool: &Pool,
    count: usize,
    channels: usize,
    area: usize,
    output: &mut [f32],
    compute: &(dyn Fn(usize, &mut [f32]) + Sync),
) {
    let work = count.saturating_mul(channels).saturating_mul(area);
    let parts = if pool.threads() == 1 { 1 } else { work.div_ceil(TASK).clamp(1, count.max(1)) };
    let output = SharedMut::new(output);
    pool.run(parts, &|task, _| {
        for pixel in part(count, parts, task) {
            // SAFETY: different tasks have different pixels.
            let output = unsafe { output.slice(pixel * channels..(pixel + 1) * channels) };
            compute(pixel, output);
        }
    });
}

/// The taps of a window along one axis that are within the input.
#[derive(Clone, Copy)]
struct Axis {
    start: usize,
    step: usize,
    count: usize,
}

impl Axis {
    fn new(at: usize, padding: usize, taps: usize, step: usize, size: usize) -> Self {
        let skipped = padding.saturating_sub(at).div_ceil(step).min(taps);
        let end = (size + padding).saturating_sub(at).div_ceil(step).min(taps);
        let count = end.saturating_sub(skipped);
        // If there are no taps, the start does not matter.
        Self { start: (at + skipped * step).saturating_sub(padding), step, count }
    }
}

/// The taps of a window that are within an image.
struct Taps<'a> {
    image: &'a [f32],
    width: usize,
    rows: Axis,
    columns: Axis,
}

/// A reduction of the inputs under a window to one output.
trait Reduce {
    const START: f32;
    fn add<S: Simd>(simd: S, sum: S::F, x: S::F) -> S::F;
    fn finish<S: Simd>(simd: S, sum: S::F, count: S::F) -> S::F;
}

struct Max;

impl Reduce for Max {
    const START: f32 = f32::NEG_INFINITY;

    #[inline(always)]
    fn add<S: Simd>(simd: S, sum: S::F, x: S::F) -> S::F {
        simd.max(sum, x)
    }

    #[inline(always)]
    fn finish<S: Simd>(_: S, sum: S::F, _: S::F) -> S::F {
        sum
    }
}

struct Mean;

impl Reduce for Mean {
    const START: f32 = 0.0;

    #[inline(always)]
    fn add<S: Simd>(simd: S, sum: S::F, x: S::F) -> S::F {
        simd.add(sum, x)
    }

    #[inline(always)]
    fn finish<S: Simd>(simd: S, sum: S::F, count: S::F) -> S::F {
        simd.div(sum, count)
    }
}

/// Computes one output pixel.
struct Pixel<'a, R> {
    taps: Taps<'a>,
    output: &'a mut [f32],
    reduce: PhantomData<R>,
}

impl<S: Simd, R: Reduce> Kernel<S> for Pixel<'_, R> {
    #[inline(always)]
    fn call(self, simd: S) {
        let Taps { image, width, rows, columns } = self.taps;
        let channels = self.output.len();
        let count = simd.splat((rows.count * columns.count) as f32);
        for (vector, output) in self.output.chunks_mut(S::LANES).enumerate() {
            let lanes = output.len();
            let mask = simd.mask(lanes);
            let mut sum = simd.splat(R::START);
            for row in 0..rows.count {
                let y = rows.start + row * rows.step;
                for column in 0..columns.count {
                    let x = columns.start + column * columns.step;
                    let channel = vector * S::LANES;
                    let from = &image[(y * width + x) * channels + channel..][..lanes];
                    // SAFETY: the slice has as many elements as lanes are read.
                    let x = unsafe {
                        if lanes == S::LANES {
                            simd.load(from.as_ptr())
                        } else {
                            simd.load_masked(from.as_ptr(), mask)
                        }
                    };
                    sum = R::add(simd, sum, x);
                }
            }
            let y = R::finish(simd, sum, count);
            // SAFETY: the slice has as many elements as lanes are written.
            unsafe { simd.store_masked(output.as_mut_ptr(), y, mask) };
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::f32::testing::{bits, numbers, paddings, positions};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
                fn maxima_equal_the_definition(
            kernel in [1_usize..4, 1_usize..4], stride in [1_usize..4, 1_usize..4],
            dilation in [1_usize..3, 1_usize..3], padding in paddings(2),
            extra in [0_usize..9, 0_usize..9], channels in 1_usize..40, batch in 1_usize..3,
            threads in 1_usize..4, seed in 0_u64..99,
        ) {
            let geometry = Pool2dGeometry { kernel, stride, dilation, padding };
            let size = [0, 1].map(|axis| (kernel[axis] - 1) * dilation[axis] + 1 + extra[axis]);
            let [oh, ow] = geometry.output_size(size).expect("the window fits");
            let input = numbers(batch * size[0] * size[1] * channels, seed);
            let expected: Vec<f32> = positions([batch, oh, ow, channels])
                .map(|(n, oy, ox, c)| {
                    positions([kernel[0], kernel[1], 1, 1])
                        .filter_map(|(ky, kx, ..)| {
                            let y = (oy * stride[0] + ky * dilation[0]).wrapping_sub(padding.top);
                            let x = (ox * stride[1] + kx * dilation[1]).wrapping_sub(padding.left);
                            (y < size[0] && x < size[1])
                                .then(|| input[((n * size[0] + y) * size[1] + x) * channels + c])
                        })
                        .fold(f32::NEG_INFINITY, f32::max)
                })
                .collect();
            for isa in Isa::supported() {
                let mut output = vec![f32::NAN; expected.len()];
                let pool = Pool::new(threads);
                max_pool2d(isa, &pool, geometry, batch, size, channels, &input, &mut output);
                prop_assert_eq!(bits(&output), bits(&expected));
            }
        }

        #[test]
                fn means_are_close_to_the_definition(
            size in [1_usize..20, 1_usize..20], out in [1_usize..9, 1_usize..9],
            channels in 1_usize..70, batch in 1_usize..3, seed in 0_u64..99,
        ) {
            let input = numbers(batch * size[0] * size[1] * channels, seed);
            let window = |i: usize, axis: usize| {
                let end = ((i + 1) as f64 * size[axis] as f64 / out[axis] as f64).ceil() as usize;
                i * size[axis] / out[axis]..end
            };
            let expected: Vec<f64> = positions([batch, out[0], out[1], channels])
                .map(|(n, oy, ox, c)| {
                    let (rows, columns) = (window(oy, 0), window(ox, 1));
                    let count = rows.len() * columns.len();
                    let sum: f64 = rows
                        .flat_map(|y| columns.clone().map(move |x| (y, x)))
                        .map(|(y, x)| {
                            f64::from(input[((n * size[0] + y) * size[1] + x) * channels + c])
                        })
                        .sum();
                    sum / count as f64
                })
                .collect();
            for isa in Isa::supported() {
                let mut first = None;
                for threads in 1..4 {
                    let mut output = vec![f32::NAN; expected.len()];
                    let pool = Pool::new(threads);
                    adaptive_avg_pool2d(isa, &pool, batch, size, channels, out, &input, &mut output);
                    for (e, f) in expected.iter().zip(&output) {
                        prop_assert!((e - f64::from(*f)).abs() < 2e-6, "{} {}", e, f);
                    }
                    prop_assert_eq!(first.get_or_insert_with(|| bits(&output)), &bits(&output));
                }
            }
        }
    }

    #[test]
    fn a_nan_is_the_maximum_of_its_windows() {
        let geometry = Pool2dGeometry {
            kernel: [1, 3],
            stride: [1, 1],
            dilation: [1, 1],
            padding: crate::Padding::symmetric(0, 1),
        };
        for isa in Isa::supported() {
            for position in 0..3 {
                let mut input = vec![1.0; 3 * 21];
                input[position * 21..(position + 1) * 21].fill(f32::NAN);
                let mut output = vec![0.0; 3 * 21];
                max_pool2d(isa, &Pool::new(1), geometry, 1, [1, 3], 21, &input, &mut output);
                assert!(output[21..42].iter().all(|x| x.is_nan()), "{isa} {position}");
                let clean = if position == 0 { &output[42..] } else { &output[..0] };
                assert!(clean.iter().all(|&x| x == 1.0), "{isa} {position}");
            }
        }
    }
}
