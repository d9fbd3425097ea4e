//! Average pooling.

use std::ops::Range;

use posterize_kernels::int8::QParams8;
use posterize_kernels::{self as kernels, reference};
use serde::{Deserialize, Serialize};

use super::answers::{fuses_nothing, no_parameters, prints_as_a_layer, takes_one_input};
use super::kernel::{Compute, FloatContext, Int8Context, Made, Shapes, function};
use super::select::for_each_row;
use super::shapes::{picture, values};
use super::training::{Backward, Train, Training, linear};
use super::window::Window;
use super::{Int8Rule, Layer, Operator, Padding, Saved, python, saved, work};

/// `torch.nn.AvgPool2d`: the average of each window of `[N, C, H, W]`.
///
/// ```
/// use posterize::ops::AvgPool2d;
/// use posterize::{Architecture, Tensor};
///
/// let model = Architecture::trace(&AvgPool2d::new(2))?.init(0);
/// let x = Tensor::new([1, 1, 2, 4], vec![1.0, 2.0, 3.0, 4.0, 8.0, 7.0, 6.0, 5.0])?;
/// assert_eq!(model.forward(&x)?.data(), [4.5, 4.5]);
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct AvgPool2d {
    /// Height and width of the window, each at least 1.
    #[serde(with = "saved::pair")]
    pub kernel_size: [usize; 2],
    /// Vertical and horizontal stride of the window, each at least 1.
    #[serde(with = "saved::pair")]
    pub stride: [usize; 2],
    /// Padding of the input with zeros, smaller than the window.
    #[serde(with = "saved::padding")]
    pub padding: Padding,
    /// Whether the number of windows is rounded up instead of down, so that the last ones may reach
    /// beyond the padded input.
    pub ceil_mode: bool,
    /// Whether pixels of the padding count in the average, as zeros. Pixels beyond the padding never
    /// count.
    pub count_include_pad: bool,
}

impl AvgPool2d {
    /// Creates an average pooling over square windows with PyTorch's defaults: a stride of
    /// `kernel_size` and no padding, which would count.
    pub const fn new(kernel_size: usize) -> Self {
        Self {
            kernel_size: [kernel_size; 2],
            stride: [kernel_size; 2],
            padding: Padding::all(0),
            ceil_mode: false,
            count_include_pad: true,
        }
    }

    /// Sets height and width of the window.
    #[must_use]
    pub const fn kernel_size(mut self, kernel_size: [usize; 2]) -> Self {
        self.kernel_size = kernel_size;
        self
    }

    /// Sets the stride of both axes.
    #[must_use]
    pub const fn stride(self, stride: usize) -> Self {
        self.strides([stride; 2])
    }

    /// Sets the vertical and the horizontal stride.
    #[must_use]
    pub const fn strides(mut self, stride: [usize; 2]) -> Self {
        self.stride = stride;
        self
    }

    /// Sets the padding of all sides.
    #[must_use]
    pub const fn padding(self, padding: usize) -> Self {
        self.padding_sides(Padding::all(padding))
    }

    /// Sets the padding of each side.
    #[must_use]
    pub const fn padding_sides(mut self, padding: Padding) -> Self {
        self.padding = padding;
        self
    }

    /// Sets whether the number of windows is rounded up.
    #[must_use]
    pub const fn ceil_mode(mut self, ceil_mode: bool) -> Self {
        self.ceil_mode = ceil_mode;
        self
    }

    /// Sets whether pixels of the padding count in the average.
    #[must_use]
    pub const fn count_include_pad(mut self, count_include_pad: bool) -> Self {
        self.count_include_pad = count_include_pad;
        self
    }

    /// Returns its windows.
    fn window(self) -> Window {
        let Self { kernel_size, stride, padding, ceil_mode, .. } = self;
        Window { kernel_size, stride, padding, dilation: [1; 2], ceil_mode }
    }

    /// Returns its windows over an input of these shapes.
    fn windows(self, shapes: &Shapes) -> Windows {
        let kernels::Padding { top, bottom, left, right } = self.window().pixels(shapes.size());
        Windows {
            size: shapes.size(),
            out: [shapes.output[2], shapes.output[3]],
            channels: shapes.channels(),
            kernel_size: self.kernel_size,
            stride: self.stride,
            padding: [[top, bottom], [left, right]],
            count_include_pad: self.count_include_pad,
        }
    }
}

/// The windows of a pooling over inputs of one size.
#[derive(Clone, Copy, Debug)]
struct Windows {
    size: [usize; 2],
    out: [usize; 2],
    channels: usize,
    kernel_size: [usize; 2],
    stride: [usize; 2],
    /// The pixels before and behind the input along each axis.
    padding: [[usize; 2]; 2],
    count_include_pad: bool,
}

impl Windows {
    /// Returns the positions of window `index` along an axis, and how many count.
    fn along(&self, axis: usize, index: usize) -> (Range<usize>, usize) {
        let (size, [before, after]) = (self.size[axis], self.padding[axis]);
        let start = index * self.stride[axis];
        let end = (start + self.kernel_size[axis]).min(before + size + after);
        let inside = start.saturating_sub(before).min(size)..end.saturating_sub(before).min(size);
        let counted = if self.count_include_pad { end - start } else { inside.len() };
        (inside, counted)
    }

