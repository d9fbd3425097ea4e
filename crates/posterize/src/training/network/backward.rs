//! The backward pass.

use posterize_kernels::Pool;
use posterize_kernels::f32::training::{
    self as kernels, ChannelSums, GradOutput, Gradients, NormBackward,
};

use super::dropout::Mask;
use super::forward::{Reader, scaled};
use super::layers::{Core, Layer, Product, Program};
use super::plan::{Backward, Contribution, Place, Shape};
use super::{Network, State};
use crate::ops::kernel::Call;
use crate::ops::training;
use crate::runtime::arena::split;

/// Number of elements of a gradient that one task adds up.
const TASK: usize = 1 << 16;

impl Network {
    /// Computes the gradients of all parameters from that of the output.
    pub(super) fn backward(&mut self, pictures: &[f32], gradient: &[f32]) {
        let count = self.net.layers.len();
        for parameter in &mut self.net.parameters {
            parameter.gradient.fill(0.0);
        }
        let plan = self.plan.as_ref().expect("the step is planned");
        let Some(step) = &plan.backward[self.net.output] else { return };
        self.arena[step.output.clone()].copy_from_slice(gradient);
        for index in (0..count).rev() {
            let plan = self.plan.as_ref().expect("the step is planned");
            let Some(step) = plan.backward[index].clone() else { continue };
            let mut state = std::mem::take(&mut self.states[index]);
            self.back_through_epilogue(index, &step, pictures, &mut state);
            if matches!(self.net.layers[index].core, Core::Product(_)) {
                self.back_through_product(index, &step, pictures, &state);
            } else {
                self.back_through_function(index, &step, pictures);
            }
            self.states[index] = state;
        }
    }

    /// Computes the gradients of bias and batch norm, and the factors of the gradient of the core's
    /// output. That gradient is stored only if the core is not a convolution.
    fn back_through_epilogue(
        &mut self,
        index: usize,
        step: &Backward,
        pictures: &[f32],
        state: &mut State,
    ) {
        let Self { net, plan, sums, arena, isa, pool, .. } = self;
        let plan = plan.as_ref().expect("the step is planned");
        let (layer, shape) = (&net.layers[index], plan.shapes[index]);
        let epilogue = &layer.epilogue;
        if epilogue.is_identity() {
            return;
        }
        let sums = &mut sums[index];
        let raw = plan.raw[index].as_ref().expect("epilogues are applied to something");
        let y = match raw {
            Place::Pictures => pictures,
            Place::At(range) => &arena[range.clone()],
        };
        if (epilogue.norm.is_some() || epilogue.bias.is_some()) && !plan.summed_by_consumer[index] {
            let gradient = &arena[step.output.clone()];
            if epilogue.needs_input() {
                let activation = state.activation(epilogue);
                kernels::activate_backward_sums(*isa, pool, activation, y, gradient, sums);
            } else {
                *sums = column_sums(shape.channels, gradient);
            }
        }
        let State { a, b, c, channels, .. } = state;
        for factors in [&mut *a, &mut *b, &mut *c] {
            factors.clear();
        }
        if let Some(norm) = &epilogue.norm {
            for (at, channel) in channels.iter().enumerate() {
                let back = channel.backward(sums.grad[at], sums.grad_y[at]);
                net.parameters[norm.gamma].gradient[at] = back.gamma as f32;
                net.parameters[norm.beta].gradient[at] = back.beta as f32;
                if let Some(bias) = epilogue.bias {
                    net.parameters[bias].gradient[at] = back.bias as f32;
                }
                a.push(back.a);
                b.push(back.b);
                c.push(back.c);
            }
        } else {
            if let Some(bias) = epilogue.bias {
                let gradients = net.parameters[bias].gradient.iter_mut();
                gradients.zip(&sums.grad).for_each(|(to, sum)| *to = *sum as f32);
            }
            a.resize(shape.channels, 1.0);
            b.resize(shape.channels, 0.0);
            c.resize(shape.channels, 0.0);
        }
        if step.core != step.output {
            let (core, rest) = split(arena, &step.core);
            let reader = Reader { rest, pictures };
            let norm = state.norm_backward(layer, reader.get(raw));
            kernels::activate_backward(*isa, pool, norm, reader.rest.get(&step.output), core);
        }
    }

