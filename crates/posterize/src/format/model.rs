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
use crate::checkpoint::safetensors::{INT8_GRAPH as GRAPH, MODEL_FORMAT};
use crate::data::Class;
use crate::error::{Error, Result};
use crate::graph::{Graph, Node};
use crate::model::{FloatModel, Parameters};
use crate::ops::Role;
use crate::quantization::{
    QConfigMapping, QParams, QuantizationParams, QuantizedLayer, QuantizedModel, QuantizedWeight,
};
use crate::runtime::Model;
use crate::tensor::MemoryFormat;
use crate::trace;

/// The format version of saved models that is written. All versions from 1 to this one are read.
pub const FORMAT_VERSION: u32 = 3;

pub(super) const MODEL: Kind = Kind {
    format: MODEL_FORMAT,
    version: FORMAT_VERSION,
    what: "a model saved by posterize",
    advice: "load float weights as a checkpoint",
    max_bytes: MAX_MODEL_BYTES,
};

/// The tensor that holds the classes of an int8 network, as compressed JSON.
const CLASSES: &str = "classes.json.zlib";

/// The tensor that holds the float graph of an int8 network, as compressed JSON.
const FLOAT_GRAPH_OF_INT8: &str = "float_graph.json.zlib";

/// The metadata that holds the graph of a float network, as JSON. Its tensors are the state dict and
/// nothing else, so that other programs can load all of them.
const FLOAT_GRAPH: &str = "graph";
/// The metadata that holds the classes of a float network, as JSON.
const FLOAT_CLASSES: &str = "classes";

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
        SavedModel::new(self).save(path)
    }

    /// Reads the network of a file that was written by [`QuantizedModel::save`] or
    /// [`SavedModel::save`].
    ///
    /// # Errors
    /// Returns the same errors as [`SavedModel::open`], and an error if the network is float.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        match SavedModel::open(path)?.model {
            Model::Quantized(model) => Ok(model),
            Model::Float(_) => Err(format_error(
                path,
                "expected an int8 network, found a float one; open it with FloatModel::open, or \
                 quantize it first",
            )),
        }
    }
}

impl FloatModel {
    /// Writes the network to a file, as [`SavedModel::save`] does, without preprocessing and
    /// classes. Returns its size in bytes.
    ///
    /// The file has the graph and the weights. For the weights alone, see
    /// [`StateDict::save_safetensors`](crate::StateDict::save_safetensors).
    ///
    /// ```
    /// use posterize::ops::Linear;
    /// use posterize::{Architecture, FloatModel};
    ///
    /// let model = Architecture::trace(&Linear::new(4, 2))?.init(0);
    /// let folder = tempfile::tempdir().unwrap();
    /// let path = folder.path().join("linear.safetensors");
    /// model.save(&path)?;
    /// assert_eq!(FloatModel::open(&path)?, model);
    /// # Ok::<(), posterize::Error>(())
    /// ```
    ///
    /// # Errors
    /// Returns the same errors as [`SavedModel::save`].
    #[cfg(feature = "save")]
    pub fn save(&self, path: impl AsRef<Path>) -> Result<u64> {
        SavedModel::new(self).save(path)
    }

    /// Reads the network of a file that was written by [`FloatModel::save`] or
    /// [`SavedModel::save`].
    ///
    /// # Errors
    /// Returns the same errors as [`SavedModel::open`], and an error if the network is int8.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        match SavedModel::open(path)?.model {
            Model::Float(model) => Ok(model),
            Model::Quantized(_) => Err(format_error(
                path,
                "expected a float network, found an int8 one; open it with QuantizedModel::open",
            )),
        }
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
    let mut container = Container::default();
    let metadata = &mut container.metadata;
    metadata.insert("model".into(), saved.name.clone());
    if let Some(preprocessing) = &saved.preprocessing {
        metadata.insert("preprocessing".into(), json(preprocessing)?);
    }
    let classes: Vec<[&str; 2]> =
        saved.classes.iter().map(|class| [&*class.folder, &*class.name]).collect();
    match &saved.model {
        Model::Float(model) => {
            let graph = v2::SavedGraph::new(model.graph(), &|_| None)?;
            metadata.insert(FLOAT_GRAPH.into(), json(&graph)?);
            if !classes.is_empty() {
                metadata.insert(FLOAT_CLASSES.into(), json(&classes)?);
            }
            add_parameters(&mut container, model.graph(), model.parameters());
        }
        Model::Quantized(model) => {
            metadata.insert("qconfig".into(), json(model.mapping())?);
            let graph = v2::SavedGraph::new(model.graph(), &|id| model.qparams(id))?;
            container.tensors.insert(GRAPH.to_owned(), compressed(&graph)?);
            if !classes.is_empty() {
                container.tensors.insert(CLASSES.to_owned(), compressed(&classes)?);
            }
            if let Some(graph) = &saved.float_graph {
                let graph = v2::SavedGraph::new(graph, &|_| None)?;
                container.tensors.insert(FLOAT_GRAPH_OF_INT8.to_owned(), compressed(&graph)?);
            }
            add_layers(&mut container, model);
            add_weights(&mut container, model);
            add_parameters(&mut container, model.graph(), model.parameters());
        }
    }
    Ok(container)
}

