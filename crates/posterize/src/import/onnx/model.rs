//! A network that was read from an ONNX file.

use std::path::Path;

use super::external::External;
use super::graph_inputs::OnnxInput;
use super::options::OnnxOptions;
use super::pictures;
use super::read::{Imported, read};
use crate::data::Preprocessing;
use crate::error::{Error, Result};
use crate::model::FloatModel;
use crate::trace;

/// A float network that was read from an ONNX file.
///
/// ```
/// use posterize::Tensor;
/// use posterize::import::onnx::{OnnxModel, OnnxOptions};
///
/// # let bytes = b"\x08\x08:,\x0a\x0c\x0a\x01x\x12\x01y\x22\x04Relu\x12\x01gZ\x14\x0a\x01x\x12\x0f\x0a\x0d\x08\x01\x12\x09\x0a\x03\x12\x01n\x0a\x02\x08\x03b\x03\x0a\x01yB\x04\x0a\x00\x10\x11";
/// // The bytes of a file with a ReLU of `x`, of shape `[n, 3]`.
/// let onnx = OnnxModel::from_bytes("relu.onnx", bytes.to_vec(), &OnnxOptions::new())?;
/// assert_eq!((onnx.inputs()[0].name(), onnx.opset()), ("x", 17));
/// let y = onnx.model().forward(&Tensor::new([1, 3], vec![-1.0, 0.5, 2.0])?)?;
/// assert_eq!(y.data(), [0.0, 0.5, 2.0]);
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct OnnxModel(Imported);

impl OnnxModel {
    /// Reads an ONNX file. Tensors in files beside it are read, too.
    ///
    /// # Errors
    /// Returns an error if the file cannot be read, is damaged or contradicts the ONNX standard, if
    /// height or width are left open, and [`Error::UnsupportedNodes`] with all nodes that cannot be
    /// imported.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(path, &OnnxOptions::new())
    }

    /// Reads an ONNX file as [`Self::open`] does, with options.
    ///
    /// # Errors
    /// Returns the errors of [`Self::open`], and an error if there is no output of a name in the
    /// options.
    pub fn open_with(path: impl AsRef<Path>, options: &OnnxOptions) -> Result<Self> {
        let path = path.as_ref();
        trace::span!(INFO, "load", path = trace::display(path.display()));
        let bytes = std::fs::read(path).map_err(Error::io(path, "read"))?;
        read(path, bytes, External::beside(path), options).map(Self)
    }

    /// Reads an ONNX file in memory, as [`Self::open_with`] does. `path` is the file's name in errors.
    ///
    /// # Errors
    /// Returns the errors of [`Self::open_with`], and an error if a tensor is in another file.
    ///
    /// ```
    /// use posterize::ErrorKind;
    /// use posterize::import::onnx::{OnnxModel, OnnxOptions};
    ///
    /// let error =
    ///     OnnxModel::from_bytes("a.onnx", b"no protobuf".to_vec(), &OnnxOptions::new()).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::CorruptFile);
    /// ```
    pub fn from_bytes(
        path: impl AsRef<Path>,
        bytes: Vec<u8>,
        options: &OnnxOptions,
    ) -> Result<Self> {
        read(path.as_ref(), bytes, External::none(), options).map(Self)
    }

    /// Returns the network.
    pub fn model(&self) -> &FloatModel {
        &self.0.model
    }

    /// Returns the network.
    pub fn into_model(self) -> FloatModel {
        self.0.model
    }

    /// Returns the inputs of the file, in its order.
    pub fn inputs(&self) -> &[OnnxInput] {
        &self.0.inputs
    }

    /// Returns the program that wrote the file, and its version: `pytorch 2.9.0`. Empty if the file
    /// does not say.
    pub fn producer(&self) -> &str {
        &self.0.producer
    }

    /// Returns the version of the operator set.
    pub fn opset(&self) -> i64 {
        self.0.opset
    }

    /// Returns the keys and values that were written beside the graph (`metadata_props`).
    pub fn metadata(&self) -> &[(String, String)] {
        &self.0.metadata
    }

    /// Returns the preprocessing of the network's pictures: the entry `preprocessing` of the
    /// [metadata](Self::metadata), in the JSON of [`Preprocessing`]. `None` if there is no such entry; a
    /// [warning](Self::warnings) says if there is one that cannot be read.
    pub fn preprocessing(&self) -> Option<&Preprocessing> {
        self.0.preprocessing.as_ref()
    }

    /// Returns whether the network takes pixels of 0 to 255, as far as the file shows: its only input
    /// has the type uint8, or the graph begins with a normalization of such pixels
    /// ([`FloatModel::input_normalization`]), as a division by 255.
    pub fn takes_pixels(&self) -> bool {
        pictures::takes_pixels(&self.0.model, &self.0.inputs)
    }

    /// Returns what is notable about the file, such as weights that are not finite, as sentences.
    pub fn warnings(&self) -> &[String] {
        &self.0.warnings
    }
}
