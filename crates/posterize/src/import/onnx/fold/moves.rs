//! Operators that move or select the values of a constant.

use super::super::constant::{Constant, Data, axis, count, positions, sizes, strides};
use super::super::problem::Outcome;
use super::arithmetic::{broadcast, broadcast_positions};
use super::folded::Folded;

fn signed(strides: &[usize]) -> Vec<isize> {
    strides.iter().map(|&stride| stride as isize).collect()
}

pub(super) fn transpose(node: &Folded<'_>) -> Outcome<Constant> {
    let x = node.input(0)?;
    let rank = x.shape.len();
    let permutation = permutation(node.attributes.ints("perm")?, rank)?;
    let steps = signed(&strides(&x.shape));
    let shape: Vec<usize> = permutation.iter().map(|&from| x.shape[from]).collect();
    let steps: Vec<isize> = permutation.iter().map(|&from| steps[from]).collect();
    let from = positions(&shape, 0, &steps);
    Ok(x.pick(shape, &from))
}

/// Returns the permutation of a `Transpose`, which reverses the axes without its attribute.
pub(in super::super) fn permutation(attribute: Option<&[i64]>, rank: usize) -> Outcome<Vec<usize>> {
    let Some(given) = attribute else { return Ok((0..rank).rev().collect()) };
    let axes = given.iter().map(|&at| axis(at, rank)).collect::<Result<Vec<_>, _>>()?;
    let mut sorted = axes.clone();
    sorted.sort_unstable();
    if !sorted.into_iter().eq(0..rank) {
        return Err(format!("perm is {given:?}; expected each of {rank} axes once").into());
    }
    Ok(axes)
}

/// Returns rows of each part in turn; each part has `outer` rows of its own length.
fn joined<T: Copy>(parts: &[(&[T], usize)], outer: usize) -> Vec<T> {
    let rows = (0..outer).flat_map(|row| {
        parts.iter().flat_map(move |(values, run)| &values[row * run..(row + 1) * run])
    });
    rows.copied().collect()
}

pub(super) fn concat(node: &Folded<'_>) -> Outcome<Constant> {
    let first = node.input(0)?;
    let at = axis(node.attributes.int("axis", 0)?, first.shape.len())?;
    let mut shape = first.shape.clone();
    shape[at] = 0;
    let mut parts = Vec::new();
    for index in 0..node.inputs.len() {
        let part = node.input(index)?;
        let fits = part.shape.len() == shape.len()
            && (0..shape.len()).all(|other| other == at || part.shape[other] == shape[other]);
        if !fits {
            return Err(format!("{:?} cannot be appended to {:?}", part.shape, first.shape).into());
        }
        shape[at] = shape[at].saturating_add(part.shape[at]);
        parts.push(part);
    }
    count(&shape)?;
    let outer: usize = shape[..at].iter().product();
    let inner: usize = shape[at + 1..].iter().product();
    let run = |part: &Constant| part.shape[at] * inner;
    let data = if parts.iter().all(|part| matches!(part.data, Data::Float(_))) {
        let parts = parts.iter().map(|part| Ok((part.floats()?, run(part))));
        Data::Float(joined(&parts.collect::<Result<Vec<_>, String>>()?, outer))
    } else {
        let parts = parts.iter().map(|part| Ok((part.sizes()?, run(part))));
        Data::Int(joined(&parts.collect::<Result<Vec<_>, String>>()?, outer))
    };
    Ok(Constant { shape, data })
}

pub(super) fn gather(node: &Folded<'_>) -> Outcome<Constant> {
    let (x, indices) = (node.input(0)?, node.input(1)?);
    let at = axis(node.attributes.int("axis", 0)?, x.shape.len())?;
    let picked = indices
        .known_ints()?
        .into_iter()
        .map(|index| axis(index, x.shape[at]))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| format!("an index is out of range for axis {at} of {:?}", x.shape))?;
    let (outer, inner) = (&x.shape[..at], &x.shape[at + 1..]);
    let shape: Vec<usize> = outer.iter().chain(&indices.shape).chain(inner).copied().collect();
    count(&shape)?;
    let run: usize = inner.iter().product();
    let rows: usize = outer.iter().product();
    let from: Vec<usize> = (0..rows)
        .flat_map(|row| picked.iter().map(move |&index| row * x.shape[at] + index))
        .flat_map(|start| start * run..(start + 1) * run)
        .collect();
    Ok(x.pick(shape, &from))
}

