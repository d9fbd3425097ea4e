//! The saved int8 model: one safetensors file that describes itself.
//!
//! [`SavedModel`] is an int8 network with what it takes to use it: the preprocessing of its pictures
//! and the names of its classes. `docs/format.md` specifies the file. Like checkpoints it is read
//! once and nothing of it is mapped, so a file that changes meanwhile can do no harm; the weights
//! are packed for the machine's kernels anyway.

mod container;
mod content;
mod parts;
#[cfg(test)]
mod tests;
mod training;

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::atomic_file;
use crate::data::{Class, Preprocessing};
use crate::error::{Error, Result};
use crate::quantization::QuantizedModel;

use container::{Container, Kind};

/// The version of the format that is written, and the newest that is read.
pub const FORMAT_VERSION: u32 = 1;

const MODEL: Kind = Kind {
    format: "posterize",
    version: FORMAT_VERSION,
    what: "a model saved by posterize",
    otherwise: "load float weights as a checkpoint",
    // An int8 classifier is far smaller.
    largest: 1 << 30,
};

/// An int8 network with what it takes to use it.
///
/// ```
/// use posterize::data::Preprocessing;
/// use posterize::runtime::Options;
/// use posterize::format::SavedModel;
/// use posterize::ops::Conv2d;
/// use posterize::quantization::{QConfig, QConfigMapping};
/// use posterize::{Architecture, Tensor};
///
/// let float = Architecture::trace(&Conv2d::new(3, 8, 3))?.init(0);
/// let mut observed = float.prepare(&QConfigMapping::global(QConfig::recommended()))?;
/// observed.calibrate(Options::new(1)?, [Ok(Tensor::zeros([1, 3, 8, 8]))])?;
/// let int8 = observed.convert()?;
///
/// let folder = tempfile::tempdir().unwrap();
/// let path = folder.path().join("small.safetensors");
/// let saved = SavedModel::new(int8);
/// saved.save(&path)?;
/// assert_eq!(SavedModel::open(&path)?, saved);
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct SavedModel {
    /// What the network is called: `tf_mobilenet_v2`.
    pub name: String,
    /// The network.
    pub model: QuantizedModel,
    /// What its pictures go through.
    pub preprocessing: Option<Preprocessing>,
    /// Its classes in the order of its outputs; empty where they are not known.
    pub classes: Vec<Class>,
}

impl SavedModel {
    /// `model` under its graph's name, without preprocessing and classes.
    pub fn new(model: QuantizedModel) -> Self {
        Self {
            name: model.graph().kind().to_owned(),
            model,
            preprocessing: None,
            classes: Vec::new(),
        }
    }

    /// How many outputs the network has for a picture, where it knows its preprocessing.
    pub fn outputs(&self) -> Option<usize> {
        let size = self.preprocessing.as_ref()?.crop;
        let graph = self.model.graph();
        let shapes = graph.infer(&[1, 3, size, size]).ok()?;
        Some(shapes[graph.output().0].shape.iter().product())
    }

    /// The file's content. The same model gives the same bytes.
    ///
    /// # Errors
    /// What is wrong with the parts, as for [`SavedModel::save`].
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        self.check()
            .map_err(|problem| Error::Argument(format!("cannot save the model: {problem}")))?;
        content::to_container(self).map(|container| container.encode(&MODEL))
    }

    /// Writes the file: first under a temporary name in the same folder, then renamed, so that
    /// `path` is either as before or complete. Returns its size in bytes.
    ///
    /// # Errors
    /// The network does not fit the preprocessing's pictures, or has another number of outputs than
    /// classes; two classes share a folder; the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<u64> {
        let bytes = self.to_bytes()?;
        atomic_file::write(path, |file| file.write_all(&bytes))?;
        Ok(bytes.len() as u64)
    }

    /// Reads a file that [`SavedModel::save`] wrote.
    ///
    /// # Errors
    /// [`Error::Io`] where it cannot be read. [`Error::Format`] where it is none of these files, was
    /// altered or cut short, is of a newer format, or describes what no network can be; nothing of
    /// it is trusted, and no memory is taken beyond what the file holds.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let bytes = read(&MODEL, path)?;
        Self::from_bytes(path, &bytes)
    }

    /// The same for a file in memory. `path` is what errors call it.
    ///
    /// # Errors
    /// As [`SavedModel::open`].
    pub fn from_bytes(path: impl AsRef<Path>, bytes: &[u8]) -> Result<Self> {
        Container::decode(&MODEL, bytes)
            .and_then(|container| content::from_container(&container))
            .and_then(|saved| saved.check().map(|()| saved))
            .map_err(|problem| format_error(path.as_ref(), problem))
    }
}

impl QuantizedModel {
    /// Writes the network to one file, as [`SavedModel::save`] does; that one takes the preprocessing
    /// and the names of the classes along.
    ///
    /// # Errors
    /// As [`SavedModel::save`].
    pub fn save(&self, path: impl AsRef<Path>) -> Result<u64> {
        SavedModel::new(self.clone()).save(path)
    }

    /// Reads the network of a file that [`QuantizedModel::save`] or [`SavedModel::save`] wrote.
    ///
    /// # Errors
    /// As [`SavedModel::open`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        SavedModel::open(path).map(|saved| saved.model)
    }
}

fn format_error(path: &Path, problem: impl Into<String>) -> Error {
    Error::Format { path: path.to_path_buf(), problem: problem.into() }
}

/// The bytes of a file that may be of that kind.
fn read(kind: &Kind, path: &Path) -> Result<Vec<u8>> {
    let failed = || Error::io(path, "read");
    let mut file = File::open(path).map_err(Error::io(path, "open"))?;
    let metadata = file.metadata().map_err(failed())?;
    if !metadata.is_file() {
        let found = if metadata.is_dir() { "a folder" } else { "not a regular file" };
        return Err(format_error(path, format!("{found}, where {} is expected", kind.what)));
    }
    // Whatever is none is not read to its end.
    let mut bytes = Vec::new();
    (&mut file).take(9).read_to_end(&mut bytes).map_err(failed())?;
    container::recognise(kind, &bytes).map_err(|problem| format_error(path, problem))?;
    if metadata.len() > kind.largest {
        return Err(format_error(
            path,
            format!("{} bytes are more than the limit of {}", metadata.len(), kind.largest),
        ));
    }
    bytes.reserve_exact(metadata.len() as usize);
    file.take(kind.largest).read_to_end(&mut bytes).map_err(failed())?;
    Ok(bytes)
}
