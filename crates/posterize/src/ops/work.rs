//! The cost of operators, counted in multiply-adds of a matrix product.

use super::shapes::values;

/// The cost of a value that is read, compared, added or written. It is deliberately high: networks
/// have few such values for each multiply-add, and the loops over them run at the speed of the memory.
const VALUE: u64 = 128;

/// The number of channels that kernels compute at a time: the floats of the widest vector.
const LANES: u64 = 16;

/// Returns the cost of reading each value of the inputs and writing each value of the output once.
pub(super) fn of_values(inputs: &[&[usize]], output: &[usize]) -> u64 {
    let read = inputs.iter().map(|input| values(input)).fold(0, u64::saturating_add);
    read.saturating_add(values(output)).saturating_mul(VALUE)
}

/// Returns the cost of reading a window of `window` pixels of each channel for each value of `output`,
/// `[N, C, H, W]`.
pub(super) fn of_windows(output: &[usize], window: u64) -> u64 {
    in_vectors(output, 1).saturating_mul(window).saturating_mul(VALUE)
}

/// Returns the cost of an output whose values are each a sum of `taps` products. The channels, the
/// second axis, are computed group by group.
pub(super) fn of_products(output: &[usize], groups: usize, taps: u64) -> u64 {
    in_vectors(output, groups).saturating_mul(taps)
}

/// Returns the number of values with the channels of each group rounded up to whole vectors.
fn in_vectors(shape: &[usize], groups: usize) -> u64 {
    let groups = groups.max(1) as u64;
    let axes = shape.iter().enumerate().map(|(axis, &size)| match (axis, size as u64) {
        (1, channels) => {
            channels.div_ceil(groups).div_ceil(LANES).saturating_mul(LANES).saturating_mul(groups)
        }
        (_, size) => size,
    });
    axes.fold(1, u64::saturating_mul)
}

#[cfg(test)]
mod tests {
    use crate::ops::{
        Activation, AdaptiveAvgPool2d, Add, Conv2d, Flatten, Linear, MaxPool2d, Op, Slice,
    };

    #[test]
    fn every_operator_answers_for_its_work() {
        let x: &[usize] = &[2, 32, 8, 10];
        let values = 2 * 32 * 80;
        let cases: [(Op, &[&[usize]], u64); 9] = [
            (Activation::ReLU.into(), &[x], 128 * 2 * values),
            (Add::new().into(), &[x, x], 128 * 3 * values),
            (Slice::new(1, 0, 16).into(), &[x], 128 * (values + values / 2)),
            (Flatten.into(), &[x], 128 * 2 * values),
            // Windows of 9 pixels.
            (MaxPool2d::new(3).stride(1).padding(1).into(), &[x], 128 * (1 + 9) * values),
            (
                AdaptiveAvgPool2d::new([2, 5]).into(),
                &[x],
                128 * (2 * 32 * 10 + 2 * 32 * (8 + 2) * (10 + 5)),
            ),
            (Conv2d::new(32, 64, 1).into(), &[x], 128 * 3 * values + 64 * values),
            // Groups of 2 channels are computed as of 16.
            (Conv2d::new(32, 32, 1).groups(16).into(), &[x], 128 * 2 * values + 8 * 2 * values),
            (Linear::new(32, 3).into(), &[&[2, 32]], 128 * 2 * (32 + 3) + 2 * 16 * 32),
        ];
        for (op, inputs, expected) in cases {
            let output = op.infer(inputs).unwrap();
            assert_eq!(op.work(inputs, &output), expected, "{op:?}");
        }
    }

    #[test]
    fn work_that_no_integer_can_hold_is_the_largest_integer() {
        let pool = Op::from(MaxPool2d::new(1 << 24));
        assert_eq!(pool.work(&[&[1, 1 << 20, 1 << 20, 1]], &[1, 1 << 20, 1 << 20, 1]), u64::MAX);
    }
}
