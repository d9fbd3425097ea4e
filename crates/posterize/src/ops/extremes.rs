//! The kernel of functions of two elements that are not vectorized by hand.

use super::kernel::{Inputs, Made, Shapes, function};
use super::pairs::Pairs;
use super::select::for_each_row;

/// Creates the kernel that applies a function to the elements of two broadcast inputs.
pub(super) fn kernel<T: Copy + Send + Sync + 'static>(
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
