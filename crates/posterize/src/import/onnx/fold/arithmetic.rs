//! Arithmetic on constants, element by element.

use super::super::constant::{Constant, Data, Int, axis, count, positions, strides};
use super::super::problem::{Outcome, unsupported};
use super::folded::Folded;

/// What is said of arithmetic that needs the batch size.
const BATCH: &str = "arithmetic with the batch size that is no multiple of it";

/// Computes an element-wise operator or a reduction; `None` if it is no such operator.
pub(super) fn compute(node: &Folded<'_>) -> Outcome<Option<Constant>> {
    let op = node.op_type;
    Ok(Some(match op {
        "Add" | "Sub" | "Mul" | "Div" | "Mod" | "Min" | "Max" | "Pow" | "And" | "Or" | "Xor"
        | "Equal" | "Less" | "Greater" | "LessOrEqual" | "GreaterOrEqual" => {
            let mut result = node.input(0)?.clone();
            for index in 1..node.inputs.len() {
                result = binary(op, &result, node.input(index)?)?;
            }
            result
        }
        "Where" => choose(node.input(0)?, node.input(1)?, node.input(2)?)?,
        "ReduceProd" | "ReduceSum" | "ReduceMax" | "ReduceMin" => reduce(node)?,
        "Not" => each_int(node.input(0)?, |value| i64::from(value == 0))?,
        "Neg" | "Abs" | "Sign" if matches!(node.input(0)?.data, Data::Int(_)) => each_int(
            node.input(0)?,
            match op {
                "Neg" => i64::wrapping_neg,
                "Abs" => i64::wrapping_abs,
                _ => i64::signum,
            },
        )?,
        _ => match unary(op) {
            Some(function) => {
                let x = node.input(0)?;
                match &x.data {
                    Data::Float(values) => Constant {
                        shape: x.shape.clone(),
                        data: Data::Float(values.iter().map(|&value| function(value)).collect()),
                    },
                    // Sizes that were cast to float stay integers, and are whole already.
                    Data::Int(_) if matches!(op, "Floor" | "Ceil" | "Round") => x.clone(),
                    Data::Int(_) => return Err(format!("{op} of integers").into()),
                }
            }
            None => return Ok(None),
        },
    }))
}

/// Returns a function of one float.
fn unary(op: &str) -> Option<fn(f32) -> f32> {
    Some(match op {
        "Neg" => |x| -x,
        "Abs" => f32::abs,
        "Sqrt" => f32::sqrt,
        "Exp" => f32::exp,
        "Log" => f32::ln,
        "Reciprocal" => f32::recip,
        "Floor" => f32::floor,
        "Ceil" => f32::ceil,
        "Round" => f32::round_ties_even,
        "Relu" => |x| x.max(0.0),
        "Tanh" => f32::tanh,
        "Sigmoid" => |x| 1.0 / (1.0 + (-x).exp()),
        _ => return None,
    })
}

fn each_int(x: &Constant, function: impl Fn(i64) -> i64) -> Outcome<Constant> {
    let values = x.known_ints()?.into_iter().map(|value| function(value).into()).collect();
    Ok(Constant { shape: x.shape.clone(), data: Data::Int(values) })
}

/// Returns the shape to which two shapes are broadcast.
pub(super) fn broadcast(a: &[usize], b: &[usize]) -> Result<Vec<usize>, String> {
    let rank = a.len().max(b.len());
    let size = |shape: &[usize], at: usize| {
        (at + shape.len()).checked_sub(rank).map_or(1, |index| shape[index])
    };
    let shape = (0..rank).map(|at| match (size(a, at), size(b, at)) {
        (a, b) if a == b => Ok(a),
        (1, size) | (size, 1) => Ok(size),
        _ => Err(format!("{a:?} and {b:?} cannot be broadcast")),
    });
    shape.collect()
}

/// Returns the position in a constant of `from` for each element of a tensor of `to`.
pub(in super::super) fn broadcast_positions(from: &[usize], to: &[usize]) -> Vec<usize> {
    let strides = strides(from);
    let offset = to.len() - from.len();
    let step = |at: usize| match at.checked_sub(offset) {
        Some(index) if from[index] != 1 => strides[index] as isize,
        _ => 0,
    };
    positions(to, 0, &(0..to.len()).map(step).collect::<Vec<_>>())
}

