//! Reading the JSON of a graph in format version 1.
//!
//! Version 1 is fixed. It has its own definitions of the operators, so that changes to those in
//! [`ops`](crate::ops) do not affect it.

use serde::Deserialize;

use crate::graph::{self, Graph, NodeId};
use crate::ops::{self, Op};
use crate::quantization::QParams;

/// A graph, and the scale and zero point of every node whose output is int8.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SavedGraph {
    graph: Parts,
    qparams: Vec<Option<Quantization>>,
}

#[derive(Deserialize)]
struct Parts {
    nodes: Vec<Node>,
    output: usize,
    modules: Vec<Module>,
}

#[derive(Deserialize)]
struct Node {
    name: String,
    op: Operator,
    inputs: Vec<usize>,
    is_module: bool,
}

#[derive(Deserialize)]
struct Module {
    path: String,
    kind: String,
}

#[derive(Deserialize)]
struct Quantization {
    scale: f32,
    zero_point: i32,
}

#[derive(Deserialize)]
enum Operator {
    Input,
    Conv2d(Conv2d, Option<Activation>),
    BatchNorm(BatchNorm),
    Activation(Activation),
    Add(Option<Activation>),
    Mul,
    /// A concatenation along the channels.
    Cat,
    MaxPool2d(MaxPool2d),
    AdaptiveAvgPool2d(AdaptiveAvgPool2d),
    Mean,
    Flatten,
    Dropout(Dropout),
    Linear(Linear, Option<Activation>),
    ZeroPad2d(ZeroPad2d),
    QuantStub,
    DeQuantStub,
}

#[derive(Clone, Copy, Deserialize)]
enum Activation {
    ReLU,
    ReLU6,
}

#[derive(Deserialize)]
enum Padding {
    Explicit { top: usize, bottom: usize, left: usize, right: usize },
    Same,
}

#[derive(Deserialize)]
struct Conv2d {
    in_channels: usize,
    out_channels: usize,
    kernel_size: [usize; 2],
    stride: [usize; 2],
    padding: Padding,
    dilation: [usize; 2],
    groups: usize,
    bias: bool,
}

#[derive(Deserialize)]
struct BatchNorm {
    num_features: usize,
    eps: f32,
    momentum: f32,
    dimensions: u8,
}

#[derive(Deserialize)]
struct MaxPool2d {
    kernel_size: usize,
    stride: usize,
    padding: usize,
}

#[derive(Deserialize)]
struct AdaptiveAvgPool2d {
    output_size: [usize; 2],
}

#[derive(Deserialize)]
struct Dropout {
    p: f32,
}

#[derive(Deserialize)]
struct Linear {
    in_features: usize,
    out_features: usize,
    bias: bool,
}

#[derive(Deserialize)]
struct ZeroPad2d {
    left: usize,
    right: usize,
    top: usize,
    bottom: usize,
}

impl SavedGraph {
    /// Returns the graph, and the scale and zero point of every node whose output is int8.
    ///
    /// # Errors
    /// Returns a message if the parts are not a valid graph.
    pub(super) fn into_graph(self) -> Result<(Graph, Vec<Option<QParams>>), String> {
        let Parts { nodes, output, modules } = self.graph;
        if self.qparams.len() != nodes.len() {
            return Err(format!(
                "its graph has {} nodes and {} qparams; expected as many of each",
                nodes.len(),
                self.qparams.len()
            ));
        }
        for (index, node) in nodes.iter().enumerate() {
            if matches!(node.op, Operator::Input) != (index == 0) {
                return Err(format!(
                    "{}: expected the input as the first node, and no other inputs",
                    node.name
                ));
            }
        }
        let nodes = nodes
            .into_iter()
            .map(|node| graph::Node {
                name: node.name,
                op: node.op.into(),
                inputs: node.inputs.into_iter().map(NodeId).collect(),
                is_module: node.is_module,
            })
            .collect();
        let outputs = vec![graph::Output::new("output", NodeId(output))];
        let modules = modules
            .into_iter()
            .map(|Module { path, kind }| graph::ModuleEntry { path, kind })
            .collect();
        let qparams = self
            .qparams
            .into_iter()
            .map(|found| found.map(|q| QParams { scale: q.scale, zero_point: q.zero_point }))
            .collect();
        let graph = Graph::new(nodes, outputs, modules).map_err(|error| error.to_string())?;
        Ok((graph, qparams))
    }
}

impl From<Operator> for Op {
    fn from(op: Operator) -> Self {
        match op {
            Operator::Input => ops::Input.into(),
            Operator::Conv2d(conv, activation) => ops::Conv2d {
                in_channels: conv.in_channels,
                out_channels: conv.out_channels,
                kernel_size: conv.kernel_size,
                stride: conv.stride,
                padding: conv.padding.into(),
                dilation: conv.dilation,
                groups: conv.groups,
                bias: conv.bias,
                activation: activation.map(Into::into),
            }
            .into(),
            Operator::BatchNorm(norm) => ops::BatchNorm {
                num_features: norm.num_features,
                eps: norm.eps,
                momentum: norm.momentum,
                dimensions: norm.dimensions,
            }
            .into(),
            Operator::Activation(activation) => ops::Activation::from(activation).into(),
            Operator::Add(activation) => ops::Add { activation: activation.map(Into::into) }.into(),
            Operator::Mul => ops::Mul.into(),
            Operator::Cat => ops::Cat::new(1).into(),
            Operator::MaxPool2d(MaxPool2d { kernel_size, stride, padding }) => {
                ops::MaxPool2d::new(kernel_size).stride(stride).padding(padding).into()
            }
            Operator::AdaptiveAvgPool2d(AdaptiveAvgPool2d { output_size }) => {
                ops::AdaptiveAvgPool2d { output_size }.into()
            }
            Operator::Mean => ops::Mean.into(),
            Operator::Flatten => ops::Flatten.into(),
            Operator::Dropout(Dropout { p }) => ops::Dropout { p }.into(),
            Operator::Linear(linear, activation) => ops::Linear {
                in_features: linear.in_features,
                out_features: linear.out_features,
                bias: linear.bias,
                activation: activation.map(Into::into),
            }
            .into(),
            Operator::ZeroPad2d(ZeroPad2d { left, right, top, bottom }) => {
                ops::ZeroPad2d { left, right, top, bottom }.into()
            }
            Operator::QuantStub => ops::QuantStub.into(),
            Operator::DeQuantStub => ops::DeQuantStub.into(),
        }
    }
}

impl From<Activation> for ops::Activation {
    fn from(activation: Activation) -> Self {
        match activation {
            Activation::ReLU => Self::ReLU,
            Activation::ReLU6 => Self::ReLU6,
        }
    }
}

impl From<Padding> for ops::Padding {
    fn from(padding: Padding) -> Self {
        match padding {
            Padding::Explicit { top, bottom, left, right } => {
                Self::Explicit { top, bottom, left, right }
            }
            Padding::Same => Self::Same,
        }
    }
}
