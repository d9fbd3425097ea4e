//! The parts of files: values, JSON and compressed JSON.

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
        .map_err(|error| Error::Argument(format!("cannot write it as JSON: {error}")))
}

/// Returns a value as JSON, compressed with zlib.
pub(super) fn compressed<'a>(value: &impl Serialize) -> Result<RawTensor<'a>> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    let bytes = encoder
        .write_all(json(value)?.as_bytes())
        .and_then(|()| encoder.finish())
        .map_err(|error| Error::Argument(format!("cannot compress: {error}")))?;
    Ok(RawTensor { dtype: Dtype::U8, shape: vec![bytes.len()], bytes: Cow::Owned(bytes) })
}

/// Returns floats as little-endian bytes.
pub(super) fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// Takes tensors out of a container, and keeps account of which were used.
pub(super) struct Reader<'a> {
    pub(super) container: &'a Container<'a>,
    used: HashSet<String>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(container: &'a Container<'a>) -> Self {
        Self { container, used: HashSet::new() }
    }

    /// Returns the name of a tensor that was not used.
    pub(super) fn unused(&self) -> Option<&'a str> {
        self.container.tensors.keys().map(String::as_str).find(|name| !self.used.contains(*name))
    }

    /// Returns the bytes of a tensor, which must have that type and shape.
    pub(super) fn take(
        &mut self,
        name: &str,
        dtype: Dtype,
        shape: &[usize],
    ) -> Result<&'a [u8], String> {
        let tensor = self.container.tensors.get(name).ok_or_else(|| {
            format!("it has no tensor `{name}`; its graph needs one, {dtype} of shape {shape:?}")
        })?;
        if tensor.dtype != dtype || tensor.shape != shape {
            return Err(format!(
                "tensor `{name}` must be {dtype} of shape {shape:?}, found {} of shape {:.60}",
                tensor.dtype,
                format!("{:?}", tensor.shape)
            ));
        }
        self.used.insert(name.to_owned());
        Ok(&tensor.bytes)
    }

    /// Returns the values of a tensor of floats, which must be finite.
    pub(super) fn floats(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, String> {
        let bytes = self.take(name, Dtype::F32, shape)?;
        let values: Vec<f32> = bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        match values.iter().position(|value| !value.is_finite()) {
            Some(place) => Err(format!(
                "tensor `{name}`: value {place} is {}; it must be finite",
                values[place]
            )),
            None => Ok(values),
        }
    }

    /// Returns a tensor of floats, which must be finite.
    pub(super) fn parameter(&mut self, name: &str, shape: &[usize]) -> Result<Tensor, String> {
        let values = self.floats(name, shape)?;
        Tensor::new(shape, values).map_err(|error| error.to_string())
    }

    /// Returns the value of a tensor of compressed JSON, which may be `max_bytes` long after
    /// decompression; `None` where there is no such tensor.
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
            return Err(format!("tensor `{name}` unfolds to more than {max_bytes} bytes"));
        }
        serde_json::from_slice(&json).map(Some).map_err(|error| format!("tensor `{name}`: {error}"))
    }

    /// As [`Reader::json`], of a tensor that must be there.
    pub(super) fn required_json<T: DeserializeOwned>(
        &mut self,
        name: &str,
        max_bytes: u64,
    ) -> Result<T, String> {
        self.json(name, max_bytes)?.ok_or_else(|| format!("it has no tensor `{name}`"))
    }
}
