//! Padding.

use super::super::constant::axis;
use super::super::importer::{Call, Importer};
use super::super::problem::{Outcome, unsupported};
use super::super::view::View;
use crate::ops::{Op, Pad, PadMode, ZeroPad2d};

/// `Pad`.
pub(super) fn pad(importer: &mut Importer, call: &Call<'_>) -> Outcome<View> {
    let x = call.view(0)?.clone();
    let rank = x.shape().len();
    let given = call.ints(1, "pads")?.ok_or("it has no pads")?;
    let mut pads = vec![[0_i64; 2]; rank];
    let axes: Vec<usize> = match call.optional(3)? {
        None => (0..rank).collect(),
        Some(axes) => {
            let axes = axes.known_ints()?;
            axes.iter().map(|&at| axis(at, rank)).collect::<Result<_, _>>()?
        }
    };
    if given.len() != 2 * axes.len() {
        return Err(format!("{} pads for {} axes", given.len(), axes.len()).into());
    }
    for (index, &at) in axes.iter().enumerate() {
        pads[at] = [given[index], given[index + axes.len()]];
    }
    let mut sizes = Vec::with_capacity(rank);
    for [before, behind] in pads {
        let (Ok(before), Ok(behind)) = (usize::try_from(before), usize::try_from(behind)) else {
            return unsupported("negative pads");
        };
        sizes.push([before, behind]);
    }
    if sizes.iter().all(|sides| *sides == [0, 0]) {
        return Ok(x);
    }
    let mode = match call.attributes.string("mode", "constant")? {
        "constant" => PadMode::Constant(match call.optional(2)? {
            Some(value) => value.single().ok_or("its value is not one number")?,
            None => call.attributes.float("value", 0.0)?,
        }),
        "reflect" => PadMode::Reflect,
        "edge" => PadMode::Replicate,
        other => return unsupported(format!("the mode {other:?}")),
    };
    // Along the axes of the node, where the view only permutes them.
    let (node, permutation) = importer.permuted(&x, &call.name)?;
    let mut of_node = vec![[0; 2]; rank];
    permutation.iter().zip(&sizes).for_each(|(&to, &sides)| of_node[to] = sides);
    if of_node[0] != [0, 0] {
        return unsupported("a pad of the batch axis");
    }
    let op: Op = match of_node.as_slice() {
        &[_, [0, 0], [top, bottom], [left, right]] if mode == PadMode::Constant(0.0) => {
            ZeroPad2d::new([left, right, top, bottom]).into()
        }
        _ => Pad::new(of_node, mode).into(),
    };
    Ok(importer.push(&call.name, op, &[node])?.permute(&permutation))
}
