//! Tests gradients of operators against finite differences.

use super::testing::{backward, float, len, shapes};
use super::*;

/// Numbers at least 0.03 apart from each other and from those of other inputs.
fn numbers(count: usize, seed: usize) -> Vec<f32> {
    let at = |i: usize| ((i * 37 + seed * 11) % 211) as f32;
    (0..count).map(|i| (at(i) - 105.0) * 0.04 * 0.75 + 0.013 * seed as f32).collect()
}

fn check(op: impl Into<Op>, inputs: &[&[usize]]) {
    let op = op.into();
    let shapes = shapes(&op, inputs);
    let values: Vec<Vec<f32>> =
        inputs.iter().enumerate().map(|(i, shape)| numbers(len(shape), i)).collect();
    let gradient: Vec<f32> =
        (0..len(&shapes.output)).map(|i| ((i * 7) % 11) as f32 / 4.0 - 1.0).collect();
    let loss = |values: &[Vec<f32>]| -> f64 {
        let output = float(&op, &shapes, values);
        output.iter().zip(&gradient).map(|(&y, &g)| f64::from(y) * f64::from(g)).sum()
    };
    for position in 0..inputs.len() {
        let found = backward(&op, &shapes, position, &values, &gradient);
        for (at, &found) in found.iter().enumerate() {
            let moved = |by: f32| {
                let mut values = values.clone();
                values[position][at] += by;
                (values[position][at], loss(&values))
            };
            let ((above, high), (below, low)) = (moved(0.004), moved(-0.004));
            let expected = (high - low) / f64::from(above - below);
            let far = (f64::from(found) - expected).abs();
            assert!(
                far < 4e-3 * expected.abs().max(1.0),
                "{op:?}, input {position}, value {at}: {found}, expected {expected}"
            );
        }
    }
}

#[test]
fn gradients_are_those_of_finite_differences() {
    let (two, three, four): (&[usize], &[usize], &[usize]) = (&[1, 6], &[1, 4, 6], &[1, 4, 3, 5]);
    let sides = Padding::Explicit { top: 1, bottom: 0, left: 1, right: 2 };
    for inputs in [three, four] {
        for axis in 1..inputs.len() {
            check(Softmax::new(axis), &[inputs]);
            check(LogSoftmax::new(axis), &[inputs]);
            check(Normalize::new(2, axis), &[inputs]);
            check(Normalize::new(1, axis), &[inputs]);
            check(Gather::new(axis, [2, 0, 2]), &[inputs]);
            for reduction in [Reduction::Mean, Reduction::Sum, Reduction::Max, Reduction::Min] {
                check(Reduce::new(reduction, [axis]), &[inputs]);
                check(Reduce::new(reduction, [axis]).keepdim(true), &[inputs]);
            }
        }
        check(Reduce::new(Reduction::Max, [1, 2]), &[inputs]);
    }
    check(AvgPool2d::new(3).stride(2).padding_sides(sides).ceil_mode(true), &[four]);
    check(AvgPool2d::new(2).padding(1).count_include_pad(false), &[four]);
    check(MaxPool2d::new(3).stride(2).padding_sides(sides).ceil_mode(true), &[four]);
    check(AdaptiveMaxPool2d::new([1, 1]), &[four]);
    check(AdaptiveMaxPool2d::new([2, 3]), &[four]);
    check(Permute::new([0, 2, 1, 3]), &[four]);
    check(Permute::new([0, 2, 1]), &[three]);
    check(Reshape::new([5, 12]), &[four]);
    check(Reshape::new([3, 2, 4]), &[three]);
    check(Reshape::new([6, 5, 2]), &[four]);
    let pads = [[0, 0], [0, 1], [2, 1], [1, 3]];
    for mode in [PadMode::Constant(2.0), PadMode::Reflect, PadMode::Replicate] {
        check(Pad::new(pads, mode), &[four]);
    }
    check(DepthToSpace::new(2), &[four]);
    check(DepthToSpace::pixel_shuffle(2), &[four]);
    check(SpaceToDepth::new(2), &[&[1, 2, 4, 6]]);
    check(SpaceToDepth::pixel_unshuffle(2), &[&[1, 2, 4, 6]]);
    check(Tile::new([1, 2, 1, 3]), &[four]);
    let half = Coordinates::HalfPixel;
    check(Upsample::scales([2.0, 1.5]), &[four]);
    check(Upsample::sizes([2, 7]).mode(Interpolation::Linear).coordinates(half), &[four]);
    check(Upsample::sizes([4, 7]).mode(Interpolation::cubic()).coordinates(half), &[four]);
    for pair in [[four, four], [four, &[1, 1, 3, 1]], [&[1, 1], two]] {
        check(Minimum, &pair);
        check(Maximum, &pair);
    }
    check(MatMul, &[&[1, 2, 3], &[1, 3, 4]]);
    check(MatMul, &[&[1, 2, 3, 4], &[1, 2, 4, 3]]);
}
