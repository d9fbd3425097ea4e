//! Decoding of a file's tensors.

use half::{bf16, f16};

use super::constant::{Constant, Data, Int, count_in_file};
use super::external::External;
use super::problem::{Outcome, unsupported};
use super::proto::TensorProto;
use super::proto::tensor_proto::{DataLocation, DataType};

/// Returns the shape of a tensor of the file.
fn shape(tensor: &TensorProto) -> Result<Vec<usize>, String> {
    let sizes: Option<Vec<usize>> =
        tensor.dims.iter().map(|&size| usize::try_from(size).ok()).collect();
    sizes.ok_or_else(|| format!("its shape {:?} has a negative size", tensor.dims))
}

/// Decodes a tensor of the file.
pub(super) fn decode(tensor: &TensorProto, external: &External) -> Outcome<Constant> {
    let what = |problem: String| format!("the tensor `{}`: {problem}", tensor.name());
    let shape = shape(tensor).map_err(what)?;
    let count = count_in_file(&shape).map_err(what)?;
    let data_type = DataType::try_from(tensor.data_type()).unwrap_or_default();
    let Some(size) = size(data_type) else {
        return unsupported(format!(
            "the tensor `{}` has the type {}; supported are floats of 16, 32 and 64 bits, integers \
             of 8 to 64 bits and booleans",
            tensor.name(),
            data_type.as_str_name()
        ));
    };
    let bytes = count * size;
    let data = if tensor.data_location() == DataLocation::External {
        raw(data_type, &external.read(&tensor.external_data, bytes).map_err(what)?)
    } else if let Some(data) = &tensor.raw_data
        && (!data.is_empty() || bytes == 0)
    {
        if data.len() != bytes {
            return Err(what(format!(
                "shape {shape:?} of {} needs {bytes} bytes, found {}",
                data_type.as_str_name(),
                data.len()
            ))
            .into());
        }
        raw(data_type, data)
    } else {
        typed(tensor, data_type)
    };
    let constant = Constant { shape, data };
    if constant.len() != count {
        let (found, shape) = (constant.len(), constant.shape);
        return Err(what(format!("shape {shape:?} needs {count} values, found {found}")).into());
    }
    Ok(constant)
}

/// Returns the size of a value in bytes; `None` for types that are not supported.
fn size(data_type: DataType) -> Option<usize> {
    Some(match data_type {
        DataType::Uint8 | DataType::Int8 | DataType::Bool => 1,
        DataType::Uint16 | DataType::Int16 | DataType::Float16 | DataType::Bfloat16 => 2,
        DataType::Float | DataType::Int32 | DataType::Uint32 => 4,
        DataType::Int64 | DataType::Uint64 | DataType::Double => 8,
        _ => return None,
    })
}

/// Decodes little-endian values.
fn raw(data_type: DataType, bytes: &[u8]) -> Data {
    fn each<const N: usize, T>(bytes: &[u8], value: impl Fn([u8; N]) -> T) -> Vec<T> {
        bytes.as_chunks::<N>().0.iter().map(|&chunk| value(chunk)).collect()
    }
    fn ints<const N: usize>(bytes: &[u8], value: impl Fn([u8; N]) -> i64) -> Data {
        Data::Int(each(bytes, |chunk| value(chunk).into()))
    }
    match data_type {
        DataType::Float => Data::Float(each(bytes, f32::from_le_bytes)),
        DataType::Float16 => Data::Float(each(bytes, |b| f16::from_le_bytes(b).to_f32())),
        DataType::Bfloat16 => Data::Float(each(bytes, |b| bf16::from_le_bytes(b).to_f32())),
        DataType::Double => Data::Float(each(bytes, |b| f64::from_le_bytes(b) as f32)),
        DataType::Int8 => ints(bytes, |b| i8::from_le_bytes(b).into()),
        DataType::Int16 => ints(bytes, |b| i16::from_le_bytes(b).into()),
        DataType::Int32 => ints(bytes, |b| i32::from_le_bytes(b).into()),
        DataType::Int64 => ints(bytes, i64::from_le_bytes),
        DataType::Uint16 => ints(bytes, |b| u16::from_le_bytes(b).into()),
        DataType::Uint32 => ints(bytes, |b| u32::from_le_bytes(b).into()),
        DataType::Uint64 => ints(bytes, |b| u64::from_le_bytes(b) as i64),
        DataType::Bool => ints(bytes, |[b]| (b != 0).into()),
        // Of 8 bits; `size` has refused all others.
        _ => ints(bytes, |[b]| b.into()),
    }
}