    /// Returns the picture, the rows and the columns of an output pixel, and the divisor of its sum. A
    /// window without pixels has the divisor 1.
    fn pixel(&self, pixel: usize) -> (usize, Range<usize>, Range<usize>, usize) {
        let [oh, ow] = self.out;
        let (rows, counted_rows) = self.along(0, pixel / ow % oh);
        let (columns, counted_columns) = self.along(1, pixel % ow);
        (pixel / ow / oh, rows, columns, (counted_rows * counted_columns).max(1))
    }

    /// Calls `visit` with the offset of each input pixel of some rows and columns.
    fn each(
        &self,
        picture: usize,
        rows: Range<usize>,
        columns: &Range<usize>,
        mut visit: impl FnMut(usize),
    ) {
        let [h, w] = self.size;
        for row in rows {
            for column in columns.clone() {
                visit(((picture * h + row) * w + column) * self.channels);
            }
        }
    }
}

impl Operator for AvgPool2d {
    fn kind(&self) -> String {
        "AvgPool2d".into()
    }

    fn python(&self) -> String {
        let mut text = format!(
            "kernel_size={}, stride={}, padding={}",
            python::one_or_pair(self.kernel_size),
            python::one_or_pair(self.stride),
            self.padding.of_pooling()
        );
        if self.ceil_mode {
            text += ", ceil_mode=True";
        }
        if !self.count_include_pad {
            text += ", count_include_pad=False";
        }
        text
    }

    prints_as_a_layer!();

    takes_one_input!();

    no_parameters!();

    fn work(&self, _: &[&[usize]], output: &[usize]) -> u64 {
        let window = values(&self.kernel_size);
        work::of_values(&[], output).saturating_add(work::of_windows(output, window))
    }

    fn validate(&self) -> Result<(), String> {
        self.window().validate()
    }

    fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        let [n, c, h, w] = picture(inputs[0])?;
        let [oh, ow] = self.window().output_size([h, w])?;
        Ok(vec![n, c, oh, ow])
    }

    fuses_nothing!();

    fn int8_rule(&self) -> Int8Rule {
        Int8Rule::InputScale { rounds: true }
    }
}

impl Layer for AvgPool2d {
    fn class(&self) -> &'static str {
        "AvgPool2d"
    }
}

impl Saved for AvgPool2d {
    const VERSION: u32 = 1;
}

impl Compute for AvgPool2d {
    fn float(&self, _: &FloatContext<'_>, shapes: &Shapes) -> Made<f32> {
        let windows = self.windows(shapes);
        function("avg_pool2d", move |call, input, output| {
            let input = input(0);
            for_each_row(call.pool, output, windows.channels, |pixel, output| {
                let (picture, rows, columns, divisor) = windows.pixel(pixel);
                output.fill(0.0);
                windows.each(picture, rows, &columns, |at| {
                    let values = &input[at..at + windows.channels];
                    output.iter_mut().zip(values).for_each(|(sum, &x)| *sum += x);
                });
                let divisor = divisor as f32;
                for sum in output {
                    *sum /= divisor;
                }
            });
        })
    }

    /// The sum of `q − zero_point` is multiplied by `1 / divisor` and rounded half to even, as that of
    /// an adaptive average pooling.
    fn int8(&self, cx: &Int8Context<'_>, shapes: &Shapes) -> Made<u8> {
        /// The largest number of pixels of a window; their sums fit 31 bits.
        const MAX_PIXELS: u64 = 1 << 23;
        let windows = self.windows(shapes);
        let pixels = values(&self.kernel_size);
        if pixels > MAX_PIXELS {
            return Err(format!(
                "expected a window of at most {MAX_PIXELS} pixels for an average in int8, found \
                 {pixels}"
            ));
        }
        let zero = cx.output.zero_point;
        let to = QParams8 { scale: 1.0, zero_point: zero };
        function("avg_pool2d", move |call, input, output: &mut [u8]| {
            let input = input(0);
            for_each_row(call.pool, output, windows.channels, |pixel, output| {
                let (picture, rows, columns, divisor) = windows.pixel(pixel);
                let multiplier = 1.0 / divisor as f32;
                // Blocks of channels, whose sums need no memory but the stack.
                for (block, output) in output.chunks_mut(64).enumerate() {
                    let mut sums = [0_i32; 64];
                    windows.each(picture, rows.clone(), &columns, |at| {
                        let values = &input[at + 64 * block..][..output.len()];
                        let pairs = sums.iter_mut().zip(values);
                        pairs.for_each(|(sum, &q)| *sum += i32::from(q) - i32::from(zero));
                    });
                    for (q, sum) in output.iter_mut().zip(sums) {
                        *q = reference::quantize(to, 0, u8::MAX, sum as f32 * multiplier);
                    }
                }
            });
        })
    }
}

impl Train for AvgPool2d {
    fn training(&self) -> Training {
        let pool = *self;
        Training::Function(linear(move |from, target| {
            let Backward { call, shapes, gradient, .. } = from;
            let windows = pool.windows(shapes);
            let [h, w] = windows.size;
            let (channels, pixels) = (windows.channels, windows.out[0] * windows.out[1]);
            for_each_row(call.pool, target, h * w * channels, |picture, target| {
                target.fill(0.0);
                let gradient = &gradient[picture * pixels * channels..][..pixels * channels];
                for (pixel, gradient) in gradient.chunks_exact(channels).enumerate() {
                    let (_, rows, columns, divisor) = windows.pixel(pixel);
                    windows.each(0, rows, &columns, |at| {
                        let pairs = target[at..at + channels].iter_mut().zip(gradient);
                        pairs.for_each(|(to, &gradient)| *to += gradient / divisor as f32);
                    });
                }
            });
        }))
    }
}