/// Adds the weights of int8 layers.
fn add_layers(container: &mut Container<'_>, model: &QuantizedModel) {
    for (&node, layer) in model.layers() {
        let name = &model.graph().node(node).name;
        add_weight(container, name, (&layer.shape, &layer.weight, &layer.qparams));
        let bias = layer.bias.iter().flat_map(|b| b.to_le_bytes()).collect();
        let (dtype, shape) = (Dtype::I32, vec![layer.bias.len()]);
        let tensor = RawTensor { dtype, shape, bytes: Cow::Owned(bias) };
        container.tensors.insert(format!("{name}.{}", Role::Bias), tensor);
    }
}

/// Adds the int8 weights of float layers.
fn add_weights(container: &mut Container<'_>, model: &QuantizedModel) {
    for (&node, QuantizedWeight { shape, weight, qparams }) in model.weights() {
        add_weight(container, &model.graph().node(node).name, (shape, weight, qparams));
    }
}

/// Adds an int8 weight with its scales.
fn add_weight(
    container: &mut Container<'_>,
    name: &str,
    (shape, weight, qparams): (&[usize], &[i8], &QuantizationParams),
) {
    let scales: Vec<f32> = qparams.channels().iter().map(|q| q.scale).collect();
    let scales_shape = if qparams.axis().is_some() { vec![scales.len()] } else { Vec::new() };
    let weight = weight.iter().map(|&q| q as u8).collect();
    let mut add = |part: &str, dtype, shape, bytes: Vec<u8>| {
        let tensor = RawTensor { dtype, shape, bytes: Cow::Owned(bytes) };
        container.tensors.insert(format!("{name}.{part}"), tensor);
    };
    add(Role::Weight.name(), Dtype::I8, shape.to_vec(), weight);
    add(WEIGHT_SCALE, Dtype::F32, scales_shape, floats(&scales));
}

/// Adds the parameters of float layers.
fn add_parameters(container: &mut Container<'_>, graph: &Graph, parameters: &Parameters) {
    for (&key, tensor) in parameters {
        let values = tensor.to_format(MemoryFormat::Contiguous);
        let (dtype, shape) = (Dtype::F32, tensor.shape().to_vec());
        let bytes = Cow::Owned(floats(values.data()));
        container.tensors.insert(graph.parameter_name(key), RawTensor { dtype, shape, bytes });
    }
}

/// Reads the model of a container. [`SavedModel::check`] checks that its parts fit together.
fn from_container(container: &Container<'_>) -> Result<SavedModel, String> {
    let metadata = |key: &str| container.metadata.get(key).map(String::as_str);
    let mut reader = Reader::new(container);
    // Version 1 and 2 had no float networks.
    let is_float = container.version()? > 2 && metadata(FLOAT_GRAPH).is_some();
    let (model, classes) = if is_float {
        (float_model(&mut reader)?.into(), reader.metadata_json(FLOAT_CLASSES, MAX_MODEL_JSON)?)
    } else {
        (quantized_model(&mut reader)?.into(), reader.json(CLASSES, MAX_MODEL_JSON)?)
    };
    let classes: Option<Vec<(String, String)>> = classes;
    // Versions 1 and 2 had no such tensor.
    let float_graph =
        match reader.json::<v2::SavedGraph<'_>>(FLOAT_GRAPH_OF_INT8, MAX_MODEL_JSON)? {
            Some(saved) => Some(
                float_graph(saved)
                    .map_err(|problem| format!("tensor `{FLOAT_GRAPH_OF_INT8}`: {problem}"))?,
            ),
            None => None,
        };
    let classes = classes.unwrap_or_default().into_iter();
    let classes = classes.map(|(folder, name)| Class { folder, name }).collect();
    if let Some(name) = reader.unused() {
        return Err(format!("its tensor {name:?} belongs to no layer of its graph"));
    }
    let preprocessing = reader.metadata_json("preprocessing", MAX_MODEL_JSON)?;
    let model: Model = model;
    let name = metadata("model").unwrap_or_else(|| model.graph().kind()).to_owned();
    Ok(SavedModel { name, model, preprocessing, classes, float_graph })
}

