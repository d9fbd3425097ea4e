//! Writing and reading the file of a [`SavedModel`].

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use safetensors::Dtype;

use super::container::{Container, Kind, RawTensor};
use super::file::{format_error, read};
use super::limits::{MAX_MODEL_BYTES, MAX_MODEL_JSON};
use super::parts::{Reader, compressed, floats, json};
use super::saved_model::SavedModel;
use super::{v1, v2};
#[cfg(feature = "save")]
use crate::atomic_file;
use crate::checkpoint::safetensors::MODEL_FORMAT;
use crate::data::Class;
use crate::error::{Error, Result};
use crate::graph::{Graph, Node};
use crate::model::Parameters;
use crate::ops::Role;
use crate::quantization::{
    QConfigMapping, QParams, QuantizationParams, QuantizedLayer, QuantizedModel,
};
use crate::tensor::MemoryFormat;
use crate::trace;

/// The format version of saved models that is written. All versions from 1 to this one are read.
pub const FORMAT_VERSION: u32 = 2;

pub(super) const MODEL: Kind = Kind {
    format: MODEL_FORMAT,
    version: FORMAT_VERSION,
    what: "a model saved by posterize",
    advice: "load float weights as a checkpoint",
    max_bytes: MAX_MODEL_BYTES,
};

/// The tensor that holds the graph, as compressed JSON.
const GRAPH: &str = "graph.json.zlib";
/// The tensor that holds the classes, as compressed JSON.
const CLASSES: &str = "classes.json.zlib";

/// The last part of the name of the tensor with the scales of an int8 weight.
const WEIGHT_SCALE: &str = "weight_scale";

impl SavedModel {
    /// Returns the content of the file. The same model always gives the same bytes.
    ///
    /// # Errors
    /// Returns the same errors as [`SavedModel::save`], except those of the file system.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        self.check()
            .map_err(|problem| Error::Argument(format!("cannot save the model: {problem}")))?;
        to_container(self).map(|container| container.encode(&MODEL))
    }

    /// Writes the file completely or not at all (see [`atomic_file`](crate::atomic_file)). Returns
    /// its size in bytes.
    ///
    /// # Errors
    /// Returns an error if the network cannot run on pictures of the preprocessing's size, if its
    /// number of outputs is not the number of classes, if two classes have the same folder, or if
    /// the file cannot be written.
    #[cfg(feature = "save")]
    pub fn save(&self, path: impl AsRef<Path>) -> Result<u64> {
        let bytes = self.to_bytes()?;
        atomic_file::write(path, |file| file.write_all(&bytes))?;
        Ok(bytes.len() as u64)
    }

    /// Reads a file that was written by [`SavedModel::save`] in this or an earlier format version.
    ///
    /// The file is not trusted: everything in it is checked, and the memory is bounded by the
    /// file's size.
    ///
    /// # Errors
    /// Returns [`Error::Io`] if the file cannot be read, and [`Error::Format`] if it is not a saved
    /// model, was altered or truncated, has a newer format version, or describes a network that is
    /// not valid.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        trace::span!(INFO, "load", path = trace::display(path.display()));
        let bytes = read(&MODEL, path)?;
        Self::from_bytes(path, &bytes)
    }

    /// Reads a file in memory, as [`SavedModel::open`] does. `path` is its name in errors.
    ///
    /// # Errors
    /// Returns the same errors as [`SavedModel::open`].
    pub fn from_bytes(path: impl AsRef<Path>, bytes: &[u8]) -> Result<Self> {
        Container::decode(&MODEL, bytes)
            .and_then(|container| from_container(&container))
            .and_then(|saved| saved.check().map(|()| saved))
            .map_err(|problem| format_error(path.as_ref(), &problem))
    }
}

impl QuantizedModel {
    /// Writes the network to a file, as [`SavedModel::save`] does, without preprocessing and
    /// classes. Returns its size in bytes.
    ///
    /// # Errors
    /// Returns the same errors as [`SavedModel::save`].
    #[cfg(feature = "save")]
    pub fn save(&self, path: impl AsRef<Path>) -> Result<u64> {
        SavedModel::new(self.clone()).save(path)
    }

    /// Reads the network of a file that was written by [`QuantizedModel::save`] or
    /// [`SavedModel::save`].
    ///
    /// # Errors
    /// Returns the same errors as [`SavedModel::open`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        SavedModel::open(path).map(|saved| saved.model)
    }
}

/// Reads the JSON of a graph in a format version. This is for fuzzing, which needs a reader that
/// does not check the digest.
#[doc(hidden)]
pub fn graph_from_json(version: u32, json: &[u8]) -> std::result::Result<Graph, String> {
    let message = |error: serde_json::Error| error.to_string();
    let (graph, _) = match version {
        1 => serde_json::from_slice::<v1::SavedGraph>(json).map_err(message)?.into_graph()?,
        _ => serde_json::from_slice::<v2::SavedGraph<'_>>(json).map_err(message)?.into_graph()?,
    };
    Ok(graph)
}

