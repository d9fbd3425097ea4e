//! What is computed, in order: the unfused graph cut into a product, sum or pooling and what follows
//! it element by element.

use std::collections::HashMap;

use posterize_kernels::f32::Clamp;
use posterize_kernels::{Padding, Pool2dGeometry};

use super::super::Role;
use crate::error::{Error, Result};
use crate::graph::{Graph, NodeId};
use crate::ops::{Conv2d, Op};
use crate::model::FloatModel;
use crate::quantization::{Blocks, Domain, QatModel};

/// A trained tensor with its gradient, in PyTorch's layout.
#[derive(Debug)]
pub(super) struct Parameter {
    pub(super) name: String,
    pub(super) role: Role,
    pub(super) shape: Vec<usize>,
    pub(super) value: Vec<f32>,
    pub(super) gradient: Vec<f32>,
}

/// The running estimates of a batch norm.
#[derive(Debug)]
pub(super) struct Running {
    /// The batch norm's dotted path.
    pub(super) name: String,
    pub(super) mean: Vec<f32>,
    pub(super) var: Vec<f32>,
}

/// One step of the forward pass: a core, then an epilogue over its every element.
#[derive(Debug)]
pub(super) struct Layer {
    /// The name of the fused layer.
    pub(super) name: String,
    /// The node of the fused graph that has this layer's shape.
    pub(super) node: NodeId,
    /// The layers whose outputs it takes.
    pub(super) inputs: Vec<usize>,
    pub(super) core: Core,
    pub(super) epilogue: Epilogue,
}

/// What mixes elements, or takes several inputs.
#[derive(Debug)]
pub(super) enum Core {
    /// The pictures.
    Input,
    /// The input as it is; only the epilogue computes.
    Identity,
    /// A convolution, or a linear layer as a convolution over one pixel.
    Product(Product),
    Add,
    Mul,
    Cat,
    MaxPool2d(Pool2dGeometry),
    AdaptiveAvgPool2d([usize; 2]),
    Flatten,
    Dropout(f32),
    Pad(Padding),
}

impl Core {
    /// Whether its gradient needs its inputs.
    pub(super) fn keeps_inputs(&self) -> bool {
        matches!(self, Self::Product(_) | Self::Mul | Self::MaxPool2d(_))
    }
}

#[derive(Debug)]
pub(super) struct Product {
    pub(super) conv: Conv2d,
    /// The weight among the parameters.
    pub(super) weight: usize,
    /// The fused layer whose weight is rounded.
    pub(super) rounded: Option<NodeId>,
}

/// `round(clamp(norm(x + bias)))`, each where there is one.
#[derive(Debug)]
pub(super) struct Epilogue {
    pub(super) bias: Option<usize>,
    pub(super) norm: Option<Norm>,
    pub(super) clamp: Clamp,
    pub(super) round: Round,
}

impl Epilogue {
    /// Nothing happens.
    pub(super) fn is_identity(&self) -> bool {
        self.bias.is_none() && !self.needs_input()
    }

    /// Whether its gradient depends on what it is computed from.
    pub(super) fn needs_input(&self) -> bool {
        self.norm.is_some() || self.clamp != Clamp::NONE || self.round != Round::None
    }
}

/// A batch norm.
#[derive(Debug)]
pub(super) struct Norm {
    pub(super) gamma: usize,
    pub(super) beta: usize,
    pub(super) running: usize,
    pub(super) eps: f32,
    pub(super) momentum: f32,
    /// Whether it is folded into the weights before they are rounded.
    pub(super) folded: bool,
}

/// With which scale an output is rounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Round {
    None,
    /// The scale observed here.
    Own(NodeId),
    /// That of a layer before.
    Shared(NodeId),
}

/// A network's layers and what is trained in them.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) layers: Vec<Layer>,
    /// The layer whose output the network returns.
    pub(super) output: usize,
    pub(super) parameters: Vec<Parameter>,
    pub(super) running: Vec<Running>,
}

