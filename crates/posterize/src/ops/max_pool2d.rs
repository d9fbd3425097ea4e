//! Max pooling.

use std::ops::RangeInclusive;

use posterize_kernels::{self as kernels, f32, int8};
use serde::{Deserialize, Serialize};

use super::kernel::{Call, Compute, FloatContext, Int8Context, Kernel, Made, Shapes, made};
use super::limits::check_sizes;
use super::shapes::picture;
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

impl Compute for MaxPool2d {
    fn float(&self, _: &FloatContext<'_>, shapes: &Shapes) -> Made<f32> {
        made(FloatMaxPool2d {
            geometry: self.geometry(),
            size: shapes.size(),
            channels: shapes.channels(),
        })
    }

    fn int8(&self, cx: &Int8Context<'_>, shapes: &Shapes) -> Made<u8> {
        let kernel = int8::MaxPool2d::new(cx.isa, self.geometry(), shapes.channels());
        made(Int8MaxPool2d { kernel, size: shapes.size() })
    }
}

#[derive(Debug)]
struct FloatMaxPool2d {
    geometry: kernels::Pool2dGeometry,
    size: [usize; 2],
    channels: usize,
}

impl Kernel<f32> for FloatMaxPool2d {
    fn name(&self) -> &'static str {
        "max_pool2d"
    }

    fn scratch_len(&self, _: usize, _: usize) -> usize {
        0
    }

    fn run<'a>(
        &self,
        call: Call<'_>,
        input: &dyn Fn(usize) -> &'a [f32],
        output: &mut [f32],
        _: &mut [f32],
    ) {
        let Self { geometry, size, channels } = *self;
        let Call { isa, pool, batch } = call;
        f32::max_pool2d(isa, pool, geometry, batch, size, channels, input(0), output);
    }
}

#[derive(Debug)]
struct Int8MaxPool2d {
    kernel: int8::MaxPool2d,
    size: [usize; 2],
}

impl Kernel<u8> for Int8MaxPool2d {
    fn name(&self) -> &'static str {
        "max_pool2d"
    }

    fn scratch_len(&self, _: usize, _: usize) -> usize {
        0
    }

    fn run<'a>(
        &self,
        call: Call<'_>,
        input: &dyn Fn(usize) -> &'a [u8],
        output: &mut [u8],
        _: &mut [u8],
    ) {
        self.kernel.run(call.pool, call.batch, self.size, input(0), output);
    }
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
