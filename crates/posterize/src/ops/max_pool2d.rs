//! Max pooling.

use posterize_kernels::{self as kernels, f32, int8};
use serde::{Deserialize, Serialize};

use super::answers::{fuses_nothing, no_parameters, prints_as_a_layer, takes_one_input};
use super::kernel::{Call, Compute, FloatContext, Int8Context, Made, Shapes, function};
use super::limits::check_sizes;
use super::shapes::picture;
use super::training::{Backward, Train, Training, nonlinear};
use super::{Int8Rule, Layer, Operator, Saved, work};

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
    /// Height and width of the window, at least 1.
    pub kernel_size: usize,
    /// Stride of the window in both directions, at least 1.
    pub stride: usize,
    /// Padding on all sides, at most half of `kernel_size`. Padded pixels are never the largest.
    pub padding: usize,
}

impl MaxPool2d {
    /// Creates a max pooling with a stride of `kernel_size` and no padding, as PyTorch does.
    pub const fn new(kernel_size: usize) -> Self {
        Self { kernel_size, stride: kernel_size, padding: 0 }
    }

    /// Sets the stride of both axes.
    #[must_use]
    pub const fn stride(mut self, stride: usize) -> Self {
        self.stride = stride;
        self
    }

    /// Sets the padding of all sides.
    #[must_use]
    pub const fn padding(mut self, padding: usize) -> Self {
        self.padding = padding;
        self
    }

    /// Returns the kernel's geometry.
    pub(crate) fn geometry(self) -> kernels::Pool2dGeometry {
        kernels::Pool2dGeometry {
            kernel: [self.kernel_size; 2],
            stride: [self.stride; 2],
            dilation: [1; 2],
            padding: kernels::Padding::symmetric(self.padding, self.padding),
        }
    }
}

impl Operator for MaxPool2d {
    fn kind(&self) -> String {
        "MaxPool2d".into()
    }

    fn python(&self) -> String {
        format!(
            "kernel_size={}, stride={}, padding={}, dilation=1, ceil_mode=False",
            self.kernel_size, self.stride, self.padding
        )
    }

    prints_as_a_layer!();

    takes_one_input!();

    no_parameters!();

    fn work(&self, _: &[&[usize]], output: &[usize]) -> u64 {
        let window = (self.kernel_size as u64).saturating_pow(2);
        work::of_values(&[], output).saturating_add(work::of_windows(output, window))
    }

    fn validate(&self) -> Result<(), String> {
        check_sizes(&[self.kernel_size, self.stride, self.padding])?;
        if self.kernel_size == 0 || self.stride == 0 {
            return Err(format!(
                "kernel_size and stride must be at least 1, found {} and {}",
                self.kernel_size, self.stride
            ));
        }
        if self.padding * 2 > self.kernel_size {
            return Err(format!(
                "padding must be at most half of kernel_size, found {} and {}",
                self.padding, self.kernel_size
            ));
        }
        Ok(())
    }

    fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        let [n, c, h, w] = picture(inputs[0])?;
        let [oh, ow] = self.geometry().output_size([h, w]).ok_or_else(|| {
            format!(
                "a window of {0}x{0} with padding {1} does not fit into an input of {2:?}",
                self.kernel_size, self.padding, inputs[0]
            )
        })?;
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
        let (geometry, size, channels) = (self.geometry(), shapes.size(), shapes.channels());
        function("max_pool2d", move |Call { isa, pool, batch }, input, output| {
            f32::max_pool2d(isa, pool, geometry, batch, size, channels, input(0), output);
        })
    }

    fn int8(&self, cx: &Int8Context<'_>, shapes: &Shapes) -> Made<u8> {
        let kernel = int8::MaxPool2d::new(cx.isa, self.geometry(), shapes.channels());
        let size = shapes.size();
        function("max_pool2d", move |call, input, output| {
            kernel.run(call.pool, call.batch, size, input(0), output);
        })
    }
}

impl Train for MaxPool2d {
    fn training(&self) -> Training {
        let geometry = self.geometry();
        Training::Function(nonlinear(move |from, target| {
            let (size, channels) = (from.shapes.size(), from.shapes.channels());
            let Backward { call: Call { pool, batch, .. }, gradient, input, .. } = from;
            let x = input(0);
            f32::training::max_pool2d_backward(
                pool, geometry, batch, size, channels, x, gradient, target,
            );
        }))
    }
}
