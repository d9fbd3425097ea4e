//! int8 pooling. Outputs have the scale and zero point of the input.

#![expect(
    clippy::inline_always,
    reason = "without inlining, the code would not be compiled for the caller's target features"
)]

use std::ops::Range;

use super::elementwise::formula::Target;
use super::vectorize::{Loop, vectorize};
use crate::geometry::Pool2dGeometry;
use crate::isa::Isa;
use crate::lengths::{Lengths, check_len};
use crate::pool::{Pool, SharedMut};

/// Maximum number of channels of one task of an average pooling.
const BLOCK: usize = 128;
/// Number of neighboring bytes that an average pooling sums at once.
const LANES: usize = 64;

/// Average pooling to a fixed output size, as PyTorch's `adaptive_avg_pool2d` on quantized
/// channels-last tensors; an output size of `[1, 1]` is global average pooling.
///
/// Along an axis of `n` input and `o` output pixels, window `i` is `floor(i · n / o)..ceil((i + 1)
/// · n / o)`. The sum of `q − zero_point` over a window is exact; it is multiplied once by `1 /
/// pixels` in f32 and rounded half to even. PyTorch's `mean` over both axes differs only in that it
/// sums in f32, so that exact ties may be rounded either way.
///
/// ```
/// use posterize_kernels::int8::AdaptiveAvgPool2d;
/// use posterize_kernels::{Isa, Pool};
///
/// let mean = AdaptiveAvgPool2d::new(Isa::detect(), 2, [1, 1], 0);
/// let mut output = [0; 2];
/// mean.run(&Pool::new(1), 1, [1, 2], &[10, 200, 20, 203], &mut output);
/// assert_eq!(output, [15, 202]); // 201.5 rounds to the even 202
/// ```
#[derive(Clone, Debug)]
pub struct AdaptiveAvgPool2d {
    isa: Isa,
    channels: usize,
    output_size: [usize; 2],
    zero_point: u8,
}

impl AdaptiveAvgPool2d {
    /// The largest number of pixels of an input, whose sums of 8-bit values fit an i32.
    pub const MAX_PIXELS: usize = (1 << 23) - 1;

    /// Prepares the pooling of `[N, H, W, channels]` to `[N, output_size, channels]`.
    ///
    /// # Panics
    /// If `channels` or a size of the output is 0.
    pub fn new(isa: Isa, channels: usize, output_size: [usize; 2], zero_point: u8) -> Self {
        assert!(
            channels > 0 && !output_size.contains(&0),
            "average pooling of {channels} channels to {output_size:?}; all must be at least 1"
        );
        Self { isa, channels, output_size, zero_point }
    }

    /// Averages `input`, `[N, H, W, channels]` with N = `batch` and `[H, W]` = `size`, into
    /// `output`, `[N, OH, OW, channels]`.
    ///
    /// # Panics
    /// If the length of a slice differs from its shape, or `size` has no pixel or more than
    /// [`Self::MAX_PIXELS`].
    pub fn run(
        &self,
        pool: &Pool,
        batch: usize,
        size: [usize; 2],
        input: &[u8],
        output: &mut [u8],
    ) {
        let [h, w] = size;
        let [oh, ow] = self.output_size;
        let c = self.channels;
        check_len("the input", input.len(), &[batch, h, w, c]);
        check_len("the output", output.len(), &[batch, oh, ow, c]);
        assert!(
            h > 0 && w > 0 && h * w <= Self::MAX_PIXELS,
            "average pooling of {h}x{w} pixels; 1 to {} are supported",
            Self::MAX_PIXELS
        );
        let output = SharedMut::new(output);
        let blocks = c.div_ceil(BLOCK);
        pool.run(batch * oh * ow * blocks, &|task, _| {
            let (pixel, first) = (task / blocks, task % blocks * BLOCK);
            let (n, y, x) = (pixel / (oh * ow), pixel / ow % oh, pixel % ow);
            let channels = first..c.min(first + BLOCK);
            let at = pixel * c;
            vectorize(
                self.isa,
                Average {
                    window: Window {
                        image: &input[n * h * w * c..][..h * w * c],
                        row_pixels: w,
                        pixel_channels: c,
                        rows: window(y, oh, h),
                        columns: window(x, ow, w),
                    },
                    zero_point: self.zero_point,
                    // SAFETY: each task writes only its own channels of its own output pixel.
                    output: unsafe { output.slice(at + channels.start..at + channels.end) },
                    channels,
                },
            );
        });
    }
}