fn float_model(reader: &mut Reader<'_>) -> Result<FloatModel, String> {
    let graph: Option<v2::SavedGraph<'_>> = reader.metadata_json(FLOAT_GRAPH, MAX_MODEL_JSON)?;
    let graph = float_graph(graph.ok_or("its metadata has no `graph`")?)?;
    let mut parameters = Parameters::new();
    for found in graph.parameters() {
        let tensor = reader.parameter(&found.name, &found.parameter.shape)?;
        parameters.insert(found.key, Arc::new(tensor));
    }
    FloatModel::new(graph, parameters).map_err(|error| error.to_string())
}

/// Returns the graph of a float network.
fn float_graph(saved: v2::SavedGraph<'_>) -> Result<Graph, String> {
    let (graph, qparams) = saved.into_graph()?;
    match graph.nodes().iter().zip(&qparams).find(|(_, found)| found.is_some()) {
        None => Ok(graph),
        Some((node, _)) => Err(format!(
            "{}: its output is quantized, but the network is a float one, whose outputs all have the \
             quantization `null`",
            node.name
        )),
    }
}

fn quantized_model(reader: &mut Reader<'_>) -> Result<QuantizedModel, String> {
    let (graph, qparams) = match reader.container.version()? {
        1 => reader.required_json::<v1::SavedGraph>(GRAPH, MAX_MODEL_JSON)?.into_graph()?,
        _ => reader.required_json::<v2::SavedGraph<'_>>(GRAPH, MAX_MODEL_JSON)?.into_graph()?,
    };
    let (mut layers, mut weights) = (BTreeMap::new(), BTreeMap::new());
    let mut parameters = Parameters::new();
    for ((id, node), qparams) in graph.iter().zip(&qparams) {
        if node.op.parameters().is_empty() {
            continue;
        }
        if qparams.is_some() {
            layers.insert(id, layer(reader, node)?);
        } else {
            let int8 = reader.is_int8(&format!("{}.{}", node.name, Role::Weight));
            if int8 {
                let shape = &node.op.parameters()[0].shape;
                weights.insert(id, weight(reader, &node.name, shape)?);
            }
            for found in graph.parameters_of(id) {
                if int8 && found.parameter.role == Role::Weight {
                    continue;
                }
                let tensor = reader.parameter(&found.name, &found.parameter.shape)?;
                parameters.insert(found.key, Arc::new(tensor));
            }
        }
    }
    let mapping: Option<QConfigMapping> = reader.metadata_json("qconfig", MAX_MODEL_JSON)?;
    let mapping = mapping.ok_or("its metadata has no `qconfig`")?;
    for qconfig in mapping.qconfigs() {
        qconfig.validate().map_err(|error| error.to_string())?;
    }
    QuantizedModel::with_weights(graph, qparams, (layers, weights), parameters, mapping)
        .map_err(|error| error.to_string())
}

/// Reads the int8 weights of a convolution or linear layer.
fn layer(reader: &mut Reader<'_>, node: &Node) -> Result<QuantizedLayer, String> {
    let Some(weight) = node.op.parameters().into_iter().next() else {
        return Err(format!("{}: an operator without weights is quantized as one with", node.name));
    };
    let outputs = weight.shape[0];
    let QuantizedWeight { shape, weight, qparams } =
        self::weight(reader, &node.name, &weight.shape)?;
    let bias = reader.take(&format!("{}.{}", node.name, Role::Bias), Dtype::I32, &[outputs])?;
    let bias = bias.as_chunks().0.iter().map(|bytes| i32::from_le_bytes(*bytes)).collect();
    Ok(QuantizedLayer { shape, weight, qparams, bias })
}

/// Reads an int8 weight `[outputs, …]` with its scales.
fn weight(reader: &mut Reader<'_>, name: &str, shape: &[usize]) -> Result<QuantizedWeight, String> {
    let outputs = shape[0];
    let weight = reader.take(&format!("{name}.{}", Role::Weight), Dtype::I8, shape)?;
    let weight = weight.iter().map(|&byte| byte as i8).collect();
    let scale = format!("{name}.{WEIGHT_SCALE}");
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
    Ok(QuantizedWeight { shape: shape.to_vec(), weight, qparams })
}
