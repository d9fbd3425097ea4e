//! Reading and writing values, JSON and compressed JSON.

use std::borrow::Cow;
use std::collections::HashSet;
use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use safetensors::Dtype;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::container::{Container, RawTensor};
use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// Returns a value as JSON.
pub(super) fn json(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value)
        .map_err(|error| Error::Argument(format!("cannot write JSON: {error}")))
}

/// Returns a value as JSON, compressed with zlib.
pub(super) fn compressed<'a>(value: &impl Serialize) -> Result<RawTensor<'a>> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    let bytes = encoder
        .write_all(json(value)?.as_bytes())
        .and_then(|()| encoder.finish())
        .map_err(|error| Error::Argument(format!("cannot compress JSON: {error}")))?;
    Ok(RawTensor { dtype: Dtype::U8, shape: vec![bytes.len()], bytes: Cow::Owned(bytes) })
}

/// Returns floats as little-endian bytes.
pub(super) fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// Reads tensors of a container, and keeps track of which were used.
pub(super) struct Reader<'a> {
    pub(super) container: &'a Container<'a>,
    used: HashSet<String>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(container: &'a Container<'a>) -> Self {
        Self { container, used: HashSet::new() }
    }

    /// Returns the name of the first tensor that was not used.
    pub(super) fn unused(&self) -> Option<&'a str> {
        self.container.tensors.keys().map(String::as_str).find(|name| !self.used.contains(*name))
    }

    /// Returns whether a tensor has the type of int8 weights.
    pub(super) fn is_int8(&self, name: &str) -> bool {
        self.container.tensors.get(name).is_some_and(|tensor| tensor.dtype == Dtype::I8)
    }

    /// Returns the bytes of a tensor. Returns an error if it does not have that type and shape.
    pub(super) fn take(
        &mut self,
        name: &str,
        dtype: Dtype,
        shape: &[usize],
    ) -> Result<&'a [u8], String> {
        let tensor = self.container.tensors.get(name).ok_or_else(|| {
            format!("it has no tensor `{name}`; expected one, {dtype} of shape {shape:?}")
        })?;
        if tensor.dtype != dtype || tensor.shape != shape {
            return Err(format!(
                "tensor `{name}`: expected {dtype} of shape {shape:?}, found {} of shape {:.60}",
                tensor.dtype,
                format!("{:?}", tensor.shape)
            ));
        }
        self.used.insert(name.to_owned());
        Ok(&tensor.bytes)
    }

    /// Returns the values of a float tensor. Returns an error if one is not finite.
    pub(super) fn floats(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, String> {
        let bytes = self.take(name, Dtype::F32, shape)?;
        let mut values: Vec<f32> = Vec::new();
        values.try_reserve_exact(bytes.len() / size_of::<f32>()).map_err(|_| {
            format!(
                "there is not enough memory to read the {} bytes of tensor `{name}`",
                bytes.len()
            )
        })?;
        values.extend(bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)));
        match values.iter().position(|value| !value.is_finite()) {
            Some(index) => Err(format!(
                "tensor `{name}`: value {index} is {}; it must be finite",
                values[index]
            )),
            None => Ok(values),
        }
    }

    /// Returns a float tensor. Returns an error if one of its values is not finite.
    pub(super) fn parameter(&mut self, name: &str, shape: &[usize]) -> Result<Tensor, String> {
        let values = self.floats(name, shape)?;
        Tensor::new(shape, values).map_err(|error| error.to_string())
    }

    /// Returns the value of a tensor of compressed JSON; `None` if there is no such tensor. Returns
    /// an error if the JSON has more than `max_bytes` bytes.
    pub(super) fn json<T: DeserializeOwned>(
        &mut self,
        name: &str,
        max_bytes: u64,
    ) -> Result<Option<T>, String> {
        let Some(tensor) = self.container.tensors.get(name) else { return Ok(None) };
        let bytes = self.take(name, Dtype::U8, &[tensor.bytes.len()])?;
        let mut json = Vec::new();
        ZlibDecoder::new(bytes)
            .take(max_bytes + 1)
            .read_to_end(&mut json)
            .map_err(|error| format!("tensor `{name}` cannot be decompressed: {error}"))?;
        if json.len() as u64 > max_bytes {
            return Err(format!("tensor `{name}` decompresses to more than {max_bytes} bytes"));
        }
        serde_json::from_slice(&json).map(Some).map_err(|error| format!("tensor `{name}`: {error}"))
    }

    /// Returns the value of JSON in the metadata; `None` if there is no such metadata. Returns an
    /// error if the JSON has more than `max_bytes` bytes.
    pub(super) fn metadata_json<T: DeserializeOwned>(
        &self,
        key: &str,
        max_bytes: u64,
    ) -> Result<Option<T>, String> {
        let Some(json) = self.container.metadata.get(key) else { return Ok(None) };
        if json.len() as u64 > max_bytes {
            return Err(format!("its {key} has more than {max_bytes} bytes"));
        }
        serde_json::from_str(json).map(Some).map_err(|error| format!("its {key}: {error}"))
    }

    /// Returns the value of a tensor of compressed JSON, as [`Reader::json`] does. Returns an error
    /// if there is no such tensor.
    pub(super) fn required_json<T: DeserializeOwned>(
        &mut self,
        name: &str,
        max_bytes: u64,
    ) -> Result<T, String> {
        self.json(name, max_bytes)?.ok_or_else(|| format!("it has no tensor `{name}`"))
    }
}
