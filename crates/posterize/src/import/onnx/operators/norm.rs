//! Batch normalization, and products and sums with constants for each channel.

use super::super::importer::{Call, Importer};
use super::super::names;
use super::super::problem::{Outcome, unsupported};
use super::super::view::View;
use crate::graph::NodeId;
use crate::ops::{BatchNorm, Role};
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
    let name = call.weight_name(1).and_then(names::of_weight).unwrap_or(&call.name);
    let y = importer.push(&names::clean(name), op.eps(eps), &[node])?;
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

/// Adds the operator that computes `scale · x + shift` for each channel of a node's value, which is a
/// batch norm of mean 0 and variance 1.
pub(super) fn scale_shift(
    importer: &mut Importer,
    name: &str,
    x: NodeId,
    scale: Vec<f32>,
    shift: Vec<f32>,
) -> Outcome<View> {
    let channels = scale.len();
    let op = match importer.draft.shape(x).len() {
        2 => BatchNorm::one_d(channels),
        4 => BatchNorm::two_d(channels),
        _ => {
            let shape = importer.draft.shape(x);
            return unsupported(format!("a constant for each channel of a value of {shape:?}"));
        }
    };
    let y = importer.push(name, op.eps(0.0), &[x])?;
    let values = [
        (Role::Weight, scale),
        (Role::Bias, shift),
        (Role::RunningMean, vec![0.0; channels]),
        (Role::RunningVar, vec![1.0; channels]),
    ];
    for (role, values) in values {
        let tensor = Tensor::new([channels], values).map_err(|error| error.to_string())?;
        importer.set(&y, role, tensor)?;
    }
    Ok(y)
}
