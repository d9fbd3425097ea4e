//! Operators that move or select values.

use super::super::constant::{Int, axis};
use super::super::fold::{permutation, slices, split_sizes, unsqueezed};
use super::super::importer::{Call, Importer};
use super::super::problem::{Outcome, unsupported};
use super::super::view::View;
use crate::ops::{Cat, Slice, ZeroPad2d};

/// `Cast` between types of floats.
pub(super) fn cast(call: &Call<'_>) -> Outcome<View> {
    match call.attributes.int("to", 0)? {
        // float, float16, double, bfloat16.
        1 | 10 | 11 | 16 => Ok(call.view(0)?.clone()),
        other => unsupported(format!("a cast to data type {other}; casts to floats are supported")),
    }
}

/// `Transpose`.
pub(super) fn transpose(call: &Call<'_>) -> Outcome<View> {
    let x = call.view(0)?.clone();
    let permutation = permutation(call.attributes.ints("perm")?, x.shape().len())?;
    Ok(x.permute(&permutation))
}

/// `Reshape`.
pub(super) fn reshape(call: &Call<'_>) -> Outcome<View> {
    let x = call.view(0)?.clone();
    let shape = x.shape();
    let target: Vec<Int> = if call.has(1) {
        call.constant(1)?.sizes()?.to_vec()
    } else {
        let given = call.attributes.ints("shape")?.ok_or("it has no shape")?;
        given.iter().map(|&size| size.into()).collect()
    };
    let allow_zero = call.attributes.int("allowzero", 0)? != 0;
    let values: usize = shape.iter().product();
    let mut sizes = Vec::with_capacity(target.len());
    let (mut open, mut batch) = (None, None);
    for (at, &size) in target.iter().enumerate() {
        let fixed_batch = at == 0
            && x.batch == Some(0)
            && call.file_batch.is_some()
            && size.known() == call.file_batch;
        sizes.push(match (size.value, size.per_batch) {
            (value, true) => {
                if value == 1 {
                    batch = Some(at);
                }
                usize::try_from(value).unwrap_or(0)
            }
            _ if fixed_batch => {
                batch = Some(0);
                1
            }
            (0, _) if !allow_zero => {
                if x.batch == Some(at) {
                    batch = Some(at);
                }
                *shape.get(at).ok_or("a size 0 behind the last axis of its input")?
            }
            (-1, _) if open.is_none() => {
                open = Some(at);
                1
            }
            (value, _) => usize::try_from(value)
                .map_err(|_| format!("its shape has the size {value} at axis {at}"))?,
        });
    }
    let product = sizes.iter().try_fold(1_usize, |product, &size| product.checked_mul(size));
    let product = product.ok_or("its shape is too large")?;
    if let Some(open) = open {
        sizes[open] = values.checked_div(product).unwrap_or(0);
        // The size that is left open is the batch if all others are known.
        if sizes[open] == 1 && batch.is_none() && x.batch != Some(open) {
            batch = Some(open);
        }
    }
    if sizes.iter().product::<usize>() != values {
        return Err(format!("{shape:?} cannot be reshaped to {sizes:?}").into());
    }
    let batch = batch.or((x.batch == Some(0) && sizes.first() == Some(&1)).then_some(0));
    Ok(x.reshape(sizes, batch))
}

/// `Flatten`.
pub(super) fn flatten(call: &Call<'_>) -> Outcome<View> {
    let x = call.view(0)?.clone();
    let shape = x.shape();
    let at = call.attributes.int("axis", 1)?;
    if at != 1 && (at == 0 || axis(at, shape.len())? != 1) {
        return unsupported(format!("a flattening of the batch with others (axis {at})"));
    }
    let rest = shape[1..].iter().product();
    Ok(x.reshape(vec![1, rest], Some(0)))
}

/// `Squeeze`.
pub(super) fn squeeze(call: &Call<'_>) -> Outcome<View> {
    let x = call.view(0)?.clone();
    let shape = x.shape();
    let axes = match call.ints(1, "axes")? {
        Some(axes) => {
            axes.iter().map(|&at| axis(at, shape.len())).collect::<Result<Vec<_>, _>>()?
        }
        None => (0..shape.len()).filter(|&at| shape[at] == 1 && x.batch != Some(at)).collect(),
    };
    if axes.iter().any(|&at| x.batch == Some(at)) {
        return unsupported("a removal of the batch axis");
    }
    if let Some(at) = axes.iter().find(|&&at| shape[at] != 1) {
        return Err(format!("axis {at} of {shape:?} cannot be removed").into());
    }
    let kept: Vec<usize> = (0..shape.len()).filter(|at| !axes.contains(at)).collect();
    let batch = kept.iter().position(|&at| x.batch == Some(at));
    Ok(x.reshape(kept.iter().map(|&at| shape[at]).collect(), batch))
}

/// `Unsqueeze`.
pub(super) fn unsqueeze(call: &Call<'_>) -> Outcome<View> {
    let x = call.view(0)?.clone();
    let shape = x.shape();
    let axes = call.ints(1, "axes")?.ok_or("it has no axes")?;
    let to = unsqueezed(&shape, &axes)?;
    let new = axes.iter().map(|&at| axis(at, to.len())).collect::<Result<Vec<_>, _>>()?;
    let kept: Vec<usize> = (0..to.len()).filter(|at| !new.contains(at)).collect();
    let batch = x.batch.and_then(|batch| kept.get(batch).copied());
    Ok(x.reshape(to, batch))
}

