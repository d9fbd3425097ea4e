//! Reading of safetensors files.
//!
//! The `safetensors` crate checks the header. It does not keep the order of the tensors in the
//! header, which is the order of the state dict, so the names are also read here.

use std::collections::HashMap;
use std::fmt;

use safetensors::{Dtype, SafeTensors};
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

use super::header::{FORMAT, INT8_GRAPH, LENGTH, METADATA, MODEL_FORMAT, TRAINING_FORMAT, explain};
use crate::checkpoint::contents::{Contents, TensorInfo};
use crate::checkpoint::decode::{Layout, decode};
use crate::checkpoint::element::Element;
use crate::checkpoint::read_options::ReadOptions;
use crate::checkpoint::select;
use crate::checkpoint::state_dict::{Selection, StateDict};
use crate::checkpoint::storage::{Budget, in_tensor};
use crate::checkpoint::{Parsed, printable};

/// Returns the tensors of a safetensors file of float weights, and their names in order.
fn open<'f>(file: &'f [u8], options: &ReadOptions) -> Parsed<(SafeTensors<'f>, Vec<String>)> {
    let header_length = file.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    let tensors = SafeTensors::deserialize(file)
        .map_err(|error| explain(&error, header_length, file.len()))?;
    let header = &file[LENGTH..LENGTH + header_length as usize];
    let Order { names, format } =
        serde_json::from_slice(header).map_err(|error| printable(error.to_string().as_bytes()))?;
    match format.as_deref() {
        Some(MODEL_FORMAT) if names.iter().any(|name| name == INT8_GRAPH) => {
            return Err(
                "an int8 model saved by posterize, which has no float weights. Open it as a \
                        saved model: `posterize evaluate FILE` and the other commands take it in \
                        place of the architecture's name"
                    .into(),
            );
        }
        Some(TRAINING_FORMAT) => {
            return Err("the checkpoint of a training run of posterize, not weights. Continue it \
                        with `posterize train --resume FILE`, which writes the weights at its end"
                .into());
        }
        _ => {}
    }
    if options.averaged {
        return Err(
            "expected averaged weights (EMA) beside others, found safetensors, which has one \
                    set of weights; read it without that option"
                .into(),
        );
    }
    Ok((tensors, names))
}

/// Returns whether the header at the beginning of a safetensors file is that of weights, and not of
/// another file of posterize.
pub(in crate::checkpoint) fn begins_as_weights(start: &[u8]) -> bool {
    let length = start.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    let header = start
        .get(LENGTH..)
        .and_then(|rest| rest.get(..usize::try_from(length).unwrap_or(usize::MAX)));
    let order = header.and_then(|header| serde_json::from_slice::<Order>(header).ok());
    order.is_some_and(|order| {
        !matches!(order.format.as_deref(), Some(MODEL_FORMAT | TRAINING_FORMAT))
    })
}

/// Lists the tensors of a safetensors file.
pub(in crate::checkpoint) fn contents(file: &[u8], options: &ReadOptions) -> Parsed<Contents> {
    let (tensors, names) = open(file, options)?;
    let mut entries: Vec<(&str, &str)> =
        names.iter().map(|name| (name.as_str(), name.as_str())).collect();
    let prefix = select::strip_prefixes(&mut entries);
    let info = |(name, in_file): (&str, &str)| {
        let view = tensors.tensor(in_file).map_err(|error| in_tensor(name, &error.to_string()))?;
        Ok(match element_of(view.dtype()) {
            Some(element) => TensorInfo::new(name, element.name(), view.shape(), element.size()),
            None => TensorInfo {
                bytes: view.data().len(),
                ..TensorInfo::new(name, &view.dtype().to_string(), view.shape(), 0)
            },
        })
    };
    let tensors = entries.into_iter().map(info).collect::<Parsed<_>>()?;
    let selection = Selection { prefix, ..Selection::default() };
    Ok(Contents { format: "safetensors", selection, tensors })
}

/// Reads the state dict of a safetensors file.
pub(in crate::checkpoint) fn read(file: &[u8], options: &ReadOptions) -> Parsed<StateDict> {
    let (tensors, names) = open(file, options)?;
    let mut entries: Vec<(&str, &str)> =
        names.iter().map(|name| (name.as_str(), name.as_str())).collect();
    let prefix = select::strip_prefixes(&mut entries);
    let mut budget = Budget::of_file(file.len());
    let mut state_dict = StateDict::new();
    for (name, in_file) in entries {
        let in_this = |problem: String| in_tensor(name, &problem);
        let view = tensors.tensor(in_file).map_err(|error| in_this(error.to_string()))?;
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
    Ok(state_dict.with_selection(Selection { prefix, ..Selection::default() }))
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

/// What the `safetensors` crate does not return of a header.
#[derive(Default)]
struct Order {
    /// The names of the tensors, in order.
    names: Vec<String>,
    /// The kind of file in the metadata.
    format: Option<String>,
}

impl<'de> serde::Deserialize<'de> for Order {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = Order;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(
                self,
                mut map: A,
            ) -> std::result::Result<Order, A::Error> {
                let mut order = Order::default();
                while let Some(name) = map.next_key::<String>()? {
                    if name == METADATA {
                        let metadata: Option<HashMap<String, String>> = map.next_value()?;
                        order.format = metadata.and_then(|mut all| all.remove(FORMAT));
                    } else {
                        map.next_value::<IgnoredAny>()?;
                        order.names.push(name);
                    }
                }
                Ok(order)
            }
        }
        deserializer.deserialize_map(Keys)
    }
}
