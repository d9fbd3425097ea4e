//! Windows of pooling over one, two or three axes.

use super::super::importer::{Call, Importer};
use super::super::problem::{Outcome, unsupported};
use super::super::view::View;
use super::conv::{Window, window};
use crate::graph::NodeId;
use crate::ops::Padding;

/// Adds pooling, which `pool` adds for a node of pictures and a window over their height and width.
///
/// One axis is the width of a picture of one row. Three are pooled one after the other: over height and
/// width, and then over depth. Extremes and averages of extremes and averages are those of all values,
/// since each row of a window has as many values.
pub(super) fn each_window(
    importer: &mut Importer,
    call: &Call<'_>,
    pool: impl Fn(&mut Importer, NodeId, Window) -> Outcome<View>,
) -> Outcome<View> {
    let x = call.view(0)?.clone();
    let shape = x.shape();
    let axes = shape.len().saturating_sub(2);
    if !matches!(axes, 1..=3) {
        return unsupported(format!("of a value of shape {shape:?}; expected [N, C, H, W]"));
    }
    let kernel = call.attributes.sizes("kernel_shape", axes, 0, 1)?;
    if let &[n, c, d, h, w] = shape.as_slice() {
        let [plane, depth] = three_axes(call, &kernel)?;
        let node =
            importer.node(&x.reshape(vec![n, c.saturating_mul(d), h, w], Some(0)), &call.name)?;
        let y = pool(importer, node, plane)?;
        let &[_, _, h, w] = y.shape().as_slice() else { return Err("no picture".into()) };
        let node =
            importer.node(&y.reshape(vec![n, c, d, h.saturating_mul(w)], Some(0)), &call.name)?;
        let y = pool(importer, node, depth)?;
        let d = y.shape()[2];
        return Ok(y.reshape(vec![n, c, d, h, w], Some(0)));
    }
    let window = window(call, &kernel, &shape[2..])?;
    if let &[n, c, w] = shape.as_slice() {
        let node = importer.node(&x.reshape(vec![n, c, 1, w], Some(0)), &call.name)?;
        let y = pool(importer, node, window)?;
        let w = y.shape()[3];
        return Ok(y.reshape(vec![n, c, w], Some(0)));
    }
    let node = importer.node(&x, &call.name)?;
    pool(importer, node, window)
}

/// Returns the windows over height and width, and over depth, of a node with a window over three axes.
fn three_axes(call: &Call<'_>, kernel: &[usize]) -> Outcome<[Window; 2]> {
    let attributes = &call.attributes;
    let stride = attributes.sizes("strides", 3, 1, 1)?;
    let dilation = attributes.sizes("dilations", 3, 1, 1)?;
    let pads = match attributes.string("auto_pad", "NOTSET")? {
        "NOTSET" => attributes.sizes("pads", 6, 0, 0)?,
        "VALID" => vec![0; 6],
        other => return unsupported(format!("auto_pad {other:?} over three axes")),
    };
    let plane = Window {
        kernel: [kernel[1], kernel[2]],
        stride: [stride[1], stride[2]],
        dilation: [dilation[1], dilation[2]],
        padding: Padding::Explicit { top: pads[1], bottom: pads[4], left: pads[2], right: pads[5] },
    };
    let depth = Window {
        kernel: [kernel[0], 1],
        stride: [stride[0], 1],
        dilation: [dilation[0], 1],
        padding: Padding::Explicit { top: pads[0], bottom: pads[3], left: 0, right: 0 },
    };
    Ok([plane, depth])
}