fn to_container(saved: &SavedModel) -> Result<Container<'_>> {
    let model = &saved.model;
    let graph = model.graph();
    let mut metadata = BTreeMap::from([("model".to_owned(), saved.name.clone())]);
    metadata.insert("qconfig".into(), json(model.mapping())?);
    if let Some(preprocessing) = &saved.preprocessing {
        metadata.insert("preprocessing".into(), json(preprocessing)?);
    }
    let mut tensors = BTreeMap::new();
    tensors.insert(GRAPH.to_owned(), compressed(&v2::SavedGraph::new(model)?)?);
    if !saved.classes.is_empty() {
        let classes: Vec<[&str; 2]> =
            saved.classes.iter().map(|class| [&*class.folder, &*class.name]).collect();
        tensors.insert(CLASSES.to_owned(), compressed(&classes)?);
    }
    for (&node, layer) in model.layers() {
        let name = &graph.node(node).name;
        let scales: Vec<f32> = layer.qparams.channels().iter().map(|q| q.scale).collect();
        let scales_shape =
            if layer.qparams.axis().is_some() { vec![scales.len()] } else { Vec::new() };
        let weight = layer.weight.iter().map(|&q| q as u8).collect();
        let bias = layer.bias.iter().flat_map(|b| b.to_le_bytes()).collect();
        let mut add = |part: &str, dtype, shape, bytes: Vec<u8>| {
            let tensor = RawTensor { dtype, shape, bytes: Cow::Owned(bytes) };
            tensors.insert(format!("{name}.{part}"), tensor);
        };
        add(Role::Weight.name(), Dtype::I8, layer.shape.clone(), weight);
        add(WEIGHT_SCALE, Dtype::F32, scales_shape, floats(&scales));
        add(Role::Bias.name(), Dtype::I32, vec![layer.bias.len()], bias);
    }
    for (&key, tensor) in model.parameters() {
        let values = tensor.to_format(MemoryFormat::Contiguous);
        let (dtype, shape) = (Dtype::F32, tensor.shape().to_vec());
        let bytes = Cow::Owned(floats(values.data()));
        tensors.insert(graph.parameter_name(key), RawTensor { dtype, shape, bytes });
    }
    Ok(Container { metadata, tensors })
}

/// Reads the model of a container. [`SavedModel::check`] checks that its parts fit together.
fn from_container(container: &Container<'_>) -> Result<SavedModel, String> {
    let metadata = |key: &str| container.metadata.get(key).map(String::as_str);
    let mut reader = Reader::new(container);
    let (graph, qparams) = match container.version()? {
        1 => reader.required_json::<v1::SavedGraph>(GRAPH, MAX_MODEL_JSON)?.into_graph()?,
        _ => reader.required_json::<v2::SavedGraph<'_>>(GRAPH, MAX_MODEL_JSON)?.into_graph()?,
    };
    let classes: Vec<(String, String)> = reader.json(CLASSES, MAX_MODEL_JSON)?.unwrap_or_default();
    let classes = classes.into_iter().map(|(folder, name)| Class { folder, name }).collect();
    let (mut layers, mut parameters) = (BTreeMap::new(), Parameters::new());
    for ((id, node), qparams) in graph.iter().zip(&qparams) {
        if node.op.parameters().is_empty() {
            continue;
        }
        if qparams.is_some() {
            layers.insert(id, layer(&mut reader, node)?);
        } else {
            for found in graph.parameters_of(id) {
                let tensor = reader.parameter(&found.name, &found.parameter.shape)?;
                parameters.insert(found.key, Arc::new(tensor));
            }
        }
    }
    if let Some(name) = reader.unused() {
        return Err(format!("its tensor {name:?} belongs to no layer of its graph"));
    }
    let in_metadata = |key: &str, error: serde_json::Error| format!("its {key}: {error}");
    let mapping = metadata("qconfig").ok_or("its metadata has no `qconfig`")?;
    let mapping: QConfigMapping =
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

/// Reads the int8 weights of a convolution or linear layer.
fn layer(reader: &mut Reader<'_>, node: &Node) -> Result<QuantizedLayer, String> {
    let Some(weight) = node.op.parameters().into_iter().next() else {
        return Err(format!("{}: an operator without weights is quantized as one with", node.name));
    };
    let (shape, outputs) = (weight.shape.clone(), weight.shape[0]);
    let part = |part: &str| format!("{}.{part}", node.name);
    let weight = reader.take(&part(Role::Weight.name()), Dtype::I8, &shape)?;
    let weight = weight.iter().map(|&byte| byte as i8).collect();
    let bias = reader.take(&part(Role::Bias.name()), Dtype::I32, &[outputs])?;
    let bias = bias.as_chunks().0.iter().map(|bytes| i32::from_le_bytes(*bytes)).collect();
    let scale = part(WEIGHT_SCALE);
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
