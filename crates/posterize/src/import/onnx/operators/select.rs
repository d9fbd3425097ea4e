//! Operators that select, join or repeat values.

use super::super::constant::{Constant, Data, axis};
use super::super::fold::{slices, split_sizes};
use super::super::importer::{Call, Importer, Value};
use super::super::problem::{Outcome, unsupported};
use super::super::view::View;
use crate::ops::{Cat, Gather, Op, Slice, Tile};

/// `Concat`.
pub(super) fn concat(importer: &mut Importer, call: &Call<'_>) -> Outcome<View> {
    // Values without elements, such as an empty part of a split, add nothing.
    let is_empty = |index: usize| -> Outcome<bool> {
        Ok(call.is_constant(index) && call.constant(index)?.len() == 0)
    };
    let mut indices = Vec::new();
    for index in 0..call.inputs.len() {
        if !is_empty(index)? {
            indices.push(index);
        }
    }
    let views = indices.into_iter().map(|index| call.view(index).cloned());
    let views = views.collect::<Outcome<Vec<_>>>()?;
    let Some(first) = views.first() else { return Err("it has no inputs".into()) };
    let at = axis(call.attributes.int("axis", 1)?, first.shape().len())?;
    if first.batch == Some(at) {
        return unsupported("a concatenation along the batch axis");
    }
    if views.len() == 1 {
        return Ok(first.clone());
    }
    let all: Vec<&View> = views.iter().collect();
    let (nodes, permutation) = importer.aligned(&all, &call.name)?;
    let y = importer.push(&call.name, Cat::new(permutation[at]), &nodes)?;
    Ok(y.permute(&permutation))
}

/// Adds an operator along an axis of a view, which `op` makes for the axis of the node.
pub(super) fn along_axis(
    importer: &mut Importer,
    name: &str,
    x: &View,
    at: usize,
    op: impl FnOnce(usize) -> Op,
) -> Outcome<View> {
    if x.batch == Some(at) {
        return unsupported("a selection along the batch axis");
    }
    let (node, permutation) = importer.permuted(x, name)?;
    let y = importer.push(name, op(permutation[at]), &[node])?;
    Ok(y.permute(&permutation))
}

/// `Slice`.
pub(super) fn slice(importer: &mut Importer, call: &Call<'_>) -> Outcome<View> {
    let mut x = call.view(0)?.clone();
    let shape = x.shape();
    let starts = call.ints(1, "starts")?.ok_or("it has no starts")?;
    let ends = call.ints(2, "ends")?.ok_or("it has no ends")?;
    let (axes, steps) = (call.ints(3, "axes")?, call.ints(4, "steps")?);
    for (at, start, length, step) in
        slices(&shape, &starts, &ends, axes.as_deref(), steps.as_deref())?
    {
        if start == 0 && length == shape[at] && step == 1 {
            continue;
        }
        if length == 0 {
            return unsupported(format!("a slice of no positions of axis {at} of {shape:?}"));
        }
        let first = start.unsigned_abs() as usize;
        x = if let Ok(step) = usize::try_from(step) {
            let end = first + (length - 1) * step + 1;
            let slice = |dim| Slice::new(dim, first, end).step(step).into();
            along_axis(importer, &call.name, &x, at, slice)?
        } else {
            let back = step.unsigned_abs() as usize;
            let indices: Vec<usize> = (0..length).map(|index| first - index * back).collect();
            along_axis(importer, &call.name, &x, at, |dim| Gather::new(dim, indices).into())?
        };
    }
    Ok(x)
}

