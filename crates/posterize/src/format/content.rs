//! A model as tensors and metadata, and back.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use safetensors::Dtype;
use serde::{Deserialize, Serialize};

use super::SavedModel;
use super::container::{Container, RawTensor};
use super::parts::{Reader, compressed, floats, json};
use crate::data::Class;
use crate::error::Result;
use crate::graph::{Graph, Node};
use crate::model::Parameters;
use crate::quantization::{QParams, QuantizationParams, QuantizedLayer, QuantizedModel};
use crate::tensor::MemoryFormat;

/// The tensor that holds the graph, as compressed JSON.
const GRAPH: &str = "graph.json.zlib";
/// The tensor that holds the classes, as compressed JSON.
const CLASSES: &str = "classes.json.zlib";

/// What compressed JSON may unfold to, in bytes.
const LARGEST_JSON: u64 = 8 << 20;

/// What one value may number for a single picture; more would not fit the memory of this world's
/// machines in batches, and no classifier is near it.
const MOST_VALUES: usize = 1 << 26;

/// The tensor [`GRAPH`].
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Description<G> {
    graph: G,
    /// For every node the scale and zero point of its output, where that is int8.
    qparams: Vec<Option<QParams>>,
}

impl SavedModel {
    /// What keeps the parts from being used together, in words.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.name.len() > 256 || self.name.chars().any(char::is_control) {
            return Err("its name is longer than 256 bytes or holds control characters".into());
        }
        let mut folders = HashSet::new();
        for Class { folder, name } in &self.classes {
            if folder.is_empty() || !folders.insert(folder.as_str()) {
                return Err(format!(
                    "two of its classes have the folder {folder:?}, or one has none"
                ));
            }
            if folder.chars().chain(name.chars()).any(char::is_control) {
                return Err(format!("the class {folder:?} has control characters in its name"));
            }
        }
        let Some(preprocessing) = &self.preprocessing else {
            return if self.classes.is_empty() {
                Ok(())
            } else {
                Err("it has classes but no preprocessing, so its outputs cannot be counted".into())
            };
        };
        preprocessing.validate().map_err(|error| error.to_string())?;
        let graph = self.model.graph();
        let size = preprocessing.crop;
        let shapes = graph.infer(&[1, 3, size, size]).map_err(|error| error.to_string())?;
        for (node, layer) in graph.nodes().iter().zip(&shapes) {
            let values: usize = layer.shape.iter().product();
            if values > MOST_VALUES {
                return Err(format!(
                    "{}: an output of {:?} has more than the limit of {MOST_VALUES} values",
                    node.name, layer.shape
                ));
            }
        }
        let output = &shapes[graph.output().0].shape;
        if !self.classes.is_empty() && *output != [1, self.classes.len()] {
            return Err(format!(
                "it names {} classes, but the network's output for a picture is {output:?}",
                self.classes.len()
            ));
        }
        Ok(())
    }
}

pub(super) fn to_container(saved: &SavedModel) -> Result<Container<'_>> {
    let model = &saved.model;
    let graph = model.graph();
    let qparams = graph.iter().map(|(id, _)| model.qparams(id)).collect();
    let mut metadata = BTreeMap::from([("model".to_owned(), saved.name.clone())]);
    metadata.insert("qconfig".into(), json(model.mapping())?);
    if let Some(preprocessing) = &saved.preprocessing {
        metadata.insert("preprocessing".into(), json(preprocessing)?);
    }
    let mut tensors = BTreeMap::new();
    tensors.insert(GRAPH.to_owned(), compressed(&Description { graph, qparams })?);
    if !saved.classes.is_empty() {
        let classes: Vec<[&str; 2]> =
            saved.classes.iter().map(|class| [&*class.folder, &*class.name]).collect();
        tensors.insert(CLASSES.to_owned(), compressed(&classes)?);
    }
    for (name, layer) in model.layers() {
        let scales: Vec<f32> = layer.qparams.channels().iter().map(|q| q.scale).collect();
        let outputs = layer.bias.len();
        let scales_shape =
            if layer.qparams.axis().is_some() { vec![scales.len()] } else { Vec::new() };
        let weight = layer.weight.iter().map(|&q| q as u8).collect();
        let mut add = |part: &str, dtype, shape, bytes: Vec<u8>| {
            let tensor = RawTensor { dtype, shape, bytes: Cow::Owned(bytes) };
            tensors.insert(format!("{name}.{part}"), tensor);
        };
        add("weight", Dtype::I8, layer.shape.clone(), weight);
        add("weight_scale", Dtype::F32, scales_shape, floats(&scales));
        let bias = layer.bias.iter().flat_map(|b| b.to_le_bytes()).collect();
        add("bias", Dtype::I32, vec![outputs], bias);
    }
    for (name, tensor) in model.parameters() {
        let values = tensor.to_format(MemoryFormat::Contiguous);
        let (dtype, shape) = (Dtype::F32, tensor.shape().to_vec());
        let bytes = Cow::Owned(floats(values.data()));
        tensors.insert(name.clone(), RawTensor { dtype, shape, bytes });
    }
    Ok(Container { metadata, tensors })
}

