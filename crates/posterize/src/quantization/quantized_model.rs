//! The int8 model: a graph whose values have scales, with int8 weights.

use std::collections::BTreeMap;
use std::sync::Arc;

use posterize_kernels::int8::{QParams8, Requantize};
use posterize_kernels::reference;

use super::qconfig::QConfigMapping;
use super::qparams::{QParams, QuantizationParams};
use crate::error::{Error, Result};
use crate::graph::{Graph, ModuleTree, Node, NodeId, float_leaf};
use crate::model::Parameters;
use crate::ops::{Int8Rule, Leaf, Linear, Op, QuantizedOutput};

/// The weights of an int8 convolution or linear layer.
#[derive(Clone, Debug, PartialEq)]
pub struct QuantizedLayer {
    /// `[out_channels, in_channels / groups, kh, kw]`, or `[out_features, in_features]`.
    pub shape: Vec<usize>,
    /// The weight in the order of the shape; symmetric, zero point 0.
    pub weight: Vec<i8>,
    /// The weight's scale, or one for each output channel.
    pub qparams: QuantizationParams,
    /// The bias at `scale_x · scale_w`, one for each output channel.
    pub bias: Vec<i32>,
}

impl QuantizedLayer {
    /// What each output channel's accumulator is multiplied by: `scale_x · scale_w / scale_y`, in
    /// f32 as PyTorch computes it.
    ///
    /// # Errors
    /// A multiplier that is not a positive, finite number.
    pub fn multipliers(&self, input: QParams, output: QParams) -> Result<Vec<f32>, String> {
        (0..self.bias.len())
            .map(|channel| {
                let weight = self.qparams.channel(channel).scale;
                let multiplier = Requantize::multiplier(input.scale, weight, output.scale);
                if multiplier.is_finite() && multiplier > 0.0 {
                    Ok(multiplier)
                } else {
                    Err(format!(
                        "channel {channel} has no multiplier: input scale {}, weight scale {weight}, \
                         output scale {}",
                        input.scale, output.scale
                    ))
                }
            })
            .collect()
    }
}

/// An int8 network: every value that has a scale is `u8`, the rest stay f32.
#[derive(Clone, Debug, PartialEq)]
pub struct QuantizedModel {
    graph: Graph,
    qparams: Vec<Option<QParams>>,
    /// Shared, so that an engine's copy of the model costs nothing.
    layers: Arc<BTreeMap<NodeId, QuantizedLayer>>,
    parameters: Parameters,
    mapping: QConfigMapping,
}

impl QuantizedModel {
    /// A network from its parts: the graph; for every node the scale of its output, where that is
    /// int8; the int8 weights by node; the float parameters of layers that stay in float; and the
    /// qconfig it was made with.
    ///
    /// # Errors
    /// The parts do not fit together: a file may hold anything.
    pub fn new(
        graph: Graph,
        qparams: Vec<Option<QParams>>,
        layers: BTreeMap<NodeId, QuantizedLayer>,
        parameters: Parameters,
        mapping: QConfigMapping,
    ) -> Result<Self> {
        let model = Self { graph, qparams, layers: Arc::new(layers), parameters, mapping };
        model.validate()?;
        Ok(model)
    }

