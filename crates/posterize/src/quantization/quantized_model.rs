//! The int8 model: a graph whose values have scales, with int8 weights.

use std::collections::BTreeMap;
use std::sync::Arc;

use posterize_kernels::int8::{QParams8, Requantize};
use posterize_kernels::reference;

use super::int8_form::{Int8Form, int8_form};
use super::qconfig::QConfigMapping;
use super::qparams::{QParams, QuantizationParams};
use crate::error::{Error, Result};
use crate::graph::{
    Activation, Conv2d, Graph, Leaf, Linear, ModuleTree, Node, NodeId, Op, Padding, float_leaf,
};
use crate::model::Parameters;

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
    layers: Arc<BTreeMap<String, QuantizedLayer>>,
    parameters: Parameters,
    mapping: QConfigMapping,
}

impl QuantizedModel {
    /// A network from its parts: the graph; for every node the scale of its output, where that is
    /// int8; the int8 weights by layer; the float parameters of layers that stay in float; and the
    /// qconfig it was made with.
    ///
    /// # Errors
    /// The parts do not fit together: a file may hold anything.
    pub fn new(
        graph: Graph,
        qparams: Vec<Option<QParams>>,
        layers: BTreeMap<String, QuantizedLayer>,
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
        for name in self.layers.keys() {
            let node = self.graph.find(name);
            let used = node.filter(|id| {
                self.qparams(*id).is_some() && !self.graph.node(*id).op.parameters().is_empty()
            });
            if used.is_none() {
                return Err(Error::layer(name, "it has int8 weights and is no int8 layer"));
            }
        }
        if self.qparams[self.graph.output().0].is_some() {
            return Err(Error::layer("graph", "its output is int8; it must be dequantized"));
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
        match node.op {
            Op::Input => {
                return if output.is_none() { Ok(()) } else { Err("an input is float".into()) };
            }
            Op::QuantStub => {
                return if inputs().all(|input| input.is_none()) {
                    Ok(())
                } else {
                    Err("it quantizes what is int8 already".into())
                };
            }
            Op::DeQuantStub => {
                return if output.is_none() {
                    Ok(())
                } else {
                    Err("its output must be float".into())
                };
            }
            Op::BatchNorm(_) if output.is_some() => return Err("it has no int8 form".into()),
            _ => {}
        }
        if inputs().any(|input| input.is_some() != output.is_some()) {
            return Err("int8 and float values meet without a quantize or dequantize".into());
        }
        if int8_form(&node.op) == Int8Form::SharedScale && inputs().next().flatten() != output {
            return Err("its output must have its input's scale and zero point".into());
        }
        let parameters = node.op.parameters();
        if parameters.is_empty() {
            return Ok(());
        }
        let Some(output) = output else {
            for parameter in parameters {
                let name = format!("{}.{}", node.name, parameter.name);
                let found = self.parameters.get(&name).map(|tensor| tensor.shape().to_vec());
                if found.as_ref() != Some(&parameter.shape) {
                    let expected = &parameter.shape;
                    return Err(format!(
                        "{} must be {expected:?}, found {found:?}",
                        parameter.name
                    ));
                }
            }
            return Ok(());
        };
        let layer = self.layers.get(&node.name).ok_or("it has no int8 weights")?;
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

    /// The int8 weights of a layer; `None` where it stays in float or has none.
    pub fn layer(&self, name: &str) -> Option<&QuantizedLayer> {
        self.layers.get(name)
    }

    /// All int8 weights by layer.
    pub fn layers(&self) -> &BTreeMap<String, QuantizedLayer> {
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
        let op = &self.graph.node(id).op;
        let activation = match op {
            Op::Activation(activation) => Some(*activation),
            _ => op.fused_activation(),
        };
        let quantize = |x| qparams.quantize(x, super::Dtype::Quint8) as u8;
        Some(match activation {
            None => (0, 255),
            Some(Activation::ReLU) => (quantize(0.0), 255),
            Some(Activation::ReLU6) => (quantize(0.0), quantize(6.0)),
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
                Op::DeQuantStub if node.is_module => Some(Leaf::new("DeQuantize", "")),
                _ => float_leaf(node),
            };
        };
        // PyTorch keeps scales as doubles and prints them so.
        let scale = f64::from(qparams.scale);
        let zero_point = qparams.zero_point;
        let quantized = format!("scale={scale}, zero_point={zero_point}");
        let kind = format!("Quantized{}", node.op.kind());
        Some(match &node.op {
            Op::QuantStub => Leaf::new(
                "Quantize",
                format!(
                    "scale=tensor([{:.4}]), zero_point=tensor([{zero_point}]), dtype=torch.quint8",
                    qparams.scale
                ),
            ),
            Op::Conv2d(conv, _) => {
                Leaf::new(kind, conv.python(&format!(", {quantized}"), conv.bias))
            }
            Op::Linear(linear, _) => {
                let scheme = match self.layers.get(&node.name).map(|layer| &layer.qparams) {
                    Some(QuantizationParams::PerChannel { .. }) => "torch.per_channel_affine",
                    _ => "torch.per_tensor_affine",
                };
                Leaf::new(
                    kind,
                    format!(
                        "in_features={}, out_features={}, {quantized}, qscheme={scheme}",
                        linear.in_features, linear.out_features
                    ),
                )
            }
            Op::Add(_) | Op::Mul | Op::Cat if node.is_module => Leaf {
                kind: "QFunctional".into(),
                detail: quantized,
                children: vec![("activation_post_process".into(), Leaf::new("Identity", ""))],
            },
            Op::Add(_) | Op::Mul | Op::Cat => Leaf::new(kind, quantized),
            Op::Dropout(_) => Leaf::new(kind, node.op.python()),
            // The rest share their input's scale and print as in float.
            _ => return float_leaf(node),
        })
    }
}

impl QuantizedLayer {
    /// What keeps the kernels from computing it, in words: an accumulator that may overflow.
    fn defect(&self, op: &Op, input_zero_point: u8, requantize: &Requantize) -> Option<String> {
        let (weight, bias) = (self.weight.as_slice(), self.bias.as_slice());
        match op {
            Op::Conv2d(conv, _) => {
                // Padding has no part in it.
                let geometry = Conv2d { padding: Padding::all(0), ..conv.clone() }.geometry([1, 1]);
                reference::Conv2d { geometry, weight, bias, input_zero_point, requantize }.defect()
            }
            Op::Linear(linear, _) => {
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
