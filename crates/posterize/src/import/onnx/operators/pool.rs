//! Pooling and means.

use super::super::constant::axis;
use super::super::importer::{Call, Importer};
use super::super::problem::{Outcome, unsupported};
use super::super::view::View;
use super::conv::{Window, window};
use crate::ops::{AdaptiveAvgPool2d, MaxPool2d, Padding};

/// `MaxPool`.
pub(super) fn max_pool(importer: &mut Importer, call: &Call<'_>) -> Outcome<View> {
    if call.outputs > 1 {
        return unsupported("the positions of the largest values");
    }
    let attributes = &call.attributes;
    let x = call.view(0)?;
    let shape = x.shape();
    let kernel = attributes.sizes("kernel_shape", shape.len().saturating_sub(2), 0, 1)?;
    if kernel.len() != 2 {
        return unsupported(format!("pooling over {} axes", kernel.len()));
    }
    let window = window(call, &kernel, &shape[2..])?;
    let Window { kernel: [kh, kw], stride: [sh, sw], dilation, padding } = window;
    let Padding::Explicit { top, bottom, left, right } = padding else {
        return unsupported("pooling with padding SAME");
    };
    let square = kh == kw && sh == sw && [bottom, left, right] == [top; 3];
    if !square || dilation != [1, 1] || attributes.int("ceil_mode", 0)? != 0 {
        return unsupported("a window that is not square, with dilation, or with ceil_mode");
    }
    let x = importer.node(x, &call.name)?;
    importer.push(&call.name, MaxPool2d::new(kh).stride(sh).padding(top), &[x])
}

/// `GlobalAveragePool`.
pub(super) fn global_average_pool(importer: &mut Importer, call: &Call<'_>) -> Outcome<View> {
    let x = call.view(0)?.clone();
    let shape = x.shape();
    let picture = match *shape.as_slice() {
        [n, c, l] => x.reshape(vec![n, c, 1, l], Some(0)),
        _ => x,
    };
    let node = importer.node(&picture, &call.name)?;
    let y = importer.push(&call.name, AdaptiveAvgPool2d::new([1, 1]), &[node])?;
    Ok(if shape.len() == 3 { y.reshape(vec![shape[0], shape[1], 1], Some(0)) } else { y })
}

/// `ReduceMean` over height and width.
pub(super) fn reduce_mean(importer: &mut Importer, call: &Call<'_>) -> Outcome<View> {
    let x = call.view(0)?.clone();
    let shape = x.shape();
    let axes = call.ints(1, "axes")?.unwrap_or_default();
    if axes.is_empty() {
        let keeps = call.attributes.int("noop_with_empty_axes", 0)? != 0;
        return if keeps {
            Ok(x)
        } else {
            unsupported("a mean over all axes, the batch among them")
        };
    }
    let mut axes = axes.iter().map(|&at| axis(at, shape.len())).collect::<Result<Vec<_>, _>>()?;
    axes.sort_unstable();
    let permutation = x.permutation().unwrap_or_else(|| (0..shape.len()).collect());
    let is_permuted = x.permutation().is_some();
    let mut of_base: Vec<usize> = axes.iter().map(|&at| permutation[at]).collect();
    of_base.sort_unstable();
    if shape.len() != 4 || of_base != [2, 3] {
        return unsupported(format!("a mean over the axes {axes:?} of a value of {shape:?}"));
    }
    let node = if is_permuted { x.node } else { importer.node(&x, &call.name)? };
    let y =
        importer.push(&call.name, AdaptiveAvgPool2d::new([1, 1]), &[node])?.permute(&permutation);
    let seen = y.shape();
    if call.attributes.int("keepdims", 1)? != 0 {
        return Ok(y);
    }
    let kept: Vec<usize> = (0..4).filter(|at| !axes.contains(at)).collect();
    let batch = kept.iter().position(|&at| permutation[at] == 0);
    Ok(y.reshape(kept.iter().map(|&at| seen[at]).collect(), batch))
}