    fn validate(&self) -> Result<()> {
        if self.qparams.len() != self.graph.nodes().len() {
            return Err(Error::layer(
                "graph",
                format!("{} nodes have {} scales", self.graph.nodes().len(), self.qparams.len()),
            ));
        }
        for (id, node) in self.graph.iter() {
            self.validate_node(id, node)
                .map_err(|problem| Error::layer(node.name.clone(), problem))?;
        }
        for id in self.layers.keys() {
            let node = self.graph.nodes().get(id.0);
            let name = node.map_or_else(|| format!("node {}", id.0), |node| node.name.clone());
            if self.qparams(*id).is_none() || node.is_none_or(|n| n.op.parameters().is_empty()) {
                return Err(Error::layer(name, "it has int8 weights and is no int8 layer"));
            }
        }
        for &(id, role) in self.parameters.keys() {
            let node = self.graph.nodes().get(id.0).filter(|_| self.qparams(id).is_none());
            let has = |node: &Node| node.op.parameters().iter().any(|found| found.role == role);
            if !node.is_some_and(has) {
                let problem = format!("it has a {role} and is no float layer that takes one");
                return Err(Error::layer(format!("node {}", id.0), problem));
            }
        }
        for output in self.graph.outputs() {
            if self.qparams[output.node.0].is_some() {
                return Err(Error::layer("graph", "its output is int8; it must be dequantized"));
            }
        }
        Ok(())
    }

    fn validate_node(&self, id: NodeId, node: &Node) -> Result<(), String> {
        let output = self.qparams[id.0];
        if let Some(qparams) = output {
            let zero_point = u8::try_from(qparams.zero_point)
                .map_err(|_| format!("its zero point {} is not in 0..=255", qparams.zero_point))?;
            if let Some(defect) = (QParams8 { scale: qparams.scale, zero_point }).defect() {
                return Err(format!("its {defect}"));
            }
        }
        let inputs = || node.inputs.iter().map(|input| self.qparams[input.0]);
        let rule = node.op.int8_rule();
        match node.op {
            Op::Input(_) => {
                return if output.is_none() { Ok(()) } else { Err("an input is float".into()) };
            }
            Op::QuantStub(_) => {
                return if inputs().all(|input| input.is_none()) {
                    Ok(())
                } else {
                    Err("it quantizes what is int8 already".into())
                };
            }
            Op::DeQuantStub(_) => {
                return if output.is_none() {
                    Ok(())
                } else {
                    Err("its output must be float".into())
                };
            }
            _ if matches!(rule, Int8Rule::Float { .. }) && output.is_some() => {
                return Err("it has no int8 form".into());
            }
            _ => {}
        }
        if inputs().any(|input| input.is_some() != output.is_some()) {
            return Err("int8 and float values meet without a quantize or dequantize".into());
        }
        if rule.keeps_scale() && inputs().next().flatten() != output {
            return Err("its output must have its input's scale and zero point".into());
        }
        let parameters = node.op.parameters();
        if parameters.is_empty() {
            return Ok(());
        }
        let Some(output) = output else {
            for parameter in parameters {
                let found = self.parameters.get(&(id, parameter.role));
                let found = found.map(|tensor| tensor.shape().to_vec());
                if found.as_ref() != Some(&parameter.shape) {
                    let expected = &parameter.shape;
                    return Err(format!(
                        "{} must be {expected:?}, found {found:?}",
                        parameter.role
                    ));
                }
            }
            return Ok(());
        };
        let layer = self.layers.get(&id).ok_or("it has no int8 weights")?;
        layer.validate(&parameters[0].shape)?;
        let input = inputs().next().flatten().ok_or("its input has no scale")?;
        let multiplier = layer.multipliers(input, output)?;
        let (min, max) = self.output_range(id).unwrap_or((0, u8::MAX));
        let requantize = Requantize { multiplier, zero_point: output.zero_point as u8, min, max };
        match layer.defect(&node.op, input.zero_point as u8, &requantize) {
            Some(defect) => Err(defect),
            None => Ok(()),
        }
    }

    /// The graph.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The scale and zero point of a node's output; `None` where it is float.
    pub fn qparams(&self, id: NodeId) -> Option<QParams> {
        self.qparams.get(id.0).copied().flatten()
    }

    /// The int8 weights of a node; `None` where it stays in float or has none.
    pub fn layer(&self, id: NodeId) -> Option<&QuantizedLayer> {
        self.layers.get(&id)
    }