/// Returns the values of the field for the type, where they are not raw bytes.
fn typed(tensor: &TensorProto, data_type: DataType) -> Data {
    // Floats of 16 bits are the lower halves of `int32_data`.
    let halves = tensor.int32_data.iter().map(|&bits| bits as u16);
    match data_type {
        DataType::Float => Data::Float(tensor.float_data.clone()),
        DataType::Double => Data::Float(tensor.double_data.iter().map(|&x| x as f32).collect()),
        DataType::Float16 => Data::Float(halves.map(|x| f16::from_bits(x).to_f32()).collect()),
        DataType::Bfloat16 => Data::Float(halves.map(|x| bf16::from_bits(x).to_f32()).collect()),
        DataType::Int64 => Data::Int(tensor.int64_data.iter().map(|&x| Int::from(x)).collect()),
        DataType::Uint32 | DataType::Uint64 => {
            Data::Int(tensor.uint64_data.iter().map(|&x| Int::from(x as i64)).collect())
        }
        _ => Data::Int(tensor.int32_data.iter().map(|&x| Int::from(i64::from(x))).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_type(data_type: DataType, dims: &[i64]) -> TensorProto {
        TensorProto {
            dims: dims.to_vec(),
            data_type: Some(data_type.into()),
            name: Some("w".into()),
            ..TensorProto::default()
        }
    }

    #[test]
    fn all_encodings_of_a_value_are_the_same() {
        let none = External::none();
        let float = |tensor: &TensorProto| match decode(tensor, &none).unwrap().data {
            Data::Float(values) => values,
            Data::Int(values) => values.iter().map(|value| value.value as f32).collect(),
        };
        let with_raw = |data_type, bytes: &[u8]| TensorProto {
            raw_data: Some(bytes.to_vec().into()),
            ..of_type(data_type, &[1])
        };
        let encodings = [
            with_raw(DataType::Float, &1.5_f32.to_le_bytes()),
            with_raw(DataType::Double, &1.5_f64.to_le_bytes()),
            with_raw(DataType::Float16, &0x3e00_u16.to_le_bytes()),
            with_raw(DataType::Bfloat16, &0x3fc0_u16.to_le_bytes()),
            TensorProto { float_data: vec![1.5], ..of_type(DataType::Float, &[1]) },
            TensorProto { double_data: vec![1.5], ..of_type(DataType::Double, &[1]) },
            TensorProto { int32_data: vec![0x3e00], ..of_type(DataType::Float16, &[1]) },
        ];
        for tensor in encodings {
            assert_eq!(float(&tensor), [1.5], "{tensor:?}");
        }
        let integers = [
            with_raw(DataType::Int8, &[0xfd]),
            with_raw(DataType::Int16, &(-3_i16).to_le_bytes()),
            with_raw(DataType::Int32, &(-3_i32).to_le_bytes()),
            with_raw(DataType::Int64, &(-3_i64).to_le_bytes()),
            TensorProto { int32_data: vec![-3], ..of_type(DataType::Int8, &[1]) },
            TensorProto { int64_data: vec![-3], ..of_type(DataType::Int64, &[1]) },
        ];
        for tensor in integers {
            assert_eq!(float(&tensor), [-3.0], "{tensor:?}");
        }
    }

    #[test]
    fn a_shape_that_its_data_does_not_fill_is_an_error() {
        let none = External::none();
        for dims in [&[2_i64][..], &[-1], &[i64::MAX, i64::MAX], &[1 << 40], &[0]] {
            let tensor = TensorProto { float_data: vec![1.0], ..of_type(DataType::Float, dims) };
            assert!(decode(&tensor, &none).is_err(), "{dims:?}");
        }
        let tensor = of_type(DataType::String, &[1]);
        assert!(decode(&tensor, &none).is_err());
    }
}
