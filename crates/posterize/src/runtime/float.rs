//! The float kernels of a plan.

use posterize_kernels::f32 as kernels;
use posterize_kernels::int8::QParams8;
use posterize_kernels::{Isa, Padding};

use super::plan::{Call, Kernel, Shapes, Source};
use crate::error::{Error, Result};
use crate::graph::{Graph, Node, NodeId};
use crate::ops::{Activation, Op};
use crate::model::{FloatModel, Parameters};

/// A step from f32 to f32.
#[derive(Debug)]
pub enum FloatKernel {
    Conv2d(Box<kernels::Conv2d>),
    Linear(Box<kernels::Linear>),
    ScaleShift { scale: Vec<f32>, shift: Vec<f32> },
    Clamp(kernels::Clamp),
    Add(kernels::Clamp),
    Mul,
    Cat,
    MaxPool2d(posterize_kernels::Pool2dGeometry),
    AdaptiveAvgPool2d([usize; 2]),
    Flatten,
    Pad(Padding),
}

impl Source for FloatModel {
    fn graph(&self) -> &Graph {
        FloatModel::graph(self)
    }

    fn qparams(&self, _: NodeId) -> Option<QParams8> {
        None
    }

    fn kernel(&self, isa: Isa, _: NodeId, node: &Node, shapes: &Shapes) -> Result<Option<Kernel>> {
        Ok(FloatKernel::pack(self.parameters(), isa, node, shapes.size)?.map(Kernel::Float))
    }
}

/// The clamp that computes an activation.
pub(crate) fn clamp_of(activation: Option<Activation>) -> kernels::Clamp {
    match activation {
        None => kernels::Clamp::NONE,
        Some(Activation::ReLU) => kernels::Clamp::RELU,
        Some(Activation::ReLU6) => kernels::Clamp::RELU6,
    }
}

impl FloatKernel {
    /// The kernel of a node for inputs of `size`; `None` where it computes nothing.
    pub(super) fn pack(
        parameters: &Parameters,
        isa: Isa,
        node: &Node,
        size: [usize; 2],
    ) -> Result<Option<Self>> {
        let optional = |name: &str| {
            parameters.get(&format!("{}.{name}", node.name)).map(|tensor| tensor.data())
        };
        let parameter = |name: &str| {
            let missing = || Error::layer(format!("{}.{name}", node.name), "no such parameter");
            optional(name).ok_or_else(missing)
        };
        Ok(Some(match &node.op {
            Op::Input | Op::Dropout(_) | Op::QuantStub | Op::DeQuantStub => return Ok(None),
            Op::Flatten if size == [1, 1] => return Ok(None),
            Op::Flatten => Self::Flatten,
            Op::Conv2d(conv, activation) => Self::Conv2d(Box::new(kernels::Conv2d::new(
                isa,
                conv.geometry(size),
                parameter("weight")?,
                optional("bias"),
                clamp_of(*activation),
            ))),
            Op::Linear(linear, activation) => Self::Linear(Box::new(kernels::Linear::new(
                isa,
                linear.in_features,
                linear.out_features,
                parameter("weight")?,
                optional("bias"),
                clamp_of(*activation),
            ))),
            Op::BatchNorm(bn) => {
                let var = parameter("running_var")?;
                let gamma = parameter("weight")?;
                let scale: Vec<f32> =
                    gamma.iter().zip(var).map(|(g, v)| g / (v + bn.eps).sqrt()).collect();
                let mean = parameter("running_mean")?;
                let beta = parameter("bias")?;
                let shift =
                    beta.iter().zip(mean).zip(&scale).map(|((b, m), s)| b - m * s).collect();
                Self::ScaleShift { scale, shift }
            }
            Op::Activation(activation) => Self::Clamp(clamp_of(Some(*activation))),
            Op::Add(activation) => Self::Add(clamp_of(*activation)),
            Op::Mul => Self::Mul,
            Op::Cat => Self::Cat,
            Op::MaxPool2d(pool) => Self::MaxPool2d(pool.geometry()),
            Op::AdaptiveAvgPool2d(pool) => Self::AdaptiveAvgPool2d(pool.output_size),
            Op::Mean => Self::AdaptiveAvgPool2d([1, 1]),
            Op::ZeroPad2d(pad) => Self::Pad(pad.padding()),
        }))
    }

