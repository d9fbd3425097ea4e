//! Pooling and reductions.

use super::super::constant::axis;
use super::super::importer::{Call, Importer};
use super::super::problem::{Outcome, unsupported};
use super::super::view::View;
use super::conv::Window;
use super::select::along_axis;
use super::windows::each_window;
use crate::graph::NodeId;
use crate::ops::{
    AdaptiveAvgPool2d, AdaptiveMaxPool2d, ArgMax, AvgPool2d, Conv2d, MaxPool2d, Op, Padding,
    Reduce, Reduction, Role,
};
use crate::tensor::Tensor;

/// `MaxPool`.
pub(super) fn max_pool(importer: &mut Importer, call: &Call<'_>) -> Outcome<View> {
    if call.outputs > 1 {
        return unsupported("with the positions of the largest values");
    }
    let ceil_mode = call.attributes.int("ceil_mode", 0)? != 0;
    each_window(importer, call, |importer, node, window| {
        let op = MaxPool2d { dilation: window.dilation, ..MaxPool2d::new(1) }
            .kernel_size(window.kernel)
            .strides(window.stride)
            .padding_sides(window.padding)
            .ceil_mode(ceil_mode);
        importer.push(&call.name, op, &[node])
    })
}

/// `AveragePool`.
pub(super) fn average_pool(importer: &mut Importer, call: &Call<'_>) -> Outcome<View> {
    let ceil_mode = call.attributes.int("ceil_mode", 0)? != 0;
    let count_include_pad = call.attributes.int("count_include_pad", 0)? != 0;
    each_window(importer, call, |importer, node, window| {
        if window.dilation != [1, 1] {
            return dilated_average(importer, &call.name, node, window, ceil_mode);
        }
        let op = AvgPool2d::new(1)
            .kernel_size(window.kernel)
            .strides(window.stride)
            .padding_sides(window.padding)
            .ceil_mode(ceil_mode)
            .count_include_pad(count_include_pad);
        importer.push(&call.name, op, &[node])
    })
}

/// The largest weight that is made for an average.
const MAX_WEIGHT: usize = 1 << 22;

/// Adds an average over a window with dilation, as a convolution of each channel.
fn dilated_average(
    importer: &mut Importer,
    name: &str,
    node: NodeId,
    window: Window,
    ceil_mode: bool,
) -> Outcome<View> {
    let &[_, channels, height, width] = importer.draft.shape(node) else {
        return Err("expected an input [N, C, H, W]".into());
    };
    // Where each window has all of its values.
    let rest = |axis: usize, size: usize| {
        let span = (window.kernel[axis] - 1).saturating_mul(window.dilation[axis]) + 1;
        size.checked_sub(span).map(|rest| rest % window.stride[axis])
    };
    let rests = [rest(0, height), rest(1, width)];
    if window.padding != Padding::all(0) || (ceil_mode && rests != [Some(0); 2]) {
        return unsupported("with dilation, and windows that reach over the edge");
    }
    let op = Conv2d {
        kernel_size: window.kernel,
        stride: window.stride,
        dilation: window.dilation,
        ..Conv2d::new(channels, channels, 1).groups(channels).bias(false)
    };
    let shape = op.weight_shape();
    let values = shape.iter().try_fold(1_usize, |count, &size| count.checked_mul(size));
    let Some(values) = values.filter(|&values| values <= MAX_WEIGHT) else {
        return unsupported(format!("with dilation, over {channels} channels"));
    };
    let factor = 1.0 / window.kernel.iter().product::<usize>() as f32;
    let weight = Tensor::new(shape, vec![factor; values]).map_err(|error| error.to_string())?;
    let y = importer.push(name, op, &[node])?;
    importer.set(&y, Role::Weight, weight)?;
    Ok(y)
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