fn binary(op: &str, a: &Constant, b: &Constant) -> Outcome<Constant> {
    let shape = broadcast(&a.shape, &b.shape)?;
    count(&shape)?;
    let a = a.pick(shape.clone(), &broadcast_positions(&a.shape, &shape));
    let b = b.pick(shape.clone(), &broadcast_positions(&b.shape, &shape));
    let data = match (&a.data, &b.data) {
        (Data::Int(a), Data::Int(b)) => {
            let pairs = a.iter().zip(b);
            Data::Int(pairs.map(|(&a, &b)| of_ints(op, a, b)).collect::<Outcome<_>>()?)
        }
        (Data::Float(a), Data::Float(b)) => of_floats(op, a, b)?,
        // Sizes that depend on the batch stay integers when they are cast.
        (Data::Int(sizes), Data::Float(factors)) => scaled_sizes(op, sizes, factors)?,
        (Data::Float(factors), Data::Int(sizes)) if op == "Mul" => {
            scaled_sizes(op, sizes, factors)?
        }
        _ => return Err(format!("{op} of a float and an integer").into()),
    };
    Ok(Constant { shape, data })
}

/// Multiplies or divides sizes by whole factors.
fn scaled_sizes(op: &str, sizes: &[Int], factors: &[f32]) -> Outcome<Data> {
    let pairs = sizes.iter().zip(factors);
    let scaled = pairs.map(|(&size, &factor)| match op {
        "Mul" | "Div" if factor.fract() == 0.0 => of_ints(op, size, (factor as i64).into()),
        _ => unsupported(BATCH),
    });
    Ok(Data::Int(scaled.collect::<Outcome<_>>()?))
}

fn of_floats(op: &str, a: &[f32], b: &[f32]) -> Outcome<Data> {
    let compare = |test: fn(f32, f32) -> bool| {
        let pairs = a.iter().zip(b);
        Data::Int(pairs.map(|(&a, &b)| i64::from(test(a, b)).into()).collect())
    };
    let function: fn(f32, f32) -> f32 = match op {
        "Add" => |a, b| a + b,
        "Sub" => |a, b| a - b,
        "Mul" => |a, b| a * b,
        "Div" => |a, b| a / b,
        "Pow" => f32::powf,
        "Min" => f32::min,
        "Max" => f32::max,
        "Equal" => return Ok(compare(|a, b| a == b)),
        "Less" => return Ok(compare(|a, b| a < b)),
        "Greater" => return Ok(compare(|a, b| a > b)),
        "LessOrEqual" => return Ok(compare(|a, b| a <= b)),
        "GreaterOrEqual" => return Ok(compare(|a, b| a >= b)),
        _ => return unsupported(format!("{op} of float constants")),
    };
    Ok(Data::Float(a.iter().zip(b).map(|(&a, &b)| function(a, b)).collect()))
}

fn of_ints(op: &str, a: Int, b: Int) -> Outcome<Int> {
    if let (Some(a), Some(b)) = (a.known(), b.known()) {
        return of_known(op, a, b).map(Int::from);
    }
    let overflow = || format!("{op} overflows");
    let sum = |value: Option<i64>| {
        let value = value.ok_or_else(overflow)?;
        if a.per_batch == b.per_batch {
            Ok(Int { value, per_batch: true })
        } else if a.value == 0 || b.value == 0 {
            Ok(Int { value, per_batch: if a.value == 0 { b.per_batch } else { a.per_batch } })
        } else {
            unsupported(BATCH)
        }
    };
    match op {
        "Add" => sum(a.value.checked_add(b.value)),
        "Sub" => sum(a.value.checked_sub(b.value)),
        "Mul" if a.per_batch != b.per_batch => {
            let value = a.value.checked_mul(b.value).ok_or_else(overflow)?;
            Ok(Int { value, per_batch: true })
        }
        "Div" if a.per_batch && b.value != 0 && a.value % b.value == 0 => {
            Ok(Int { value: a.value / b.value, per_batch: !b.per_batch })
        }
        // A size is positive, so it differs from numbers that are not.
        "Equal" if a.per_batch != b.per_batch => {
            let known = if a.per_batch { b.value } else { a.value };
            if known <= 0 { Ok(0.into()) } else { unsupported(BATCH) }
        }
        "Equal" => Ok(i64::from(a.value == b.value).into()),
        _ if a == b && matches!(op, "Min" | "Max") => Ok(a),
        _ => unsupported(BATCH),
    }
}

