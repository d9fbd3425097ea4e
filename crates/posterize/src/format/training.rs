//! Writing and reading the file of a training run's [`Checkpoint`].
//!
//! It is a safetensors file with these tensors:
//! - `network.NAME` and `best.NAME`: the values of a network's tensors, in f32;
//! - `momentum.NAME`, `exp_avg.NAME` and `exp_avg_sq.NAME`: the buffers of the optimizer, in f32;
//! - `losses` and `grad_norms`: one value per step, in f32;
//! - `network.values.json.zlib` and `best.values.json.zlib`: all other values of a network, such as
//!   the state of its fake quantization, as compressed JSON;
//! - `run.json.zlib`: everything else, as compressed JSON.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use safetensors::Dtype;
use serde::{Deserialize, Serialize};

use super::container::{Container, Kind, RawTensor};
use super::file::{format_error, read};
use super::limits::{MAX_TRAINING_BYTES, MAX_TRAINING_JSON, MIN_TRAINING_JSON};
use super::parts::{Reader, compressed, floats};
use crate::atomic_file;
use crate::checkpoint::safetensors::TRAINING_FORMAT;
use crate::error::Result;
use crate::tensor::{MemoryFormat, Tensor};
use crate::trace;
use crate::training::{
    Checkpoint, EpochRecord, History, NetworkState, NetworkValues, OptimizerBuffer, OptimizerState,
    Position, Settings,
};

const TRAINING: Kind = Kind {
    format: TRAINING_FORMAT,
    version: 1,
    what: "a training run saved by posterize",
    advice: "give a model as the model to train",
    max_bytes: MAX_TRAINING_BYTES,
};

const RUN: &str = "run.json.zlib";
const LOSSES: &str = "losses";
const GRAD_NORMS: &str = "grad_norms";
/// The name of the tensor with a network's other values, after `network.` or `best.`.
const VALUES: &str = "values.json.zlib";

/// The JSON of the tensor [`RUN`].
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Run<'a> {
    position: Position,
    epochs: Cow<'a, [EpochRecord]>,
    settings: Cow<'a, Settings>,
}

impl Checkpoint {
    /// Returns the content of the file.
    ///
    /// # Errors
    /// Returns an error if a value cannot be written as JSON.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut tensors = BTreeMap::new();
        let run = Run {
            position: self.position,
            epochs: Cow::Borrowed(&self.history.epochs),
            settings: Cow::Borrowed(&self.settings),
        };
        tensors.insert(RUN.to_owned(), compressed(&run)?);
        let History { losses, grad_norms, .. } = &self.history;
        tensors.insert(LOSSES.to_owned(), raw(vec![losses.len()], losses));
        tensors.insert(GRAD_NORMS.to_owned(), raw(vec![grad_norms.len()], grad_norms));
        for (prefix, state) in [("network", Some(&self.network)), ("best", self.best.as_ref())] {
            let Some(state) = state else { continue };
            for (name, tensor) in &state.tensors {
                let tensor = tensor.to_format(MemoryFormat::Contiguous);
                let raw = raw(tensor.shape().to_vec(), tensor.data());
                tensors.insert(format!("{prefix}.{name}"), raw);
            }
            tensors.insert(format!("{prefix}.{VALUES}"), compressed(&state.values)?);
        }
        for (kind, buffers) in &self.optimizer.buffers {
            for (name, buffer) in buffers {
                tensors.insert(format!("{kind}.{name}"), raw(vec![buffer.len()], buffer));
            }
        }
        Ok(Container { metadata: BTreeMap::new(), tensors }.encode(&TRAINING))
    }

    /// Writes the file completely or not at all (see [`atomic_file`](crate::atomic_file)), so an
    /// earlier checkpoint survives if the process is killed. Returns its size in bytes.
    ///
    /// # Errors
    /// Returns an error if the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<u64> {
        let bytes = self.to_bytes()?;
        atomic_file::write(path, |file| file.write_all(&bytes))?;
        Ok(bytes.len() as u64)
    }

    /// Reads a file that was written by [`Checkpoint::save`].
    ///
    /// # Errors
    /// Returns [`Error::Io`](crate::Error::Io) if the file cannot be read, and
    /// [`Error::Format`](crate::Error::Format) if it is not a checkpoint of a training run, was
    /// altered or truncated, or has a newer format version.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        trace::span!(INFO, "load", path = trace::display(path.display()));
        Self::from_bytes(path, &read(&TRAINING, path)?)
    }

    /// Reads a file in memory, as [`Checkpoint::open`] does. `path` is its name in errors.
    ///
    /// # Errors
    /// Returns the same errors as [`Checkpoint::open`].
    pub fn from_bytes(path: impl AsRef<Path>, bytes: &[u8]) -> Result<Self> {
        Container::decode(&TRAINING, bytes)
            .and_then(|container| from_container(&container))
            .map_err(|problem| format_error(path.as_ref(), &problem))
    }
}

