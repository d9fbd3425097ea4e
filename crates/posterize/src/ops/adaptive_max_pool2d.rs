//! Adaptive max pooling.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::answers::{fuses_nothing, pools_to_a_size, prints_as_a_layer};
use super::kernel::{Compute, FloatContext, Int8Context, Made, Shapes, function};
use super::largest::Compare;
use super::select::for_each_row;
use super::training::{Backward, Train, Training, nonlinear};
use super::{Int8Rule, Layer, Operator, Saved};

/// `torch.nn.AdaptiveMaxPool2d`: max pooling of `[N, C, H, W]` to a fixed output size; with `[1, 1]`
/// ONNX's `GlobalMaxPool`.
///
/// The windows are those of [`AdaptiveAvgPool2d`](super::AdaptiveAvgPool2d).
///
/// ```
/// use posterize::ops::AdaptiveMaxPool2d;
/// use posterize::{Architecture, Tensor};
///
/// let model = Architecture::trace(&AdaptiveMaxPool2d::new([1, 2]))?.init(0);
/// let row = Tensor::new([1, 1, 1, 4], vec![1.0, 2.0, 3.0, 6.0])?;
/// assert_eq!(model.forward(&row)?.data(), [2.0, 6.0]);
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct AdaptiveMaxPool2d {
    /// Height and width of the output, each at least 1.
    pub output_size: [usize; 2],
}

impl AdaptiveMaxPool2d {
    /// Creates a pooling to an output of height `output_size[0]` and width `output_size[1]`.
    pub const fn new(output_size: [usize; 2]) -> Self {
        Self { output_size }
    }

    /// Returns the picture, the rows and the columns of an output pixel.
    fn window(self, [h, w]: [usize; 2], pixel: usize) -> (usize, Range<usize>, Range<usize>) {
        let [oh, ow] = self.output_size;
        let along = |index: usize, windows: usize, size: usize| {
            index * size / windows..((index + 1) * size).div_ceil(windows)
        };
        (pixel / ow / oh, along(pixel / ow % oh, oh, h), along(pixel % ow, ow, w))
    }

    /// Creates the kernel.
    fn kernel<T: Compare>(self, shapes: &Shapes) -> Made<T> {
        let ([h, w], channels) = (shapes.size(), shapes.channels());
        function("adaptive_max_pool2d", move |call, input, output: &mut [T]| {
            let input = input(0);
            for_each_row(call.pool, output, channels, |pixel, output| {
                let (picture, rows, columns) = self.window([h, w], pixel);
                output.fill(T::LOWEST);
                for row in rows {
                    for column in columns.clone() {
                        let values = &input[((picture * h + row) * w + column) * channels..];
                        let pairs = output.iter_mut().zip(values);
                        pairs.for_each(|(max, &x)| *max = max.larger(x));
                    }
                }
            });
        })
    }
}

impl Operator for AdaptiveMaxPool2d {
    fn kind(&self) -> String {
        "AdaptiveMaxPool2d".into()
    }

    prints_as_a_layer!();

    pools_to_a_size!();

    fuses_nothing!();

    fn int8_rule(&self) -> Int8Rule {
        Int8Rule::InputScale { rounds: false }
    }
}

impl Layer for AdaptiveMaxPool2d {
    fn class(&self) -> &'static str {
        "AdaptiveMaxPool2d"
    }
}

impl Saved for AdaptiveMaxPool2d {
    const VERSION: u32 = 1;
}

impl Compute for AdaptiveMaxPool2d {
    fn float(&self, _: &FloatContext<'_>, shapes: &Shapes) -> Made<f32> {
        self.kernel(shapes)
    }

    fn int8(&self, _: &Int8Context<'_>, shapes: &Shapes) -> Made<u8> {
        self.kernel(shapes)
    }
}

impl Train for AdaptiveMaxPool2d {
    /// The gradient of an output goes to the first of the largest values of its window.
    fn training(&self) -> Training {
        let pool = *self;
        Training::Function(nonlinear(move |from, target| {
            let Backward { call, shapes, gradient, input, .. } = from;
            let ([h, w], channels, input) = (shapes.size(), shapes.channels(), input(0));
            let (values, pixels) = (h * w * channels, pool.output_size[0] * pool.output_size[1]);
            for_each_row(call.pool, target, values, |picture, target| {
                target.fill(0.0);
                let input = &input[picture * values..][..values];
                let gradient = &gradient[picture * pixels * channels..][..pixels * channels];
                for (pixel, gradient) in gradient.chunks_exact(channels).enumerate() {
                    let (_, rows, columns) = pool.window([h, w], pixel);
                    for (channel, &gradient) in gradient.iter().enumerate() {
                        let pixels =
                            rows.clone().flat_map(|y| columns.clone().map(move |x| y * w + x));
                        let mut best = (f32::NEG_INFINITY, None);
                        for at in pixels.map(|pixel| pixel * channels + channel) {
                            if best.1.is_none() || input[at] > best.0 || input[at].is_nan() {
                                best = (input[at], Some(at));
                            }
                        }
                        if let (_, Some(at)) = best {
                            target[at] += gradient;
                        }
                    }
                }
            });
        }))
    }
}
