//! Transposed convolutions.

use super::super::importer::{Call, Importer};
use super::super::problem::{Outcome, unsupported};
use super::super::view::View;
use crate::ops::{ConvTranspose2d, Role};
use crate::tensor::Tensor;

/// `ConvTranspose` over one or two axes. One axis is the width of a picture of one row.
pub(super) fn conv_transpose(importer: &mut Importer, call: &Call<'_>) -> Outcome<View> {
    let attributes = &call.attributes;
    let mut weight = call.tensor(1)?;
    let mut x = call.view(0)?.clone();
    let one_axis = weight.shape().len() == 3;
    if let (&[inputs, outputs, kernel], &[n, c, width]) = (weight.shape(), &*x.shape()) {
        weight = weight.reshape([inputs, outputs, 1, kernel]).map_err(|error| error.to_string())?;
        x = x.reshape(vec![n, c, 1, width], Some(0));
    }
    let shape = x.shape();
    let &[inputs, out_group, kh, kw] = weight.shape() else {
        return unsupported(format!(
            "with a weight of shape {:?}; expected one or two axes besides the channels",
            weight.shape()
        ));
    };
    if shape.len() != 4 {
        return Err(format!("a weight of {:?} for an input of {shape:?}", weight.shape()).into());
    }
    let groups = attributes.int("group", 1)?;
    let groups = usize::try_from(groups)
        .ok()
        .filter(|&groups| groups > 0 && inputs.is_multiple_of(groups))
        .ok_or_else(|| format!("group is {groups} for {inputs} channels"))?;
    let outputs = out_group.checked_mul(groups).ok_or("too many channels")?;
    let pair = |name: &str, default, min| -> Outcome<[usize; 2]> {
        let sizes = attributes.sizes(name, if one_axis { 1 } else { 2 }, default, min)?;
        Ok(if one_axis { [min, sizes[0]] } else { [sizes[0], sizes[1]] })
    };
    let (stride, dilation) = (pair("strides", 1, 1)?, pair("dilations", 1, 1)?);
    let mut output_padding = pair("output_padding", 0, 0)?;
    let kernel = [kh, kw];
    let auto_pad = attributes.string("auto_pad", "NOTSET")?;
    let same = matches!(auto_pad, "SAME_UPPER" | "SAME_LOWER");
    let mut pads = [[0_usize; 2]; 2];
    if attributes.has("output_shape") || same {
        for axis in 0..2 {
            let size = shape[axis + 2];
            let wanted = if attributes.has("output_shape") {
                pair("output_shape", 0, 1)?[axis]
            } else {
                size.saturating_mul(stride[axis])
            };
            let window = kernel[axis].saturating_sub(1).saturating_mul(dilation[axis]) + 1;
            let whole = size.saturating_sub(1).saturating_mul(stride[axis]);
            let whole = whole.saturating_add(output_padding[axis]).saturating_add(window);
            if wanted == whole.saturating_add(1) && auto_pad != "SAME_UPPER" {
                // As ONNX has it: the pixel without values is at the end.
                output_padding[axis] += 1;
                continue;
            }
            let Some(total) = whole.checked_sub(wanted) else {
                return unsupported(format!(
                    "an output of {wanted} pixels, of which {whole} have values"
                ));
            };
            // As ONNX has it: the odd pixel is cut off the end for SAME_UPPER, else off the beginning.
            let half = total / 2;
            pads[axis] =
                if auto_pad == "SAME_UPPER" { [half, total - half] } else { [total - half, half] };
        }
    } else if auto_pad == "NOTSET" {
        let given = attributes.sizes("pads", if one_axis { 2 } else { 4 }, 0, 0)?;
        pads = match *given {
            [top, left, bottom, right] => [[top, bottom], [left, right]],
            _ => [[0, 0], [given[0], given[1]]],
        };
    }
    let [[top, bottom], [left, right]] = pads;
    let op = ConvTranspose2d::new(inputs, outputs, 1)
        .kernel_size(kernel)
        .stride(stride)
        .dilation(dilation)
        .output_padding(output_padding)
        .padding([left, right, top, bottom])
        .groups(groups)
        .bias(call.has(2));
    let node = importer.node(&x, &call.name)?;
    let name = call.layer_name();
    let weight = exchanged(&weight, groups)?;
    let y = importer.push(&name, op, &[node])?;
    importer.set(&y, Role::Weight, weight)?;
    if call.has(2) {
        importer.set(&y, Role::Bias, call.tensor(2)?)?;
    }
    let shape = y.shape();
    Ok(if one_axis { y.reshape(vec![shape[0], shape[1], shape[3]], Some(0)) } else { y })
}

/// Returns the weight `[in, out / groups, kh, kw]` as `[out, in / groups, kh, kw]`: in each group, its
/// two axes of channels are exchanged.
fn exchanged(weight: &Tensor, groups: usize) -> Outcome<Tensor> {
    let &[inputs, out_group, kh, kw] = weight.shape() else {
        return Err("its weight has not four axes".into());
    };
    let (in_group, plane) = (inputs / groups, kh * kw);
    let mut values = Vec::with_capacity(weight.data().len());
    for group in 0..groups {
        for output in 0..out_group {
            for input in 0..in_group {
                let start = ((group * in_group + input) * out_group + output) * plane;
                values.extend_from_slice(&weight.data()[start..start + plane]);
            }
        }
    }
    Tensor::new([out_group * groups, in_group, kh, kw], values)
        .map_err(|error| error.to_string().into())
}
