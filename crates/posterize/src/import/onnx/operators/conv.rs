//! Convolutions.

use super::super::importer::{Call, Importer};
use super::super::problem::{Outcome, unsupported};
use super::super::view::View;
use crate::ops::{Conv2d, Op, Padding, Role};

/// The window of a convolution or pooling: its size, strides, dilations and padding.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub(super) kernel: [usize; 2],
    pub(super) stride: [usize; 2],
    pub(super) dilation: [usize; 2],
    pub(super) padding: Padding,
}

/// Returns the attributes of a node's window over an input of `size`, which has one or two axes. A
/// window over one axis is one over the second axis, of one row.
pub(super) fn window(call: &Call<'_>, kernel: &[usize], size: &[usize]) -> Outcome<Window> {
    let axes = kernel.len();
    let attributes = &call.attributes;
    let two = |values: &[usize], first: usize| match *values {
        [both, other] => [both, other],
        [one] => [first, one],
        _ => [first; 2],
    };
    let stride = attributes.sizes("strides", axes, 1, 1)?;
    let dilation = attributes.sizes("dilations", axes, 1, 1)?;
    let (kernel, stride, dilation) = (two(kernel, 1), two(&stride, 1), two(&dilation, 1));
    let explicit =
        |[top, left, bottom, right]: [usize; 4]| Padding::Explicit { top, bottom, left, right };
    let padding = match attributes.string("auto_pad", "NOTSET")? {
        "NOTSET" => {
            if attributes.ints("pads")?.is_some_and(|pads| pads.iter().any(|&pad| pad < 0)) {
                return unsupported("negative pads");
            }
            match *attributes.sizes("pads", 2 * axes, 0, 0)? {
                [top, left, bottom, right] => explicit([top, left, bottom, right]),
                [left, right] => explicit([0, left, 0, right]),
                _ => Padding::all(0),
            }
        }
        "VALID" => Padding::all(0),
        "SAME_UPPER" if axes == 2 => Padding::Same,
        mode @ ("SAME_UPPER" | "SAME_LOWER") => {
            // The odd pixel is at the top and left, the opposite of SAME_UPPER.
            let same = Padding::Same.resolve(kernel, stride, dilation, two(size, 1));
            let (top, bottom) = (same.top, same.bottom);
            let (left, right) = (same.left, same.right);
            let upper = mode == "SAME_UPPER";
            if upper {
                explicit([top, left, bottom, right])
            } else {
                explicit([bottom, right, top, left])
            }
        }
        other => return Err(format!("auto_pad is {other:?}").into()),
    };
    Ok(Window { kernel, stride, dilation, padding })
}

/// `Conv`.
pub(super) fn conv(importer: &mut Importer, call: &Call<'_>) -> Outcome<View> {
    let weight = call.tensor(1)?;
    let x = call.view(0)?.clone();
    let shape = x.shape();
    let &[out_channels, in_group, ref kernel @ ..] = weight.shape() else {
        return Err(format!("its weight has the shape {:?}", weight.shape()).into());
    };
    let (kernel, axes) = (kernel.to_vec(), kernel.len());
    if !matches!(axes, 1 | 2) {
        return unsupported(format!("a convolution over {axes} axes; 1 and 2 are supported"));
    }
    if shape.len() != axes + 2 {
        return Err(format!("a weight of {:?} for an input of {shape:?}", weight.shape()).into());
    }
    let given = call.attributes.sizes("kernel_shape", axes, 0, 0)?;
    if call.attributes.has("kernel_shape") && given != kernel {
        return Err(format!(
            "kernel_shape is {given:?}, but its weight has the shape {:?}",
            weight.shape()
        )
        .into());
    }
    let groups = call.attributes.int("group", 1)?;
    let groups = usize::try_from(groups)
        .ok()
        .filter(|&groups| groups > 0)
        .ok_or_else(|| format!("group is {groups}; expected at least 1"))?;
    let in_channels = in_group
        .checked_mul(groups)
        .ok_or_else(|| format!("{groups} groups of {in_group} channels are too many"))?;
    let mut window = window(call, &kernel, &shape[2..])?;

    // One axis is the width of a picture of one row.
    let picture = match axes {
        1 => x.reshape(vec![shape[0], shape[1], 1, shape[2]], Some(0)),
        _ => x,
    };
    let mut input = importer.node(&picture, &call.name)?;
    // A pad before a convolution is the convolution's own.
    if let (Op::ZeroPad2d(pad), Padding::Explicit { top, bottom, left, right }) =
        (importer.draft.op(input), window.padding)
    {
        let sum = |a: usize, b: usize| a.saturating_add(b);
        window.padding = Padding::Explicit {
            top: sum(pad.top, top),
            bottom: sum(pad.bottom, bottom),
            left: sum(pad.left, left),
            right: sum(pad.right, right),
        };
        input = importer.draft.inputs(input)[0];
    }
    let op = Conv2d {
        kernel_size: window.kernel,
        stride: window.stride,
        dilation: window.dilation,
        ..Conv2d::new(in_channels, out_channels, 1)
            .padding(window.padding)
            .groups(groups)
            .bias(call.has(2))
    };
    let name = call.layer_name();
    let weight_shape = op.weight_shape();
    let y = importer.push(&name, op, &[input])?;
    let weight = weight.reshape(weight_shape).map_err(|error| error.to_string())?;
    importer.set(&y, Role::Weight, weight)?;
    if call.has(2) {
        importer.set(&y, Role::Bias, call.tensor(2)?)?;
    }
    let shape = y.shape();
    Ok(if axes == 1 { y.reshape(vec![shape[0], shape[1], shape[3]], Some(0)) } else { y })
}
