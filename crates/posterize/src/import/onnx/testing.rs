//! Small files for tests, as their messages.

use prost::Message as _;

use super::proto::attribute_proto::AttributeType;
use super::proto::tensor_shape_proto::{Dimension, dimension};
use super::proto::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
    TensorShapeProto, TypeProto, ValueInfoProto, tensor_proto::DataType, type_proto,
};
use super::{OnnxModel, OnnxOptions};
use crate::error::Result;
use crate::runtime::{Input, Options, compile};
use crate::tensor::{MemoryFormat, Tensor};

/// An input or output.
pub(super) fn value(name: &str, kind: DataType, shape: &[i64]) -> ValueInfoProto {
    let dim = |&size: &i64| Dimension {
        value: Some(dimension::Value::DimValue(size)),
        ..Dimension::default()
    };
    let tensor = type_proto::Tensor {
        elem_type: Some(kind as i32),
        shape: Some(TensorShapeProto { dim: shape.iter().map(dim).collect() }),
    };
    let kind =
        TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..TypeProto::default() };
    ValueInfoProto { name: Some(name.into()), r#type: Some(kind), ..ValueInfoProto::default() }
}

/// An input or output of floats.
pub(super) fn floats(name: &str, shape: &[i64]) -> ValueInfoProto {
    value(name, DataType::Float, shape)
}

fn attribute(name: &str, kind: AttributeType) -> AttributeProto {
    AttributeProto {
        name: Some(name.into()),
        r#type: Some(kind as i32),
        ..AttributeProto::default()
    }
}

pub(super) fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto { i: Some(value), ..attribute(name, AttributeType::Int) }
}

pub(super) fn ints(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto { ints: values.to_vec(), ..attribute(name, AttributeType::Ints) }
}

pub(super) fn float(name: &str, value: f32) -> AttributeProto {
    AttributeProto { f: Some(value), ..attribute(name, AttributeType::Float) }
}

pub(super) fn graph(name: &str, value: GraphProto) -> AttributeProto {
    AttributeProto { g: Some(value), ..attribute(name, AttributeType::Graph) }
}

pub(super) fn string(name: &str, value: &str) -> AttributeProto {
    let text = prost::bytes::Bytes::copy_from_slice(value.as_bytes());
    AttributeProto { s: Some(text), ..attribute(name, AttributeType::String) }
}

/// A node that is a constant of floats.
pub(super) fn constant(name: &str, shape: &[i64], values: &[f32]) -> NodeProto {
    let tensor = TensorProto {
        dims: shape.to_vec(),
        data_type: Some(DataType::Float as i32),
        float_data: values.to_vec(),
        ..TensorProto::default()
    };
    let value = AttributeProto { t: Some(tensor), ..attribute("value", AttributeType::Tensor) };
    node("Constant", "", name, vec![value])
}

/// A node; names are separated by spaces.
pub(super) fn node(
    op_type: &str,
    inputs: &str,
    outputs: &str,
    attribute: Vec<AttributeProto>,
) -> NodeProto {
    let names = |text: &str| text.split_whitespace().map(str::to_owned).collect();
    NodeProto {
        op_type: Some(op_type.into()),
        input: names(inputs),
        output: names(outputs),
        attribute,
        ..NodeProto::default()
    }
}

/// A file of the operator set 18; names of outputs are separated by spaces.
pub(super) fn model(
    inputs: Vec<ValueInfoProto>,
    node: Vec<NodeProto>,
    outputs: &str,
) -> ModelProto {
    let output = |name: &str| ValueInfoProto { name: Some(name.into()), ..Default::default() };
    ModelProto {
        ir_version: Some(8),
        opset_import: vec![OperatorSetIdProto { domain: Some(String::new()), version: Some(18) }],
        graph: Some(GraphProto {
            node,
            input: inputs,
            output: outputs.split_whitespace().map(output).collect(),
            ..GraphProto::default()
        }),
        ..ModelProto::default()
    }
}

/// Imports a file.
pub(super) fn import(model: &ModelProto, options: &OnnxOptions) -> Result<OnnxModel> {
    OnnxModel::from_bytes("test.onnx", model.encode_to_vec(), options)
}

/// Imports a file and runs it.
pub(super) fn run(model: &ModelProto, options: &OnnxOptions, inputs: &[Tensor]) -> Vec<Tensor> {
    let onnx = import(model, options).unwrap();
    let mut engine = compile(onnx.model(), Options::new(1).unwrap()).unwrap();
    let inputs: Vec<Tensor> = inputs
        .iter()
        .map(|x| match x.shape().len() {
            4 => x.to_format(MemoryFormat::ChannelsLast),
            _ => x.clone(),
        })
        .collect();
    let inputs: Vec<Input<'_>> = inputs.iter().map(Input::from).collect();
    let outputs = engine.run_all(&inputs).unwrap();
    outputs.iter().map(|y| y.to_format(MemoryFormat::Contiguous)).collect()
}

/// A tensor of 1, 2, 3 and so on.
pub(super) fn counting(shape: &[usize]) -> Tensor {
    let count: usize = shape.iter().product();
    Tensor::new(shape, (1..=count).map(|value| value as f32).collect::<Vec<_>>()).unwrap()
}
