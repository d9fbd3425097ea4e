//! Functions of one element, and sums and products that broadcast.

use std::sync::Arc;

use super::super::constant::Constant;
use super::super::importer::{Call, Importer};
use super::super::problem::{Outcome, unsupported};
use super::super::scalar::{Expression, Function, Named};
use super::super::view::View;
use super::norm::scale_shift;
use crate::ops::{Activation, Add, Div, Hardswish, Mul, Op, SiLU, Sigmoid, Sub};

/// Returns the operator of a function with a name; `None` if there is none.
fn named(function: Named) -> Option<Op> {
    match function {
        Named::Hardswish => Some(Hardswish.into()),
        Named::SiLU => Some(SiLU.into()),
        Named::HardSigmoid { .. } | Named::Gelu | Named::Mish => None,
    }
}

/// Adds a node that is also an expression of earlier ones: the operator of one of the expressions, or
/// else `other`.
fn push_expression(
    importer: &mut Importer,
    name: &str,
    expressions: Vec<Expression>,
    other: impl FnOnce(&mut Importer) -> Outcome<View>,
) -> Outcome<View> {
    let operator = expressions
        .iter()
        .find_map(|expression| expression.operator().and_then(named).map(|op| (op, expression.x)));
    let y = match operator {
        Some((op, x)) => importer.push(name, op, &[x])?,
        None => other(importer)?,
    };
    importer.remember(y.node, expressions);
    Ok(y)
}

/// Adds a function of each element of a view's node, seen as the view is.
fn function(
    importer: &mut Importer,
    name: &str,
    x: &View,
    function: Function,
    op: Option<Op>,
) -> Outcome<View> {
    let known = importer.expressions(x.node);
    let expressions = known.into_iter().filter_map(|known| known.apply(function)).collect();
    let y = push_expression(importer, name, expressions, |importer| match op {
        Some(op) => importer.push(name, op, &[x.node]),
        None => unsupported("posterize has no such operator"),
    })?;
    Ok(x.on(y.node))
}

/// An operator that is a function of each element.
pub(super) fn unary(importer: &mut Importer, call: &Call<'_>) -> Outcome<View> {
    let attributes = &call.attributes;
    let x = call.view(0)?.clone();
    let name = call.name.as_str();
    match call.op_type {
        "Relu" => clamp(importer, name, &x, 0.0, f32::INFINITY),
        "Sigmoid" => function(importer, name, &x, Function::Sigmoid, Some(Sigmoid.into())),
        "HardSigmoid" => {
            let (alpha, beta) = (attributes.float("alpha", 0.2)?, attributes.float("beta", 0.5)?);
            function(importer, name, &x, Function::HardSigmoid { alpha, beta }, None)
        }
        "HardSwish" => Ok(x.on(importer.push(name, Hardswish, &[x.node])?.node)),
        "Swish" if attributes.float("alpha", 1.0)? == 1.0 => {
            Ok(x.on(importer.push(name, SiLU, &[x.node])?.node))
        }
        _ => unsupported("posterize has no such operator"),
    }
}

/// Adds a clamp of each element.
fn clamp(importer: &mut Importer, name: &str, x: &View, min: f32, max: f32) -> Outcome<View> {
    let op = match (min, max) {
        (0.0, f32::INFINITY) => Some(Activation::ReLU.into()),
        (0.0, 6.0) => Some(Activation::ReLU6.into()),
        _ => None,
    };
    function(importer, name, x, Function::Clip { min, max }, op)
}

/// Returns a constant with one value.
fn single(constant: Option<Arc<Constant>>, default: f32) -> Outcome<f32> {
    let Some(constant) = constant else { return Ok(default) };
    constant
        .single()
        .ok_or_else(|| format!("a bound of shape {:?}; expected one value", constant.shape).into())
}

/// `Clip`.
pub(super) fn clip(importer: &mut Importer, call: &Call<'_>) -> Outcome<View> {
    let x = call.view(0)?.clone();
    let lowest = call.attributes.float("min", f32::NEG_INFINITY)?;
    let highest = call.attributes.float("max", f32::INFINITY)?;
    let bound = |value: f32, none: f32| if value.abs() >= f32::MAX { none } else { value };
    let min = bound(single(call.optional(1)?, lowest)?, f32::NEG_INFINITY);
    let max = bound(single(call.optional(2)?, highest)?, f32::INFINITY);
    if min == f32::NEG_INFINITY && max == f32::INFINITY {
        return Ok(x);
    }
    clamp(importer, &call.name, &x, min, max)
}

