//! Functions of one element, and sums and products that broadcast.

use std::sync::Arc;

use super::super::constant::{Constant, Data};
use super::super::importer::{Call, Importer};
use super::super::problem::{Outcome, unsupported};
use super::super::scalar::{Expression, Function, Named};
use super::super::view::View;
use super::scale_shift::ScaleShift;
use crate::ops::{
    Abs, Activation, Add, Div, ELU, Erf, Exp, GELU, Hardsigmoid, Hardswish, Hardtanh, LeakyReLU,
    Log, Maximum, Minimum, Mish, Mul, Neg, Op, PReLU, Reciprocal, Role, SELU, SiLU, Sigmoid,
    Softplus, Sqrt, Sub, Tanh,
};
use crate::tensor::Tensor;

/// Returns the operator of a function with a name.
fn named(function: Named) -> Op {
    match function {
        Named::Hardswish => Hardswish.into(),
        Named::SiLU => SiLU.into(),
        Named::HardSigmoid { alpha, beta } => Hardsigmoid::new().alpha(alpha).beta(beta).into(),
        Named::Gelu => GELU::new(false).into(),
        Named::Mish => Mish.into(),
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
        .find_map(|expression| expression.operator().map(|found| (named(found), expression.x)));
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
    op: Op,
) -> Outcome<View> {
    let known = importer.expressions(x.node);
    let expressions = known.into_iter().filter_map(|known| known.apply(function)).collect();
    let y = push_expression(importer, name, expressions, |importer| {
        importer.push(name, op, &[x.node])
    })?;
    Ok(x.on(y.node))
}

/// An operator that is a function of each element.
pub(super) fn unary(importer: &mut Importer, call: &Call<'_>) -> Outcome<View> {
    let attributes = &call.attributes;
    let x = call.view(0)?.clone();
    let name = call.name.as_str();
    let op: Op = match call.op_type {
        "Relu" => return clamp(importer, name, &x, 0.0, f32::INFINITY),
        "Sigmoid" => return function(importer, name, &x, Function::Sigmoid, Sigmoid.into()),
        "Erf" => return function(importer, name, &x, Function::Erf, Erf.into()),
        "Tanh" => {
            // Mish is x · tanh(softplus(x)).
            if *importer.draft.op(x.node) == Op::from(Softplus::new()) {
                let inner = importer.draft.inputs(x.node)[0];
                let tanh = Expression { function: Function::TanhSoftplus, ..Expression::of(inner) };
                let y = importer.push(name, Tanh, &[x.node])?;
                importer.remember(y.node, vec![tanh]);
                return Ok(x.on(y.node));
            }
            Tanh.into()
        }
        "HardSigmoid" => {
            let (alpha, beta) = (attributes.float("alpha", 0.2)?, attributes.float("beta", 0.5)?);
            let op = Hardsigmoid::new().alpha(alpha).beta(beta).into();
            return function(importer, name, &x, Function::HardSigmoid { alpha, beta }, op);
        }
        "HardSwish" => Hardswish.into(),
        "Swish" => {
            let alpha = attributes.float("alpha", 1.0)?;
            if alpha != 1.0 {
                let factor = Constant::scalar(alpha);
                let scaled = scale_shift(importer, name, &x, factor, Constant::scalar(0.0))?;
                let gate = importer.push(&format!("{name}.gate"), Sigmoid, &[scaled.node])?.node;
                return Ok(x.on(importer.push(name, Mul, &[x.node, gate])?.node));
            }
            SiLU.into()
        }
        "Exp" => Exp.into(),
        "Log" => Log.into(),
        "Sqrt" => Sqrt.into(),
        "Abs" => Abs.into(),
        "Neg" => Neg.into(),
        "Reciprocal" => Reciprocal.into(),
        "LeakyRelu" => LeakyReLU::new(attributes.float("alpha", 0.01)?).into(),
        "Elu" => ELU::new(attributes.float("alpha", 1.0)?).into(),
        "Selu" if !attributes.has("alpha") && !attributes.has("gamma") => SELU.into(),
        "Selu" => {
            // ONNX's defaults.
            let alpha = attributes.float("alpha", 1.673_263_2)?;
            let gamma = Constant::scalar(attributes.float("gamma", 1.050_701)?);
            let y = x.on(importer.push(&format!("{name}.elu"), ELU::new(alpha), &[x.node])?.node);
            return scale_shift(importer, name, &y, gamma, Constant::scalar(0.0));
        }
        "Gelu" => GELU::new(attributes.string("approximate", "none")? == "tanh").into(),
        "Mish" => Mish.into(),
        "Softplus" => Softplus::new().into(),
        _ => return unsupported("posterize has no such function"),
    };
    Ok(x.on(importer.push(name, op, &[x.node])?.node))
}

/// `PRelu` with a constant slope.
pub(super) fn prelu(importer: &mut Importer, call: &Call<'_>) -> Outcome<View> {
    let x = call.view(0)?.clone();
    let shape = x.shape();
    let slope = call.constant(1)?;
    let values = slope.floats()?.to_vec();
    let offset = shape.len().saturating_sub(slope.shape.len());
    let along = slope.shape.iter().position(|&size| size != 1).map(|index| index + offset);
    // The view's own axes, if its moves are not computed.
    let permutation = x.permutation().unwrap_or_else(|| (0..shape.len()).collect());
    let channel = permutation.iter().position(|&axis| axis == 1);
    let fits = values.len() == 1
        || (along == channel && channel.is_some_and(|at| shape[at] == values.len()));
    if !fits {
        // The positive part, and the negative one times the slopes.
        let positive = clamp(importer, &call.name, &x, 0.0, f32::INFINITY)?;
        let negative = clamp(importer, &call.name, &x, f32::NEG_INFINITY, 0.0)?;
        let zero = Constant::scalar(0.0);
        let negative = scale_shift(importer, &call.name, &negative, each(&slope, |c| c)?, zero)?;
        return pair(importer, &call.name, Add::new().into(), &positive, &negative);
    }
    let (node, permutation) = importer.permuted(&x, &call.name)?;
    let y = importer.push(&call.name, PReLU::new(values.len()), &[node])?;
    let weight = Tensor::new([values.len()], values).map_err(|error| error.to_string())?;
    importer.set(&y, Role::Weight, weight)?;
    Ok(y.permute(&permutation))
}

/// Adds a clamp of each element.
fn clamp(importer: &mut Importer, name: &str, x: &View, min: f32, max: f32) -> Outcome<View> {
    let op = match (min, max) {
        (0.0, f32::INFINITY) => Activation::ReLU.into(),
        (0.0, 6.0) => Activation::ReLU6.into(),
        _ => Hardtanh::new(min, max).into(),
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
    // Where the bounds are exchanged, all values are the upper one.
    let min = min.min(max);
    clamp(importer, &call.name, &x, min, max)
}

/// `Min` or `Max`.
pub(super) fn bound(importer: &mut Importer, call: &Call<'_>) -> Outcome<View> {
    let constant = (0..call.inputs.len()).find(|&index| call.is_constant(index));
    let Some(constant) = constant else {
        let op: Op = if call.op_type == "Min" { Minimum.into() } else { Maximum.into() };
        return all(importer, call, &op);
    };
    if call.inputs.len() != 2 {
        return unsupported(format!("of {} values, constants among them", call.inputs.len()));
    }
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

/// Adds `scale · x + shift`.
fn scale_shift(
    importer: &mut Importer,
    name: &str,
    x: &View,
    scale: Constant,
    shift: Constant,
) -> Outcome<View> {
    let op = ScaleShift { scale, shift };
    let Some([scale, shift]) = op.scalars() else { return op.push(importer, name, x) };
    if (scale, shift) == (1.0, 0.0) {
        return Ok(x.clone());
    }
    let known = importer.expressions(x.node);
    let expressions = known.into_iter().filter_map(|known| known.affine(scale, shift)).collect();
    // The node's own value: what is seen of it follows.
    let own = View::of(x.node, x.base.clone());
    let y = push_expression(importer, name, expressions, |importer| op.push(importer, name, &own))?;
    Ok(x.on(y.node))
}

/// Returns a function of each value of a constant.
fn each(constant: &Constant, function: impl Fn(f32) -> f32) -> Outcome<Constant> {
    let values = match &constant.data {
        Data::Float(values) => values.iter().map(|&value| function(value)).collect(),
        Data::Int(_) => {
            constant.known_ints()?.into_iter().map(|value| function(value as f32)).collect()
        }
    };
    Ok(Constant { shape: constant.shape.clone(), data: Data::Float(values) })
}

/// `Add`, `Sub`, `Mul` or `Div`.
pub(super) fn binary(importer: &mut Importer, call: &Call<'_>) -> Outcome<View> {
    let (op, name) = (call.op_type, call.name.as_str());
    if let Some(at) = (0..2).find(|&index| call.is_constant(index)) {
        let x = call.view(1 - at)?.clone();
        let constant = call.constant(at)?;
        let (one, zero) = (Constant::scalar(1.0), Constant::scalar(0.0));
        let (scale, shift) = match (op, at) {
            ("Add", _) => (one, each(&constant, |c| c)?),
            ("Sub", 1) => (one, each(&constant, |c| -c)?),
            ("Sub", _) => (Constant::scalar(-1.0), each(&constant, |c| c)?),
            ("Mul", _) => (each(&constant, |c| c)?, zero),
            (_, 1) => (each(&constant, f32::recip)?, zero),
            _ => {
                // A constant divided by a value: the constant times its reciprocal.
                let node =
                    importer.push(&format!("{name}.reciprocal"), Reciprocal, &[x.node])?.node;
                return scale_shift(importer, name, &x.on(node), each(&constant, |c| c)?, zero);
            }
        };
        return scale_shift(importer, name, &x, scale, shift);
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

/// Adds an operator of two values for any number of them.
fn all(importer: &mut Importer, call: &Call<'_>, op: &Op) -> Outcome<View> {
    let mut result = call.view(0)?.clone();
    for index in 1..call.inputs.len() {
        result = pair(importer, &call.name, op.clone(), &result, &call.view(index)?.clone())?;
    }
    Ok(result)
}

/// `Sum` or `Mean` of any number of values.
pub(super) fn sum(importer: &mut Importer, call: &Call<'_>) -> Outcome<View> {
    let sum = all(importer, call, &Add::new().into())?;
    if call.op_type == "Sum" {
        return Ok(sum);
    }
    let factor = Constant::scalar(1.0 / call.inputs.len() as f32);
    scale_shift(importer, &call.name, &sum, factor, Constant::scalar(0.0))
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
