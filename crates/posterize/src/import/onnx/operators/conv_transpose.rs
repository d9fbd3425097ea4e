//! Transposed convolutions.

use super::super::importer::{Call, Importer};
use super::super::problem::{Outcome, unsupported};
use super::super::view::View;
use crate::ops::{ConvTranspose2d, Role};
use crate::tensor::Tensor;

/// `ConvTranspose` over height and width.
pub(super) fn conv_transpose(importer: &mut Importer, call: &Call<'_>) -> Outcome<View> {
    let attributes = &call.attributes;
    let weight = call.tensor(1)?;
    let x = call.view(0)?.clone();
    let shape = x.shape();
    let &[inputs, out_group, kh, kw] = weight.shape() else {
        return unsupported(format!(
            "with a weight of shape {:?}; expected four axes",
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
        let sizes = attributes.sizes(name, 2, default, min)?;
        Ok([sizes[0], sizes[1]])
    };
    let (stride, dilation) = (pair("strides", 1, 1)?, pair("dilations", 1, 1)?);
    let output_padding = pair("output_padding", 0, 0)?;
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
        let given = attributes.sizes("pads", 4, 0, 0)?;
        pads = [[given[0], given[2]], [given[1], given[3]]];
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
    Ok(y)
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
