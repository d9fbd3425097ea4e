//! The conversion of a calibrated model to int8; `torch.ao.quantization.convert`.
//!
//! Weights are quantized with the scales of their observer and biases to int32 with the scale
//! `scale_x · scale_w`. Quantize and dequantize nodes are inserted between float and int8 layers.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use super::domain::Domain;
use super::float_values::check_finite;
use super::prepare::ObservedModel;
use super::qparams::{QParams, QuantizationParams};
use super::quantized_layer::QuantizedLayer;
use super::quantized_model::QuantizedModel;
use super::quantized_weight::{QuantizedWeight, integers, observe_weight};
use crate::error::{Error, Result};
use crate::graph::{Node, NodeId, Rewriter};
use crate::model::Parameters;
use crate::ops::{DeQuantStub, DynamicQuantizedLinear, Int8Rule, Op, QuantStub, Role};
use crate::tensor::Tensor;
use crate::trace;

/// The largest absolute value of an int8 layer's bias, so that its sum with the products of the
/// layer fits an i32.
const MAX_BIAS: f64 = (1 << 30) as f64;

impl ObservedModel {
    /// Converts the model to int8; `torch.ao.quantization.convert`.
    ///
    /// # Errors
    /// Returns [`Error::NotCalibrated`], which lists every observer without data, or
    /// [`Error::Layer`] if a weight holds NaN or infinite values.
    pub fn convert(&self) -> Result<QuantizedModel> {
        self.convert_like(None)
    }

    /// Converts the model to int8. Layers that are int8 in `other` too, which was converted from the same
    /// float model, have its weights and biases.
    ///
    /// # Errors
    /// Returns the errors of [`Self::convert`].
    pub(super) fn convert_like(&self, other: Option<&QuantizedModel>) -> Result<QuantizedModel> {
        trace::span!(INFO, "convert", layers = self.model().graph().nodes().len());
        let idle = self.without_data();
        if !idle.is_empty() {
            return Err(Error::NotCalibrated {
                observers: idle.into_iter().map(str::to_owned).collect(),
                total: self.observers().count(),
                remedy: "run calibration pictures through the model before converting it",
            });
        }
        let mut pass = Pass {
            observed: self,
            other,
            rewriter: Rewriter::new(self.model().graph()),
            qparams: Vec::new(),
            quantized: BTreeMap::new(),
            dequantized: BTreeMap::new(),
            layers: BTreeMap::new(),
            weights: BTreeMap::new(),
            parameters: Parameters::new(),
            names: self.model().graph().iter().map(|(_, node)| node.name.clone()).collect(),
        };
        let graph = self.model().graph();
        for (id, node) in graph.iter() {
            pass.carry_over(id, node)?;
        }
        for (index, output) in graph.outputs().iter().enumerate() {
            let name =
                if index == 0 { "dequant".into() } else { format!("{}.dequant", output.name) };
            let float = pass.in_float(output.node, name);
            pass.rewriter.replace(output.node, float);
        }
        QuantizedModel::with_weights(
            pass.rewriter.finish(graph)?,
            pass.qparams,
            (pass.layers, pass.weights),
            pass.parameters,
            self.mapping().clone(),
        )
    }
}

/// The state of a conversion.
struct Pass<'a> {
    observed: &'a ObservedModel,
    other: Option<&'a QuantizedModel>,
    rewriter: Rewriter,
    /// For each new node, the scale and zero point of its output if that is int8.
    qparams: Vec<Option<QParams>>,
    /// The quantize nodes inserted after float nodes.
    quantized: BTreeMap<NodeId, NodeId>,
    /// The dequantize nodes inserted after int8 nodes.
    dequantized: BTreeMap<NodeId, NodeId>,
    layers: BTreeMap<NodeId, QuantizedLayer>,
    /// The int8 weights of layers that are quantized dynamically.
    weights: BTreeMap<NodeId, QuantizedWeight>,
    parameters: Parameters,
    /// The names in use: those of the graph's nodes and of inserted nodes.
    names: HashSet<String>,
}

