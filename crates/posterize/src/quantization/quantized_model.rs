//! Quantized models and their int8 weights.

use std::collections::BTreeMap;
use std::sync::Arc;

use posterize_kernels::int8::{QParams8, Requantize};

use super::qconfig::QConfigMapping;
use super::qparams::QParams;
use super::quantized_layer::QuantizedLayer;
use super::quantized_weight::QuantizedWeight;
use crate::error::{Error, Result};
use crate::graph::{Graph, ModuleTree, Node, NodeId, float_leaf};
use crate::model::Parameters;
use crate::ops::{Int8Rule, Leaf, Op, QuantizedOutput, Role};
use crate::tensor::Tensor;

/// A quantized network: its int8 layers compute `u8` values with a scale and zero point, the others
/// f32 values.
///
/// [`ObservedModel::convert`](super::ObservedModel::convert) and
/// [`QatModel::convert`](super::QatModel::convert) create it.
///
/// ```
/// use posterize::ops::Linear;
/// use posterize::quantization::{QConfig, QConfigMapping};
/// use posterize::{Architecture, Tensor};
///
/// let model = Architecture::trace(&Linear::new(4, 2))?.init(0);
/// let mut observed = model.prepare(&QConfigMapping::global(QConfig::recommended()))?;
/// observed.forward(&Tensor::new([1, 4], vec![-1.0, 0.0, 0.5, 1.0])?)?;
/// let quantized = observed.convert()?;
/// let kinds: Vec<_> = quantized.graph().nodes().iter().map(|node| node.op.kind()).collect();
/// assert_eq!(kinds, ["Input", "QuantStub", "Linear", "DeQuantStub"]);
/// assert_eq!(quantized.layers().values().next().unwrap().weight.len(), 8);
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct QuantizedModel {
    graph: Graph,
    qparams: Vec<Option<QParams>>,
    /// Shared, so that an engine's copy of the model does not copy weights.
    layers: Arc<BTreeMap<NodeId, QuantizedLayer>>,
    weights: Arc<BTreeMap<NodeId, QuantizedWeight>>,
    parameters: Parameters,
    /// Shared, so that the model is small.
    mapping: Arc<QConfigMapping>,
}

impl QuantizedModel {
    /// Creates a model from its parts.
    ///
    /// `qparams` holds for each node the scale and zero point of its output, or `None` if that is
    /// float. `layers` are the int8 weights by node, `parameters` those of the layers that stay in
    /// float, and `mapping` the qconfigs that the model was quantized with.
    ///
    /// # Errors
    /// Returns an error that names the node if the parts, which may come from a file, do not fit
    /// together.
    pub fn new(
        graph: Graph,
        qparams: Vec<Option<QParams>>,
        layers: BTreeMap<NodeId, QuantizedLayer>,
        parameters: Parameters,
        mapping: QConfigMapping,
    ) -> Result<Self> {
        Self::with_weights(graph, qparams, (layers, BTreeMap::new()), parameters, mapping)
    }

    /// Creates a model from its parts, as [`Self::new`] does, with int8 weights of layers whose values are
    /// float. `parameters` has none for these weights.
    pub(crate) fn with_weights(
        graph: Graph,
        qparams: Vec<Option<QParams>>,
        (layers, weights): (BTreeMap<NodeId, QuantizedLayer>, BTreeMap<NodeId, QuantizedWeight>),
        parameters: Parameters,
        mapping: QConfigMapping,
    ) -> Result<Self> {
        let (layers, weights, mapping) = (Arc::new(layers), Arc::new(weights), Arc::new(mapping));
        let model = Self { graph, qparams, layers, weights, parameters, mapping };
        model.validate()?;
        Ok(model)
    }

