//! The kernels and the gradient of the larger and the smaller of two tensors.

use posterize_kernels::int8::requantize_table;

use super::broadcast::sum_to_input;
use super::kernel::{Inputs, Int8Context, Made, Shapes, function};
use super::pairs::Pairs;
use super::select::for_each_row;
use super::training::{Gradient, nonlinear};

/// Creates the float kernel of the larger or the smaller of two values.
pub(super) fn float(name: &'static str, shapes: &Shapes, of: fn(f32, f32) -> f32) -> Made<f32> {
    kernel(name, shapes, of)
}

/// Creates the int8 kernel. Both inputs are rounded to the scale of the output, which does not change
/// which one is the larger.
pub(super) fn int8(
    name: &'static str,
    cx: &Int8Context<'_>,
    shapes: &Shapes,
    of: fn(u8, u8) -> u8,
) -> Made<u8> {
    let [a, b] = cx.pair()?.map(|from| requantize_table(from, cx.output, [0, u8::MAX]));
    kernel(name, shapes, move |x: u8, y: u8| of(a[usize::from(x)], b[usize::from(y)]))
}

/// Returns the gradient, which goes to the value that `wins`, and one half to each of two equal values,
/// as in PyTorch.
pub(super) fn gradient(wins: fn(&f32, &f32) -> bool) -> Gradient {
    nonlinear(move |from, target| {
        let [own, other] = [(from.input)(from.position), (from.input)(1 - from.position)];
        let term = |gradient: f32, at: usize, other_at: usize| {
            let (own, other) = (own[at], other[other_at]);
            if wins(&own, &other) {
                gradient
            } else if own == other {
                gradient / 2.0
            } else {
                0.0
            }
        };
        sum_to_input(&from, term, target);
    })
}

/// Creates the kernel that applies a function to the elements of two broadcast inputs.
fn kernel<T: Copy + Send + Sync + 'static>(
    name: &'static str,
    shapes: &Shapes,
    of: impl Fn(T, T) -> T + Send + Sync + 'static,
) -> Made<T> {
    let pairs = Pairs::broadcast(&shapes.output, [&shapes.inputs[0], &shapes.inputs[1]]);
    function(name, move |call, input: Inputs<'_, '_, T>, output: &mut [T]| {
        let (a, b) = (input(0), input(1));
        let (width, [step_a, step_b]) = pairs.last();
        for_each_row(call.pool, output, width, |row, output| {
            let [start_a, start_b] = pairs.row(row);
            for (at, y) in output.iter_mut().enumerate() {
                *y = of(a[start_a + at * step_a], b[start_b + at * step_b]);
            }
        });
    })
}