    /// What ran, as a profile names it.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Conv2d(conv) => conv.kernel_name(),
            Self::Linear(_) => "linear",
            Self::ScaleShift { .. } => "scale_shift",
            Self::Clamp(_) => "clamp",
            Self::Add(_) => "add",
            Self::Mul => "mul",
            Self::Cat => "cat",
            Self::MaxPool2d(_) => "max_pool2d",
            Self::AdaptiveAvgPool2d(_) => "adaptive_avg_pool2d",
            Self::Flatten => "flatten",
            Self::Pad(_) => "pad",
        }
    }

    /// Scratch memory, in f32.
    pub(super) fn scratch_len(&self, threads: usize, batch: usize, shapes: &Shapes) -> usize {
        match self {
            Self::Conv2d(conv) => conv.scratch_len(threads, batch, shapes.size),
            _ => 0,
        }
    }

    pub(super) fn run<'a>(
        &self,
        call: Call<'_>,
        input: &dyn Fn(usize) -> &'a [f32],
        output: &mut [f32],
        scratch: &mut [f32],
    ) {
        let Call { isa, pool, batch, shapes: &Shapes { size, ref channels } } = call;
        let (x, c) = (input(0), channels[0]);
        match self {
            Self::Conv2d(conv) => conv.run(pool, batch, size, x, output, scratch),
            Self::Linear(linear) => linear.run(pool, batch, x, output),
            Self::ScaleShift { scale, shift } => {
                kernels::scale_shift(isa, pool, c, scale, shift, kernels::Clamp::NONE, x, output);
            }
            Self::Clamp(clamp) => kernels::clamp(isa, pool, x, *clamp, output),
            Self::Add(clamp) => kernels::add(isa, pool, x, input(1), *clamp, output),
            Self::Mul => kernels::mul(isa, pool, x, input(1), kernels::Clamp::NONE, output),
            Self::Cat => cat(channels, input, output),
            Self::MaxPool2d(pool2d) => {
                kernels::max_pool2d(isa, pool, *pool2d, batch, size, c, x, output);
            }
            Self::AdaptiveAvgPool2d(output_size) => {
                kernels::adaptive_avg_pool2d(isa, pool, batch, size, c, *output_size, x, output);
            }
            Self::Flatten => flatten(size, c, x, output),
            Self::Pad(padding) => kernels::pad(batch, size, c, *padding, 0.0, x, output),
        }
    }
}

/// Concatenates pixels of `channels[i]` values each.
pub(crate) fn cat<'a, T: Copy + 'a>(
    channels: &[usize],
    input: &dyn Fn(usize) -> &'a [T],
    output: &mut [T],
) {
    let width: usize = channels.iter().sum();
    let mut start = 0;
    for (index, &c) in channels.iter().enumerate() {
        for (x, y) in input(index).chunks_exact(c).zip(output.chunks_exact_mut(width)) {
            y[start..start + c].copy_from_slice(x);
        }
        start += c;
    }
}

/// From H, W, C in memory to PyTorch's C, H, W.
pub(crate) fn flatten<T: Copy>([h, w]: [usize; 2], channels: usize, input: &[T], output: &mut [T]) {
    let plane = h * w;
    let pictures = input.chunks_exact(plane * channels);
    for (x, y) in pictures.zip(output.chunks_exact_mut(plane * channels)) {
        for (pixel, values) in x.chunks_exact(channels).enumerate() {
            for (channel, &value) in values.iter().enumerate() {
                y[channel * plane + pixel] = value;
            }
        }
    }
}