/// Returns the range of window `index` of `windows` along an axis of `size` pixels.
pub(crate) fn window(index: usize, windows: usize, size: usize) -> Range<usize> {
    index * size / windows..((index + 1) * size).div_ceil(windows)
}

/// Averages a block of channels of one output pixel.
struct Average<'a> {
    window: Window<'a>,
    channels: Range<usize>,
    zero_point: u8,
    output: &'a mut [u8],
}

/// The pixels of a window of an image.
struct Window<'a> {
    image: &'a [u8],
    row_pixels: usize,
    pixel_channels: usize,
    rows: Range<usize>,
    columns: Range<usize>,
}

impl Loop for Average<'_> {
    #[inline(always)]
    fn run(self) {
        let Self { window, channels, zero_point, output } = self;
        let c = window.pixel_channels;
        let pixels = window.rows.len() * window.columns.len();
        let multiplier = 1.0 / pixels as f32;
        let target = Target::new(zero_point, 0, 255);
        let zero_points = pixels as i32 * i32::from(zero_point);
        let average = |sum: i32| target.round((sum - zero_points) as f32 * multiplier);
        if c < LANES {
            let together = LANES / c;
            let sums = window.sum_lanes(0, together);
            for (channel, q) in channels.zip(output) {
                *q = average((0..together).map(|pixel| sums[pixel * c + channel]).sum());
            }
            return;
        }
        for (block, output) in output.chunks_mut(LANES).enumerate() {
            let channel = channels.start + block * LANES;
            // The last block is moved back, so that it has all lanes.
            let first = channel.min(c - LANES);
            let sums = window.sum_lanes(first, 1);
            for (q, &sum) in output.iter_mut().zip(&sums[channel - first..]) {
                *q = average(sum);
            }
        }
    }
}

impl Window<'_> {
    /// Sums neighboring bytes over the pixels: those from channel `first` on, or where a pixel has fewer
    /// channels than there are lanes, those of so many pixels `together`.
    #[inline(always)]
    fn sum_lanes(&self, first: usize, together: usize) -> [i32; LANES] {
        let c = self.pixel_channels;
        let step = together * c;
        let steps = self.columns.len() / together;
        let mut sums = [0; LANES];
        let mut partial = [0_u16; LANES];
        let mut pending = 0;
        for y in self.rows.clone() {
            let row = &self.image[(y * self.row_pixels + self.columns.start) * c + first..];
            let mut done = 0;
            while done < steps {
                if pending == MAX_U16_SUM {
                    add_partial(&mut sums, &mut partial);
                    pending = 0;
                }
                let count = (steps - done).min(MAX_U16_SUM - pending);
                for index in done..done + count {
                    let bytes = &row[index * step..];
                    match bytes.first_chunk::<LANES>() {
                        Some(bytes) => {
                            for (sum, &q) in partial.iter_mut().zip(bytes) {
                                *sum += u16::from(q);
                            }
                        }
                        // The end of the image.
                        None => {
                            for (sum, &q) in partial.iter_mut().zip(&bytes[..step]) {
                                *sum += u16::from(q);
                            }
                        }
                    }
                }
                pending += count;
                done += count;
            }
            for x in steps * together..self.columns.len() {
                for (sum, &q) in sums.iter_mut().zip(&row[x * c..][..c]) {
                    *sum += i32::from(q);
                }
            }
        }
        add_partial(&mut sums, &mut partial);
        sums
    }
}

/// Number of bytes whose sum always fits 16 bits.
const MAX_U16_SUM: usize = 257;

