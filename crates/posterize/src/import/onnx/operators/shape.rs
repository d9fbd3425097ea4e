//! Operators that change the shape of a value, which only change how it is seen.

use super::super::constant::{Constant, Int, axis};
use super::super::fold::{permutation, unsqueezed};
use super::super::importer::Call;
use super::super::problem::{Outcome, unsupported};
use super::super::view::View;

/// `Cast` between types of floats.
pub(super) fn cast(call: &Call<'_>) -> Outcome<View> {
    match call.attributes.int("to", 0)? {
        // float, float16, double, bfloat16.
        1 | 10 | 11 | 16 => Ok(call.view(0)?.clone()),
        other => unsupported(format!("a cast to data type {other}; casts to floats are supported")),
    }
}

/// `Size`: the number of values, for each item of a batch.
pub(super) fn size(call: &Call<'_>) -> Outcome<Constant> {
    let x = call.view(0)?;
    let Some(value) = i64::try_from(x.shape().iter().product::<usize>()).ok() else {
        return Err(format!("a value of {:?} is too large", x.shape()).into());
    };
    Ok(Constant::ints(vec![Int { value, per_batch: true }]).with_shape(Vec::new()))
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
