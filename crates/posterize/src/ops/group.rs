//! The kernel of norms over groups of channels.

use super::kernel::{Made, function};
use super::lines::{Grid, Lines};
use super::moves::strides;
use super::shapes::memory_order;

/// Creates the kernel that normalizes groups of channels of `shape` over all axes behind the batch.
/// `affine` are the weight and the bias of each channel.
pub(super) fn norm(
    name: &'static str,
    shape: &[usize],
    groups: usize,
    eps: f32,
    affine: [Vec<f32>; 2],
) -> Made<f32> {
    let strides = strides(shape);
    let in_group = shape[1] / groups;
    let order = memory_order(shape.len()).into_iter().filter(|&axis| axis > 0);
    let along = order.map(|axis| match axis {
        1 => [in_group, strides[1]],
        _ => [shape[axis], strides[axis]],
    });
    let lines =
        Lines { starts: Grid::new([[groups, in_group * strides[1]]]), along: Grid::new(along) };
    // The channels of a group are the last axis in memory, or the first.
    let pixels: usize = shape[2..].iter().product();
    let last = strides[1] == 1;
    let eps = f64::from(eps);
    function(name, move |call, input, output| {
        let [weight, bias] = &affine;
        lines.run(call.pool, input(0), output, |group, line, output| {
            let [mean, variance] = line.moments();
            let scale = 1.0 / (variance + eps).sqrt();
            line.each(|index, at, x| {
                let in_line = if last { index % in_group } else { index / pixels };
                let channel = group * in_group + in_line;
                let normalized = ((f64::from(x) - mean) * scale) as f32;
                output[at] = normalized * weight[channel] + bias[channel];
            });
        });
    })
}
