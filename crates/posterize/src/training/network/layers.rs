//! The layers of a network in training: a core (a convolution, an addition, a pooling) and an
//! element-wise epilogue.

use std::collections::HashMap;

use posterize_kernels::f32::Clamp;

use super::super::ParameterGroup;
use crate::error::{Error, Result};
use crate::graph::{Graph, NodeId, ParameterKey};
use crate::model::FloatModel;
use crate::ops::training::{self, Gradient, Training};
use crate::ops::{Activation, Int8Rule, Op, Role};
use crate::quantization::{Blocks, Domain, QParams, QatModel};

/// A parameter and its gradient, in PyTorch's order.
#[derive(Debug)]
pub(super) struct Parameter {
    pub(super) key: ParameterKey,
    /// The name in a state dict.
    pub(super) name: String,
    pub(super) group: ParameterGroup,
    pub(super) shape: Vec<usize>,
    pub(super) value: Vec<f32>,
    pub(super) gradient: Vec<f32>,
    /// Whether it is not trained.
    pub(super) frozen: bool,
    /// The factor of its learning rate.
    pub(super) lr_factor: f64,
}

impl Parameter {
    /// Returns the dotted name of its module.
    pub(super) fn module(&self) -> &str {
        self.name.rsplit_once('.').map_or("", |(module, _)| module)
    }
}

/// The running estimates of a batch norm.
#[derive(Debug)]
pub(super) struct Running {
    /// The node of the batch norm.
    pub(super) node: NodeId,
    pub(super) mean: Estimate,
    pub(super) var: Estimate,
}

/// The running mean or variance of each channel.
#[derive(Debug)]
pub(super) struct Estimate {
    /// The name in a state dict.
    pub(super) name: String,
    pub(super) value: Vec<f32>,
}

/// A layer of the forward pass: a core and an element-wise epilogue.
#[derive(Debug)]
pub(super) struct Layer {
    /// The name of the fused layer.
    pub(super) name: String,
    /// The node of the fused graph with the layer's shape.
    pub(super) node: NodeId,
    /// The layers whose outputs are its inputs.
    pub(super) inputs: Vec<usize>,
    pub(super) core: Core,
    pub(super) epilogue: Epilogue,
    /// Whether it only moves or selects values, so that its output has the scale of its input.
    pub(super) moves_values: bool,
}

/// The operator of a layer before its epilogue.
#[derive(Debug)]
pub(super) enum Core {
    /// The pictures.
    Input,
    /// The identity.
    Identity,
    /// A convolution, or a linear layer as a convolution over one pixel.
    Product(Product),
    /// Dropout with this probability of a zero.
    Dropout(f32),
    /// Any other operator.
    Function(Function),
}

impl Core {
    /// Returns whether the backward pass reads the inputs.
    pub(super) fn keeps_inputs(&self) -> bool {
        match self {
            Self::Product(_) => true,
            Self::Function(function) => function.gradient.keeps_inputs(),
            Self::Input | Self::Identity | Self::Dropout(_) => false,
        }
    }
}

/// A function without parameters.
#[derive(Debug)]
pub(super) struct Function {
    /// The operator of the forward pass.
    pub(super) op: Op,
    /// The gradient.
    pub(super) gradient: Gradient,
}

/// A convolution with its weight.
#[derive(Debug)]
pub(super) struct Product {
    pub(super) conv: training::Product,
    /// The index of the weight in [`Program::parameters`].
    pub(super) weight: usize,
    /// The node of the fused graph whose weight is fake-quantized.
    pub(super) rounded: Option<NodeId>,
}

/// The element-wise epilogue `quantize(clamp(norm(x + bias)))`, in which each part is optional.
#[derive(Debug)]
pub(super) struct Epilogue {
    pub(super) bias: Option<usize>,
    pub(super) norm: Option<Norm>,
    pub(super) clamp: Clamp,
    pub(super) round: Round,
}

impl Epilogue {
    /// Returns whether it has no part.
    pub(super) fn is_identity(&self) -> bool {
        self.bias.is_none() && !self.needs_input()
    }

    /// Returns whether its gradient depends on its input.
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
    /// Whether it is folded into the weights before their fake quantization.
    pub(super) folded: bool,
}

/// The scale of the fake quantization of an output.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Round {
    /// No fake quantization.
    None,
    /// The scale of the output's own observer.
    Own(NodeId),
    /// The scale of an earlier layer.
    Shared(NodeId),
    /// The fixed scale of the operator.
    Fixed(QParams),
}

