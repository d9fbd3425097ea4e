//! Inputs of a file whose values are given as options.

use super::constant::{Constant, Data};
use super::proto::ValueInfoProto;
use super::proto::tensor_proto::DataType;
use super::proto::tensor_shape_proto::dimension;
use super::proto::type_proto;
use crate::error::printable;
use crate::tensor::{MemoryFormat, Tensor};

/// Returns the constant that is given for an input of a file.
///
/// # Errors
/// Returns an error if the input is no tensor of numbers, or of another shape.
pub(super) fn constant(input: &ValueInfoProto, value: &Tensor) -> Result<Constant, String> {
    let shown = printable(input.name().as_bytes());
    let Some(type_proto::Value::TensorType(tensor)) =
        input.r#type.as_ref().and_then(|kind| kind.value.as_ref())
    else {
        return Err(format!("the input `{shown}` is no tensor, so it cannot be a constant"));
    };
    let found = value.shape();
    if let Some(shape) = &tensor.shape {
        let fits = |(dim, &size): (&Option<dimension::Value>, &usize)| match dim {
            Some(dimension::Value::DimValue(known)) => usize::try_from(*known) == Ok(size),
            _ => true,
        };
        let dims: Vec<_> = shape.dim.iter().map(|dim| dim.value.clone()).collect();
        if dims.len() != found.len() || !dims.iter().zip(found).all(fits) {
            let sizes = dims.iter().map(|dim| match dim {
                Some(dimension::Value::DimValue(size)) => size.to_string(),
                _ => "open".into(),
            });
            return Err(format!(
                "the constant for the input `{shown}` has the shape {found:?}; expected [{}]",
                sizes.collect::<Vec<_>>().join(", ")
            ));
        }
    }
    let values = value.to_format(MemoryFormat::Contiguous).into_data();
    let kind = DataType::try_from(tensor.elem_type()).unwrap_or_default();
    let data = match kind {
        DataType::Float | DataType::Float16 | DataType::Bfloat16 | DataType::Double => {
            Data::Float(values)
        }
        DataType::Bool
        | DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::Uint8
        | DataType::Uint16
        | DataType::Uint32
        | DataType::Uint64 => Data::Int(values.iter().map(|&v| (v as i64).into()).collect()),
        other => {
            return Err(format!(
                "the input `{shown}` has the type {}; expected numbers",
                other.as_str_name()
            ));
        }
    };
    Ok(Constant { shape: found.to_vec(), data })
}