/// Adds 16-bit sums to those of 32 bits, and sets them to 0.
#[inline(always)]
fn add_partial(sums: &mut [i32; LANES], partial: &mut [u16; LANES]) {
    for (sum, partial) in sums.iter_mut().zip(partial) {
        *sum += i32::from(*partial);
        *partial = 0;
    }
}

/// Max pooling, as `torch.nn.MaxPool2d` with `ceil_mode=False`.
///
/// Padded pixels are never the maximum; a window that lies in the padding gives 0.
///
/// ```
/// use posterize_kernels::int8::MaxPool2d;
/// use posterize_kernels::{Isa, Padding, Pool, Pool2dGeometry};
///
/// let geometry = Pool2dGeometry {
///     kernel: [2, 2],
///     stride: [2, 2],
///     dilation: [1, 1],
///     padding: Padding::default(),
/// };
/// let pooling = MaxPool2d::new(Isa::detect(), geometry, 1);
/// let mut output = [0; 2];
/// pooling.run(&Pool::new(1), 1, [2, 4], &[1, 2, 5, 6, 4, 3, 8, 7], &mut output);
/// assert_eq!(output, [4, 8]);
/// ```
#[derive(Clone, Debug)]
pub struct MaxPool2d {
    isa: Isa,
    geometry: Pool2dGeometry,
    channels: usize,
}

impl MaxPool2d {
    /// Prepares the pooling of `[N, H, W, channels]`.
    ///
    /// # Panics
    /// If `channels`, or a size, stride or dilation of the window is 0.
    pub fn new(isa: Isa, geometry: Pool2dGeometry, channels: usize) -> Self {
        let Pool2dGeometry { kernel, stride, dilation, .. } = geometry;
        assert!(
            channels > 0 && [kernel, stride, dilation].iter().all(|size| !size.contains(&0)),
            "max pooling of {channels} channels with {geometry:?}; channels, kernel, stride and \
                         dilation must be at least 1"
        );
        Self { isa, geometry, channels }
    }

    /// Pools `input`, `[N, H, W, channels]` with N = `batch` and `[H, W]` = `size`, into `output`,
    /// `[N, OH, OW, channels]`.
    ///
    /// # Panics
    /// If the window does not fit into the padded input, or the length of a slice differs from its
    /// shape.
    pub fn run(
        &self,
        pool: &Pool,
        batch: usize,
        size: [usize; 2],
        input: &[u8],
        output: &mut [u8],
    ) {
        let [h, w] = size;
        let c = self.channels;
        let lengths = Lengths::of_pool2d(&self.geometry, batch, size, c);
        lengths.check(input.len(), output.len());
        let [oh, ow] = lengths.output_size();
        let output = SharedMut::new(output);
        pool.run(batch * oh, &|row, _| {
            let (n, y) = (row / oh, row % oh);
            vectorize(
                self.isa,
                Maximum {
                    image: &input[n * h * w * c..][..h * w * c],
                    size,
                    geometry: &self.geometry,
                    channels: c,
                    y,
                    // SAFETY: each task writes only its own row of the output.
                    output: unsafe { output.slice(row * ow * c..(row + 1) * ow * c) },
                },
            );
        });
    }
}

/// Computes one row of the output.
struct Maximum<'a> {
    image: &'a [u8],
    size: [usize; 2],
    geometry: &'a Pool2dGeometry,
    channels: usize,
    y: usize,
    output: &'a mut [u8],
}