impl Pass<'_> {
    fn carry_over(&mut self, id: NodeId, node: &Node) -> Result<()> {
        let domain = self.observed.domain(id);
        let mut inputs = Vec::with_capacity(node.inputs.len());
        for &input in &node.inputs {
            inputs.push(match (domain, &node.op) {
                (Domain::Int8(_), Op::QuantStub(_)) => {
                    self.in_float(input, self.behind(input, "dequant"))
                }
                (Domain::Int8(_), _) => self.in_int8(input)?,
                (Domain::Float, Op::DeQuantStub(_)) => self.rewriter.moved(input),
                (Domain::Float | Domain::Dynamic, _) => {
                    self.in_float(input, self.behind(input, "dequant"))
                }
            });
        }
        let qparams = match domain {
            Domain::Float | Domain::Dynamic => None,
            Domain::Int8(source) => Some(self.observed_qparams(source)?),
        };
        let parameters = node.op.parameters();
        let op = match &node.op {
            Op::Linear(linear) if domain == Domain::Dynamic => {
                DynamicQuantizedLinear::new(linear.clone()).into()
            }
            op => op.clone(),
        };
        let new = self.push(Node { op, inputs: inputs.clone(), ..node.clone() }, qparams);
        if let (false, Some(output)) = (parameters.is_empty(), qparams) {
            let input = self.qparams[inputs[0].0]
                .ok_or_else(|| Error::layer(&node.name, "its input must be int8, found float"))?;
            let layer = self.quantize_weights(id, node, input, output)?;
            self.layers.insert(new, layer);
        } else {
            for parameter in parameters {
                let found = self.observed.model().parameters().get(&(id, parameter.role));
                if let Some(tensor) = found {
                    self.parameters.insert((new, parameter.role), Arc::clone(tensor));
                }
            }
            if domain == Domain::Dynamic {
                self.quantize_dynamically(id, new, node)?;
            }
        }
        self.rewriter.replace(id, new);
        Ok(())
    }

    /// Quantizes the weight of the new node `new` of a layer whose input is quantized when it runs.
    fn quantize_dynamically(&mut self, id: NodeId, new: NodeId, node: &Node) -> Result<()> {
        let weight = self.parameters.remove(&(new, Role::Weight));
        let weight = weight
            .ok_or_else(|| Error::layer(&node.name, "the model has no weight for this layer"))?;
        if let Some((weight, bias)) = self.other.and_then(|other| other.dynamic_layer(&node.name)) {
            self.weights.insert(new, weight);
            self.parameters.extend(bias.map(|bias| ((new, Role::Bias), bias)));
            return Ok(());
        }
        if let Some(bias) = self.parameters.get(&(new, Role::Bias)) {
            check_finite(&format!("{}.bias", node.name), bias.data())?;
        }
        let qconfig = self.observed.qconfig(id).expect("nodes that are quantized have a qconfig");
        let weight = QuantizedWeight::new(&node.name, &weight, &qconfig.weight)?;
        self.weights.insert(new, weight);
        Ok(())
    }

    fn push(&mut self, node: Node, qparams: Option<QParams>) -> NodeId {
        self.qparams.push(qparams);
        self.rewriter.push(node)
    }

    fn behind(&self, id: NodeId, what: &str) -> String {
        format!("{}.{what}", self.observed.model().graph().node(id).name)
    }

    /// Returns a name that no node has: `name`, else one made from that of node `id`, numbered if needed.
    fn free_name(&mut self, name: String, id: NodeId, what: &str) -> String {
        let behind = self.behind(id, what);
        let numbered = (1..).map(|number| format!("{behind}_{number}"));
        let mut names = [name, behind.clone()].into_iter().chain(numbered);
        let free = names.find(|name| !self.names.contains(name)).unwrap_or(behind);
        self.names.insert(free.clone());
        free
    }

    /// Returns the new node with the int8 output of a node, inserting a quantize node if needed.
    fn in_int8(&mut self, id: NodeId) -> Result<NodeId> {
        let moved = self.rewriter.moved(id);
        if self.qparams[moved.0].is_some() {
            return Ok(moved);
        }
        if let Some(&known) = self.quantized.get(&id) {
            return Ok(known);
        }
        let node = self.observed.model().graph().node(id);
        let name =
            if matches!(node.op, Op::Input(_)) { "quant".into() } else { self.behind(id, "quant") };
        let qparams = self.observed_qparams(id)?;
        let name = self.free_name(name, id, "quant");
        let stub = Node { name, op: QuantStub.into(), inputs: vec![moved], is_module: true };
        let new = self.push(stub, Some(qparams));
        self.quantized.insert(id, new);
        Ok(new)
    }

    /// Returns the new node with the float output of a node, inserting a dequantize node if needed.
    fn in_float(&mut self, id: NodeId, name: String) -> NodeId {
        let moved = self.rewriter.moved(id);
        if self.qparams[moved.0].is_none() {
            return moved;
        }
        if let Some(&known) = self.dequantized.get(&id) {
            return known;
        }
        let name = self.free_name(name, id, "dequant");
        let stub = Node { name, op: DeQuantStub.into(), inputs: vec![moved], is_module: true };
        let new = self.push(stub, None);
        self.dequantized.insert(id, new);
        new
    }

    fn observed_qparams(&self, source: NodeId) -> Result<QParams> {
        let node = self.observed.model().graph().node(source);
        if let Int8Rule::FixedScale { scale, zero_point } = node.op.int8_rule() {
            return Ok(QParams { scale, zero_point: i32::from(zero_point) });
        }
        self.observed.qparams(source).and_then(QuantizationParams::per_tensor).ok_or_else(|| {
            Error::layer(&node.name, "the observer of its output has no data; calibrate the model")
        })
    }

    fn quantize_weights(
        &self,
        id: NodeId,
        node: &Node,
        input: QParams,
        output: QParams,
    ) -> Result<QuantizedLayer> {
        let known = self.other.and_then(|other| other.layer_with_input(&node.name, input));
        if let Some(layer) = known {
            layer
                .multipliers(input, output)
                .map_err(|problem| Error::layer(&node.name, problem))?;
            return Ok(layer);
        }
        let model = self.observed.model();
        let qconfig = self.observed.qconfig(id).expect("int8 nodes have a qconfig");
        let weight = model
            .parameter(id, Role::Weight)
            .ok_or_else(|| Error::layer(&node.name, "the model has no weight for this layer"))?;
        let bias = model.parameter(id, Role::Bias).map(Tensor::data);
        let spec = &qconfig.weight;
        let qparams = match self.observed.weight_qparams(id) {
            Some(known) => known.clone(),
            None => observe_weight(&node.name, weight, spec)?,
        };
        let quant_range = spec.target()?.quant_range();
        quantize_layer(&node.name, weight, bias, qparams, quant_range, input, output)
    }
}

