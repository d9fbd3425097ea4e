//! The names, types and shapes of the tensors in a checkpoint file.

use super::Parsed;
use super::pickle::{Pickle, Value};
use super::select::Selected;
use super::state_dict::Selection;
use super::storage::in_tensor;

/// The tensors of a checkpoint file without their values, as they are in the file.
///
/// ```
/// use posterize::checkpoint::{Contents, StateTensor};
/// use posterize::{StateDict, Tensor};
///
/// let mut weights = StateDict::new();
/// weights.insert("fc.bias", StateTensor::Float(Tensor::zeros([2])));
/// let folder = tempfile::tempdir().unwrap();
/// let path = folder.path().join("weights.safetensors");
/// weights.save_safetensors(&path)?;
///
/// let contents = Contents::open(&path, &Default::default())?;
/// assert_eq!(contents.format, "safetensors");
/// let tensor = &contents.tensors[0];
/// assert_eq!((tensor.name.as_str(), tensor.dtype.as_str()), ("fc.bias", "float32"));
/// assert_eq!((tensor.shape.as_slice(), tensor.bytes), (&[2][..], 8));
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Contents {
    /// The format: `PyTorch (zip)`, `PyTorch (legacy)` or `safetensors`.
    pub format: &'static str,
    /// Where in the file the tensors were found.
    pub selection: Selection,
    /// The tensors in order.
    pub tensors: Vec<TensorInfo>,
}

/// A tensor of a checkpoint file without its values; see [`Contents`].
///
/// ```
/// use posterize::checkpoint::TensorInfo;
///
/// let names = |tensors: &[TensorInfo]| -> Vec<String> {
///     tensors.iter().map(|tensor| tensor.name.clone()).collect()
/// };
/// assert!(names(&[]).is_empty());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TensorInfo {
    /// Its name, without the prefix of wrapper modules.
    pub name: String,
    /// The type of its values, as PyTorch calls it: `float16`.
    pub dtype: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// The size of its values in bytes.
    pub bytes: usize,
}

impl TensorInfo {
    /// Returns the number of values.
    pub fn count(&self) -> usize {
        self.shape.iter().fold(1, |product, &size| product.saturating_mul(size))
    }

    pub(super) fn new(name: &str, dtype: &str, shape: &[usize], value_bytes: usize) -> Self {
        let mut info = Self {
            name: name.to_owned(),
            dtype: dtype.to_owned(),
            shape: shape.to_vec(),
            bytes: 0,
        };
        info.bytes = info.count().saturating_mul(value_bytes);
        info
    }
}

/// Lists the tensors of a pickle.
pub(super) fn list<'a>(
    format: &'static str,
    pickle: &Pickle<'a>,
    selected: Selected<'a>,
) -> Parsed<Contents> {
    let info = |&(name, value): &(&str, Value<'a>)| {
        if let Some(view) = pickle.tensor(value) {
            let (element, shape) = (view.element, view.layout.shape());
            return Ok(TensorInfo::new(name, element.name(), shape, element.size()));
        }
        match value {
            Value::Bool(_) => Ok(TensorInfo::new(name, "bool", &[], 1)),
            Value::Int(_) => Ok(TensorInfo::new(name, "int64", &[], 8)),
            Value::Float(_) => Ok(TensorInfo::new(name, "float64", &[], 8)),
            other => {
                let found = pickle.describe(other);
                Err(in_tensor(name, &format!("expected a tensor, found {found}")))
            }
        }
    };
    let tensors = selected.entries.iter().map(info).collect::<Parsed<_>>()?;
    Ok(Contents { format, selection: selected.selection, tensors })
}
