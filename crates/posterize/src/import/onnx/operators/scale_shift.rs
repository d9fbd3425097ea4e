//! Products and sums with constants.

use super::super::constant::Constant;
use super::super::fold::broadcast_positions;
use super::super::importer::Importer;
use super::super::problem::{Outcome, unsupported};
use super::super::view::View;
use crate::graph::NodeId;
use crate::ops::{BatchNorm, Reshape, Role};
use crate::tensor::Tensor;

/// `scale · x + shift` with constants, each of which is broadcast.
#[derive(Clone, Debug)]
pub(super) struct ScaleShift {
    pub(super) scale: Constant,
    pub(super) shift: Constant,
}

impl ScaleShift {
    /// Returns the constants if both have one value.
    pub(super) fn scalars(&self) -> Option<[f32; 2]> {
        Some([self.scale.single()?, self.shift.single()?])
    }

    /// Adds the operator for a view's value.
    pub(super) fn push(&self, importer: &mut Importer, name: &str, x: &View) -> Outcome<View> {
        if let Some([scale, shift]) = self.scalars() {
            return scalar(importer, name, x.node, scale, shift).map(|y| x.on(y.node));
        }
        let shape = x.shape();
        for constant in [&self.scale, &self.shift] {
            let larger = constant.shape.len() > shape.len()
                || constant
                    .shape
                    .iter()
                    .rev()
                    .zip(shape.iter().rev())
                    .any(|(&c, &x)| c > 1 && c != x);
            if larger {
                return unsupported(format!(
                    "a constant of shape {:?}, to which a value of {shape:?} is broadcast",
                    constant.shape
                ));
            }
        }
        // As a picture whose channels are the axis along which the constants have values.
        let Some(along) = self.axis(&shape)? else {
            return self.push_for_each_value(importer, name, x);
        };
        let (picture, back) = match (shape.as_slice(), along) {
            ([_, _] | [_, _, _, _], 1) => (x.clone(), None),
            (&[n, c, l], 1) => (x.clone().reshape(vec![n, c, 1, l], Some(0)), None),
            (&[n, r, c], 2) => {
                let picture = x.clone().reshape(vec![n, r, 1, c], Some(0));
                (picture.permute(&[0, 3, 1, 2]), Some([0, 2, 3, 1]))
            }
            ([_, _, _, _], 2) => (x.clone().permute(&[0, 2, 1, 3]), Some([0, 2, 1, 3])),
            ([_, _, _, _], 3) => (x.clone().permute(&[0, 3, 1, 2]), Some([0, 2, 3, 1])),
            _ => {
                return unsupported(format!(
                    "a constant along axis {along} of a value of {shape:?}"
                ));
            }
        };
        let node = importer.node(&picture, name)?;
        let values = |constant: &Constant| -> Outcome<Vec<f32>> {
            let values = constant.floats()?;
            Ok(if values.len() == 1 { vec![values[0]; shape[along]] } else { values.to_vec() })
        };
        let y = per_channel(importer, name, node, values(&self.scale)?, values(&self.shift)?)?;
        let y = back.map_or(y.clone(), |back| y.permute(&back));
        Ok(if shape.len() == 3 { y.reshape(shape, Some(0)) } else { y })
    }

    /// Returns the only axis of a value of this shape along which the constants have more than one
    /// value; `None` if there are several.
    fn axis(&self, shape: &[usize]) -> Outcome<Option<usize>> {
        let mut along = None;
        for constant in [&self.scale, &self.shift] {
            let offset = shape.len() - constant.shape.len();
            for (index, _) in constant.shape.iter().enumerate().filter(|(_, size)| **size != 1) {
                let at = index + offset;
                if at == 0 {
                    return unsupported(format!(
                        "a constant of shape {:?}, which differs along the batch",
                        constant.shape
                    ));
                }
                if along.is_some_and(|known| known != at) {
                    return Ok(None);
                }
                along = Some(at);
            }
        }
        Ok(Some(along.unwrap_or(1)))
    }

    /// Adds the operator for constants that have a value for each element: on the flattened value.
    fn push_for_each_value(&self, importer: &mut Importer, name: &str, x: &View) -> Outcome<View> {
        let shape = x.shape();
        let count: usize = shape.iter().product();
        let values = |constant: &Constant| -> Outcome<Vec<f32>> {
            let values = constant.floats()?;
            let from = broadcast_positions(&constant.shape, &shape);
            Ok(from.into_iter().map(|at| values[at]).collect())
        };
        let flat = importer.node(&x.clone().reshape(vec![1, count], Some(0)), name)?;
        let y = per_channel(importer, name, flat, values(&self.scale)?, values(&self.shift)?)?;
        Ok(y.reshape(shape, x.batch))
    }
}

/// Adds the operator for constants of one value.
fn scalar(importer: &mut Importer, name: &str, x: NodeId, scale: f32, shift: f32) -> Outcome<View> {
    let shape = importer.draft.shape(x).to_vec();
    match *shape.as_slice() {
        [_, channels] | [_, channels, _, _] => {
            per_channel(importer, name, x, vec![scale; channels], vec![shift; channels])
        }
        _ => {
            // As a picture of one row and one channel.
            let values = shape.iter().product::<usize>() as i64;
            let row = importer.push(&format!("{name}.row"), Reshape::new([1, 1, values]), &[x])?;
            let y = per_channel(importer, name, row.node, vec![scale], vec![shift])?;
            let sizes: Vec<i64> = shape[1..].iter().map(|&size| size as i64).collect();
            importer.push(&format!("{name}.back"), Reshape::new(sizes), &[y.node])
        }
    }
}

/// Adds the operator that computes `scale · x + shift` for each channel: a batch norm of mean 0 and
/// variance 1.
fn per_channel(
    importer: &mut Importer,
    name: &str,
    x: NodeId,
    scale: Vec<f32>,
    shift: Vec<f32>,
) -> Outcome<View> {
    let channels = scale.len();
    let op = match importer.draft.shape(x).len() {
        2 => BatchNorm::one_d(channels),
        _ => BatchNorm::two_d(channels),
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
