//! The operators of ONNX, and what they become.

mod conv;
mod conv_transpose;
mod elementwise;
mod layer_norm;
mod linear;
mod norm;
mod pad;
mod pool;
mod pow;
mod resize;
mod scale_shift;
mod select;
mod shape;
#[cfg(test)]
mod tests;
mod windows;

use super::constant::Constant;
use super::fold::{self, Folded};
use super::importer::{Call, Importer, Value, sizes};
use super::problem::{Outcome, Problem, unsupported};
use super::tensor;
use super::view::View;

/// How a node is imported.
enum Converter {
    /// It has one output.
    One(fn(&mut Importer, &Call<'_>) -> Outcome<View>),
    /// It has several outputs.
    Several(fn(&mut Importer, &Call<'_>) -> Outcome<Vec<Value<'static>>>),
    /// Its output is known at import.
    Constant(fn(&Call<'_>) -> Outcome<Constant>),
}

/// Returns how nodes of an operator are imported; `None` if there is no such operator.
fn converter(op_type: &str) -> Option<Converter> {
    use Converter::{Constant, One, Several};
    Some(match op_type {
        "Constant" => Constant(constant),
        "Shape" => Constant(|call| fold::shape_of(&call.attributes, &sizes(call.view(0)?)?)),
        "Size" => Constant(shape::size),

        "Conv" => One(conv::conv),
        "ConvTranspose" => One(conv_transpose::conv_transpose),
        "Gemm" => One(linear::gemm),
        "MatMul" => One(linear::matmul),

        "BatchNormalization" => One(norm::batch_normalization),
        "InstanceNormalization" => One(norm::instance_normalization),
        "LayerNormalization" => Several(layer_norm::with_statistics),
        "GroupNormalization" => One(norm::group_normalization),
        "LRN" => One(norm::lrn),
        "LpNormalization" => One(norm::lp_normalization),
        "Softmax" | "LogSoftmax" => One(norm::softmax),

        "MaxPool" => One(pool::max_pool),
        "AveragePool" => One(pool::average_pool),
        "GlobalAveragePool" | "GlobalMaxPool" => One(pool::global_pool),
        "ArgMax" => One(pool::arg_max),
        "ReduceMean" | "ReduceSum" | "ReduceMax" | "ReduceMin" => One(pool::reduce),

        "Add" | "Sub" | "Mul" | "Div" => One(elementwise::binary),
        "Sum" | "Mean" => One(elementwise::sum),
        "Min" | "Max" => One(elementwise::bound),
        "Pow" => One(pow::pow),
        "Clip" => One(elementwise::clip),
        "PRelu" => One(elementwise::prelu),
        "Relu" | "Sigmoid" | "HardSigmoid" | "HardSwish" | "Swish" | "Tanh" | "Erf" | "Exp"
        | "Log" | "Sqrt" | "Abs" | "Neg" | "Reciprocal" | "LeakyRelu" | "Elu" | "Selu" | "Gelu"
        | "Mish" | "Softplus" => One(elementwise::unary),

        "Identity" => One(|_, call| Ok(call.view(0)?.clone())),
        "Dropout" => One(|_, call| norm::dropout(call)),
        "Cast" => One(|_, call| shape::cast(call)),
        "Reshape" => One(|_, call| shape::reshape(call)),
        "Flatten" => One(|_, call| shape::flatten(call)),
        "Squeeze" => One(|_, call| shape::squeeze(call)),
        "Unsqueeze" => One(|_, call| shape::unsqueeze(call)),
        "Transpose" => One(|_, call| shape::transpose(call)),
        "Expand" | "Tile" => One(select::tile),
        "Concat" => One(select::concat),
        "Slice" => One(select::slice),
        "Gather" => One(select::gather),
        "Split" => Several(select::split),
        "Pad" => One(pad::pad),
        "Resize" | "Upsample" => One(resize::resize),
        "DepthToSpace" | "SpaceToDepth" => One(resize::blocks),
        _ => return None,
    })
}

/// Returns whether there is an operator of that name.
pub(super) fn is_known(op_type: &str) -> bool {
    converter(op_type).is_some() || fold::is_folded(op_type)
}

/// Imports a node: the values of its outputs.
pub(super) fn import<'a>(importer: &mut Importer, call: &Call<'a>) -> Outcome<Vec<Value<'a>>> {
    if let Some(values) = folded(call)? {
        return Ok(values);
    }
    Ok(match converter(call.op_type) {
        Some(Converter::One(convert)) => vec![convert(importer, call)?.into()],
        Some(Converter::Several(convert)) => convert(importer, call)?,
        Some(Converter::Constant(convert)) => vec![convert(call)?.into()],
        None => return unsupported("it is supported for constants alone"),
    })
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