/// `Concat`.
pub(super) fn concat(importer: &mut Importer, call: &Call<'_>) -> Outcome<View> {
    let views = (0..call.inputs.len()).map(|index| call.view(index).cloned());
    let views = views.collect::<Outcome<Vec<_>>>()?;
    let Some(first) = views.first() else { return Err("it has no inputs".into()) };
    let at = axis(call.attributes.int("axis", 1)?, first.shape().len())?;
    if first.batch == Some(at) {
        return unsupported("a concatenation along the batch axis");
    }
    let all: Vec<&View> = views.iter().collect();
    let (nodes, permutation) = importer.aligned(&all, &call.name)?;
    let y = importer.push(&call.name, Cat::new(permutation[at]), &nodes)?;
    Ok(y.permute(&permutation))
}

/// Adds a slice along an axis of a view.
fn slice_axis(
    importer: &mut Importer,
    name: &str,
    x: &View,
    at: usize,
    slice: impl Fn(usize) -> Slice,
) -> Outcome<View> {
    if x.batch == Some(at) {
        return unsupported("a slice along the batch axis");
    }
    match x.permutation() {
        Some(permutation) if x.batch == permutation.iter().position(|&axis| axis == 0) => {
            let y = importer.push(name, slice(permutation[at]), &[x.node])?;
            Ok(y.permute(&permutation))
        }
        _ => {
            let node = importer.node(x, name)?;
            importer.push(name, slice(at), &[node])
        }
    }
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
        let (Ok(start), Ok(step)) = (usize::try_from(start), usize::try_from(step)) else {
            return unsupported("a slice backwards");
        };
        let end = start + (length - 1) * step + 1;
        x = slice_axis(importer, &call.name, &x, at, |dim| Slice::new(dim, start, end).step(step))?;
    }
    Ok(x)
}

/// `Split`.
pub(super) fn split(importer: &mut Importer, call: &Call<'_>) -> Outcome<Vec<View>> {
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
        views.push(if part == shape[at] {
            x.clone()
        } else {
            slice_axis(importer, &name, &x, at, |dim| Slice::new(dim, start, end))?
        });
        start = end;
    }
    Ok(views)
}

/// `Gather` of one position.
pub(super) fn gather(importer: &mut Importer, call: &Call<'_>) -> Outcome<View> {
    let x = call.view(0)?.clone();
    let shape = x.shape();
    let at = axis(call.attributes.int("axis", 0)?, shape.len())?;
    let indices = call.constant(1)?;
    let (&[index], rank) = (indices.known_ints()?.as_slice(), indices.shape.len()) else {
        return unsupported("a selection of more than one position");
    };
    let index = axis(index, shape[at])
        .map_err(|_| format!("the index {index} is out of range for axis {at} of {shape:?}"))?;
    let x = match shuffled_half(importer, &call.name, &x, at)? {
        Some(shuffled) => slice_part(importer, &call.name, &shuffled, shape[at], index, &shape)?,
        None if shape[at] == 1 => x,
        None => slice_axis(importer, &call.name, &x, at, |dim| Slice::new(dim, index, index + 1))?,
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
    let part = slice_axis(importer, name, shuffled, 1, |dim| {
        Slice::new(dim, index * size, (index + 1) * size)
    })?;
    let mut to = shape.to_vec();
    to[0] = 1;
    let batch = to.iter().skip(1).position(|&size| size == 1).map(|at| at + 1);
    Ok(part.reshape(to, batch))
}

/// `Pad` with zeros, of height and width.
pub(super) fn pad(importer: &mut Importer, call: &Call<'_>) -> Outcome<View> {
    let x = call.view(0)?.clone();
    let shape = x.shape();
    let rank = shape.len();
    let name = if call.opset < 2 { "paddings" } else { "pads" };
    let given = call.ints(1, name)?.ok_or("it has no pads")?;
    let mut pads = vec![0_i64; 2 * rank];
    match call.optional(3)? {
        None if given.len() == 2 * rank => pads.copy_from_slice(&given),
        Some(axes) if given.len() == 2 * axes.len() => {
            for (index, &at) in axes.known_ints()?.iter().enumerate() {
                let at = axis(at, rank)?;
                pads[at] = given[index];
                pads[at + rank] = given[index + axes.len()];
            }
        }
        _ => return Err(format!("{} pads for {rank} axes", given.len()).into()),
    }
    if pads.iter().all(|&pad| pad == 0) {
        return Ok(x);
    }
    let value = match call.optional(2)? {
        Some(value) => value.single().unwrap_or(f32::NAN),
        None => call.attributes.float("value", 0.0)?,
    };
    let mode = call.attributes.string("mode", "constant")?;
    if mode != "constant" || value != 0.0 {
        return unsupported(format!("a pad in mode {mode:?} with the value {value}"));
    }
    let pads: Option<Vec<usize>> = pads.iter().map(|&pad| usize::try_from(pad).ok()).collect();
    let Some(pads) = pads else { return unsupported("negative pads") };
    let permutation = x.permutation().unwrap_or_else(|| (0..rank).collect());
    let node = if x.permutation().is_some() { x.node } else { importer.node(&x, &call.name)? };
    let of_axis = |axis: usize| {
        let at = permutation.iter().position(|&base| base == axis);
        at.map_or((0, 0), |at| (pads[at], pads[at + rank]))
    };
    if rank != 4 || of_axis(0) != (0, 0) || of_axis(1) != (0, 0) {
        return unsupported(format!("a pad of other axes than height and width of {shape:?}"));
    }
    let ((top, bottom), (left, right)) = (of_axis(2), of_axis(3));
    let y = importer.push(&call.name, ZeroPad2d::new([left, right, top, bottom]), &[node])?;
    Ok(y.permute(&permutation))
}
