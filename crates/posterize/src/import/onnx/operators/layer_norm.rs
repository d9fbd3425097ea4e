//! `LayerNormalization` with the statistics that it may have as further outputs.

use super::super::constant::{Constant, axis};
use super::super::importer::{Call, Importer, Value};
use super::super::problem::Outcome;
use super::super::view::View;
use super::norm::layer_normalization;
use super::scale_shift::ScaleShift;
use crate::ops::{Mul, Reciprocal, Reduce, Reduction, Sqrt, Sub};

/// `LayerNormalization`: the normalized values, and their mean and the reciprocal of their standard
/// deviation if the node has them as outputs.
pub(super) fn with_statistics(
    importer: &mut Importer,
    call: &Call<'_>,
) -> Outcome<Vec<Value<'static>>> {
    let y = layer_normalization(importer, call)?;
    if call.outputs == 1 {
        return Ok(vec![y.into()]);
    }
    let [mean, deviation] = statistics(importer, call)?;
    Ok(vec![y.into(), mean.into(), deviation.into()])
}

fn statistics(importer: &mut Importer, call: &Call<'_>) -> Outcome<[View; 2]> {
    let (x, name) = (call.view(0)?.clone(), call.name.as_str());
    let eps = call.attributes.float("epsilon", 1e-5)?;
    let rank = x.shape().len();
    let at = axis(call.attributes.int("axis", -1)?, rank)?;
    let (node, permutation) = importer.permuted(&x, name)?;
    let mut dims = permutation[at..].to_vec();
    dims.sort_unstable();
    let average = || Reduce::new(Reduction::Mean, dims.clone()).keepdim(true);

    let mean = importer.push(&format!("{name}.mean"), average(), &[node])?;
    let centered = importer.push(&format!("{name}.centered"), Sub, &[node, mean.node])?.node;
    let squares = importer.push(&format!("{name}.squares"), Mul, &[centered, centered])?.node;
    let variance = importer.push(&format!("{name}.variance"), average(), &[squares])?;
    let with_eps = ScaleShift { scale: Constant::scalar(1.0), shift: Constant::scalar(eps) };
    let variance = with_eps.push(importer, &format!("{name}.eps"), &variance)?.node;
    let deviation = importer.push(&format!("{name}.deviation"), Sqrt, &[variance])?.node;
    let inverse = importer.push(&format!("{name}.inverse"), Reciprocal, &[deviation])?;
    Ok([mean.permute(&permutation), inverse.permute(&permutation)])
}
