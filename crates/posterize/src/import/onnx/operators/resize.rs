//! Resizing, and exchanges of channels and pixels.

use super::super::constant::Int;
use super::super::importer::{Call, Importer};
use super::super::problem::{Outcome, unsupported};
use super::super::view::View;
use crate::ops::{
    Coordinates, DepthToSpace, Interpolation, NearestRounding, Op, SpaceToDepth, Upsample,
};

/// The new height and width of a resized picture.
enum Target {
    Scales([f32; 2]),
    Sizes([usize; 2]),
}

/// `Resize`, and `Upsample` of the operator sets 7 to 9.
pub(super) fn resize(importer: &mut Importer, call: &Call<'_>) -> Outcome<View> {
    let attributes = &call.attributes;
    let x = call.view(0)?.clone();
    let shape = x.shape();
    // Before version 11, positions were computed as by Upsample.
    let early = call.op_type == "Upsample" || call.opset < 11;
    if attributes.int("antialias", 0)? != 0 {
        return unsupported("antialias");
    }
    let rounding = match attributes.string("nearest_mode", "round_prefer_floor")? {
        _ if early => NearestRounding::Floor,
        "round_prefer_floor" => NearestRounding::RoundPreferFloor,
        "round_prefer_ceil" => NearestRounding::RoundPreferCeil,
        "floor" => NearestRounding::Floor,
        "ceil" => NearestRounding::Ceil,
        other => return Err(format!("nearest_mode is {other:?}").into()),
    };
    let mode = match attributes.string("mode", "nearest")? {
        "nearest" => Interpolation::Nearest(rounding),
        "linear" | "bilinear" => Interpolation::Linear,
        "cubic" => Interpolation::Cubic {
            coefficient: attributes.float("cubic_coeff_a", -0.75)?,
            exclude_outside: attributes.int("exclude_outside", 0)? != 0,
        },
        other => return Err(format!("mode is {other:?}").into()),
    };
    let coordinates = match attributes.string("coordinate_transformation_mode", "half_pixel")? {
        _ if early => Coordinates::Asymmetric,
        "half_pixel" => Coordinates::HalfPixel,
        "pytorch_half_pixel" => Coordinates::PytorchHalfPixel,
        "half_pixel_symmetric" => Coordinates::HalfPixelSymmetric,
        "align_corners" => Coordinates::AlignCorners,
        "asymmetric" => Coordinates::Asymmetric,
        other => return unsupported(format!("the coordinate_transformation_mode {other:?}")),
    };
    let (node, permutation) = importer.permuted(&x, &call.name)?;
    if shape.len() != 4 {
        return unsupported(format!("of a value of shape {shape:?}; expected [N, C, H, W]"));
    }
    let target = target(call, &shape, &permutation)?;
    let op = match target {
        Target::Scales(scales) => Upsample::scales(scales),
        Target::Sizes(sizes) => Upsample::sizes(sizes),
    };
    let op = op.mode(mode).coordinates(coordinates);
    Ok(importer.push(&call.name, op, &[node])?.permute(&permutation))
}

/// Returns the new sizes of the axes 2 and 3 of the node, whose axes are seen through a permutation.
fn target(call: &Call<'_>, shape: &[usize], permutation: &[usize]) -> Outcome<Target> {
    let at = |axis: usize| permutation.iter().position(|&base| base == axis).unwrap_or(axis);
    let picture = [at(2), at(3)];
    let (of_scales, of_sizes) =
        if call.op_type == "Upsample" || call.opset < 11 { (1, usize::MAX) } else { (2, 3) };
    let axes: Vec<usize> = match call.attributes.ints("axes")? {
        None => (0..shape.len()).collect(),
        Some(axes) => {
            let axes = axes.iter().map(|&at| super::super::constant::axis(at, shape.len()));
            axes.collect::<Result<_, _>>()?
        }
    };
    let others = |kept: &dyn Fn(usize, usize) -> bool| {
        axes.iter().enumerate().all(|(index, at)| picture.contains(at) || kept(index, *at))
    };
    let of = |axis: usize| axes.iter().position(|&at| at == axis);
    if call.has(of_sizes) {
        let given = call.constant(of_sizes)?;
        let sizes = given.sizes()?;
        let kept = |index: usize, at: usize| {
            sizes[index] == Int::BATCH || sizes[index].known() == Some(shape[at] as i64)
        };
        if sizes.len() != axes.len() || !others(&kept) {
            return unsupported("of other axes than height and width");
        }
        let size = |axis: usize| match of(axis) {
            None => Some(shape[axis]),
            Some(index) => sizes[index].known().and_then(|size| usize::try_from(size).ok()),
        };
        let [Some(height), Some(width)] = picture.map(size) else {
            return Err("its sizes are not positive".into());
        };
        return kept_ratio(call, picture.map(|axis| shape[axis]), [height, width]);
    }
    let scales = match call.optional(of_scales)? {
        Some(scales) => scales.floats()?.to_vec(),
        None => call.attributes.floats("scales")?.ok_or("it has no scales")?.to_vec(),
    };
    if scales.len() != axes.len() || !others(&|index, _| scales[index] == 1.0) {
        return unsupported("of other axes than height and width");
    }
    Ok(Target::Scales(picture.map(|axis| of(axis).map_or(1.0, |index| scales[index]))))
}

/// Returns the sizes, or the scale that both axes get where the ratio of the sides is kept.
fn kept_ratio(call: &Call<'_>, from: [usize; 2], to: [usize; 2]) -> Outcome<Target> {
    let scales = [0, 1].map(|axis| to[axis] as f32 / from[axis] as f32);
    let scale = match call.attributes.string("keep_aspect_ratio_policy", "stretch")? {
        "stretch" => return Ok(Target::Sizes(to)),
        "not_larger" => scales[0].min(scales[1]),
        "not_smaller" => scales[0].max(scales[1]),
        other => return Err(format!("keep_aspect_ratio_policy is {other:?}").into()),
    };
    // Sizes are rounded to the nearest, but those of scales down.
    let rounded = |size: usize| (scale * size as f32 + 0.5).floor();
    if from.iter().any(|&size| rounded(size) != (scale * size as f32).floor()) {
        return unsupported("a keep_aspect_ratio_policy with which a size is rounded up");
    }
    Ok(Target::Scales([scale; 2]))
}

/// `DepthToSpace` or `SpaceToDepth`.
pub(super) fn blocks(importer: &mut Importer, call: &Call<'_>) -> Outcome<View> {
    let given = call.attributes.int("blocksize", 0)?;
    let block = usize::try_from(given).ok().filter(|&block| block > 0);
    let block = block.ok_or_else(|| format!("blocksize is {given}"))?;
    let op: Op = match (call.op_type, call.attributes.string("mode", "DCR")?) {
        ("SpaceToDepth", "DCR") => SpaceToDepth::new(block).into(),
        ("SpaceToDepth", "CRD") => SpaceToDepth::pixel_unshuffle(block).into(),
        (_, "DCR") => DepthToSpace::new(block).into(),
        (_, "CRD") => DepthToSpace::pixel_shuffle(block).into(),
        (_, other) => return Err(format!("mode is {other:?}").into()),
    };
    let x = importer.node(call.view(0)?, &call.name)?;
    importer.push(&call.name, op, &[x])
}
