//! Max pooling.

use std::ops::RangeInclusive;

use posterize_kernels::{self as kernels, f32};
use serde::{Deserialize, Serialize};

use super::limits::check_sizes;
use super::shapes::picture;
use super::kernel::{Call, Shapes};
use super::training::{Differentiable, Train, Training};
use super::{Activation, Int8Rule, Layer, Leaf, Operator, Parameter, QuantizedOutput, Saved};

/// `torch.nn.MaxPool2d`: the largest value in each window of `[N, C, H, W]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct MaxPool2d {
    /// Window height and width (PyTorch prints one number: windows are square).
    pub kernel_size: usize,
    /// Step of the window.
    pub stride: usize,
    /// Padding on all sides; never wins.
    pub padding: usize,
}

impl MaxPool2d {
    /// A square window of `kernel_size` with a step of `kernel_size` and no padding.
    pub const fn new(kernel_size: usize) -> Self {
        Self { kernel_size, stride: kernel_size, padding: 0 }
    }

    /// The same with a step of the window.
    #[must_use]
    pub const fn stride(mut self, stride: usize) -> Self {
        self.stride = stride;
        self
    }

    /// The same with padding on all sides.
    #[must_use]
    pub const fn padding(mut self, padding: usize) -> Self {
        self.padding = padding;
        self
    }

    /// The kernel's geometry.
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

    fn leaf(&self) -> Leaf {
        Leaf::new(self.kind(), self.python())
    }

    fn quantized_leaf(&self, _: &QuantizedOutput) -> Option<Leaf> {
        None
    }

    fn arity(&self) -> RangeInclusive<usize> {
        1..=1
    }

    fn parameters(&self) -> Vec<Parameter> {
        Vec::new()
    }

    fn validate(&self) -> Result<(), String> {
        check_sizes(&[self.kernel_size, self.stride, self.padding])?;
        if self.kernel_size == 0 || self.stride == 0 {
            return Err("kernel_size and stride must be at least 1".into());
        }
        if self.padding * 2 > self.kernel_size {
            return Err(format!(
                "padding {} is more than half of kernel_size {}",
                self.padding, self.kernel_size
            ));
        }
        Ok(())
    }

    fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        let [n, c, h, w] = picture(inputs[0])?;
        let [oh, ow] = self
            .geometry()
            .output_size([h, w])
            .ok_or_else(|| format!("the window does not fit into an input of {:?}", inputs[0]))?;
        Ok(vec![n, c, oh, ow])
    }

    fn multiply_adds(&self, _: &[usize]) -> u64 {
        0
    }

    fn activation(&self) -> Option<Activation> {
        None
    }

    fn with_activation(&self, _: Activation) -> Option<Self> {
        None
    }

    fn with_batch_norm(&self, _: u8) -> Option<Self> {
        None
    }

    fn is_identity(&self) -> bool {
        false
    }

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

impl Train for MaxPool2d {
    fn training(&self) -> Training {
        Training::Function(Box::new(*self))
    }
}

impl Differentiable for MaxPool2d {
    fn keeps_inputs(&self) -> bool {
        true
    }

    fn passes_gradient(&self, _: &Shapes) -> bool {
        false
    }

    fn backward<'a>(
        &self,
        call: Call<'_>,
        shapes: &Shapes,
        _: usize,
        input: &dyn Fn(usize) -> &'a [f32],
        gradient: &[f32],
        target: &mut [f32],
    ) {
        let (size, channels) = (shapes.size(), shapes.channels());
        f32::training::max_pool2d_backward(
            call.pool,
            self.geometry(),
            call.batch,
            size,
            channels,
            input(0),
            gradient,
            target,
        );
    }
}
