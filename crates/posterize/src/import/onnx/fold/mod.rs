//! Constant folding: nodes whose inputs are all known are computed at import.
//!
//! This is mainly the arithmetic of shapes that exporters write before a `Reshape`, `Slice` or `Resize`.
//! The batch size is not known at import; integers may be a multiple of it ([`Int`]).

mod arithmetic;
mod folded;
mod moves;

pub(super) use arithmetic::broadcast_positions;
pub(super) use folded::Folded;
pub(super) use moves::{permutation, slices, split_sizes};

use super::attributes::Attributes;
use super::constant::{Constant, Data, Int, axis, count, sizes};
use super::problem::{Outcome, unsupported};

/// Computes the outputs; `None` if the operator is not one of those that are folded.
pub(super) fn compute(node: &Folded<'_>) -> Outcome<Option<Vec<Constant>>> {
    let one = |constant: Constant| Ok(Some(vec![constant]));
    match node.op_type {
        "Identity" | "Dropout" => one(node.input(0)?.clone()),
        "Cast" => one(cast(node)?),
        "Shape" => {
            let sizes = node.input(0)?.shape.iter().map(|&size| Int::from(size as i64));
            one(shape_of(&node.attributes, &sizes.collect::<Vec<_>>())?)
        }
        "Size" => {
            let size = node.input(0)?.len() as i64;
            one(Constant { shape: Vec::new(), data: Data::Int(vec![size.into()]) })
        }
        "Range" => one(range(node)?),
        "ConstantOfShape" => one(constant_of_shape(node)?),
        "Reshape" => one(reshape(node)?),
        "Flatten" => {
            let x = node.input(0)?;
            let at = node.attributes.int("axis", 1)?;
            let at =
                if at == x.shape.len() as i64 { x.shape.len() } else { axis(at, x.shape.len())? };
            let (rows, columns) = x.shape.split_at(at);
            one(x.with_shape(vec![rows.iter().product(), columns.iter().product()]))
        }
        "Squeeze" => one(squeeze(node)?),
        "Unsqueeze" => one(unsqueeze(node)?),
        "Concat" => one(moves::concat(node)?),
        "Gather" => one(moves::gather(node)?),
        "Slice" => one(moves::slice(node)?),
        "Transpose" => one(moves::transpose(node)?),
        "Expand" => one(moves::expand(node)?),
        "Tile" => one(moves::tile(node)?),
        "Split" => Ok(Some(moves::split(node)?)),
        _ => arithmetic::compute(node).map(|found| found.map(|constant| vec![constant])),
    }
}

fn cast(node: &Folded<'_>) -> Outcome<Constant> {
    let (x, to) = (node.input(0)?, node.attributes.int("to", 0)?);
    // The numbers of TensorProto.DataType: floats are 1, 10, 11 and 16, bool is 9.
    let data = match (&x.data, to) {
        (Data::Int(values), 1 | 10 | 11 | 16) => {
            let known = values.iter().map(|value| value.known().map(|value| value as f32));
            match known.collect() {
                Some(values) => Data::Float(values),
                // Files multiply sizes as floats and cast back; the size stays an integer.
                None => Data::Int(values.clone()),
            }
        }
        (Data::Int(values), 9) => {
            let nonzero = |value: &Int| Int::from(i64::from(value.value != 0));
            Data::Int(values.iter().map(nonzero).collect())
        }
        (Data::Float(values), 9) => {
            Data::Int(values.iter().map(|&value| i64::from(value != 0.0).into()).collect())
        }
        (Data::Float(values), 2..=7 | 12 | 13) => {
            Data::Int(values.iter().map(|&value| (value as i64).into()).collect())
        }
        (data, 1..=7 | 10..=13 | 16) => data.clone(),
        (_, to) => return unsupported(format!("a cast to data type {to}")),
    };
    Ok(Constant { shape: x.shape.clone(), data })
}

fn range(node: &Folded<'_>) -> Outcome<Constant> {
    let scalars = [node.input(0)?, node.input(1)?, node.input(2)?];
    if scalars.iter().all(|x| matches!(x.data, Data::Int(_))) {
        let first = |x: &Constant| x.known_ints().ok().and_then(|values| values.first().copied());
        let [Some(start), Some(limit), Some(delta)] = scalars.map(first) else {
            return unsupported("a range whose bounds depend on the batch size");
        };
        if delta == 0 {
            return Err("the step of a range is 0".into());
        }
        let (distance, step) = (i128::from(limit) - i128::from(start), i128::from(delta));
        // Rounded up, as the range ends before its limit.
        let steps = distance / step + i128::from((distance % step).signum() == step.signum());
        let steps = steps.max(0);
        let steps = count(&[usize::try_from(steps).unwrap_or(usize::MAX)])?;
        let value = |index: usize| start.wrapping_add((index as i64).wrapping_mul(delta));
        return Ok(Constant::ints((0..steps).map(|index| value(index).into()).collect()));
    }
    let [Some(start), Some(limit), Some(delta)] = scalars.map(Constant::single) else {
        return Err("the bounds of a range are no scalars".into());
    };
    let steps = ((limit - start) / delta).ceil().max(0.0);
    if !steps.is_finite() {
        return Err("the step of a range is 0, or a bound is not finite".into());
    }
    let steps = count(&[steps as usize])?;
    Ok(Constant::floats_of((0..steps).map(|index| start + index as f32 * delta).collect()))
}

