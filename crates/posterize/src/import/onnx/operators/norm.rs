//! Normalizations, and the softmax.

use super::super::constant::axis;
use super::super::importer::{Call, Importer};
use super::super::problem::{Outcome, unsupported};
use super::super::view::View;
use super::select::along_axis;
use crate::ops::{
    BatchNorm, GroupNorm, InstanceNorm, LayerNorm, LocalResponseNorm, LogSoftmax, Normalize, Role,
    Softmax,
};
use crate::tensor::Tensor;

/// `BatchNormalization` with the statistics of training.
pub(super) fn batch_normalization(importer: &mut Importer, call: &Call<'_>) -> Outcome<View> {
    if call.attributes.int("training_mode", 0)? != 0 {
        return unsupported("batch normalization in training mode; export the model in eval mode");
    }
    let eps = call.attributes.float("epsilon", 1e-5)?;
    let x = call.view(0)?.clone();
    let shape = x.shape();
    let picture = match *shape.as_slice() {
        [n, c, l] => x.reshape(vec![n, c, 1, l], Some(0)),
        _ => x,
    };
    let node = importer.node(&picture, &call.name)?;
    let weight = call.tensor(1)?;
    let features = weight.shape().iter().product();
    let op = match importer.draft.shape(node).len() {
        2 => BatchNorm::one_d(features),
        _ => BatchNorm::two_d(features),
    };
    let name = call.layer_name();
    let y = importer.push(&name, op.eps(eps), &[node])?;
    importer.set(&y, Role::Weight, weight)?;
    importer.set(&y, Role::Bias, call.tensor(2)?)?;
    importer.set(&y, Role::RunningMean, call.tensor(3)?)?;
    let variance = call.tensor(4)?;
    if let Some(bad) = variance.data().iter().find(|&&value| value + eps <= 0.0) {
        return Err(format!("its variance is {bad} with epsilon {eps}; expected above 0").into());
    }
    importer.set(&y, Role::RunningVar, variance)?;
    Ok(if shape.len() == 3 { y.reshape(shape, Some(0)) } else { y })
}

/// `Dropout`, which changes nothing outside of training.
pub(super) fn dropout(call: &Call<'_>) -> Outcome<View> {
    let training = call.optional(2)?.and_then(|mode| mode.single());
    if training.is_some_and(|mode| mode != 0.0) {
        return unsupported("dropout in training mode; export the model in eval mode");
    }
    Ok(call.view(0)?.clone())
}

/// Sets weight and bias of a norm from the inputs 1 and 2 of a node.
fn set_affine(importer: &mut Importer, call: &Call<'_>, y: &View, bias: bool) -> Outcome<()> {
    let flat = |tensor: Tensor| -> Outcome<Tensor> {
        let count = tensor.data().len();
        tensor.reshape([count]).map_err(|error| error.to_string().into())
    };
    importer.set(y, Role::Weight, flat(call.tensor(1)?)?)?;
    if bias {
        importer.set(y, Role::Bias, flat(call.tensor(2)?)?)?;
    }
    Ok(())
}

/// `InstanceNormalization`.
pub(super) fn instance_normalization(importer: &mut Importer, call: &Call<'_>) -> Outcome<View> {
    let eps = call.attributes.float("epsilon", 1e-5)?;
    let features = call.tensor(1)?.data().len();
    let node = importer.node(call.view(0)?, &call.name)?;
    let y =
        importer.push(&call.name, InstanceNorm::new(features).eps(eps).affine(true), &[node])?;
    set_affine(importer, call, &y, true)?;
    Ok(y)
}

/// `LayerNormalization`.
pub(super) fn layer_normalization(importer: &mut Importer, call: &Call<'_>) -> Outcome<View> {
    let eps = call.attributes.float("epsilon", 1e-5)?;
    let x = call.view(0)?.clone();
    let shape = x.shape();
    let at = axis(call.attributes.int("axis", -1)?, shape.len())?;
    if at == 0 {
        return unsupported("over the batch");
    }
    // Over the last axis of a picture that is seen as N, H, W, C: over its channels.
    let channels_first = x
        .permutation()
        .filter(|permutation| at + 1 == shape.len() && permutation[at] == 1 && permutation[0] == 0);
    let (op, node) = match &channels_first {
        Some(_) => (LayerNorm::channels_first(shape[at]), x.node),
        None => (LayerNorm::new(&shape[at..]), importer.node(&x, &call.name)?),
    };
    let y = importer.push(&call.name, op.eps(eps).bias(call.has(2)), &[node])?;
    let sizes = importer.draft.op(y.node).parameters();
    let sizes = sizes.first().map_or(Vec::new(), |weight| weight.shape.clone());
    let reshaped = |tensor: Tensor| -> Outcome<Tensor> {
        tensor.reshape(sizes.clone()).map_err(|error| error.to_string().into())
    };
    importer.set(&y, Role::Weight, reshaped(call.tensor(1)?)?)?;
    if call.has(2) {
        importer.set(&y, Role::Bias, reshaped(call.tensor(2)?)?)?;
    }
    Ok(match channels_first {
        Some(permutation) => y.permute(&permutation),
        None => y,
    })
}