impl Program {
    pub(super) fn new(model: &FloatModel, blocks: &Blocks, qat: Option<&QatModel>) -> Result<Self> {
        let (parameters, running) = tensors(model)?;
        let by_name =
            parameters.iter().enumerate().map(|(i, found)| (found.name.as_str(), i)).collect();
        let estimates =
            running.iter().enumerate().map(|(i, found)| (found.name.as_str(), i)).collect();
        let mut builder = Builder {
            graph: model.graph(),
            blocks,
            qat,
            parameters: by_name,
            running: estimates,
            layers: Vec::new(),
            float: Vec::new(),
            int8: HashMap::new(),
        };
        for (id, _) in blocks.fused.iter() {
            builder.carry_over(id)?;
        }
        let output = builder.float[blocks.fused.output().0];
        let layers = builder.layers;
        Ok(Self { layers, output, parameters, running })
    }
}

/// The parameters in PyTorch's order, and the running estimates.
fn tensors(model: &FloatModel) -> Result<(Vec<Parameter>, Vec<Running>)> {
    let (mut parameters, mut running) = (Vec::new(), Vec::new());
    let graph = model.graph();
    let value = |name: &str| {
        let found = model.parameters().get(name);
        let found = found.ok_or_else(|| Error::layer(name, "the model has no such parameter"))?;
        Ok::<_, Error>(found.data().to_vec())
    };
    for (name, parameter) in graph.parameters() {
        let (layer, last) = name.rsplit_once('.').unwrap_or(("", &name));
        let norm =
            graph.find(layer).is_some_and(|id| matches!(graph.node(id).op, Op::BatchNorm(_)));
        if parameter.trained {
            let value = value(&name)?;
            let role = match (norm, last) {
                (true, _) => Role::BatchNorm,
                (false, "weight") => Role::Weight,
                (false, _) => Role::Bias,
            };
            let gradient = vec![0.0; value.len()];
            parameters.push(Parameter { name, role, shape: parameter.shape, value, gradient });
        } else if last == "running_mean" {
            let (mean, var) = (value(&name)?, value(&format!("{layer}.running_var"))?);
            running.push(Running { name: layer.to_owned(), mean, var });
        }
    }
    Ok((parameters, running))
}

struct Builder<'a> {
    /// The graph that is not fused.
    graph: &'a Graph,
    blocks: &'a Blocks,
    qat: Option<&'a QatModel>,
    parameters: HashMap<&'a str, usize>,
    running: HashMap<&'a str, usize>,
    layers: Vec<Layer>,
    /// For every node of the fused graph, the layer whose output is its value.
    float: Vec<usize>,
    /// The layers that round a float value on its way into int8.
    int8: HashMap<NodeId, usize>,
}