fn constant_of_shape(node: &Folded<'_>) -> Outcome<Constant> {
    let shape = sizes(&node.input(0)?.known_ints()?)?;
    let count = count(&shape)?;
    let value = match node.attributes.tensor("value")? {
        None => Constant::scalar(0.0),
        Some(tensor) => super::tensor::decode(tensor, &super::external::External::none())?,
    };
    if value.len() != 1 {
        return Err(format!("its value has {} elements; expected 1", value.len()).into());
    }
    Ok(value.pick(shape, &vec![0; count]))
}

fn reshape(node: &Folded<'_>) -> Outcome<Constant> {
    let x = node.input(0)?;
    let Some(target) = node.ints(1, "shape")? else { return Err("it has no shape".into()) };
    let allow_zero = node.attributes.int("allowzero", 0)? != 0;
    let known = |(at, &size): (usize, &i64)| match size {
        0 if !allow_zero => x.shape.get(at).copied().unwrap_or(0),
        size => usize::try_from(size).unwrap_or(1),
    };
    let mut shape: Vec<usize> = target.iter().enumerate().map(known).collect();
    let product = count(&shape)?;
    if let Some(at) = target.iter().position(|&size| size == -1) {
        shape[at] = x.len().checked_div(product).unwrap_or(0);
    }
    if count(&shape)? != x.len() {
        return Err(format!("{:?} cannot be reshaped to {target:?}", x.shape).into());
    }
    Ok(x.with_shape(shape))
}

fn squeeze(node: &Folded<'_>) -> Outcome<Constant> {
    let x = node.input(0)?;
    let rank = x.shape.len();
    let axes = match node.ints(1, "axes")? {
        Some(axes) => axes.iter().map(|&at| axis(at, rank)).collect::<Result<Vec<_>, _>>()?,
        None => (0..rank).filter(|&at| x.shape[at] == 1).collect(),
    };
    if let Some(at) = axes.iter().find(|&&at| x.shape[at] != 1) {
        return Err(format!("axis {at} of {:?} cannot be removed", x.shape).into());
    }
    let kept = (0..rank).filter(|at| !axes.contains(at));
    Ok(x.with_shape(kept.map(|at| x.shape[at]).collect()))
}

fn unsqueeze(node: &Folded<'_>) -> Outcome<Constant> {
    let x = node.input(0)?;
    let Some(axes) = node.ints(1, "axes")? else { return Err("it has no axes".into()) };
    Ok(x.with_shape(unsqueezed(&x.shape, &axes)?))
}

/// Returns a shape with axes of one element inserted.
pub(super) fn unsqueezed(shape: &[usize], axes: &[i64]) -> Result<Vec<usize>, String> {
    let rank = shape.len() + axes.len();
    let axes = axes.iter().map(|&at| axis(at, rank)).collect::<Result<Vec<_>, _>>()?;
    let mut rest = shape.iter().copied();
    let mut sizes = Vec::with_capacity(rank);
    for at in 0..rank {
        let size = if axes.contains(&at) { Some(1) } else { rest.next() };
        sizes.push(size.ok_or_else(|| format!("an axis is twice in {axes:?}"))?);
    }
    Ok(sizes)
}

/// Returns the output of `Shape`: the sizes, or those from `start` to `end`.
pub(super) fn shape_of(attributes: &Attributes<'_>, sizes: &[Int]) -> Outcome<Constant> {
    let rank = sizes.len() as i64;
    let clamp =
        |at: i64| (if at < 0 { at.saturating_add(rank) } else { at }).clamp(0, rank) as usize;
    let start = clamp(attributes.int("start", 0)?);
    let end = clamp(attributes.int("end", rank)?).max(start);
    Ok(Constant::ints(sizes[start..end].to_vec()))
}

/// Returns whether nodes of that operator are computed where their inputs are constants.
pub(super) fn is_folded(op_type: &str) -> bool {
    const FOLDED: &[&str] = &[
        "Size",
        "Range",
        "ConstantOfShape",
        "Expand",
        "Tile",
        "Mod",
        "Pow",
        "And",
        "Or",
        "Xor",
        "Equal",
        "Less",
        "Greater",
        "LessOrEqual",
        "GreaterOrEqual",
        "Where",
        "ReduceProd",
        "ReduceSum",
        "ReduceMax",
        "ReduceMin",
        "Not",
        "Neg",
        "Abs",
        "Sign",
        "Sqrt",
        "Exp",
        "Log",
        "Reciprocal",
        "Floor",
        "Ceil",
        "Round",
        "Tanh",
    ];
    FOLDED.contains(&op_type)
}