/// The slices of a `Slice` node: the axis, start, end and step of each.
pub(in super::super) fn slices(
    shape: &[usize],
    starts: &[i64],
    ends: &[i64],
    axes: Option<&[i64]>,
    steps: Option<&[i64]>,
) -> Outcome<Vec<(usize, i64, usize, i64)>> {
    let all: Vec<i64> = (0..starts.len() as i64).collect();
    let (axes, ones) = (axes.unwrap_or(&all), vec![1; starts.len()]);
    let steps = steps.unwrap_or(&ones);
    if ends.len() != starts.len() || axes.len() != starts.len() || steps.len() != starts.len() {
        return Err("its starts, ends, axes and steps have different lengths".into());
    }
    let mut slices = Vec::new();
    for (((&start, &end), &at), &step) in starts.iter().zip(ends).zip(axes).zip(steps) {
        let at = axis(at, shape.len())?;
        let size = shape[at] as i64;
        let wrap = |index: i64| if index < 0 { index.saturating_add(size) } else { index };
        let (start, length) = match step {
            0 => return Err("the step of a slice is 0".into()),
            1.. => {
                let (start, end) = (wrap(start).clamp(0, size), wrap(end).clamp(0, size));
                // Steps longer than the axis select one position, as a step of its size does.
                (start, (end - start).max(0).div_ceil_by(step.min(size.max(1))))
            }
            _ => {
                let (start, end) = (wrap(start).clamp(-1, size - 1), wrap(end).clamp(-1, size - 1));
                let back = step.saturating_neg().min(size.max(1));
                (start, (start - end).max(0).div_ceil_by(back))
            }
        };
        slices.push((at, start, length as usize, step.clamp(-size.max(1), size.max(1))));
    }
    Ok(slices)
}

/// Division that rounds up.
trait DivCeil {
    fn div_ceil_by(self, divisor: Self) -> Self;
}

impl DivCeil for i64 {
    fn div_ceil_by(self, divisor: Self) -> Self {
        self / divisor + i64::from(self % divisor != 0)
    }
}

pub(super) fn slice(node: &Folded<'_>) -> Outcome<Constant> {
    let x = node.input(0)?;
    let Some(starts) = node.ints(1, "starts")? else { return Err("it has no starts".into()) };
    let Some(ends) = node.ints(2, "ends")? else { return Err("it has no ends".into()) };
    let (axes, steps) = (node.ints(3, "axes")?, node.ints(4, "steps")?);
    let slices = slices(&x.shape, &starts, &ends, axes.as_deref(), steps.as_deref())?;
    let mut result = x.clone();
    for (at, start, length, step) in slices {
        let strides = strides(&result.shape);
        let mut shape = result.shape.clone();
        shape[at] = length;
        let mut moved = signed(&strides);
        moved[at] *= step as isize;
        let first = if length == 0 { 0 } else { start as usize * strides[at] };
        let from = positions(&shape, first, &moved);
        result = result.pick(shape, &from);
    }
    Ok(result)
}

pub(super) fn expand(node: &Folded<'_>) -> Outcome<Constant> {
    let x = node.input(0)?;
    let shape = broadcast(&x.shape, &sizes(&node.input(1)?.known_ints()?)?)?;
    count(&shape)?;
    let from = broadcast_positions(&x.shape, &shape);
    Ok(x.pick(shape, &from))
}

pub(super) fn tile(node: &Folded<'_>) -> Outcome<Constant> {
    let mut result = node.input(0)?.clone();
    let repeats = sizes(&node.input(1)?.known_ints()?)?;
    if repeats.len() != result.shape.len() {
        return Err(format!("{repeats:?} repeats of a constant {:?}", result.shape).into());
    }
    for (at, &repeat) in repeats.iter().enumerate() {
        let size = result.shape[at];
        let mut shape = result.shape.clone();
        shape[at] = size.saturating_mul(repeat);
        count(&shape)?;
        let inner: usize = shape[at + 1..].iter().product();
        let outer: usize = shape[..at].iter().product();
        let run = size * inner;
        let from: Vec<usize> = (0..outer)
            .flat_map(|row| (0..repeat).flat_map(move |_| row * run..(row + 1) * run))
            .collect();
        result = result.pick(shape, &from);
    }
    Ok(result)
}

/// Returns the sizes of the parts of a `Split`.
pub(in super::super) fn split_sizes(
    given: Option<Vec<i64>>,
    size: usize,
    parts: usize,
) -> Outcome<Vec<usize>> {
    let parts = if let Some(given) = given {
        sizes(&given)?
    } else {
        // The last part is smaller where the axis cannot be divided.
        let part = size.div_ceil(parts.max(1));
        (0..parts).map(|index| part.min(size.saturating_sub(index * part))).collect()
    };
    if parts.iter().copied().try_fold(0_usize, usize::checked_add) != Some(size) {
        return Err(format!("the parts {parts:?} do not add up to {size}").into());
    }
    Ok(parts)
}

pub(super) fn split(node: &Folded<'_>) -> Outcome<Vec<Constant>> {
    let x = node.input(0)?;
    let at = axis(node.attributes.int("axis", 0)?, x.shape.len())?;
    let parts = split_sizes(node.ints(1, "split")?, x.shape[at], node.outputs)?;
    let strides = strides(&x.shape);
    let mut start = 0;
    Ok(parts
        .into_iter()
        .map(|part| {
            let mut shape = x.shape.clone();
            shape[at] = part;
            let first = if part == 0 { 0 } else { start * strides[at] };
            let from = positions(&shape, first, &signed(&strides));
            start += part;
            x.pick(shape, &from)
        })
        .collect())
}
