//! Reading and writing safetensors files.
//!
//! The `safetensors` crate checks the header. It does not keep the order of the tensors in the
//! header, which is the order of the state dict, so the names are also read here.

use std::fmt::{self, Write as _};
use std::io::Write;
use std::ops::Range;
use std::path::Path;

use safetensors::{Dtype, SafeTensorError, SafeTensors};
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

use super::Parsed;
use super::decode::{Layout, decode};
use super::element::Element;
use super::select;
use super::state_dict::{StateDict, StateTensor};
use super::storage::{Budget, in_tensor};
use crate::atomic_file;
use crate::error::{Error, Result};
use crate::tensor::MemoryFormat;

/// The size in bytes of the header's length at the start of the file.
pub(crate) const LENGTH: usize = 8;

/// The key in the header that is not a tensor.
pub(crate) const METADATA: &str = "__metadata__";

/// Reads the state dict of a safetensors file.
pub(super) fn read(file: &[u8]) -> Parsed<StateDict> {
    let header_length = file.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    let tensors = SafeTensors::deserialize(file)
        .map_err(|error| explain(&error, header_length, file.len()))?;
    let header = &file[LENGTH..LENGTH + header_length as usize];
    let Names(names) = serde_json::from_slice(header).map_err(|error| error.to_string())?;
    let mut entries: Vec<(String, String)> =
        names.into_iter().map(|name| (name.clone(), name)).collect();
    select::strip_prefixes(&mut entries);
    let mut budget = Budget::of_file(file.len());
    let mut state_dict = StateDict::new();
    for (name, in_file) in entries {
        let in_this = |problem: String| in_tensor(&name, &problem);
        let view = tensors.tensor(&in_file).map_err(|error| in_this(error.to_string()))?;
        let layout = Layout::contiguous(view.shape()).map_err(in_this)?;
        let element = element_of(view.dtype()).ok_or_else(|| {
            in_this(format!(
                "values of type {} are not supported; expected F16, BF16, F32, F64, integers or \
                     BOOL",
                view.dtype()
            ))
        })?;
        budget.spend(layout.decoded_bytes(element)).map_err(in_this)?;
        let tensor = decode(view.data(), element, &layout).map_err(in_this)?;
        state_dict.insert(name, tensor);
    }
    Ok(state_dict)
}

fn element_of(dtype: Dtype) -> Option<Element> {
    Some(match dtype {
        Dtype::F16 => Element::F16,
        Dtype::BF16 => Element::Bf16,
        Dtype::F32 => Element::F32,
        Dtype::F64 => Element::F64,
        Dtype::I8 => Element::I8,
        Dtype::I16 => Element::I16,
        Dtype::I32 => Element::I32,
        Dtype::I64 => Element::I64,
        Dtype::U8 => Element::U8,
        Dtype::U16 => Element::U16,
        Dtype::U32 => Element::U32,
        Dtype::U64 => Element::U64,
        Dtype::BOOL => Element::Bool,
        _ => return None,
    })
}

/// Returns the message for an error in a safetensors header.
pub(crate) fn explain(error: &SafeTensorError, header_length: u64, file_length: usize) -> String {
    match error {
        SafeTensorError::InvalidHeaderLength | SafeTensorError::HeaderTooSmall => format!(
            "its safetensors header has {header_length} bytes, but the file ends at byte \
             {file_length}: it is truncated or damaged; copy or download it again"
        ),
        SafeTensorError::MetadataIncompleteBuffer => format!(
            "its safetensors header does not describe a file of {file_length} bytes: it is \
             truncated or damaged; copy or download it again"
        ),
        other => {
            format!("its safetensors header is damaged: {other}; copy or download the file again")
        }
    }
}

/// The names of the tensors in a header, in order.
struct Names(Vec<String>);

impl<'de> serde::Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = Names;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(
                self,
                mut map: A,
            ) -> std::result::Result<Names, A::Error> {
                let mut names = Vec::new();
                while let Some((name, _)) = map.next_entry::<String, IgnoredAny>()? {
                    if name != METADATA {
                        names.push(name);
                    }
                }
                Ok(Names(names))
            }
        }
        deserializer.deserialize_map(Keys)
    }
}