/// `Split`.
pub(super) fn split(importer: &mut Importer, call: &Call<'_>) -> Outcome<Vec<Value<'static>>> {
    let x = call.view(0)?.clone();
    let shape = x.shape();
    let at = axis(call.attributes.int("axis", 0)?, shape.len())?;
    let parts = split_sizes(call.ints(1, "split")?, shape[at], call.outputs)?;
    if parts.len() != call.outputs {
        return Err(format!("{} parts for {} outputs", parts.len(), call.outputs).into());
    }
    let mut start = 0;
    let mut views = Vec::new();
    for (index, part) in parts.into_iter().enumerate() {
        let end = start + part;
        let name = format!("{}.{index}", call.name);
        views.push(if part == 0 {
            let mut shape = shape.clone();
            shape[at] = 0;
            Constant { shape, data: Data::Float(Vec::new()) }.into()
        } else if part == shape[at] {
            x.clone().into()
        } else {
            along_axis(importer, &name, &x, at, |dim| Slice::new(dim, start, end).into())?.into()
        });
        start = end;
    }
    Ok(views)
}

/// `Gather` with constant indices.
pub(super) fn gather(importer: &mut Importer, call: &Call<'_>) -> Outcome<View> {
    let x = call.view(0)?.clone();
    let shape = x.shape();
    let at = axis(call.attributes.int("axis", 0)?, shape.len())?;
    let indices = call.constant(1)?;
    let rank = indices.shape.len();
    let all = indices
        .known_ints()?
        .into_iter()
        .map(|index| axis(index, shape[at]))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| format!("an index is out of range for axis {at} of {shape:?}"))?;
    if rank == 1 && all.len() != 1 {
        return along_axis(importer, &call.name, &x, at, |dim| Gather::new(dim, all).into());
    }
    if rank > 1 {
        let picked = along_axis(importer, &call.name, &x, at, |dim| Gather::new(dim, all).into())?;
        let to = [&shape[..at], &indices.shape, &shape[at + 1..]].concat();
        let batch = x.batch.map(|batch| if batch < at { batch } else { batch + rank - 1 });
        return Ok(picked.reshape(to, batch));
    }
    let &[index] = all.as_slice() else { return Err("it has no index".into()) };
    let x = match shuffled_half(importer, &call.name, &x, at)? {
        Some(shuffled) => slice_part(importer, &call.name, &shuffled, shape[at], index, &shape)?,
        None if shape[at] == 1 => x,
        None => along_axis(importer, &call.name, &x, at, |dim| {
            Slice::new(dim, index, index + 1).into()
        })?,
    };
    if rank > 0 {
        return Ok(x);
    }
    let seen = x.shape();
    let kept: Vec<usize> = (0..seen.len()).filter(|&other| other != at).collect();
    let batch = kept.iter().position(|&other| x.batch == Some(other));
    Ok(x.reshape(kept.iter().map(|&other| seen[other]).collect(), batch))
}

/// Returns the channel shuffle whose parts are the positions of the first axis of a view, as
/// ShuffleNet splits its channels into even and odd ones: `[parts, N, C / parts, H, W]`.
fn shuffled_half(
    importer: &mut Importer,
    name: &str,
    x: &View,
    at: usize,
) -> Outcome<Option<View>> {
    if at != 0 || x.batch == Some(0) || x.moves.is_empty() {
        return Ok(None);
    }
    let whole = x.clone().reshape(x.base.clone(), Some(0));
    if whole.channel_shuffle().is_none() {
        return Ok(None);
    }
    let node = importer.node(&whole, name)?;
    Ok(Some(View::of(node, importer.draft.shape(node).to_vec())))
}

/// Returns one of `parts` equal parts of the channels, in the shape of a selection of one position of
/// the first axis of `shape`.
fn slice_part(
    importer: &mut Importer,
    name: &str,
    shuffled: &View,
    parts: usize,
    index: usize,
    shape: &[usize],
) -> Outcome<View> {
    let size = shuffled.shape()[1] / parts;
    let part = along_axis(importer, name, shuffled, 1, |dim| {
        Slice::new(dim, index * size, (index + 1) * size).into()
    })?;
    let mut to = shape.to_vec();
    to[0] = 1;
    let batch = to.iter().skip(1).position(|&size| size == 1).map(|at| at + 1);
    Ok(part.reshape(to, batch))
}

/// `Tile` or `Expand`.
pub(super) fn tile(importer: &mut Importer, call: &Call<'_>) -> Outcome<View> {
    let x = call.view(0)?.clone();
    let shape = x.shape();
    let given = call.constant(1)?;
    let given = given.sizes()?;
    if given.len() != shape.len() {
        return unsupported(format!("{} sizes for a value of {shape:?}", given.len()));
    }
    let mut repeats = Vec::with_capacity(shape.len());
    for (at, (&size, &given)) in shape.iter().zip(given).enumerate() {
        let is_batch = x.batch == Some(at);
        let repeat = match (call.op_type, given.known()) {
            ("Tile", Some(repeat)) => repeat,
            // Expand keeps an axis that has the size already, or for which it gives 1.
            ("Expand", None) if is_batch && given.value == 1 => 1,
            ("Expand", Some(to)) if size == 1 && !(is_batch && call.file_batch == Some(to)) => to,
            ("Expand", Some(to)) if to == 1 || to == size as i64 || is_batch => 1,
            _ => return unsupported(format!("sizes that do not fit a value of {shape:?}")),
        };
        repeats.push(usize::try_from(repeat).map_err(|_| format!("a size is {repeat}"))?);
    }
    if repeats.iter().all(|&repeat| repeat == 1) {
        return Ok(x);
    }
    if x.batch.is_some_and(|batch| repeats[batch] != 1) {
        return unsupported("a repetition of the batch");
    }
    let node = importer.node(&x, &call.name)?;
    importer.push(&call.name, Tile::new(repeats), &[node])
}