/// `GroupNormalization`.
pub(super) fn group_normalization(importer: &mut Importer, call: &Call<'_>) -> Outcome<View> {
    let eps = call.attributes.float("epsilon", 1e-5)?;
    let given = call.attributes.int("num_groups", 0)?;
    let groups = usize::try_from(given).ok().filter(|&groups| groups > 0);
    let groups = groups.ok_or_else(|| format!("num_groups is {given}"))?;
    let x = call.view(0)?.clone();
    let channels = x.shape().get(1).copied().unwrap_or(0);
    let node = importer.node(&x, &call.name)?;
    let y = importer.push(
        &call.name,
        GroupNorm::new(groups, channels).eps(eps).affine(true),
        &[node],
    )?;
    for (role, index) in [(Role::Weight, 1), (Role::Bias, 2)] {
        // Before version 21, there was one value for each group.
        let values = call.tensor(index)?.into_data();
        let repeats = channels.checked_div(values.len()).unwrap_or(0);
        let values: Vec<f32> =
            values.iter().flat_map(|&value| std::iter::repeat_n(value, repeats)).collect();
        let tensor = Tensor::new([values.len()], values).map_err(|error| error.to_string())?;
        importer.set(&y, role, tensor)?;
    }
    Ok(y)
}

/// `LRN`.
pub(super) fn lrn(importer: &mut Importer, call: &Call<'_>) -> Outcome<View> {
    let attributes = &call.attributes;
    let given = attributes.int("size", 0)?;
    let size = usize::try_from(given).ok().filter(|&size| size > 0);
    let size = size.ok_or_else(|| format!("size is {given}"))?;
    if size.is_multiple_of(2) {
        // PyTorch's window has its extra channel before the others, ONNX's behind them.
        return unsupported(format!("over an even number of channels ({size})"));
    }
    let op = LocalResponseNorm::new(size)
        .alpha(attributes.float("alpha", 1e-4)?)
        .beta(attributes.float("beta", 0.75)?)
        .k(attributes.float("bias", 1.0)?);
    let node = importer.node(call.view(0)?, &call.name)?;
    importer.push(&call.name, op, &[node])
}

/// `LpNormalization`.
pub(super) fn lp_normalization(importer: &mut Importer, call: &Call<'_>) -> Outcome<View> {
    let x = call.view(0)?.clone();
    let at = axis(call.attributes.int("axis", -1)?, x.shape().len())?;
    let p = match call.attributes.int("p", 2)? {
        1 => 1,
        2 => 2,
        other => return Err(format!("p is {other}; expected 1 or 2").into()),
    };
    along_axis(importer, &call.name, &x, at, |dim| Normalize::new(p, dim).into())
}

/// `Softmax` or `LogSoftmax`.
pub(super) fn softmax(importer: &mut Importer, call: &Call<'_>) -> Outcome<View> {
    let x = call.view(0)?.clone();
    let shape = x.shape();
    let default = if call.opset < 13 { 1 } else { -1 };
    let at = axis(call.attributes.int("axis", default)?, shape.len())?;
    let log = call.op_type == "LogSoftmax";
    let op = |dim| if log { LogSoftmax::new(dim).into() } else { Softmax::new(dim).into() };
    // Before version 13, over all axes from this one on.
    let rest: usize = shape[at..].iter().product();
    if call.opset < 13 && rest != shape[at] {
        if at != 1 || x.batch != Some(0) {
            return unsupported("over several axes that do not begin with the second");
        }
        let flat = x.reshape(vec![1, rest], Some(0));
        let y = along_axis(importer, &call.name, &flat, 1, op)?;
        return Ok(y.reshape(shape, Some(0)));
    }
    along_axis(importer, &call.name, &x, at, op)
}