    fn validate(&self) -> Result<()> {
        if self.qparams.len() != self.graph.nodes().len() {
            return Err(Error::layer(
                "graph",
                format!(
                    "expected the scales of {} nodes, found {}",
                    self.graph.nodes().len(),
                    self.qparams.len()
                ),
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
                return Err(Error::layer(
                    name,
                    "only an int8 layer with weights may have int8 weights",
                ));
            }
        }
        for &id in self.weights.keys() {
            let node = self.graph.nodes().get(id.0).filter(|_| self.qparams(id).is_none());
            let takes = |op: &Op| {
                matches!(op, Op::Conv2d(_) | Op::Linear(_) | Op::DynamicQuantizedLinear(_))
            };
            if !node.is_some_and(|node| takes(&node.op)) {
                let name = node.map_or_else(|| format!("node {}", id.0), |node| node.name.clone());
                return Err(Error::layer(
                    name,
                    "only a float convolution or linear layer may have an int8 weight without an int8 \
                     output",
                ));
            }
        }
        for &(id, role) in self.parameters.keys() {
            let node = self.graph.nodes().get(id.0).filter(|_| self.qparams(id).is_none());
            let int8 = role == Role::Weight && self.weights.contains_key(&id);
            let node = node.filter(|_| !int8);
            let has = |node: &Node| node.op.parameters().iter().any(|found| found.role == role);
            if !node.is_some_and(has) {
                let problem = format!("only a float layer with a {role} may have a float {role}");
                return Err(Error::layer(format!("node {}", id.0), problem));
            }
        }
        for output in self.graph.outputs() {
            if self.qparams[output.node.0].is_some() {
                return Err(Error::layer(
                    &output.name,
                    "an output of the graph must be float, found int8; add a DeQuantStub",
                ));
            }
        }
        Ok(())
    }

    fn validate_node(&self, id: NodeId, node: &Node) -> Result<(), String> {
        let output = self.qparams[id.0];
        if let Some(qparams) = output {
            let zero_point = u8::try_from(qparams.zero_point).map_err(|_| {
                format!("its zero point must be from 0 to 255, found {}", qparams.zero_point)
            })?;
            if let Some(defect) = (QParams8 { scale: qparams.scale, zero_point }).defect() {
                return Err(format!("its {defect}"));
            }
        }
        let inputs = || node.inputs.iter().map(|input| self.qparams[input.0]);
        let rule = node.op.int8_rule();
        match node.op {
            Op::Input(_) => {
                return if output.is_none() {
                    Ok(())
                } else {
                    Err("the input of a network must be float, found int8".into())
                };
            }
            Op::QuantStub(_) => {
                return if inputs().all(|input| input.is_none()) {
                    Ok(())
                } else {
                    Err("the input of a QuantStub must be float, found int8".into())
                };
            }
            Op::DeQuantStub(_) => {
                return if output.is_none() {
                    Ok(())
                } else {
                    Err("the output of a DeQuantStub must be float, found int8".into())
                };
            }
            _ if matches!(rule, Int8Rule::Float { .. }) && output.is_some() => {
                return Err("it has no int8 form".into());
            }
            _ => {}
        }
        if inputs().any(|input| input.is_some() != output.is_some()) {
            return Err(
                "its inputs and its output must be all int8 or all float; add a QuantStub or \
                        DeQuantStub"
                    .into(),
            );
        }
        if rule.keeps_scale() && inputs().next().flatten() != output {
            return Err("its output must have the scale and zero point of its input".into());
        }
        let parameters = node.op.parameters();
        if parameters.is_empty() {
            return Ok(());
        }
        let Some(output) = output else {
            let weight = self.weights.get(&id);
            if let Some(weight) = weight {
                weight.validate(&parameters[0].shape)?;
            }
            if let Op::DynamicQuantizedLinear(op) = &node.op {
                let weight = weight.ok_or("its weight must be int8, found none")?;
                if let Some(defect) = weight.defect(op.linear()) {
                    return Err(defect);
                }
            }
            for parameter in parameters {
                if parameter.role == Role::Weight && weight.is_some() {
                    continue;
                }
                let found = self.parameters.get(&(id, parameter.role));
                let found = found.map(|tensor| tensor.shape().to_vec());
                if found.as_ref() != Some(&parameter.shape) {
                    let expected = &parameter.shape;
                    let found = found.map_or("none".to_owned(), |shape| format!("{shape:?}"));
                    return Err(format!(
                        "expected a {} {expected:?}, found {found}",
                        parameter.role
                    ));
                }
            }
            return Ok(());
        };
        let layer =
            self.layers.get(&id).ok_or("an int8 layer must have int8 weights, found none")?;
        layer.validate(&parameters[0].shape)?;
        let input = inputs().next().flatten().ok_or("its input must be int8, found float")?;
        let multiplier = layer.multipliers(input, output)?;
        let (min, max) = self.output_range(id).unwrap_or((0, u8::MAX));
        let requantize = Requantize { multiplier, zero_point: output.zero_point as u8, min, max };
        match layer.defect(&node.op, input.zero_point as u8, &requantize) {
            Some(defect) => Err(defect),
            None => Ok(()),
        }
    }

    /// Returns the model with other biases for some layers: `dynamic` for those that are quantized dynamically
    /// and have one.
    ///
    /// # Errors
    /// Returns an error if an accumulator could overflow, or if a bias has another shape.
    pub(super) fn with_biases(
        mut self,
        biases: BTreeMap<NodeId, Vec<i32>>,
        dynamic: BTreeMap<NodeId, Tensor>,
    ) -> Result<Self> {
        let layers = Arc::make_mut(&mut self.layers);
        for (id, bias) in biases {
            if let Some(layer) = layers.get_mut(&id) {
                layer.bias = bias;
            }
        }
        for (id, bias) in dynamic {
            if let Some(known) = self.parameters.get_mut(&(id, Role::Bias)) {
                *known = Arc::new(bias);
            }
        }
        self.validate()?;
        Ok(self)
    }

    /// Returns the weight and the bias of a layer that is quantized dynamically; `None` if it is not.
    pub(super) fn dynamic_layer(
        &self,
        name: &str,
    ) -> Option<(QuantizedWeight, Option<Arc<Tensor>>)> {
        let id = self.graph.find(name)?;
        let weight = self.weights.get(&id)?.clone();
        Some((weight, self.parameters.get(&(id, Role::Bias)).cloned()))
    }

    /// Returns the int8 weights of a layer for an input with another scale, on which the integers of its
    /// bias depend; `None` if it has none.
    pub(super) fn layer_with_input(&self, name: &str, input: QParams) -> Option<QuantizedLayer> {
        let id = self.graph.find(name)?;
        let mut layer = self.layer(id)?.clone();
        let own = self.qparams(self.graph.node(id).inputs[0])?;
        if own.scale != input.scale {
            let factor = f64::from(own.scale) / f64::from(input.scale);
            for bias in &mut layer.bias {
                *bias = (f64::from(*bias) * factor).round_ties_even() as i32;
            }
        }
        Some(layer)
    }

    /// Returns the size of the weights, scales and biases of a node in bytes.
    ///
    /// ```
    /// use posterize::ops::Linear;
    /// use posterize::quantization::{QConfig, QConfigMapping};
    /// use posterize::{Architecture, Tensor};
    ///
    /// let model = Architecture::trace(&Linear::new(4, 2))?.init(0);
    /// let mut observed = model.prepare(&QConfigMapping::global(QConfig::recommended()))?;
    /// observed.forward(&Tensor::new([1, 4], vec![-1.0, 0.0, 0.5, 1.0])?)?;
    /// let quantized = observed.convert()?;
    /// let linear = quantized.layers().keys().next().unwrap();
    /// // 8 weights, and the scale and the bias of 2 channels.
    /// assert_eq!(quantized.bytes_of(*linear), 8 + 4 * (2 + 2));
    /// # Ok::<(), posterize::Error>(())
    /// ```
    pub fn bytes_of(&self, id: NodeId) -> usize {
        match self.layer(id) {
            Some(layer) => {
                layer.weight.len() + 4 * (layer.bias.len() + layer.qparams.channels().len())
            }
            None => match self.weight(id) {
                Some(weight) => {
                    let float = size_of::<f32>() * weight.weight.len();
                    self.graph.node(id).op.float_bytes() - float + weight.bytes()
                }
                None => self.graph.node(id).op.float_bytes(),
            },
        }
    }

    /// Returns the size of all weights, scales and biases in bytes.
    pub fn bytes(&self) -> usize {
        self.graph.iter().map(|(id, _)| self.bytes_of(id)).sum()
    }

    /// Returns the model with other weights and biases for some layers.
    ///
    /// # Errors
    /// Returns an error if an accumulator could overflow.
    pub(super) fn with_layers(
        mut self,
        replaced: BTreeMap<NodeId, (Vec<i8>, Vec<i32>)>,
    ) -> Result<Self> {
        let layers = Arc::make_mut(&mut self.layers);
        for (id, (weight, bias)) in replaced {
            if let Some(layer) = layers.get_mut(&id) {
                (layer.weight, layer.bias) = (weight, bias);
            }
        }
        self.validate()?;
        Ok(self)
    }

    /// Returns the graph.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Returns the scale and zero point of a node's output; `None` if it is float.
    pub fn qparams(&self, id: NodeId) -> Option<QParams> {
        self.qparams.get(id.0).copied().flatten()
    }

    /// Returns the scale and zero point of the value that a node of the float network has, whether it is
    /// computed in int8 or quantized afterwards; `None` if it stays in float.
    pub(super) fn qparams_of(&self, name: &str) -> Option<QParams> {
        let id = self.graph.find(name)?;
        let quantized = || {
            let reads = |(_, node): &(NodeId, &Node)| {
                matches!(node.op, Op::QuantStub(_)) && node.inputs == [id]
            };
            self.graph.iter().find(reads).and_then(|(stub, _)| self.qparams(stub))
        };
        self.qparams(id).or_else(quantized)
    }

    /// Returns the int8 weights of an int8 layer; `None` if the node is none.
    pub fn layer(&self, id: NodeId) -> Option<&QuantizedLayer> {
        self.layers.get(&id)
    }

    /// Returns the int8 weights of the layer with a dotted name; `None` if it has none.
    pub fn layer_named(&self, name: &str) -> Option<&QuantizedLayer> {
        self.layer(self.graph.find(name)?)
    }

    /// Returns the int8 weight of a node whose values are float; `None` if it has none.
    pub fn weight(&self, id: NodeId) -> Option<&QuantizedWeight> {
        self.weights.get(&id)
    }

    /// Returns the int8 weights of the nodes whose values are float, by node.
    pub fn weights(&self) -> &BTreeMap<NodeId, QuantizedWeight> {
        &self.weights
    }

    /// Returns the number of [`DynamicQuantizedLinear`](crate::ops::DynamicQuantizedLinear) layers.
    pub fn dynamic_layers(&self) -> usize {
        let nodes = self.graph.nodes().iter();
        nodes.filter(|node| matches!(node.op, Op::DynamicQuantizedLinear(_))).count()
    }

    /// Returns the int8 weights of all int8 layers by node.
    pub fn layers(&self) -> &BTreeMap<NodeId, QuantizedLayer> {
        &self.layers
    }

    /// Returns the parameters of the layers that stay in float.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// Returns the qconfig mapping that it was quantized with.
    pub fn mapping(&self) -> &QConfigMapping {
        &self.mapping
    }

    /// Returns the smallest and the largest integer of a node's output, after its activation; `None`
    /// if it is float.
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

    /// Returns the module at a dotted path and all modules below it; an empty path is the whole
    /// network.
    ///
    /// # Errors
    /// Returns an error that lists the existing names if there is no module at that path.
    pub fn module(&self, path: &str) -> Result<ModuleTree> {
        ModuleTree::new(&self.graph, path, &|id, node| self.leaf(id, node))
    }

    fn leaf(&self, id: NodeId, node: &Node) -> Option<Leaf> {
        let Some(qparams) = self.qparams(id) else {
            return match node.op {
                Op::DeQuantStub(_) if node.is_module => Some(Leaf::new("DeQuantize", "")),
                _ => {
                    let leaf = float_leaf(node)?;
                    Some(match self.weight(id) {
                        Some(weight) => weight.in_leaf(leaf),
                        None => leaf,
                    })
                }
            };
        };
        let per_channel = self.layer(id).is_some_and(|layer| layer.qparams.axis().is_some());
        let output = QuantizedOutput {
            scale: qparams.scale,
            zero_point: qparams.zero_point,
            per_channel,
            is_module: node.is_module,
        };
        // Operators that keep the scale of their input are printed as in float.
        node.op.quantized_leaf(&output).or_else(|| float_leaf(node))
    }
}