    /// The int8 weights of the layer of that name; `None` where it stays in float or has none.
    pub fn layer_named(&self, name: &str) -> Option<&QuantizedLayer> {
        self.layer(self.graph.find(name)?)
    }

    /// All int8 weights by node.
    pub fn layers(&self) -> &BTreeMap<NodeId, QuantizedLayer> {
        &self.layers
    }

    /// The parameters of the layers that stay in float.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// The qconfig that it was made with.
    pub fn mapping(&self) -> &QConfigMapping {
        &self.mapping
    }

    /// The smallest and the largest integer of a node's output: all of `u8`, or what its activation
    /// leaves of it.
    pub fn output_range(&self, id: NodeId) -> Option<(u8, u8)> {
        let qparams = self.qparams(id)?;
        let quantize = |x| qparams.quantize(x, super::Dtype::Quint8) as u8;
        Some(match self.graph.node(id).op.activation() {
            None => (0, 255),
            Some(activation) => {
                let [min, max] = activation.bounds();
                (quantize(min), if max.is_finite() { quantize(max) } else { 255 })
            }
        })
    }

    /// The module tree of the whole network, or below a dotted path.
    ///
    /// # Errors
    /// There is no such module.
    pub fn module(&self, path: &str) -> Result<ModuleTree> {
        ModuleTree::new(&self.graph, path, &|id, node| self.leaf(id, node))
    }

    fn leaf(&self, id: NodeId, node: &Node) -> Option<Leaf> {
        let Some(qparams) = self.qparams(id) else {
            return match node.op {
                Op::DeQuantStub(_) if node.is_module => Some(Leaf::new("DeQuantize", "")),
                _ => float_leaf(node),
            };
        };
        let per_channel = self.layer(id).is_some_and(|layer| layer.qparams.axis().is_some());
        let output = QuantizedOutput {
            scale: qparams.scale,
            zero_point: qparams.zero_point,
            per_channel,
            is_module: node.is_module,
        };
        // What keeps its input's scale prints as in float.
        node.op.quantized_leaf(&output).or_else(|| float_leaf(node))
    }
}

impl QuantizedLayer {
    /// What keeps the kernels from computing it, in words: an accumulator that may overflow.
    fn defect(&self, op: &Op, input_zero_point: u8, requantize: &Requantize) -> Option<String> {
        let (weight, bias) = (self.weight.as_slice(), self.bias.as_slice());
        match op {
            Op::Conv2d(conv) => {
                // Padding has no part in it.
                let geometry = conv.unpadded();
                reference::Conv2d { geometry, weight, bias, input_zero_point, requantize }.defect()
            }
            Op::Linear(linear) => {
                let Linear { in_features, out_features, .. } = *linear;
                reference::Linear {
                    in_features,
                    out_features,
                    weight,
                    bias,
                    input_zero_point,
                    requantize,
                }
                .defect()
            }
            _ => Some("it has no int8 kernel".into()),
        }
    }

    fn validate(&self, shape: &[usize]) -> Result<(), String> {
        if self.shape != shape {
            return Err(format!("its int8 weight must be {shape:?}, found {:?}", self.shape));
        }
        let outputs = shape[0];
        let found = (self.weight.len(), self.bias.len());
        if found != (shape.iter().product(), outputs) {
            return Err(format!(
                "a weight of {shape:?} has {} values and {} biases",
                found.0, found.1
            ));
        }
        let scales = self.qparams.channels();
        let expected = if self.qparams.axis().is_some() { outputs } else { 1 };
        if scales.len() != expected || self.qparams.axis().is_some_and(|axis| axis != 0) {
            return Err(format!("a weight of {shape:?} has {} scales", scales.len()));
        }
        match scales.iter().find(|q| !(q.scale.is_finite() && q.scale > 0.0 && q.zero_point == 0)) {
            Some(bad) => Err(format!("a weight has {bad}; it must be positive and symmetric")),
            None => Ok(()),
        }
    }
}
