//! The int8 kernels of a plan.

use std::sync::Arc;

use posterize_kernels::int8 as kernels;
use posterize_kernels::{Isa, Padding};

use super::float::{FloatKernel, cat, flatten};
use super::plan::{Call, Kernel, Quantize, Shapes, Source};
use crate::error::{Error, Result};
use crate::graph::{Graph, Node, NodeId};
use crate::ops::Op;
use crate::quantization::{QParams, QuantizedModel};

/// A step from u8 to u8.
#[derive(Debug)]
pub enum Int8Kernel {
    /// Shared with the block that it may become a part of.
    Conv2d(Arc<kernels::Conv2d>),
    /// A convolution, and the addition of the step's second input to what it gives.
    Conv2dAdd(Arc<kernels::Conv2d>, kernels::Add),
    InvertedResidual(Box<kernels::InvertedResidual>),
    Linear(Box<kernels::Linear>),
    Clamp([u8; 2]),
    Add(kernels::Add),
    Mul(kernels::Mul),
    /// The tables that bring each input to the output's scale.
    Cat {
        from: Vec<kernels::QParams8>,
        to: kernels::QParams8,
    },
    MaxPool2d(kernels::MaxPool2d),
    AdaptiveAvgPool2d(kernels::AdaptiveAvgPool2d),
    Flatten,
    Pad(Padding, u8),
}

/// A model checks that zero points fit when it is made.
fn qparams8(qparams: QParams) -> kernels::QParams8 {
    kernels::QParams8 { scale: qparams.scale, zero_point: qparams.zero_point as u8 }
}

impl Source for QuantizedModel {
    fn graph(&self) -> &Graph {
        QuantizedModel::graph(self)
    }

    fn qparams(&self, id: NodeId) -> Option<kernels::QParams8> {
        QuantizedModel::qparams(self, id).map(qparams8)
    }

    fn kernel(&self, isa: Isa, id: NodeId, node: &Node, shapes: &Shapes) -> Result<Option<Kernel>> {
        let input = node.inputs.first().and_then(|&input| Source::qparams(self, input));
        let output = Source::qparams(self, id);
        match (&node.op, input, output) {
            (Op::QuantStub, None, Some(to)) => {
                Ok(Some(Kernel::Quantize(Quantize { to, pixels: None })))
            }
            (Op::DeQuantStub, Some(from), None) => Ok(Some(Kernel::Dequantize(from))),
            (_, Some(from), Some(to)) => {
                Ok(Int8Kernel::pack(self, isa, id, node, shapes, from, to)?.map(Kernel::Int8))
            }
            (_, None, None) => {
                Ok(FloatKernel::pack(self.parameters(), isa, node, shapes.size)?.map(Kernel::Float))
            }
            _ => Err(Error::layer(&node.name, "int8 and float values meet")),
        }
    }
}

impl Int8Kernel {
    fn pack(
        model: &QuantizedModel,
        isa: Isa,
        id: NodeId,
        node: &Node,
        shapes: &Shapes,
        from: kernels::QParams8,
        to: kernels::QParams8,
    ) -> Result<Option<Self>> {
        let &Shapes { size, ref channels, .. } = shapes;
        let (min, max) = model.output_range(id).unwrap_or((0, u8::MAX));
        let second = || {
            let second = node.inputs.get(1).and_then(|&input| model.qparams(input)).map(qparams8);
            second.ok_or_else(|| Error::layer(&node.name, "its second input has no scale"))
        };
        Ok(Some(match &node.op {
            Op::Conv2d(..) | Op::Linear(..) => {
                return Self::pack_layer(model, isa, id, node, size, [min, max]).map(Some);
            }
            Op::Activation(_) => Self::Clamp([min, max]),
            Op::Add(_) => Self::Add(kernels::Add::new(isa, from, second()?, to, min, max)),
            Op::Mul => Self::Mul(kernels::Mul::new(isa, from, second()?, to, min, max)),
            Op::Cat => Self::Cat {
                from: node
                    .inputs
                    .iter()
                    .filter_map(|&input| model.qparams(input).map(qparams8))
                    .collect(),
                to,
            },
            Op::MaxPool2d(pool) => {
                Self::MaxPool2d(kernels::MaxPool2d::new(isa, pool.geometry(), channels[0]))
            }
            Op::AdaptiveAvgPool2d(_) | Op::Mean => {
                let output_size = match &node.op {
                    Op::AdaptiveAvgPool2d(pool) => pool.output_size,
                    _ => [1, 1],
                };
                Self::AdaptiveAvgPool2d(kernels::AdaptiveAvgPool2d::new(
                    isa,
                    channels[0],
                    output_size,
                    to.zero_point,
                ))
            }
            Op::Flatten if size == [1, 1] => return Ok(None),
            Op::Flatten => Self::Flatten,
            Op::ZeroPad2d(pad) => Self::Pad(pad.padding(), to.zero_point),
            Op::Dropout(_) => return Ok(None),
            Op::Input | Op::BatchNorm(_) | Op::QuantStub | Op::DeQuantStub => {
                return Err(Error::layer(&node.name, "it has no int8 kernel"));
            }
        }))
    }