    fn back_through_product(
        &mut self,
        index: usize,
        step: &Backward,
        pictures: &[f32],
        state: &State,
    ) {
        let Self { net, qat, plan, states, sums, convs, arena, scratch, isa, pool, .. } = self;
        let plan = plan.as_ref().expect("the step is planned");
        let layer = &net.layers[index];
        let (Core::Product(product), Some(conv)) = (&layer.core, &convs[index]) else { return };
        let weight_index = product.weight;
        let input = layer.inputs[0];
        let Shape { batch, size, .. } = plan.shapes[input];
        let norm = layer.epilogue.norm.as_ref();
        // A batch norm that is folded into the weights has a part of its gradient through them.
        let through_weight = norm.is_some_and(|norm| norm.folded && !net.is_frozen(norm));
        let wants_weight = !net.parameters[weight_index].frozen || through_weight;
        let mut grad_weight = std::mem::take(&mut net.parameters[weight_index].gradient);
        let layer = &net.layers[index];
        let product_weights = weights_of(layer, net, state);

        let none = 0..0;
        let target = match &step.inputs[0] {
            Contribution::First(range) | Contribution::Further { through: range, .. } => range,
            Contribution::Unwanted | Contribution::Same => &none,
        };
        let (grad_input, rest) = split(arena, target);
        let reader = Reader { rest, pictures };
        let grad_output = GradOutput {
            values: reader.rest.get(&step.output),
            norm: layer.epilogue.needs_input().then(|| {
                let raw = plan.raw[index].as_ref().expect("epilogues are applied to something");
                state.norm_backward(layer, reader.get(raw))
            }),
        };
        let x = reader.operand(plan, &net.layers, states, input);
        let before = &net.layers[input].epilogue;
        let wants_sums = plan.summed_by_consumer[input]
            && plan.backward[input].is_some()
            && (before.norm.is_some() || before.bias.is_some());
        let gradients = Gradients {
            input: (*target != none).then_some(grad_input),
            weight: wants_weight.then_some(&mut grad_weight[..]),
            sums: wants_sums.then_some(&mut sums[input]),
        };
        conv.backward(pool, batch, size, x, product_weights, grad_output, gradients, scratch);
        if let Contribution::Further { into, through } = &step.inputs[0] {
            let (into, rest) = split(arena, into);
            add_to(pool, into, rest.get(through));
        }

        if !wants_weight {
            net.parameters[weight_index].gradient = grad_weight;
            return;
        }
        // The gradients of the fake quantization and of the scaling of the weights.
        let weight = &net.parameters[weight_index];
        let rounds = rounded_of(layer).and_then(|id| qat.as_ref()?.weight(id));
        if let Some(rounds) = rounds {
            let before = scaled(&weight.value, &state.factor);
            rounds
                .backward_on(*isa, pool, &before, &weight.shape, &mut grad_weight)
                .expect("the shape is that of the forward pass");
        }
        let mut of_gamma = Vec::with_capacity(state.factor.len());
        if !state.factor.is_empty() {
            let taps = grad_weight.len() / state.factor.len();
            let rows = grad_weight.chunks_exact_mut(taps).zip(weight.value.chunks_exact(taps));
            for ((gradient, weight), (&factor, channel)) in
                rows.zip(state.factor.iter().zip(&state.channels))
            {
                let mut sum = 0.0;
                for (gradient, &weight) in gradient.iter_mut().zip(weight) {
                    sum += f64::from(*gradient) * f64::from(weight);
                    *gradient *= factor;
                }
                of_gamma.push(channel.gamma_of_weights(sum) as f32);
            }
        }
        let norm = layer.epilogue.norm.as_ref().map(|norm| norm.gamma);
        net.parameters[weight_index].gradient = grad_weight;
        if let Some(gamma) = norm {
            let gradient = &mut net.parameters[gamma].gradient;
            gradient.iter_mut().zip(of_gamma).for_each(|(to, more)| *to += more);
        }
    }

    fn back_through_function(&mut self, index: usize, step: &Backward, pictures: &[f32]) {
        let Self { net, plan, arena, isa, pool, seed, step: count, .. } = self;
        let plan = plan.as_ref().expect("the step is planned");
        let layer = &net.layers[index];
        let shapes = &plan.shapes_of_one[index];
        let call = Call { isa: *isa, pool, batch: plan.shapes[index].batch };
        let shared = match &layer.core {
            Core::Function(function) => function.gradient.passes(shapes),
            Core::Identity => true,
            Core::Input | Core::Product(_) | Core::Dropout(_) => false,
        };
        for (position, contribution) in step.inputs.iter().enumerate() {
            let target = match contribution {
                Contribution::Unwanted | Contribution::Same => continue,
                Contribution::First(range) | Contribution::Further { through: range, .. } => range,
            };
            if !(shared && matches!(contribution, Contribution::Further { .. })) {
                let (target, rest) = split(arena, target);
                let reader = Reader { rest, pictures };
                let gradient = reader.rest.get(&step.core);
                match &layer.core {
                    Core::Function(function) => {
                        let input = |position: usize| reader.stored(plan, layer.inputs[position]);
                        let input = &input;
                        let from = training::Backward { call, shapes, position, gradient, input };
                        function.gradient.backward(from, target);
                    }
                    &Core::Dropout(p) => {
                        Mask::new(p, *seed, *count, index).apply(gradient, target);
                    }
                    Core::Input | Core::Identity | Core::Product(_) => {
                        target.copy_from_slice(gradient);
                    }
                }
            }
            if let Contribution::Further { into, through } = contribution {
                let (into, rest) = split(arena, into);
                add_to(pool, into, rest.get(if shared { &step.core } else { through }));
            }
        }
    }
}

fn weights_of<'a>(layer: &Layer, net: &'a Program, state: &'a State) -> &'a [f32] {
    match &layer.core {
        Core::Product(product) => product.weights(net, state),
        _ => &[],
    }
}

fn rounded_of(layer: &Layer) -> Option<crate::graph::NodeId> {
    match layer.core {
        Core::Product(Product { rounded, .. }) => rounded,
        _ => None,
    }
}

impl State {
    fn norm_backward<'a>(&'a self, layer: &Layer, y: &'a [f32]) -> NormBackward<'a> {
        let activation = self.activation(&layer.epilogue);
        NormBackward { y, activation, a: &self.a, b: &self.b, c: &self.c }
    }
}

/// Returns the sum of each channel of a gradient.
fn column_sums(channels: usize, gradient: &[f32]) -> ChannelSums {
    let mut sums = ChannelSums::new(channels);
    for row in gradient.chunks_exact(channels) {
        sums.grad.iter_mut().zip(row).for_each(|(sum, &g)| *sum += f64::from(g));
    }
    sums
}

fn add_to(pool: &Pool, into: &mut [f32], from: &[f32]) {
    pool.for_each_chunk_mut(into, TASK, &|task, into| {
        let from = &from[task * TASK..][..into.len()];
        into.iter_mut().zip(from).for_each(|(into, from)| *into += from);
    });
}