/// Quantizes a weight `[out, …]` to the integers of `quant_range`, and a bias `[out]` to i32 with
/// the scale `scale_x · scale_w`.
///
/// If the weights of a channel are so small that its bias would exceed [`MAX_BIAS`], the channel's
/// scale is raised until the bias fits; the weights are then negligible beside the bias.
///
/// # Errors
/// Returns an error if the weight or bias holds NaN or infinite values.
pub(crate) fn quantize_layer(
    name: &str,
    weight: &Tensor,
    bias: Option<&[f32]>,
    mut qparams: QuantizationParams,
    quant_range: (i32, i32),
    input: QParams,
    output: QParams,
) -> Result<QuantizedLayer> {
    let channels = weight.shape()[0];
    let zeros = vec![0.0; channels];
    let bias = bias.unwrap_or(&zeros);
    if let Some(channel) = bias.iter().position(|value| !value.is_finite()) {
        return Err(Error::layer(
            format!("{name}.bias"),
            format!("value {channel} is {}; weights must be finite", bias[channel]),
        ));
    }
    let min_scale = |bias: f32| (f64::from(bias.abs()) / MAX_BIAS / f64::from(input.scale)) as f32;
    match &mut qparams {
        QuantizationParams::PerTensor(all) => {
            all.scale = bias.iter().fold(all.scale, |scale, &bias| scale.max(min_scale(bias)));
        }
        QuantizationParams::PerChannel { channels, .. } => {
            for (channel, &bias) in channels.iter_mut().zip(bias) {
                channel.scale = channel.scale.max(min_scale(bias));
            }
        }
    }
    let bias = bias
        .iter()
        .enumerate()
        .map(|(channel, &bias)| {
            let scale = f64::from(input.scale) * f64::from(qparams.channel(channel).scale);
            (f64::from(bias) / scale).round_ties_even() as i32
        })
        .collect();
    let layer = QuantizedLayer {
        shape: weight.shape().to_vec(),
        weight: integers(weight, &qparams, quant_range)?,
        qparams,
        bias,
    };
    layer.multipliers(input, output).map_err(|problem| Error::layer(name, problem))?;
    Ok(layer)
}