/// The layers of a network, its parameters and its running estimates.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) layers: Vec<Layer>,
    /// The layer whose output is that of the network.
    pub(super) output: usize,
    pub(super) parameters: Vec<Parameter>,
    pub(super) running: Vec<Running>,
}

impl Program {
    pub(super) fn new(model: &FloatModel, blocks: &Blocks, qat: Option<&QatModel>) -> Result<Self> {
        check_ends(model.graph())?;
        let (parameters, running) = tensors(model)?;
        let by_key = parameters.iter().enumerate().map(|(i, found)| (found.key, i)).collect();
        let estimates = running.iter().enumerate().map(|(i, found)| (found.node, i)).collect();
        let mut builder = Builder {
            graph: model.graph(),
            blocks,
            qat,
            parameters: by_key,
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

impl Program {
    /// Returns whether one of the layer's own parameters is trained.
    pub(super) fn trains(&self, layer: &Layer) -> bool {
        let Epilogue { bias, norm, .. } = &layer.epilogue;
        let weight = match &layer.core {
            Core::Product(product) => Some(product.weight),
            _ => None,
        };
        let norm = norm.as_ref().map(|norm| [norm.gamma, norm.beta]);
        let own = weight.into_iter().chain(*bias).chain(norm.into_iter().flatten());
        own.into_iter().any(|parameter| !self.parameters[parameter].frozen)
    }

    /// Returns whether the statistics of a batch norm are frozen, because its parameters are.
    pub(super) fn is_frozen(&self, norm: &Norm) -> bool {
        self.parameters[norm.gamma].frozen
    }
}

/// Returns an error if the network has several inputs or outputs.
fn check_ends(graph: &Graph) -> Result<()> {
    let inputs: Vec<&str> = graph.inputs().map(|(_, node)| node.name.as_str()).collect();
    let outputs: Vec<&str> = graph.outputs().iter().map(|output| output.name.as_str()).collect();
    for (what, names) in [("input", inputs), ("output", outputs)] {
        if names.len() != 1 {
            return Err(Error::layer(
                graph.kind(),
                format!(
                    "training needs a network with one {what}, found {}: {}",
                    names.len(),
                    names.join(", ")
                ),
            ));
        }
    }
    Ok(())
}

/// Returns the parameters in PyTorch's order, and the running estimates.
fn tensors(model: &FloatModel) -> Result<(Vec<Parameter>, Vec<Running>)> {
    let (mut parameters, mut running) = (Vec::new(), Vec::new());
    let graph = model.graph();
    let estimate = |key: ParameterKey| {
        let name = graph.parameter_name(key);
        match model.parameter(key.0, key.1) {
            Some(found) => Ok(Estimate { name, value: found.data().to_vec() }),
            None => Err(no_such_parameter(graph, key)),
        }
    };
    for found in graph.parameters() {
        let (key, shape) = (found.key, found.parameter.shape);
        let (node, role) = key;
        if role.is_trained() {
            let Estimate { name, value } = estimate(key)?;
            let norm = matches!(graph.node(node).op.training(), Training::BatchNorm { .. });
            let group = match role {
                _ if norm => ParameterGroup::BatchNorm,
                Role::Weight => ParameterGroup::Weight,
                _ => ParameterGroup::Bias,
            };
            let gradient = vec![0.0; value.len()];
            let (frozen, lr_factor) = (false, 1.0);
            parameters.push(Parameter {
                key,
                name,
                group,
                shape,
                value,
                gradient,
                frozen,
                lr_factor,
            });
        } else if role == Role::RunningMean {
            let (mean, var) = (estimate(key)?, estimate((node, Role::RunningVar))?);
            running.push(Running { node, mean, var });
        }
    }
    Ok((parameters, running))
}

fn no_such_parameter(graph: &Graph, key: ParameterKey) -> Error {
    Error::layer(graph.parameter_name(key), "the model has no such parameter")
}

/// Builds the layers of a network.
struct Builder<'a> {
    /// The graph before fusion.
    graph: &'a Graph,
    blocks: &'a Blocks,
    qat: Option<&'a QatModel>,
    parameters: HashMap<ParameterKey, usize>,
    running: HashMap<NodeId, usize>,
    layers: Vec<Layer>,
    /// For each node of the fused graph, the layer with its output.
    float: Vec<usize>,
    /// The layers that quantize the output of a float node for int8 nodes.
    int8: HashMap<NodeId, usize>,
}

impl Builder<'_> {
    fn carry_over(&mut self, id: NodeId) -> Result<()> {
        let node = self.blocks.fused.node(id);
        let domain = self.domain(id);
        let mut inputs = Vec::with_capacity(node.inputs.len());
        for &input in &node.inputs {
            let as_int8 = matches!(domain, Domain::Int8(_)) && !matches!(node.op, Op::QuantStub(_));
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
        let name = node.name.clone();
        let moves_values = node.op.int8_rule() == Int8Rule::InputScale { rounds: false };
        self.layers.push(Layer { name, node: id, inputs, core, epilogue, moves_values });
        Ok(())
    }

    fn domain(&self, id: NodeId) -> Domain {
        self.qat.map_or(Domain::Float, |qat| qat.domain(id))
    }

    /// Returns the layer that quantizes the float output of a node, adding it if needed.
    fn rounded(&mut self, id: NodeId) -> usize {
        if let Some(&known) = self.int8.get(&id) {
            return known;
        }
        let node = self.blocks.fused.node(id);
        let name = match node.op {
            Op::Input(_) => "quant".to_owned(),
            _ => format!("{}.quant", node.name),
        };
        let round = Round::Own(id);
        let epilogue = Epilogue { bias: None, norm: None, clamp: Clamp::NONE, round };
        let inputs = vec![self.float[id.0]];
        let (core, moves_values) = (Core::Identity, false);
        self.layers.push(Layer { name, node: id, inputs, core, epilogue, moves_values });
        self.int8.insert(id, self.layers.len() - 1);
        self.layers.len() - 1
    }

    fn parameter(&self, key: ParameterKey) -> Result<usize> {
        self.parameters.get(&key).copied().ok_or_else(|| no_such_parameter(self.graph, key))
    }

    /// Returns the first node of a block before fusion, since the fused operator may have a bias that
    /// this one does not have.
    fn first(&self, id: NodeId) -> NodeId {
        self.blocks.members[id.0][0]
    }

    fn core(&self, id: NodeId, rounded: Option<NodeId>) -> Result<Core> {
        let first = self.first(id);
        let node = self.graph.node(first);
        Ok(match node.op.training() {
            Training::Input => Core::Input,
            Training::Identity | Training::BatchNorm { .. } => Core::Identity,
            Training::Product(conv) => {
                let weight = self.parameter((first, Role::Weight))?;
                Core::Product(Product { conv, weight, rounded })
            }
            Training::Dropout(p) => Core::Dropout(p),
            Training::Function(gradient) => {
                Core::Function(Function { op: node.op.clone(), gradient })
            }
            Training::Untrainable(reason) => {
                let problem = format!("a {} cannot be trained: {reason}", node.op.kind());
                return Err(Error::layer(&node.name, problem));
            }
        })
    }

    fn epilogue(&self, id: NodeId, folded: bool, domain: Domain) -> Result<Epilogue> {
        let first = self.first(id);
        let bias = match self.graph.node(first).op.training() {
            Training::Product(conv) if conv.bias => Some(self.parameter((first, Role::Bias))?),
            _ => None,
        };
        let mut norm = None;
        for &member in &self.blocks.members[id.0] {
            let node = self.graph.node(member);
            if let Training::BatchNorm { eps, momentum } = node.op.training() {
                let missing =
                    || Error::layer(&node.name, "the model has no running estimates for it");
                norm = Some(Norm {
                    gamma: self.parameter((member, Role::Weight))?,
                    beta: self.parameter((member, Role::Bias))?,
                    running: *self.running.get(&member).ok_or_else(missing)?,
                    eps,
                    momentum,
                    folded,
                });
            }
        }
        let op = &self.blocks.fused.node(id).op;
        let clamp = Activation::clamp(op.activation());
        let round = match (domain, op.int8_rule()) {
            (Domain::Int8(source), _) if source == id => self.scale_of(id, Round::Own(id)),
            // Operators that keep the scale of their input, but whose values must be rounded to it.
            (Domain::Int8(source), Int8Rule::InputScale { rounds: true }) => {
                self.scale_of(source, Round::Shared(source))
            }
            (Domain::Float | Domain::Dynamic | Domain::Int8(_), _) => Round::None,
        };
        Ok(Epilogue { bias, norm, clamp, round })
    }

    /// Returns the fake quantization with the scale of the layer at `source`: fixed if its operator
    /// has a fixed scale, or `observed`.
    fn scale_of(&self, source: NodeId, observed: Round) -> Round {
        match self.blocks.fused.node(source).op.int8_rule() {
            Int8Rule::FixedScale { scale, zero_point } => {
                Round::Fixed(QParams { scale, zero_point: zero_point.into() })
            }
            _ => observed,
        }
    }
}