    fn pack_layer(
        model: &QuantizedModel,
        isa: Isa,
        id: NodeId,
        node: &Node,
        size: [usize; 2],
        [min, max]: [u8; 2],
    ) -> Result<Self> {
        let missing = |what: &str| Error::layer(&node.name, format!("it has no {what}"));
        let layer = model.layer(&node.name).ok_or_else(|| missing("int8 weights"))?;
        let input = model.qparams(node.inputs[0]).ok_or_else(|| missing("input scale"))?;
        let output = model.qparams(id).ok_or_else(|| missing("output scale"))?;
        let multiplier = layer
            .multipliers(input, output)
            .map_err(|problem| Error::layer(&node.name, problem))?;
        let zero_point = output.zero_point as u8;
        let requantize = kernels::Requantize { multiplier, zero_point, min, max };
        let (weight, bias) = (&layer.weight, &layer.bias);
        let input_zero_point = input.zero_point as u8;
        Ok(match &node.op {
            Op::Linear(linear, _) => Self::Linear(Box::new(kernels::Linear::new(
                isa,
                linear.in_features,
                linear.out_features,
                weight,
                bias,
                input_zero_point,
                &requantize,
            ))),
            Op::Conv2d(conv, _) => {
                let geometry = conv.geometry(size);
                let zero_point = input_zero_point;
                Self::Conv2d(Arc::new(kernels::Conv2d::new(
                    isa,
                    geometry,
                    weight,
                    bias,
                    zero_point,
                    &requantize,
                )))
            }
            _ => return Err(missing("int8 kernel")),
        })
    }

    /// What ran, as a profile names it.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Conv2d(conv) => conv.kernel_name(),
            Self::Conv2dAdd(conv, _) => conv.kernel_name_with_add(),
            Self::InvertedResidual(block) => block.kernel_name(),
            Self::Linear(linear) => linear.kernel_name(),
            Self::Clamp(_) => "clamp",
            Self::Add(_) => "add",
            Self::Mul(_) => "mul",
            Self::Cat { .. } => "cat",
            Self::MaxPool2d(_) => "max_pool2d",
            Self::AdaptiveAvgPool2d(_) => "adaptive_avg_pool2d",
            Self::Flatten => "flatten",
            Self::Pad(..) => "pad",
        }
    }

    /// Scratch memory, in bytes.
    pub(super) fn scratch_len(&self, threads: usize, batch: usize, shapes: &Shapes) -> usize {
        match self {
            Self::Conv2d(conv) | Self::Conv2dAdd(conv, _) => {
                conv.scratch_len(threads, batch, shapes.size)
            }
            Self::InvertedResidual(block) => block.scratch_len(threads),
            _ => 0,
        }
    }

    pub(super) fn run<'a>(
        &self,
        call: Call<'_>,
        input: &dyn Fn(usize) -> &'a [u8],
        output: &mut [u8],
        scratch: &mut [u8],
    ) {
        let Call { isa, pool, batch, shapes: &Shapes { size, ref channels } } = call;
        let (x, c) = (input(0), channels[0]);
        match self {
            Self::Conv2d(conv) => conv.run(pool, batch, size, x, output, scratch),
            Self::Conv2dAdd(conv, add) => {
                conv.run_and_add(pool, (batch, size), x, (add, input(1)), output, scratch);
            }
            Self::InvertedResidual(block) => block.run(pool, batch, x, output, scratch),
            Self::Linear(linear) => linear.run(pool, batch, x, output),
            Self::Clamp([min, max]) => kernels::clamp(isa, pool, *min, *max, x, output),
            Self::Add(add) => add.run(pool, x, input(1), output),
            Self::Mul(mul) => mul.run(pool, x, input(1), output),
            Self::Cat { from, to } => {
                cat(channels, input, output);
                rescale(from, *to, channels, output);
            }
            Self::MaxPool2d(max_pool) => max_pool.run(pool, batch, size, x, output),
            Self::AdaptiveAvgPool2d(average) => average.run(pool, batch, size, x, output),
            Self::Flatten => flatten(size, c, x, output),
            Self::Pad(padding, zero) => kernels::pad(batch, size, c, *padding, *zero, x, output),
        }
    }
}

/// Brings concatenated values to one scale, as `torch.ops.quantized.cat` does.
fn rescale(
    from: &[kernels::QParams8],
    to: kernels::QParams8,
    channels: &[usize],
    values: &mut [u8],
) {
    let width: usize = channels.iter().sum();
    let mut start = 0;
    for (&from, &c) in from.iter().zip(channels) {
        if from != to {
            let table = kernels::requantize_table(from, to, [0, u8::MAX]);
            for pixel in values.chunks_exact_mut(width) {
                for value in &mut pixel[start..start + c] {
                    *value = table[usize::from(*value)];
                }
            }
        }
        start += c;
    }
}