/// The model of a container. That its parts fit together is [`SavedModel::check`]'s affair.
pub(super) fn from_container(container: &Container<'_>) -> Result<SavedModel, String> {
    let metadata = |key: &str| container.metadata.get(key).map(String::as_str);
    let mut reader = Reader::new(container);
    let Description { graph, qparams } = reader
        .unfold::<Description<Graph>>(GRAPH, LARGEST_JSON)?
        .ok_or_else(|| format!("it has no tensor `{GRAPH}`"))?;
    let classes =
        reader.unfold::<Vec<(String, String)>>(CLASSES, LARGEST_JSON)?.unwrap_or_default();
    let classes = classes.into_iter().map(|(folder, name)| Class { folder, name }).collect();
    if qparams.len() != graph.nodes().len() {
        return Err(format!("its {} nodes have {} scales", graph.nodes().len(), qparams.len()));
    }
    let (mut layers, mut parameters) = (BTreeMap::new(), Parameters::new());
    for ((_, node), qparams) in graph.iter().zip(&qparams) {
        if node.op.parameters().is_empty() {
            continue;
        }
        if qparams.is_some() {
            layers.insert(node.name.clone(), layer(&mut reader, node)?);
        } else {
            for parameter in node.op.parameters() {
                let name = format!("{}.{}", node.name, parameter.name);
                let tensor = reader.parameter(&name, &parameter.shape)?;
                parameters.insert(name, Arc::new(tensor));
            }
        }
    }
    if let Some(name) = reader.unused() {
        return Err(format!("the tensor {name:.80?} belongs to no layer of its graph"));
    }
    let in_metadata = |key: &str, error: serde_json::Error| format!("its {key}: {error}");
    let mapping = metadata("qconfig").ok_or("its metadata lacks `qconfig`")?;
    let mapping: crate::quantization::QConfigMapping =
        serde_json::from_str(mapping).map_err(|error| in_metadata("qconfig", error))?;
    for qconfig in mapping.qconfigs() {
        qconfig.validate().map_err(|error| error.to_string())?;
    }
    let preprocessing = metadata("preprocessing")
        .map(serde_json::from_str)
        .transpose()
        .map_err(|error| in_metadata("preprocessing", error))?;
    let model = QuantizedModel::new(graph, qparams, layers, parameters, mapping)
        .map_err(|error| error.to_string())?;
    let name = metadata("model").unwrap_or_else(|| model.graph().kind()).to_owned();
    Ok(SavedModel { name, model, preprocessing, classes })
}

/// The int8 weights of a convolution or linear layer.
fn layer(reader: &mut Reader<'_>, node: &Node) -> Result<QuantizedLayer, String> {
    let Some(weight) = node.op.parameters().into_iter().next() else {
        return Err(format!("{}: it has no weight", node.name));
    };
    let (shape, outputs) = (weight.shape.clone(), weight.shape[0]);
    let part = |part: &str| format!("{}.{part}", node.name);
    let weight = reader.take(&part("weight"), Dtype::I8, &shape)?;
    let weight = weight.iter().map(|&byte| byte as i8).collect();
    let bias = reader.take(&part("bias"), Dtype::I32, &[outputs])?;
    let bias = bias.as_chunks().0.iter().map(|bytes| i32::from_le_bytes(*bytes)).collect();
    let scale = part("weight_scale");
    let per_tensor = reader.container.tensors.get(&scale).is_some_and(|t| t.shape.is_empty());
    let scales =
        reader.floats(&scale, if per_tensor { &[] } else { std::slice::from_ref(&outputs) })?;
    let mut channels = scales.into_iter().map(|scale| QParams { scale, zero_point: 0 });
    let qparams = match channels.next() {
        Some(only) if per_tensor => QuantizationParams::PerTensor(only),
        first => QuantizationParams::PerChannel {
            axis: 0,
            channels: first.into_iter().chain(channels).collect(),
        },
    };
    Ok(QuantizedLayer { shape, weight, qparams, bias })
}