/// `Min` or `Max` with a constant bound.
pub(super) fn bound(importer: &mut Importer, call: &Call<'_>) -> Outcome<View> {
    let constant = (0..call.inputs.len()).find(|&index| call.is_constant(index));
    let (Some(constant), 2) = (constant, call.inputs.len()) else {
        return unsupported("of values that all depend on the network's input");
    };
    let bound = call.constant(constant)?;
    let Some(bound) = bound.single() else {
        return unsupported(format!("with a constant of shape {:?}", bound.shape));
    };
    let x = call.view(1 - constant)?.clone();
    let (min, max) = match call.op_type {
        "Max" => (bound, f32::INFINITY),
        _ => (f32::NEG_INFINITY, bound),
    };
    // Min of Max, or Max of Min, is one clamp.
    if let Some(inner) = importer.expressions(x.node).into_iter().find_map(|known| {
        let Function::Clip { min, max } = known.function else { return None };
        let plain = Expression { function: Function::Clip { min, max }, ..Expression::of(known.x) };
        (known == plain).then_some((known.x, min, max))
    }) {
        let (node, inner_min, inner_max) = inner;
        let (min, max) = (inner_min.max(min), inner_max.min(max));
        if min <= max {
            return clamp(importer, &call.name, &x.on(node), min, max);
        }
    }
    clamp(importer, &call.name, &x, min, max)
}

/// `Add`, `Sub`, `Mul` or `Div`.
pub(super) fn binary(importer: &mut Importer, call: &Call<'_>) -> Outcome<View> {
    let op = call.op_type;
    if call.is_constant(1) {
        let x = call.view(0)?.clone();
        let constant = call.constant(1)?;
        return match op {
            "Add" => affine(importer, call, &x, None, Some((&constant, 1.0))),
            "Sub" => affine(importer, call, &x, None, Some((&constant, -1.0))),
            "Mul" => affine(importer, call, &x, Some((&constant, false)), None),
            _ => affine(importer, call, &x, Some((&constant, true)), None),
        };
    }
    if call.is_constant(0) {
        let x = call.view(1)?.clone();
        let constant = call.constant(0)?;
        return match op {
            "Add" => affine(importer, call, &x, None, Some((&constant, 1.0))),
            "Mul" => affine(importer, call, &x, Some((&constant, false)), None),
            "Sub" => {
                let negated = Constant::scalar(-1.0);
                affine(importer, call, &x, Some((&negated, false)), Some((&constant, 1.0)))
            }
            _ => unsupported("a constant divided by a value"),
        };
    }
    let (a, b) = (call.view(0)?.clone(), call.view(1)?.clone());
    let op: Op = match op {
        "Add" => Add::new().into(),
        "Sub" => Sub.into(),
        "Mul" => Mul.into(),
        _ => Div.into(),
    };
    pair(importer, &call.name, op, &a, &b)
}

/// `Sum` of any number of values.
pub(super) fn sum(importer: &mut Importer, call: &Call<'_>) -> Outcome<View> {
    let mut sum = call.view(0)?.clone();
    for index in 1..call.inputs.len() {
        sum = pair(importer, &call.name, Add::new().into(), &sum, &call.view(index)?.clone())?;
    }
    Ok(sum)
}

/// Adds an operator of two values, which are broadcast.
fn pair(importer: &mut Importer, name: &str, op: Op, a: &View, b: &View) -> Outcome<View> {
    let same_moves = a.moves == b.moves && a.base == b.base;
    let [a, b] = with_equal_ranks(a, b)?;
    let (nodes, back) = if same_moves {
        (vec![a.node, b.node], None)
    } else {
        let (nodes, permutation) = importer.aligned(&[&a, &b], name)?;
        (nodes, Some(permutation))
    };
    let mut expressions = Vec::new();
    if op == Op::from(Mul) {
        let (known_a, known_b) = (importer.expressions(nodes[0]), importer.expressions(nodes[1]));
        for known in known_a {
            expressions.extend(known_b.iter().filter_map(|&other| known.times(other)));
        }
    }
    let y =
        push_expression(importer, name, expressions, |importer| importer.push(name, op, &nodes))?;
    Ok(match back {
        None => a.on(y.node),
        Some(permutation) => y.permute(&permutation),
    })
}

