//! The operators of ONNX, and what they become.

mod conv;
mod elementwise;
mod linear;
mod norm;
mod pool;
mod shape;

use super::constant::Constant;
use super::fold::{self, Folded};
use super::importer::{Call, Importer, Value, sizes};
use super::problem::{Outcome, Problem, unsupported};
use super::tensor;

/// Imports a node: the values of its outputs.
pub(super) fn import<'a>(importer: &mut Importer, call: &Call<'a>) -> Outcome<Vec<Value<'a>>> {
    if call.op_type == "Constant" {
        return Ok(vec![constant(call)?.into()]);
    }
    if let Some(values) = folded(call)? {
        return Ok(values);
    }
    let one = |view| Ok(vec![Value::View(view)]);
    match call.op_type {
        "Shape" => Ok(vec![fold::shape_of(&call.attributes, sizes(call.view(0)?)?)?.into()]),
        "Identity" | "Dropout" => one(call.view(0)?.clone()),
        "Cast" => shape::cast(call).and_then(one),
        "Conv" => conv::conv(importer, call).and_then(one),
        "Gemm" => linear::gemm(importer, call).and_then(one),
        "MatMul" => linear::matmul(importer, call).and_then(one),
        "BatchNormalization" => norm::batch_normalization(importer, call).and_then(one),
        "MaxPool" => pool::max_pool(importer, call).and_then(one),
        "GlobalAveragePool" => pool::global_average_pool(importer, call).and_then(one),
        "ReduceMean" => pool::reduce_mean(importer, call).and_then(one),
        "Add" | "Sub" | "Mul" | "Div" => elementwise::binary(importer, call).and_then(one),
        "Sum" => elementwise::sum(importer, call).and_then(one),
        "Min" | "Max" => elementwise::bound(importer, call).and_then(one),
        "Clip" => elementwise::clip(importer, call).and_then(one),
        "Relu" | "Sigmoid" | "HardSigmoid" | "HardSwish" | "Swish" => {
            elementwise::unary(importer, call).and_then(one)
        }
        "Reshape" => shape::reshape(call).and_then(one),
        "Flatten" => shape::flatten(call).and_then(one),
        "Squeeze" => shape::squeeze(call).and_then(one),
        "Unsqueeze" => shape::unsqueeze(call).and_then(one),
        "Transpose" => shape::transpose(call).and_then(one),
        "Concat" => shape::concat(importer, call).and_then(one),
        "Slice" => shape::slice(importer, call).and_then(one),
        "Gather" => shape::gather(importer, call).and_then(one),
        "Pad" => shape::pad(importer, call).and_then(one),
        "Split" => Ok(shape::split(importer, call)?.into_iter().map(Value::View).collect()),
        _ => unsupported(NOT_KNOWN),
    }
}

/// What is said of an operator that posterize does not know.
pub(super) const NOT_KNOWN: &str = "posterize has no such operator";

/// Computes a node whose inputs are all constants; `None` if it is no such node.
fn folded<'a>(call: &Call<'a>) -> Outcome<Option<Vec<Value<'a>>>> {
    let constant = |index: usize| !call.has(index) || call.is_constant(index);
    if call.inputs.is_empty() || !(0..call.inputs.len()).all(constant) {
        return Ok(None);
    }
    let inputs = (0..call.inputs.len()).map(|index| call.optional(index));
    let inputs = inputs.collect::<Outcome<Vec<_>>>()?;
    let folded = Folded {
        op_type: call.op_type,
        attributes: call.attributes,
        inputs: inputs.iter().map(Option::as_deref).collect(),
        outputs: call.outputs,
    };
    let values = fold::compute(&folded)?;
    Ok(values.map(|values| values.into_iter().map(Value::from).collect()))
}

/// Returns the value of a `Constant` node.
fn constant(call: &Call<'_>) -> Outcome<Constant> {
    let attributes = &call.attributes;
    if let Some(value) = attributes.tensor("value")? {
        return tensor::decode(value, call.external);
    }
    if let Some(values) = attributes.floats("value_floats")? {
        return Ok(Constant::floats_of(values.to_vec()));
    }
    if let Some(values) = attributes.ints("value_ints")? {
        return Ok(Constant::ints(values.iter().map(|&value| value.into()).collect()));
    }
    if attributes.has("value_float") {
        return Ok(Constant::scalar(attributes.float("value_float", 0.0)?));
    }
    if attributes.has("value_int") {
        let value = attributes.int("value_int", 0)?;
        return Ok(Constant::ints(vec![value.into()]).with_shape(Vec::new()));
    }
    Err(Problem::Unsupported("a constant that is no tensor of numbers".into()))
}

/// Returns whether there is an operator of that name, for some of its attributes.
pub(super) fn is_known(op_type: &str) -> bool {
    const KNOWN: &[&str] = &[
        "Add",
        "BatchNormalization",
        "Cast",
        "Clip",
        "Concat",
        "Constant",
        "Conv",
        "Div",
        "Dropout",
        "Flatten",
        "Gather",
        "Gemm",
        "GlobalAveragePool",
        "HardSigmoid",
        "HardSwish",
        "Identity",
        "MatMul",
        "Max",
        "MaxPool",
        "Min",
        "Mul",
        "Pad",
        "ReduceMean",
        "Relu",
        "Reshape",
        "Shape",
        "Sigmoid",
        "Slice",
        "Split",
        "Squeeze",
        "Sub",
        "Sum",
        "Swish",
        "Transpose",
        "Unsqueeze",
    ];
    KNOWN.contains(&op_type) || fold::is_folded(op_type)
}
