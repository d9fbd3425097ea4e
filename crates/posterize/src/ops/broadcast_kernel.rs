//! Functions of two inputs that are broadcast, picture by picture.

use std::fmt;

use posterize_kernels::Broadcast;

use super::broadcast::in_memory;
use super::kernel::{Call, Kernel, Made, Shapes, made};

/// A function of two inputs that are broadcast. The batch is never broadcast, so that a plan for one
/// picture serves each of a batch.
struct BroadcastKernel<F> {
    plan: Broadcast,
    name: &'static str,
    run: F,
}

/// The kernel that calls `run` with each picture of both inputs and of the output.
pub(super) fn broadcast_kernel<T: 'static>(
    shapes: &Shapes,
    name: &'static str,
    run: impl Fn(Call<'_>, &Broadcast, &[T], &[T], &mut [T]) + Send + Sync + 'static,
) -> Made<T> {
    let [a, b] = [0, 1].map(|input| in_memory(&shapes.inputs[input]));
    let plan = Broadcast::new(&a, &b).map_err(|error| error.to_string())?;
    made(BroadcastKernel { plan, name, run })
}

impl<F> fmt::Debug for BroadcastKernel<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {:?}", self.name, self.plan)
    }
}

impl<T: 'static, F> Kernel<T> for BroadcastKernel<F>
where
    F: Fn(Call<'_>, &Broadcast, &[T], &[T], &mut [T]) + Send + Sync + 'static,
{
    fn name(&self) -> &'static str {
        self.name
    }

    fn scratch_len(&self, _: usize, _: usize) -> usize {
        0
    }

    fn run<'a>(
        &self,
        call: Call<'_>,
        input: &dyn Fn(usize) -> &'a [T],
        output: &mut [T],
        _: &mut [T],
    ) {
        let [a, b] = self.plan.input_len();
        let inputs = input(0).chunks_exact(a).zip(input(1).chunks_exact(b));
        for ((a, b), output) in inputs.zip(output.chunks_exact_mut(self.plan.len())) {
            (self.run)(call, &self.plan, a, b, output);
        }
    }
}