impl Loop for Maximum<'_> {
    #[inline(always)]
    fn run(self) {
        let [h, w] = self.size;
        let Pool2dGeometry { kernel, stride, dilation, padding } = *self.geometry;
        let rows = inside(self.y * stride[0], padding.top, [kernel[0], dilation[0]], h);
        for (x, output) in self.output.chunks_exact_mut(self.channels).enumerate() {
            let columns = inside(x * stride[1], padding.left, [kernel[1], dilation[1]], w);
            let (blocks, rest) = output.as_chunks_mut::<64>();
            let whole = 64 * blocks.len();
            // Blocks of 64 channels, so that their maxima stay in registers over the whole window.
            for (i, block) in blocks.iter_mut().enumerate() {
                let mut maxima = [0; 64];
                for y in rows.clone().step_by(dilation[0]) {
                    for x in columns.clone().step_by(dilation[1]) {
                        let pixel = &self.image[(y * w + x) * self.channels + 64 * i..][..64];
                        larger(&mut maxima, pixel);
                    }
                }
                *block = maxima;
            }
            rest.fill(0);
            if !rest.is_empty() {
                for y in rows.clone().step_by(dilation[0]) {
                    for x in columns.clone().step_by(dilation[1]) {
                        larger(rest, &self.image[(y * w + x) * self.channels + whole..]);
                    }
                }
            }
        }
    }
}

/// Sets each maximum to the larger one of itself and its candidate.
#[inline(always)]
fn larger(maxima: &mut [u8], candidates: &[u8]) {
    for (q, &candidate) in maxima.iter_mut().zip(candidates) {
        *q = candidate.max(*q);
    }
}

/// Returns the range from the first to one past the last tap of a window that lies inside an axis
/// of `size` positions.
///
/// `start` is where the window begins on the padded axis; `before` is the padding before it.
fn inside(start: usize, before: usize, [taps, dilation]: [usize; 2], size: usize) -> Range<usize> {
    let outside = before.saturating_sub(start).div_ceil(dilation);
    let first = start.saturating_add(outside.saturating_mul(dilation));
    let end = start.saturating_add(taps.saturating_mul(dilation)).min(size + before);
    // The range is empty if all taps are in the padding.
    (first - before).min(size)..end.saturating_sub(before)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::geometry::Padding;
    use crate::reference;

    /// Random values, many of them extreme; see `testing::bytes`.
    fn values(len: usize, seed: u64) -> Vec<u8> {
        crate::int8::testing::bytes(len, seed)
    }

    proptest! {
        #[test]
        fn averages_equal_the_reference(
            batch in 1usize..3, (h, w) in prop_oneof![(1usize..10, 1usize..10), (15usize..30, 15usize..30)],
            channels in prop_oneof![1usize..70, 60usize..300],
            oh in 1usize..5, ow in 1usize..5, zero_point: u8, threads in 1usize..4, seed: u64,
        ) {
            let input = values(batch * h * w * channels, seed);
            let mut expected = vec![0; batch * oh * ow * channels];
            reference::adaptive_avg_pool2d(
                batch, [h, w], channels, [oh, ow], zero_point, &input, &mut expected,
            );
            for isa in Isa::supported() {
                let mut output = vec![1; expected.len()];
                AdaptiveAvgPool2d::new(isa, channels, [oh, ow], zero_point)
                    .run(&Pool::new(threads), batch, [h, w], &input, &mut output);
                prop_assert_eq!(&output, &expected, "{}", isa);
            }
        }

        #[test]
        fn maxima_equal_the_reference(
            batch in 1usize..3, size in [1usize..10, 1usize..10], channels in 1usize..100,
            kernel in [1usize..4, 1usize..4], stride in [1usize..3, 1usize..3],
            dilation in [1usize..3, 1usize..3], padding in [0usize..3, 0usize..3, 0usize..3, 0usize..3],
            threads in 1usize..4, seed: u64,
        ) {
            let [top, bottom, left, right] = padding;
            let padding = Padding { top, bottom, left, right };
            let geometry = Pool2dGeometry { kernel, stride, dilation, padding };
            let Some([oh, ow]) = geometry.output_size(size) else { return Ok(()) };
            let input = values(batch * size[0] * size[1] * channels, seed);
            let mut expected = vec![0; batch * oh * ow * channels];
            reference::max_pool2d(&geometry, batch, size, channels, &input, &mut expected);
            for isa in Isa::supported() {
                let mut output = vec![1; expected.len()];
                MaxPool2d::new(isa, geometry, channels)
                    .run(&Pool::new(threads), batch, size, &input, &mut output);
                prop_assert_eq!(&output, &expected, "{}", isa);
            }
        }
    }
}
