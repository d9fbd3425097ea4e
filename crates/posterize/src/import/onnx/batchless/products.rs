//! Matrix products in files without a batch axis.

use super::super::attributes::Attributes;
use super::super::constant::Constant;
use super::super::importer::{Call, Importer, Value};
use super::super::problem::Outcome;
use super::super::view::View;
use super::rewrite::Rewrite;
use super::shapes::{own, reshaped};
use crate::ops::Tile;

/// Returns a value with axes of one element in front of its own.
fn with_rank(x: &View, rank: usize) -> View {
    let shape = own(x);
    let ones = std::iter::repeat_n(1, rank.saturating_sub(shape.len()));
    reshaped(x, ones.chain(shape))
}

/// Repeats the matrices of two values of equal ranks along axes of one element that are longer in the
/// other.
fn broadcast(importer: &mut Importer, name: &str, a: View, b: View) -> Outcome<[View; 2]> {
    let shapes = [a.shape(), b.shape()];
    let outer = shapes[0].len() - 2;
    let mut views = [a, b];
    for (at, view) in views.iter_mut().enumerate() {
        let (own, other) = (&shapes[at], &shapes[1 - at]);
        let repeat = |axis: usize| if axis < outer && own[axis] == 1 { other[axis] } else { 1 };
        let repeats: Vec<usize> = (0..own.len()).map(repeat).collect();
        if repeats.iter().any(|&repeat| repeat != 1) {
            let node = importer.node(view, name)?;
            *view = importer.push(&format!("{name}.repeated"), Tile::new(repeats), &[node])?;
        }
    }
    Ok(views)
}

/// `MatMul`, also of vectors, which are a matrix of one row or column.
pub(super) fn matmul<'a>(importer: &mut Importer, call: &Call<'a>) -> Outcome<Vec<Value<'a>>> {
    if call.is_constant(0) || call.is_constant(1) {
        return Rewrite::new(call).import(importer);
    }
    let (a, b) = (call.view(0)?, call.view(1)?);
    if own(a).is_empty() || own(b).is_empty() {
        return Err("a factor is a scalar; expected a vector or matrices".into());
    }
    let (is_row, is_column) = (own(a).len() == 1, own(b).len() == 1);
    let a = if is_row { reshaped(a, [1, own(a)[0]]) } else { a.clone() };
    let b = if is_column { reshaped(b, [own(b)[0], 1]) } else { b.clone() };
    let rank = own(&a).len().max(own(&b).len());
    let mut node = Rewrite::new(call);
    let [a, b] = broadcast(importer, &call.name, with_rank(&a, rank), with_rank(&b, rank))?;
    node.set_input(0, a.into());
    node.set_input(1, b.into());
    let values = node.import(importer)?.into_iter().map(|value| match value {
        Value::View(y) => {
            let mut shape = own(&y);
            if is_column {
                shape.pop();
            }
            if is_row {
                shape.remove(shape.len() - usize::from(!is_column) - 1);
            }
            reshaped(&y, shape).into()
        }
        other => other,
    });
    Ok(values.collect())
}

/// Imports a node.
type Import<'a> = fn(&mut Importer, &Call<'a>) -> Outcome<Vec<Value<'a>>>;

/// `Gemm` as the nodes that it stands for, which `import` imports.
pub(super) fn gemm<'a>(
    importer: &mut Importer,
    call: &Call<'a>,
    import: Import<'a>,
) -> Outcome<Vec<Value<'a>>> {
    let attributes = &call.attributes;
    let mut compute = |op_type, inputs: &[&Value<'a>]| -> Outcome<Value<'a>> {
        let call = Call {
            name: call.name.clone(),
            op_type,
            attributes: Attributes::of(&[]),
            opset: call.opset,
            inputs: inputs.iter().map(|&input| Some(input.clone())).collect(),
            outputs: 1,
            external: call.external,
            file_batch: None,
        };
        let value = import(importer, &call)?.into_iter().next();
        value.ok_or_else(|| format!("{op_type} has no output").into())
    };
    let mut factors = [call.input(0)?.clone(), call.input(1)?.clone()];
    for (factor, transposed) in factors.iter_mut().zip(["transA", "transB"]) {
        if attributes.int(transposed, 0)? != 0 {
            *factor = compute("Transpose", &[factor])?;
        }
    }
    let [a, b] = factors;
    let mut y = compute("MatMul", &[&a, &b])?;
    let (alpha, beta) = (attributes.float("alpha", 1.0)?, attributes.float("beta", 1.0)?);
    if alpha != 1.0 {
        y = compute("Mul", &[&y, &Constant::scalar(alpha).into()])?;
    }
    if call.has(2) {
        let mut c = call.input(2)?.clone();
        if beta != 1.0 {
            c = compute("Mul", &[&c, &Constant::scalar(beta).into()])?;
        }
        y = compute("Add", &[&y, &c])?;
    }
    Ok(vec![y])
}