fn of_known(op: &str, a: i64, b: i64) -> Outcome<i64> {
    let overflow = || format!("{op} of {a} and {b} overflows, or divides by 0");
    let found = match op {
        "Add" => a.checked_add(b),
        "Sub" => a.checked_sub(b),
        "Mul" => a.checked_mul(b),
        "Div" => a.checked_div(b),
        // The result has the sign of the divisor.
        "Mod" => a
            .checked_rem(b)
            .map(|rest| if rest != 0 && (rest < 0) != (b < 0) { rest + b } else { rest }),
        "Pow" => u32::try_from(b).ok().and_then(|b| a.checked_pow(b)),
        "Min" => Some(a.min(b)),
        "Max" => Some(a.max(b)),
        "And" => Some(i64::from(a != 0 && b != 0)),
        "Or" => Some(i64::from(a != 0 || b != 0)),
        "Xor" => Some(i64::from((a != 0) != (b != 0))),
        "Equal" => Some(i64::from(a == b)),
        "Less" => Some(i64::from(a < b)),
        "Greater" => Some(i64::from(a > b)),
        "LessOrEqual" => Some(i64::from(a <= b)),
        "GreaterOrEqual" => Some(i64::from(a >= b)),
        _ => return unsupported(format!("{op} of integer constants")),
    };
    found.ok_or_else(|| overflow().into())
}

fn choose(condition: &Constant, a: &Constant, b: &Constant) -> Outcome<Constant> {
    let shape = broadcast(&broadcast(&a.shape, &b.shape)?, &condition.shape)?;
    count(&shape)?;
    let each = |x: &Constant| x.pick(shape.clone(), &broadcast_positions(&x.shape, &shape));
    let (condition, a, b) = (each(condition).known_ints()?, each(a), each(b));
    let data = match (a.data, b.data) {
        (Data::Int(a), Data::Int(b)) => Data::Int(select(&condition, &a, &b)),
        (Data::Float(a), Data::Float(b)) => Data::Float(select(&condition, &a, &b)),
        _ => return Err("a choice between a float and an integer".into()),
    };
    Ok(Constant { shape, data })
}

fn select<T: Copy>(condition: &[i64], a: &[T], b: &[T]) -> Vec<T> {
    let values = condition.iter().zip(a.iter().zip(b));
    values.map(|(&condition, (&a, &b))| if condition != 0 { a } else { b }).collect()
}

fn reduce(node: &Folded<'_>) -> Outcome<Constant> {
    let x = node.input(0)?;
    let rank = x.shape.len();
    let axes = match node.ints(1, "axes")? {
        Some(axes) if !axes.is_empty() => {
            axes.iter().map(|&at| axis(at, rank)).collect::<Result<Vec<_>, _>>()?
        }
        _ => (0..rank).collect(),
    };
    if axes.len() != rank {
        return unsupported("a reduction of a constant over some of its axes");
    }
    let op = match node.op_type {
        "ReduceProd" => "Mul",
        "ReduceSum" => "Add",
        "ReduceMax" => "Max",
        _ => "Min",
    };
    let keep = node.attributes.int("keepdims", 1)? != 0;
    let shape = if keep { vec![1; rank] } else { Vec::new() };
    let element = |at: usize| x.pick(Vec::new(), &[at]);
    let mut result = match (x.len(), op) {
        (0, "Mul") => Constant { shape: Vec::new(), data: Data::Int(vec![1.into()]) },
        (0, _) => return Err("a reduction of no values".into()),
        _ => element(0),
    };
    for at in 1..x.len() {
        result = binary(op, &result, &element(at))?;
    }
    Ok(result.with_shape(shape))
}