/// The entry of a tensor in a header.
pub(crate) struct Place<'a> {
    pub(crate) name: &'a str,
    pub(crate) dtype: Dtype,
    pub(crate) shape: &'a [usize],
    /// The position of its values, counted from the end of the header.
    pub(crate) bytes: Range<usize>,
}

/// Returns the start of a file: the length of the header and the header, padded with spaces so that
/// the data begins at a multiple of eight bytes.
pub(crate) fn header<'a>(
    metadata: impl IntoIterator<Item = (&'a str, &'a str)>,
    places: &[Place<'_>],
) -> Vec<u8> {
    let text = serde_json::Value::from;
    let metadata: serde_json::Map<String, serde_json::Value> =
        metadata.into_iter().map(|(key, value)| (key.to_owned(), text(value))).collect();
    let mut header = format!(r#"{{"{METADATA}":{}"#, serde_json::Value::from(metadata));
    for Place { name, dtype, shape, bytes } in places {
        let name = text(name);
        let sizes: Vec<String> = shape.iter().map(ToString::to_string).collect();
        let (shape, start, end) = (sizes.join(","), bytes.start, bytes.end);
        let _ = write!(
            header,
            r#",{name}:{{"dtype":"{dtype}","shape":[{shape}],"data_offsets":[{start},{end}]}}"#
        );
    }
    header.push('}');
    header.extend(std::iter::repeat_n(' ', header.len().next_multiple_of(8) - header.len()));
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.into_bytes());
    bytes
}

/// Writes a state dict to a file.
///
/// The header is in the order of the state dict. In the data the integers, which have 8 bytes, come
/// first, so that every value is aligned to its size.
pub(super) fn write(state_dict: &StateDict, path: &Path) -> Result<()> {
    if state_dict.get(METADATA).is_some() {
        return Err(Error::Argument(format!(
            "cannot save a tensor called {METADATA}, because safetensors reserves this name; \
             rename it"
        )));
    }
    let is_integer = |tensor: &StateTensor| matches!(tensor, StateTensor::Int(..));
    let bytes_of = |tensor: &StateTensor| match tensor {
        StateTensor::Float(tensor) => size_of_val(tensor.data()),
        StateTensor::Int(_, values) => size_of_val(values.as_slice()),
    };
    let mut next_integer = 0;
    let mut next_float: usize =
        state_dict.iter().map(|(_, t)| if is_integer(t) { bytes_of(t) } else { 0 }).sum();
    let mut places = Vec::new();
    for (name, tensor) in state_dict.iter() {
        let (next, dtype) = match tensor {
            StateTensor::Int(..) => (&mut next_integer, Dtype::I64),
            StateTensor::Float(_) => (&mut next_float, Dtype::F32),
        };
        let (start, stop) = (*next, *next + bytes_of(tensor));
        *next = stop;
        places.push(Place { name, dtype, shape: tensor.shape(), bytes: start..stop });
    }
    let header = header([("format", "pt")], &places);
    atomic_file::write(path, |file| {
        file.write_all(&header)?;
        for (_, tensor) in state_dict.iter() {
            if let StateTensor::Int(_, values) = tensor {
                write_values(file, values, i64::to_le_bytes)?;
            }
        }
        for (_, tensor) in state_dict.iter() {
            if let StateTensor::Float(tensor) = tensor {
                match tensor.format() {
                    MemoryFormat::Contiguous => {
                        write_values(file, tensor.data(), f32::to_le_bytes)?;
                    }
                    MemoryFormat::ChannelsLast => {
                        let tensor = tensor.to_format(MemoryFormat::Contiguous);
                        write_values(file, tensor.data(), f32::to_le_bytes)?;
                    }
                }
            }
        }
        Ok(())
    })
}

fn write_values<T: Copy, const N: usize>(
    file: &mut dyn Write,
    values: &[T],
    bytes: impl Fn(T) -> [u8; N],
) -> std::io::Result<()> {
    let mut buffer = Vec::with_capacity(N * values.len().min(1 << 14));
    for chunk in values.chunks(1 << 14) {
        buffer.clear();
        buffer.extend(chunk.iter().flat_map(|&value| bytes(value)));
        file.write_all(&buffer)?;
    }
    Ok(())
}
