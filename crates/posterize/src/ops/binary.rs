//! Kernels and gradients of operators of two broadcast tensors.

use posterize_kernels::f32::{self, Binary, Clamp};
use posterize_kernels::{Broadcast, Pool};

use super::broadcast::{in_memory, sum_to_input};
use super::kernel::{Made, Shapes, function};
use super::training::{Backward, Gradient, linear};

/// Returns the broadcast plan for two shapes. The batch is never broadcast, so the plan for one
/// picture is that of every picture of a batch.
fn plan(a: &[usize], b: &[usize]) -> Result<Broadcast, String> {
    Broadcast::new(&in_memory(a), &in_memory(b)).map_err(|error| error.to_string())
}

/// Creates the float kernel of an operator.
pub(super) fn float(
    shapes: &Shapes,
    name: &'static str,
    operator: Binary,
    clamp: Clamp,
) -> Made<f32> {
    let plan = plan(&shapes.inputs[0], &shapes.inputs[1])?;
    function(name, move |call, input, output| {
        f32::binary(call.isa, call.pool, &plan, operator, input(0), input(1), clamp, output);
    })
}

/// Creates the int8 kernel that calls `run` with the inputs and the output.
pub(super) fn int8(
    shapes: &Shapes,
    name: &'static str,
    run: impl Fn(&Pool, &Broadcast, &[u8], &[u8], &mut [u8]) + Send + Sync + 'static,
) -> Made<u8> {
    let plan = plan(&shapes.inputs[0], &shapes.inputs[1])?;
    function(name, move |call, input, output| run(call.pool, &plan, input(0), input(1), output))
}

/// Returns the gradient of a weighted sum of two tensors; `factors` are the weights.
pub(super) fn sum_gradient(factors: [f32; 2]) -> Gradient {
    let gradient = linear(move |from, target| {
        let factor = factors[from.position];
        if factor == 1.0 && from.shapes.inputs[from.position] == from.shapes.output {
            target.copy_from_slice(from.gradient);
        } else {
            sum_to_input(&from, |gradient, _, _| factor * gradient, target);
        }
    });
    if factors == [1.0; 2] {
        return gradient
            .passing(|shapes| shapes.inputs.iter().all(|input| *input == shapes.output));
    }
    gradient
}

/// Writes the gradient of a factor or a dividend: the output's gradient, multiplied or divided
/// (`operator`) by the other input.
pub(super) fn backward_by_other(from: &Backward<'_, '_>, operator: Binary, target: &mut [f32]) {
    let &Backward { call, shapes, position, gradient, input } = from;
    let other = input(1 - position);
    let unbroadcast = shapes.inputs[position] == shapes.output;
    match plan(&shapes.output, &shapes.inputs[1 - position]) {
        Ok(plan) if unbroadcast => {
            f32::binary(call.isa, call.pool, &plan, operator, gradient, other, Clamp::NONE, target);
        }
        _ => {
            let term = |gradient, _, at: usize| operator.apply(gradient, other[at]);
            sum_to_input(from, term, target);
        }
    }
}
