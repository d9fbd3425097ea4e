//! Functions of two inputs that are broadcast, picture by picture.

use posterize_kernels::Broadcast;

use super::broadcast::in_memory;
use super::kernel::{Call, Made, Shapes, function};

/// The kernel that calls `run` with each picture of both inputs and of the output. The batch is never
/// broadcast, so that a plan for one picture serves each of a batch.
pub(super) fn broadcast_kernel<T: 'static>(
    shapes: &Shapes,
    name: &'static str,
    run: impl Fn(Call<'_>, &Broadcast, &[T], &[T], &mut [T]) + Send + Sync + 'static,
) -> Made<T> {
    let [a, b] = [0, 1].map(|input| in_memory(&shapes.inputs[input]));
    let plan = Broadcast::new(&a, &b).map_err(|error| error.to_string())?;
    function(name, move |call, input, output| {
        let [a, b] = plan.input_len();
        let inputs = input(0).chunks_exact(a).zip(input(1).chunks_exact(b));
        for ((a, b), output) in inputs.zip(output.chunks_exact_mut(plan.len())) {
            run(call, &plan, a, b, output);
        }
    })
}
