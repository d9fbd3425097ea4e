//! Max pooling.

use posterize_kernels::{f32, int8};
use serde::{Deserialize, Serialize};

use super::answers::{fuses_nothing, no_parameters, prints_as_a_layer, takes_one_input};
use super::kernel::{Call, Compute, FloatContext, Int8Context, Made, Shapes, function};
use super::shapes::{picture, values};
use super::training::{Backward, Train, Training, nonlinear};
use super::window::Window;
use super::{Int8Rule, Layer, Operator, Padding, Saved, python, saved, work};

/// `torch.nn.MaxPool2d`: the largest value of each window of `[N, C, H, W]`.
///
/// ```
/// use posterize::ops::MaxPool2d;
/// use posterize::{Architecture, Tensor};
///
/// let model = Architecture::trace(&MaxPool2d::new(2))?.init(0);
/// let x = Tensor::new([1, 1, 2, 4], vec![1.0, 2.0, 3.0, 4.0, 8.0, 7.0, 6.0, 5.0])?;
/// assert_eq!(model.forward(&x)?.data(), [8.0, 6.0]);
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct MaxPool2d {
    /// Height and width of the window, each at least 1.
    #[serde(with = "saved::pair")]
    pub kernel_size: [usize; 2],
    /// Vertical and horizontal stride of the window, each at least 1.
    #[serde(with = "saved::pair")]
    pub stride: [usize; 2],
    /// Padding of the input, smaller than the window. Padded pixels are never the largest.
    #[serde(with = "saved::padding")]
    pub padding: Padding,
    /// Vertical and horizontal distance between the pixels of a window; 1 for adjacent pixels.
    #[serde(
        default = "saved::pair::ones",
        skip_serializing_if = "saved::pair::are_ones",
        with = "saved::pair"
    )]
    pub dilation: [usize; 2],
    /// Whether the number of windows is rounded up instead of down, so that the last ones may reach
    /// beyond the padded input.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ceil_mode: bool,
}

impl MaxPool2d {
    /// Creates a max pooling over square windows with a stride of `kernel_size` and no padding, as
    /// PyTorch does.
    pub const fn new(kernel_size: usize) -> Self {
        Self {
            kernel_size: [kernel_size; 2],
            stride: [kernel_size; 2],
            padding: Padding::all(0),
            dilation: [1; 2],
            ceil_mode: false,
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

    /// Sets the vertical and the horizontal distance between the pixels of a window.
    #[must_use]
    pub const fn dilation(mut self, dilation: [usize; 2]) -> Self {
        self.dilation = dilation;
        self
    }

    /// Sets whether the number of windows is rounded up.
    #[must_use]
    pub const fn ceil_mode(mut self, ceil_mode: bool) -> Self {
        self.ceil_mode = ceil_mode;
        self
    }

    /// Returns its windows.
    fn window(self) -> Window {
        let Self { kernel_size, stride, padding, dilation, ceil_mode } = self;
        Window { kernel_size, stride, padding, dilation, ceil_mode }
    }
}

impl Operator for MaxPool2d {
    fn kind(&self) -> String {
        "MaxPool2d".into()
    }

    fn python(&self) -> String {
        format!(
            "kernel_size={}, stride={}, padding={}, dilation={}, ceil_mode={}",
            python::one_or_pair(self.kernel_size),
            python::one_or_pair(self.stride),
            self.padding.of_pooling(),
            python::one_or_pair(self.dilation),
            python::boolean(self.ceil_mode)
        )
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
        Int8Rule::InputScale { rounds: false }
    }
}

impl Layer for MaxPool2d {
    fn class(&self) -> &'static str {
        "MaxPool2d"
    }
}

impl Saved for MaxPool2d {
    const VERSION: u32 = 1;
}

impl Compute for MaxPool2d {
    fn float(&self, _: &FloatContext<'_>, shapes: &Shapes) -> Made<f32> {
        let (size, channels) = (shapes.size(), shapes.channels());
        let geometry = self.window().geometry(size);
        function("max_pool2d", move |Call { isa, pool, batch }, input, output| {
            f32::max_pool2d(isa, pool, geometry, batch, size, channels, input(0), output);
        })
    }

    fn int8(&self, cx: &Int8Context<'_>, shapes: &Shapes) -> Made<u8> {
        let size = shapes.size();
        let geometry = self.window().geometry(size);
        let kernel = int8::MaxPool2d::new(cx.isa, geometry, shapes.channels());
        function("max_pool2d", move |call, input, output| {
            kernel.run(call.pool, call.batch, size, input(0), output);
        })
    }
}

impl Train for MaxPool2d {
    fn training(&self) -> Training {
        let window = self.window();
        Training::Function(nonlinear(move |from, target| {
            let (size, channels) = (from.shapes.size(), from.shapes.channels());
            let geometry = window.geometry(size);
            let Backward { call: Call { pool, batch, .. }, gradient, input, .. } = from;
            let x = input(0);
            f32::training::max_pool2d_backward(
                pool, geometry, batch, size, channels, x, gradient, target,
            );
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::Op;

    #[test]
    fn windows_that_are_rounded_up_begin_in_the_input() {
        let size = |pool: MaxPool2d, [h, w]: [usize; 2]| {
            Op::from(pool.ceil_mode(true)).infer(&[&[1, 3, h, w]]).map(|shape| shape[2..].to_vec())
        };
        assert_eq!(size(MaxPool2d::new(3).stride(2), [6, 7]), Ok(vec![3, 3]));
        // A second window would begin behind the input.
        assert_eq!(size(MaxPool2d::new(2).stride(3), [3, 4]), Ok(vec![1, 2]));
        // A third window would begin in the padding at the end.
        assert_eq!(size(MaxPool2d::new(2).stride(2).padding(1), [3, 2]), Ok(vec![2, 2]));
        assert_eq!(size(MaxPool2d::new(2), [1, 1]), Ok(vec![1, 1]));
    }

    /// Files of earlier versions have one number for each.
    #[test]
    fn square_windows_are_saved_as_numbers() {
        let pool = MaxPool2d::new(3).stride(2).padding(1);
        let text = r#"{"kernel_size":3,"stride":2,"padding":1}"#;
        assert_eq!(serde_json::to_string(&pool).unwrap(), text);
        assert_eq!(serde_json::from_str::<MaxPool2d>(text).unwrap(), pool);
        let sides = Padding::Explicit { top: 0, bottom: 1, left: 1, right: 0 };
        let pool = pool.kernel_size([3, 2]).padding_sides(sides).dilation([2, 1]).ceil_mode(true);
        let text = serde_json::to_string(&pool).unwrap();
        assert_eq!(serde_json::from_str::<MaxPool2d>(&text).unwrap(), pool, "{text}");
        assert!(serde_json::from_str::<MaxPool2d>(r#"{"kernel_size":3,"stride":2}"#).is_err());
    }
}
