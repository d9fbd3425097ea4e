//! What operators of two tensors that broadcast share: their kernels, and how a gradient goes back.

use posterize_kernels::f32::{self, Binary, Clamp};
use posterize_kernels::{Broadcast, Pool};

use super::broadcast::{in_memory, sum_to_input};
use super::kernel::{Call, Made, Shapes, function};
use super::training::Differentiable;

/// The plan for tensors of two shapes. The batch is never broadcast, so that the plan for one picture
/// serves each of a batch.
fn plan(a: &[usize], b: &[usize]) -> Result<Broadcast, String> {
    Broadcast::new(&in_memory(a), &in_memory(b)).map_err(|error| error.to_string())
}

/// The float kernel of an operator.
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

/// The int8 kernel that calls `run` with the inputs and the output.
pub(super) fn int8(
    shapes: &Shapes,
    name: &'static str,
    run: impl Fn(&Pool, &Broadcast, &[u8], &[u8], &mut [u8]) + Send + Sync + 'static,
) -> Made<u8> {
    let plan = plan(&shapes.inputs[0], &shapes.inputs[1])?;
    function(name, move |call, input, output| run(call.pool, &plan, input(0), input(1), output))
}

/// The gradient of a sum of two tensors, each times a number.
#[derive(Debug)]
pub(super) struct Linear(pub(super) [f32; 2]);

impl Differentiable for Linear {
    fn keeps_inputs(&self) -> bool {
        false
    }

    fn passes_gradient(&self, shapes: &Shapes) -> bool {
        self.0 == [1.0; 2] && shapes.inputs.iter().all(|input| *input == shapes.output)
    }

    fn backward<'a>(
        &self,
        call: Call<'_>,
        shapes: &Shapes,
        position: usize,
        _: &dyn Fn(usize) -> &'a [f32],
        gradient: &[f32],
        target: &mut [f32],
    ) {
        let factor = self.0[position];
        if factor == 1.0 && shapes.inputs[position] == shapes.output {
            target.copy_from_slice(gradient);
        } else {
            let term = |gradient: f32, _, _| factor * gradient;
            sum_to_input(call, shapes, position, gradient, term, target);
        }
    }
}

/// Writes the gradient of the input at `position`, where that of an element is the output's times or
/// by the `other` input's element, as `operator` says.
pub(super) fn backward_by_other(
    call: Call<'_>,
    shapes: &Shapes,
    position: usize,
    operator: Binary,
    gradient: &[f32],
    other: &[f32],
    target: &mut [f32],
) {
    let unbroadcast = shapes.inputs[position] == shapes.output;
    match plan(&shapes.output, &shapes.inputs[1 - position]) {
        Ok(plan) if unbroadcast => {
            f32::binary(call.isa, call.pool, &plan, operator, gradient, other, Clamp::NONE, target);
        }
        _ => {
            let term = |gradient, _, at: usize| operator.apply(gradient, other[at]);
            sum_to_input(call, shapes, position, gradient, term, target);
        }
    }
}
