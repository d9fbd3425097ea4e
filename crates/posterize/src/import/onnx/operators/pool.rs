//! Pooling and reductions.

use super::super::constant::axis;
use super::super::importer::{Call, Importer};
use super::super::problem::{Outcome, unsupported};
use super::super::view::View;
use super::conv::{Window, window};
use super::select::along_axis;
use crate::ops::{
    AdaptiveAvgPool2d, AdaptiveMaxPool2d, ArgMax, AvgPool2d, MaxPool2d, Op, Reduce, Reduction,
};

/// The attributes of pooling, and the node to pool.
struct Pool {
    window: Window,
    ceil_mode: bool,
    /// Whether the input has one axis besides the channels.
    one_axis: bool,
}

impl Pool {
    fn read(call: &Call<'_>, shape: &[usize]) -> Outcome<Self> {
        let axes = shape.len().saturating_sub(2);
        if !matches!(axes, 1 | 2) {
            return unsupported(format!("of a value of shape {shape:?}; expected [N, C, H, W]"));
        }
        let kernel = call.attributes.sizes("kernel_shape", axes, 0, 1)?;
        let window = window(call, &kernel, &shape[2..])?;
        let ceil_mode = call.attributes.int("ceil_mode", 0)? != 0;
        Ok(Self { window, ceil_mode, one_axis: axes == 1 })
    }
}

/// Adds an operator of pictures to a value, which may have only one axis besides the channels.
fn pooled(
    importer: &mut Importer,
    call: &Call<'_>,
    one_axis: bool,
    op: impl Into<Op>,
) -> Outcome<View> {
    let x = call.view(0)?.clone();
    let shape = x.shape();
    let x = if one_axis { x.reshape(vec![shape[0], shape[1], 1, shape[2]], Some(0)) } else { x };
    let node = importer.node(&x, &call.name)?;
    let y = importer.push(&call.name, op, &[node])?;
    let shape = y.shape();
    Ok(if one_axis { y.reshape(vec![shape[0], shape[1], shape[3]], Some(0)) } else { y })
}

/// `MaxPool`.
pub(super) fn max_pool(importer: &mut Importer, call: &Call<'_>) -> Outcome<View> {
    if call.outputs > 1 {
        return unsupported("with the positions of the largest values");
    }
    let shape = call.view(0)?.shape();
    let Pool { window, ceil_mode, one_axis } = Pool::read(call, &shape)?;
    let op = MaxPool2d { dilation: window.dilation, ..MaxPool2d::new(1) }
        .kernel_size(window.kernel)
        .strides(window.stride)
        .padding_sides(window.padding)
        .ceil_mode(ceil_mode);
    pooled(importer, call, one_axis, op)
}

/// `AveragePool`.
pub(super) fn average_pool(importer: &mut Importer, call: &Call<'_>) -> Outcome<View> {
    let shape = call.view(0)?.shape();
    let Pool { window, ceil_mode, one_axis } = Pool::read(call, &shape)?;
    if window.dilation != [1, 1] {
        return unsupported("with dilation");
    }
    let op = AvgPool2d::new(1)
        .kernel_size(window.kernel)
        .strides(window.stride)
        .padding_sides(window.padding)
        .ceil_mode(ceil_mode)
        .count_include_pad(call.attributes.int("count_include_pad", 0)? != 0);
    pooled(importer, call, one_axis, op)
}

/// `GlobalAveragePool` or `GlobalMaxPool`.
pub(super) fn global_pool(importer: &mut Importer, call: &Call<'_>) -> Outcome<View> {
    let one_axis = call.view(0)?.shape().len() == 3;
    let op: Op = match call.op_type {
        "GlobalMaxPool" => AdaptiveMaxPool2d::new([1, 1]).into(),
        _ => AdaptiveAvgPool2d::new([1, 1]).into(),
    };
    pooled(importer, call, one_axis, op)
}

/// `ReduceMean`, `ReduceSum`, `ReduceMax` or `ReduceMin`.
pub(super) fn reduce(importer: &mut Importer, call: &Call<'_>) -> Outcome<View> {
    let x = call.view(0)?.clone();
    let shape = x.shape();
    let axes = call.ints(1, "axes")?.unwrap_or_default();
    if axes.is_empty() {
        let keeps = call.attributes.int("noop_with_empty_axes", 0)? != 0;
        return if keeps { Ok(x) } else { unsupported("over all axes, the batch among them") };
    }
    let mut axes = axes.iter().map(|&at| axis(at, shape.len())).collect::<Result<Vec<_>, _>>()?;
    axes.sort_unstable();
    axes.dedup();
    if axes.iter().any(|&at| x.batch == Some(at)) {
        return unsupported("over the batch");
    }
    let (node, permutation) = importer.permuted(&x, &call.name)?;
    let mut of_node: Vec<usize> = axes.iter().map(|&at| permutation[at]).collect();
    of_node.sort_unstable();
    let reduction = match call.op_type {
        "ReduceMean" => Reduction::Mean,
        "ReduceSum" => Reduction::Sum,
        "ReduceMax" => Reduction::Max,
        _ => Reduction::Min,
    };
    let is_picture = shape.len() == 4 && of_node == [2, 3];
    let op: Op = match reduction {
        Reduction::Mean if is_picture => AdaptiveAvgPool2d::new([1, 1]).into(),
        Reduction::Max if is_picture => AdaptiveMaxPool2d::new([1, 1]).into(),
        _ => Reduce::new(reduction, of_node).keepdim(true).into(),
    };
    let y = importer.push(&call.name, op, &[node])?.permute(&permutation);
    without(call, y, &axes)
}

/// `ArgMax`.
pub(super) fn arg_max(importer: &mut Importer, call: &Call<'_>) -> Outcome<View> {
    let x = call.view(0)?.clone();
    let at = axis(call.attributes.int("axis", 0)?, x.shape().len())?;
    let last = call.attributes.int("select_last_index", 0)? != 0;
    let y = along_axis(importer, &call.name, &x, at, |dim| {
        ArgMax::new(dim).keepdim(true).last(last).into()
    })?;
    without(call, y, &[at])
}

/// Returns the result of a reduction without the reduced axes, unless the node keeps them.
fn without(call: &Call<'_>, y: View, axes: &[usize]) -> Outcome<View> {
    if call.attributes.int("keepdims", 1)? != 0 {
        return Ok(y);
    }
    let seen = y.shape();
    let kept: Vec<usize> = (0..seen.len()).filter(|at| !axes.contains(at)).collect();
    let batch = kept.iter().position(|&at| y.batch == Some(at));
    Ok(y.reshape(kept.iter().map(|&at| seen[at]).collect(), batch))
}
