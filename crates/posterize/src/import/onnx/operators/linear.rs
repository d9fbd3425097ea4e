//! Matrix products.

use super::super::importer::{Call, Importer};
use super::super::problem::{Outcome, unsupported};
use super::super::view::View;
use crate::ops::{Conv2d, Linear, MatMul, Role};
use crate::tensor::Tensor;

/// Returns the transpose of a matrix, times a factor.
fn transposed(matrix: &Tensor, factor: f32) -> Outcome<Tensor> {
    let &[rows, columns] = matrix.shape() else {
        return Err(format!("a matrix of shape {:?}", matrix.shape()).into());
    };
    let data = matrix.data();
    let values = (0..columns).flat_map(|c| (0..rows).map(move |r| factor * data[r * columns + c]));
    Tensor::new([columns, rows], values.collect()).map_err(|error| error.to_string().into())
}

/// `Gemm`: `alpha · A · B + beta · C`.
pub(super) fn gemm(importer: &mut Importer, call: &Call<'_>) -> Outcome<View> {
    let attributes = &call.attributes;
    let (alpha, beta) = (attributes.float("alpha", 1.0)?, attributes.float("beta", 1.0)?);
    if attributes.int("transA", 0)? != 0 {
        return unsupported("a product with its first matrix transposed");
    }
    let matrix = call.tensor(1)?;
    let weight = if attributes.int("transB", 0)? == 0 {
        transposed(&matrix, alpha)?
    } else {
        let mut weight = matrix;
        weight.data_mut().iter_mut().for_each(|value| *value *= alpha);
        weight
    };
    let &[outputs, inputs] = weight.shape() else {
        return Err(format!("a matrix of shape {:?}", weight.shape()).into());
    };
    let bias = call.optional(2)?;
    let x = importer.node(call.view(0)?, &call.name)?;
    let name = call.layer_name();
    let op = Linear::new(inputs, outputs).bias(bias.is_some());
    let y = importer.push(&name, op, &[x])?;
    importer.set(&y, Role::Weight, weight)?;
    if let Some(bias) = bias {
        let given = bias.floats()?;
        let value = |index: usize| if given.len() == 1 { given[0] } else { given[index] };
        if given.len() != 1 && given.len() != outputs {
            return unsupported(format!("a sum with a constant of shape {:?}", bias.shape));
        }
        let values = (0..outputs).map(|index| beta * value(index)).collect();
        let bias = Tensor::new([outputs], values).map_err(|error| error.to_string())?;
        importer.set(&y, Role::Bias, bias)?;
    }
    Ok(y)
}

/// `MatMul` with a constant matrix on the right, or of two values.
pub(super) fn matmul(importer: &mut Importer, call: &Call<'_>) -> Outcome<View> {
    if !call.is_constant(1) {
        let a = importer.node(call.view(0)?, &call.name)?;
        let b = importer.node(call.view(1)?, &call.name)?;
        return importer.push(&call.name, MatMul, &[a, b]);
    }
    let weight = transposed(&call.tensor(1)?, 1.0)?;
    let x = call.view(0)?.clone();
    let shape = x.shape();
    let &[outputs, inputs] = weight.shape() else {
        return Err(format!("a matrix of shape {:?}", weight.shape()).into());
    };
    let name = call.layer_name();
    // On more than one row, a matrix is a 1x1 convolution of a picture whose last axis is its
    // channels.
    let picture = match *shape.as_slice() {
        [_, _] => {
            let x = importer.node(&x, &call.name)?;
            let y = importer.push(&name, Linear::new(inputs, outputs).bias(false), &[x])?;
            importer.set(&y, Role::Weight, weight)?;
            return Ok(y);
        }
        [n, rows, columns] => x.reshape(vec![n, rows, 1, columns], Some(0)),
        [_, _, _, _] => x,
        _ => return unsupported(format!("a product of a value of shape {shape:?}")),
    };
    let picture = picture.permute(&[0, 3, 1, 2]);
    let x = importer.node(&picture, &call.name)?;
    let y = importer.push(&name, Conv2d::new(inputs, outputs, 1).bias(false), &[x])?;
    let weight = weight.reshape([outputs, inputs, 1, 1]).map_err(|error| error.to_string())?;
    importer.set(&y, Role::Weight, weight)?;
    let y = y.permute(&[0, 2, 3, 1]);
    Ok(match *shape.as_slice() {
        [n, rows, _] => y.reshape(vec![n, rows, outputs], Some(0)),
        _ => y,
    })
}
