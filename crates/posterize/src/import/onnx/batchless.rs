//! Files without a batch axis: each node is imported as one whose values have an axis of one element in
//! front of their own.
//!
//! Everything else of the import has the batch first, so a node is rewritten before it is imported: axes
//! that are counted from the front are one further back, and lists of one value for each axis have one
//! more.

mod products;
mod rewrite;
mod shapes;
#[cfg(test)]
mod tests;

use super::constant::{Constant, Data};
use super::fold::shape_of;
use super::importer::{Call, Importer, Value};
use super::operators;
use super::problem::{Outcome, unsupported};
use super::view::View;
use rewrite::Rewrite;
use shapes::{own, reshaped};

/// Imports a node of a file without a batch axis.
pub(super) fn import<'a>(importer: &mut Importer, call: &Call<'a>) -> Outcome<Vec<Value<'a>>> {
    if !call.inputs.iter().flatten().any(|value| matches!(value, Value::View(_))) {
        return operators::import(importer, call);
    }
    let mut node = Rewrite::new(call);
    match call.op_type {
        "Flatten" => return Ok(vec![flatten(call)?.into()]),
        "Shape" => {
            let sizes: Vec<_> = own(call.view(0)?).iter().map(|&s| (s as i64).into()).collect();
            return Ok(vec![shape_of(&call.attributes, &sizes)?.into()]);
        }
        "Size" => {
            let size = own(call.view(0)?).iter().product::<usize>() as i64;
            let size = Constant { shape: Vec::new(), data: Data::Int(vec![size.into()]) };
            return Ok(vec![size.into()]);
        }
        "Gemm" => return products::gemm(importer, call, import),
        "MatMul" => return products::matmul(importer, call),

        "Softmax" | "LogSoftmax" => node.axis(if call.opset < 13 { 1 } else { -1 })?,
        "LayerNormalization" | "LpNormalization" => node.axis(-1)?,
        "Split" | "Gather" | "ArgMax" => node.axis(0)?,
        "Concat" => node.axis(1)?,
        "Transpose" => node.permutation()?,
        "ReduceMean" | "ReduceSum" | "ReduceMax" | "ReduceMin" => node.reduced_axes()?,
        "Squeeze" => node.axes(1, own(call.view(0)?).len())?,
        "Unsqueeze" => {
            let added = call.ints(1, "axes")?.map_or(0, |axes| axes.len());
            node.axes(1, own(call.view(0)?).len() + added)?;
        }
        "Slice" => node.sliced_axes()?,
        "Pad" => node.pads()?,
        "Tile" => node.more_sizes(1, 1.into())?,
        "Reshape" => node.reshaped()?,
        "Expand" => node.expanded()?,

        "Add" | "Sub" | "Mul" | "Div" | "Min" | "Max" | "Sum" | "Mean" | "Pow" => {
            node.equal_ranks()?;
        }

        "Conv"
        | "ConvTranspose"
        | "MaxPool"
        | "AveragePool"
        | "GlobalAveragePool"
        | "GlobalMaxPool"
        | "BatchNormalization"
        | "InstanceNormalization"
        | "GroupNormalization"
        | "LRN"
        | "DepthToSpace"
        | "SpaceToDepth"
        | "Resize"
        | "Upsample" => return of_one_picture(importer, call, node),
        _ => {}
    }
    let values = node.import(importer)?.into_iter().map(|value| match value {
        // Parts without values, which a split may have.
        Value::Constant(part) => part.with_shape(part.shape[1..].to_vec()).into(),
        other => other,
    });
    Ok(values.collect())
}

/// Imports an operator of pictures, whose first axis has to be one picture. It is the batch then.
fn of_one_picture<'a>(
    importer: &mut Importer,
    call: &Call<'a>,
    mut node: Rewrite<'_, 'a>,
) -> Outcome<Vec<Value<'a>>> {
    let x = call.view(0)?;
    let shape = own(x);
    if shape.first() != Some(&1) {
        return unsupported(format!(
            "of a value of {shape:?} without a batch axis; expected one picture, or import the file \
             with its batch axis"
        ));
    }
    node.set_input(0, Value::View(x.clone().reshape(shape, Some(0))));
    let values = node.import(importer)?.into_iter().map(|value| match value {
        Value::View(y) => Value::View(reshaped(&y, y.shape())),
        other => other,
    });
    Ok(values.collect())
}

/// `Flatten` of the axes before one, and of those from it on.
fn flatten(call: &Call<'_>) -> Outcome<View> {
    let x = call.view(0)?;
    let shape = own(x);
    let at = call.attributes.int("axis", 1)?;
    let at = if at < 0 { at.saturating_add(shape.len() as i64) } else { at };
    let split = usize::try_from(at).ok().and_then(|at| shape.split_at_checked(at));
    let Some((rows, columns)) = split else {
        return Err(format!("axis is {at} for a value of {shape:?}").into());
    };
    Ok(reshaped(x, [rows.iter().product(), columns.iter().product()]))
}