/// Returns two values with equal numbers of axes; axes of one element are put before the others, as
/// broadcasting does.
fn with_equal_ranks(a: &View, b: &View) -> Outcome<[View; 2]> {
    let (rank_a, rank_b) = (a.shape().len(), b.shape().len());
    if rank_a == rank_b {
        return Ok([a.clone(), b.clone()]);
    }
    unsupported(format!(
        "values of shapes {:?} and {:?}, of which one has no batch axis",
        a.shape(),
        b.shape()
    ))
}

/// The factor of an [`affine`], and whether it divides.
type Factor<'a> = (&'a Constant, bool);

/// Adds `factor · x + sign · term` with constants of one value or one for each channel.
fn affine(
    importer: &mut Importer,
    call: &Call<'_>,
    x: &View,
    factor: Option<Factor<'_>>,
    term: Option<(&Constant, f32)>,
) -> Outcome<View> {
    let shape = x.shape();
    let larger = |constant: &Constant| {
        let rank = constant.shape.len();
        rank > shape.len()
            || constant.shape.iter().rev().zip(shape.iter().rev()).any(|(&c, &x)| c != 1 && x == 1)
    };
    if let Some(constant) =
        [factor.map(|f| f.0), term.map(|t| t.0)].into_iter().flatten().find(|c| larger(c))
    {
        return unsupported(format!(
            "a constant of shape {:?}, to which a value of {shape:?} is broadcast",
            constant.shape
        ));
    }
    let scale = factor.map_or(Some(1.0), |(constant, divides)| {
        constant.single().map(|value| if divides { 1.0 / value } else { value })
    });
    let shift =
        term.map_or(Some(0.0), |(constant, sign)| constant.single().map(|value| sign * value));
    if let (Some(scale), Some(shift)) = (scale, shift) {
        if (scale, shift) == (1.0, 0.0) {
            return Ok(x.clone());
        }
        let known = importer.expressions(x.node);
        let expressions =
            known.into_iter().filter_map(|known| known.affine(scale, shift)).collect();
        let node = x.node;
        let y = push_expression(importer, &call.name, expressions, |importer| {
            let channels = importer.draft.shape(node).get(1).copied().unwrap_or(1);
            let (scale, shift) = (vec![scale; channels], vec![shift; channels]);
            scale_shift(importer, &call.name, node, scale, shift)
        })?;
        return Ok(x.on(y.node));
    }
    // For each channel of the node's value, wherever that axis is seen.
    let (node, permutation) = match x.permutation() {
        Some(permutation) => (x.node, permutation),
        None => (importer.node(x, &call.name)?, (0..shape.len()).collect()),
    };
    let scale = match factor {
        None => None,
        Some((constant, divides)) => {
            let mut values = channels(constant, &shape, &permutation)?;
            if divides {
                values.iter_mut().for_each(|value| *value = 1.0 / *value);
            }
            Some(values)
        }
    };
    let shift = match term {
        None => None,
        Some((constant, sign)) => {
            let mut values = channels(constant, &shape, &permutation)?;
            values.iter_mut().for_each(|value| *value *= sign);
            Some(values)
        }
    };
    let count = importer.draft.shape(node).get(1).copied().unwrap_or(1);
    let scale = scale.unwrap_or_else(|| vec![1.0; count]);
    let shift = shift.unwrap_or_else(|| vec![0.0; count]);
    Ok(scale_shift(importer, &call.name, node, scale, shift)?.permute(&permutation))
}

/// Returns the values of a constant for the channels of a value that is seen through a permutation.
fn channels(constant: &Constant, shape: &[usize], permutation: &[usize]) -> Outcome<Vec<f32>> {
    let values = constant.floats()?;
    let at = permutation.iter().position(|&axis| axis == 1);
    let offset = shape.len() - constant.shape.len();
    let of_other_axes = (0..constant.shape.len())
        .any(|index| Some(index + offset) != at && constant.shape[index] != 1);
    let channels = at.map_or(1, |at| shape[at]);
    if of_other_axes {
        return unsupported(format!(
            "a constant of shape {:?} with a value of {shape:?}: it has more than one value for a \
             channel",
            constant.shape
        ));
    }
    Ok(if values.len() == 1 { vec![values[0]; channels] } else { values.to_vec() })
}