impl Builder<'_> {
    fn carry_over(&mut self, id: NodeId) -> Result<()> {
        let node = self.blocks.fused.node(id);
        let domain = self.domain(id);
        let mut inputs = Vec::with_capacity(node.inputs.len());
        for &input in &node.inputs {
            let as_int8 = matches!(domain, Domain::Int8(_)) && !matches!(node.op, Op::QuantStub);
            let rounds = as_int8 && self.domain(input) == Domain::Float;
            inputs.push(if rounds { self.rounded(input) } else { self.float[input.0] });
        }
        let folds = self.qat.and_then(|qat| qat.weight(id)).map(|_| id);
        let core = self.core(id, folds)?;
        let epilogue = self.epilogue(id, folds.is_some(), domain)?;
        if matches!(core, Core::Identity) && epilogue.is_identity() {
            self.float.push(inputs[0]);
            return Ok(());
        }
        self.float.push(self.layers.len());
        self.layers.push(Layer { name: node.name.clone(), node: id, inputs, core, epilogue });
        Ok(())
    }

    fn domain(&self, id: NodeId) -> Domain {
        self.qat.map_or(Domain::Float, |qat| qat.domain(id))
    }

    /// The layer that rounds the float output of a node.
    fn rounded(&mut self, id: NodeId) -> usize {
        if let Some(&known) = self.int8.get(&id) {
            return known;
        }
        let node = self.blocks.fused.node(id);
        let name = match node.op {
            Op::Input => "quant".to_owned(),
            _ => format!("{}.quant", node.name),
        };
        let round = Round::Own(id);
        let epilogue = Epilogue { bias: None, norm: None, clamp: Clamp::NONE, round };
        let inputs = vec![self.float[id.0]];
        self.layers.push(Layer { name, node: id, inputs, core: Core::Identity, epilogue });
        self.int8.insert(id, self.layers.len() - 1);
        self.layers.len() - 1
    }

    fn parameter(&self, layer: &str, name: &str) -> Result<usize> {
        let name = format!("{layer}.{name}");
        let found = self.parameters.get(name.as_str()).copied();
        found.ok_or_else(|| Error::layer(name, "the model has no such parameter"))
    }

    fn core(&self, id: NodeId, rounded: Option<NodeId>) -> Result<Core> {
        // The fused node's own operator may have gained a bias; the first member has the original.
        let first = self.graph.node(self.blocks.members[id.0][0]);
        let product = |conv: Conv2d| {
            let weight = self.parameter(&first.name, "weight")?;
            Ok::<_, Error>(Core::Product(Product { conv, weight, rounded }))
        };
        Ok(match &first.op {
            Op::Input => Core::Input,
            Op::Conv2d(conv, _) => product(conv.clone())?,
            Op::Linear(linear, _) => {
                let conv = Conv2d::new(linear.in_features, linear.out_features, 1);
                product(conv.bias(linear.bias))?
            }
            Op::BatchNorm(_) | Op::Activation(_) | Op::QuantStub | Op::DeQuantStub => {
                Core::Identity
            }
            Op::Dropout(dropout) if dropout.p == 0.0 => Core::Identity,
            Op::Dropout(dropout) => Core::Dropout(dropout.p),
            Op::Add(_) => Core::Add,
            Op::Mul => Core::Mul,
            Op::Cat => Core::Cat,
            Op::MaxPool2d(pool) => Core::MaxPool2d(pool.geometry()),
            Op::AdaptiveAvgPool2d(pool) => Core::AdaptiveAvgPool2d(pool.output_size),
            Op::Mean => Core::AdaptiveAvgPool2d([1, 1]),
            Op::Flatten => Core::Flatten,
            Op::ZeroPad2d(pad) => Core::Pad(pad.padding()),
        })
    }

    fn epilogue(&self, id: NodeId, folded: bool, domain: Domain) -> Result<Epilogue> {
        let members = &self.blocks.members[id.0];
        let first = self.graph.node(members[0]);
        let bias = match &first.op {
            Op::Conv2d(conv, _) => conv.bias,
            Op::Linear(linear, _) => linear.bias,
            _ => false,
        };
        let bias = if bias { Some(self.parameter(&first.name, "bias")?) } else { None };
        let mut norm = None;
        for member in members.iter().map(|&member| self.graph.node(member)) {
            if let Op::BatchNorm(bn) = &member.op {
                let missing = || Error::layer(&member.name, "it has no running estimates");
                norm = Some(Norm {
                    gamma: self.parameter(&member.name, "weight")?,
                    beta: self.parameter(&member.name, "bias")?,
                    running: *self.running.get(member.name.as_str()).ok_or_else(missing)?,
                    eps: bn.eps,
                    momentum: bn.momentum,
                    folded,
                });
            }
        }
        let fused = &self.blocks.fused.node(id).op;
        let clamp = match fused {
            Op::Activation(activation) => Some(*activation),
            _ => fused.fused_activation(),
        };
        let round = match domain {
            Domain::Float => Round::None,
            Domain::Int8(source) if source == id => Round::Own(id),
            // Of the operators that keep their input's scale, these leave its grid.
            Domain::Int8(source) => match fused {
                Op::Activation(_) | Op::Mean | Op::AdaptiveAvgPool2d(_) => Round::Shared(source),
                _ => Round::None,
            },
        };
        Ok(Epilogue { bias, norm, clamp: crate::runtime::clamp_of(clamp), round })
    }
}