fn raw(shape: Vec<usize>, values: &[f32]) -> RawTensor<'static> {
    RawTensor { dtype: Dtype::F32, shape, bytes: Cow::Owned(floats(values)) }
}

fn from_container(container: &Container<'_>) -> Result<Checkpoint, String> {
    let mut reader = Reader::new(container);
    // A run has more weights than other values, so its JSON is never much larger than its file.
    let file: u64 = container.tensors.values().map(|tensor| tensor.bytes.len() as u64).sum();
    let max_json = MAX_TRAINING_JSON.min(MIN_TRAINING_JSON + 4 * file);
    let Run { position, epochs, settings } = reader.required_json::<Run<'static>>(RUN, max_json)?;
    let losses = reader.floats(LOSSES, &[position.step])?;
    let grad_norms = reader.floats(GRAD_NORMS, &[position.step])?;
    let network = state(&mut reader, "network", max_json)?;
    let best = state(&mut reader, "best", max_json)?;
    let optimizer = optimizer(&mut reader, position.step as u64)?;
    if let Some(name) = reader.unused() {
        return Err(format!("its tensor {name:?} is not part of a training run"));
    }
    Ok(Checkpoint {
        position,
        history: History { epochs: epochs.into_owned(), losses, grad_norms },
        network: network.ok_or_else(|| format!("it has no tensor `network.{VALUES}`"))?,
        optimizer,
        best,
        settings: settings.into_owned(),
    })
}

/// Reads the state of the optimizer after `step` steps.
fn optimizer(reader: &mut Reader<'_>, step: u64) -> Result<OptimizerState, String> {
    let mut buffers = BTreeMap::new();
    for kind in OptimizerBuffer::ALL {
        let mut of_kind = BTreeMap::new();
        for (full, tensor) in &reader.container.tensors {
            let name = full.strip_prefix(kind.name()).and_then(|rest| rest.strip_prefix('.'));
            if let Some(name) = name {
                of_kind.insert(name.to_owned(), reader.floats(full, &tensor.shape)?);
            }
        }
        buffers.insert(kind, of_kind);
    }
    Ok(OptimizerState::new(step, buffers))
}

/// Reads the network with that prefix; `None` if there is none. Its JSON has at most `max_json`
/// bytes.
fn state(
    reader: &mut Reader<'_>,
    prefix: &str,
    max_json: u64,
) -> Result<Option<NetworkState>, String> {
    let values = reader.json::<NetworkValues>(&format!("{prefix}.{VALUES}"), max_json)?;
    let Some(values) = values else { return Ok(None) };
    let mut tensors: BTreeMap<String, Tensor> = BTreeMap::new();
    for (full, tensor) in &reader.container.tensors {
        let name = full.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('.'));
        if let Some(name) = name.filter(|name| *name != VALUES) {
            tensors.insert(name.to_owned(), reader.parameter(full, &tensor.shape)?);
        }
    }
    Ok(Some(NetworkState { tensors, values }))
}
