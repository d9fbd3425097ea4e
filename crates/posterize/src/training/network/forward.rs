//! The forward pass.

use posterize_kernels::f32::Clamp;
use posterize_kernels::f32::training::{self as kernels, Activation, FakeQuant, Input};

use super::dropout::Mask;
use super::grid::Grid;
use super::layers::{Core, Epilogue, Layer, Norm, Product, Program, Round};
use super::mode::Mode;
use super::norm::{Affine, Channel, Moments};
use super::plan::{Output, Place, Plan, Shape};
use super::units::{TO_INTEGERS, Units};
use super::{Network, State, not_finite};
use crate::error::{Error, Result};
use crate::graph::NodeId;
use crate::ops::kernel::Call;
use crate::quantization::{FakeQuantize, QParams};
use crate::runtime::arena::{Outside, split};

/// The readable values of a step: the pictures, and the arena except for the range being written.
pub(super) struct Reader<'a> {
    pub(super) rest: Outside<'a, f32>,
    pub(super) pictures: &'a [f32],
}

impl<'a> Reader<'a> {
    pub(super) fn get(&self, place: &Place) -> &'a [f32] {
        match place {
            Place::Pictures => self.pictures,
            Place::At(range) => self.rest.get(range),
        }
    }

    /// Returns the output of a layer that is stored.
    pub(super) fn stored(&self, plan: &Plan, layer: usize) -> &'a [f32] {
        match &plan.output[layer] {
            Output::Stored(place) => self.get(place),
            Output::Computed => unreachable!("only products read an output that is not stored"),
        }
    }

    /// Returns the output of a layer as the input of a product, which computes it if it is not
    /// stored.
    pub(super) fn operand<'b>(
        &self,
        plan: &Plan,
        layers: &[Layer],
        states: &'b [State],
        layer: usize,
    ) -> Input<'b>
    where
        'a: 'b,
    {
        match &plan.output[layer] {
            Output::Stored(place) => Input::from(self.get(place)),
            Output::Computed => {
                let raw =
                    plan.raw[layer].as_ref().expect("a layer with an epilogue has a raw value");
                Input {
                    values: self.get(raw),
                    activation: Some(states[layer].activation(&layers[layer].epilogue)),
                }
            }
        }
    }
}

impl State {
    /// Returns the epilogue of the last forward pass.
    pub(super) fn activation(&self, epilogue: &Epilogue) -> Activation<'_> {
        Activation {
            scale: &self.scale,
            shift: &self.shift,
            clamp: self.clamp.unwrap_or(epilogue.clamp),
            fake_quant: self.fake_quant,
        }
    }
}

impl Network {
    /// Runs the forward pass of all layers.
    pub(super) fn forward(&mut self, pictures: &[f32], mode: Mode) -> Result<()> {
        let plan = self.plan.as_ref().expect("the step is planned");
        self.units = match mode {
            Mode::Evaluate => self.choose_units(plan),
            Mode::Train | Mode::Diagnose | Mode::Reestimate { .. } => {
                vec![Units::default(); self.net.layers.len()]
            }
        };
        for index in 0..self.net.layers.len() {
            let mut state = std::mem::take(&mut self.states[index]);
            let result = self.forward_layer(index, pictures, mode, &mut state);
            self.states[index] = state;
            result?;
        }
        Ok(())
    }

    /// Returns the error that names the first layer whose output is not finite.
    pub(super) fn diagnose(&mut self, pictures: &[f32]) -> Error {
        match self.forward(pictures, Mode::Diagnose) {
            Err(error) => error,
            Ok(()) => Error::layer("loss", "it is not finite, but the outputs of all layers are"),
        }
    }

    fn forward_layer(
        &mut self,
        index: usize,
        pictures: &[f32],
        mode: Mode,
        state: &mut State,
    ) -> Result<()> {
        let layer = &self.net.layers[index];
        let norm = layer.epilogue.norm.as_ref();
        let frozen = norm.is_some_and(|norm| self.net.is_frozen(norm));
        let by_batch = match mode {
            Mode::Train | Mode::Diagnose => !frozen && !self.bn_stats_frozen,
            Mode::Reestimate { .. } => !frozen,
            Mode::Evaluate => false,
        };
        let normalizes = by_batch && norm.is_some();
        let observes = mode == Mode::Train
            && matches!(layer.epilogue.round, Round::Own(id)
                if self.fake_quantize(id).is_some_and(FakeQuantize::observer_enabled));
        self.run_core(index, pictures, mode, normalizes || observes, state)?;
        if layer_has_epilogue(&self.net, index) {
            self.set_affine(index, mode, by_batch, state)?;
            self.set_rounding(index, pictures, mode, observes, state)?;
            self.run_epilogue(index, pictures, state);
        }
        Ok(())
    }

    pub(super) fn fake_quantize(&self, id: NodeId) -> Option<&FakeQuantize> {
        self.qat.as_ref()?.activation(id)
    }

    /// Computes the output of the core and, if `with_stats`, its statistics.
    fn run_core(
        &mut self,
        index: usize,
        pictures: &[f32],
        mode: Mode,
        with_stats: bool,
        state: &mut State,
    ) -> Result<()> {
        let mut biases = Vec::new();
        if let Some(scales) = self.units[index].product {
            let layer = &self.net.layers[index];
            set_factor(&self.net, layer.epilogue.norm.as_ref(), &mut state.factor);
            if let Core::Product(product) = &layer.core {
                let scaled = scaled(&self.net.parameters[product.weight].value, &state.factor);
                biases = self.set_integers(index, scales, scaled, state)?;
            }
        }
        let Self {
            net, qat, plan, states, convs, functions, arena, scratch, isa, pool, units, ..
        } = self;
        let plan = plan.as_ref().expect("the step is planned");
        let layer = &net.layers[index];
        let mut stats = with_stats.then(|| std::mem::take(&mut state.stats));
        let target = match (&plan.raw[index], &plan.output[index]) {
            _ if matches!(layer.core, Core::Input | Core::Identity) => None,
            (Some(Place::At(range)), _) | (None, Output::Stored(Place::At(range))) => Some(range),
            _ => unreachable!("the output of a core is in the arena"),
        };
        if let Some(range) = target {
            let (target, rest) = split(arena, range);
            let reader = Reader { rest, pictures };
            if let (Core::Product(product), Some(conv)) = (&layer.core, &convs[index]) {
                set_factor(net, layer.epilogue.norm.as_ref(), &mut state.factor);
                let weight = &net.parameters[product.weight];
                let rounds = product.rounded.and_then(|id| qat.as_mut()?.weight_mut(id));
                let over_integers = units[index].product;
                if let (Some(rounds), None) = (rounds, over_integers) {
                    let scaled = scaled(&weight.value, &state.factor);
                    state.weight.resize(scaled.len(), 0.0);
                    if matches!(mode, Mode::Train | Mode::Reestimate { .. }) {
                        rounds.forward_on(*isa, pool, &scaled, &weight.shape, &mut state.weight)
                    } else {
                        rounds.apply_on(*isa, pool, &scaled, &weight.shape, &mut state.weight)
                    }
                    .map_err(|error| error.in_layer(&weight.name))?;
                }
                let weight = product.weights(net, state);
                let Shape { batch, size, channels, .. } = plan.shapes[layer.inputs[0]];
                let mut x = reader.operand(plan, &net.layers, states, layer.inputs[0]);
                let to_integers = over_integers
                    .map(|(input, _)| (vec![1.0 / input.scale; channels], vec![0.0; channels]));
                if let (Some((scale, shift)), None) = (&to_integers, x.activation) {
                    let (clamp, fake_quant) = (Clamp::NONE, Some(TO_INTEGERS));
                    x.activation = Some(Activation { scale, shift, clamp, fake_quant });
                }
                match &mut stats {
                    Some(stats) => {
                        conv.forward_with_stats(
                            pool, batch, size, x, weight, target, stats, scratch,
                        );
                    }
                    None => conv.forward(pool, batch, size, x, weight, target, scratch),
                }
                if !biases.is_empty() {
                    for pixel in target.chunks_exact_mut(biases.len()) {
                        pixel.iter_mut().zip(&biases).for_each(|(sum, bias)| *sum += bias);
                    }
                }
            } else {
                let input = |position: usize| reader.stored(plan, layer.inputs[position]);
                match (&layer.core, &functions[index]) {
                    (&Core::Dropout(p), _) if matches!(mode, Mode::Train | Mode::Diagnose) => {
                        Mask::new(p, self.seed, self.step, index).apply(input(0), target);
                    }
                    (_, Some(function)) => {
                        let call = Call { isa: *isa, pool, batch: plan.shapes[index].batch };
                        function.run(call, &input, target, scratch);
                    }
                    (_, None) => target.copy_from_slice(input(0)),
                }
            }
            if mode == Mode::Diagnose && target.iter().any(|x| !x.is_finite()) {
                return Err(not_finite(&layer.name));
            }
        }
        if let Some(stats) = &mut stats
            && !matches!(layer.core, Core::Product(_))
        {
            let y = match plan.raw[index].as_ref().expect("only epilogues need statistics") {
                Place::Pictures => pictures,
                Place::At(range) => &arena[range.clone()],
            };
            let channels = plan.shapes[index].channels;
            kernels::channel_stats(*isa, pool, y.len() / channels, channels, y, stats);
        }
        if let Some(stats) = stats {
            state.stats = stats;
        }
        Ok(())
    }

    /// Combines bias and batch norm to one affine map, and updates the running estimates.
    fn set_affine(
        &mut self,
        index: usize,
        mode: Mode,
        by_batch: bool,
        state: &mut State,
    ) -> Result<()> {
        let plan = self.plan.as_ref().expect("the step is planned");
        let Program { layers, parameters, running, .. } = &mut self.net;
        let (layer, shape) = (&layers[index], plan.shapes[index]);
        let bias = layer.epilogue.bias.map(|bias| parameters[bias].value.as_slice());
        if self.units[index].product.is_some() {
            return Ok(());
        }
        let State { scale, shift, .. } = state;
        let Some(norm) = &layer.epilogue.norm else {
            scale.clear();
            scale.resize(shape.channels, 1.0);
            shift.clear();
            match bias {
                Some(bias) => shift.extend_from_slice(bias),
                None => shift.resize(shape.channels, 0.0),
            }
            return Ok(());
        };
        scale.clear();
        shift.clear();
        state.channels.clear();
        let running = &mut running[norm.running];
        let pixels = shape.pixels;
        if by_batch {
            if pixels < 2 {
                let problem = "batch norm in training needs more than one value for each channel; \
                               use larger batches, or freeze its running estimates";
                return Err(Error::layer(&layer.name, problem));
            }
            let finite = state.stats.sum.iter().chain(&state.stats.sum_sq).all(|x| x.is_finite());
            if !finite {
                return Err(not_finite(&layer.name));
            }
        }
        for c in 0..shape.channels {
            let channel = Channel {
                gamma: parameters[norm.gamma].value[c].into(),
                beta: parameters[norm.beta].value[c].into(),
                bias: bias.map_or(0.0, |bias| bias[c].into()),
                eps: norm.eps.into(),
                running_mean: running.mean.value[c].into(),
                running_var: running.var.value[c].into(),
                factor: state.factor.get(c).map_or(1.0, |&factor| factor.into()),
                folded: norm.folded,
                batch: by_batch.then(|| {
                    let (mean, var) = state.stats.mean_variance(c, pixels);
                    Moments { mean, var, pixels }
                }),
            };
            let Affine { scale, shift } = channel.affine();
            state.scale.push(scale);
            state.shift.push(shift);
            let momentum = match mode {
                Mode::Train => Some(norm.momentum.into()),
                Mode::Reestimate { batch } => Some(1.0 / (batch as f64 + 1.0)),
                Mode::Diagnose | Mode::Evaluate => None,
            };
            if let Some(momentum) = momentum {
                let (mean, var) = channel.updated(momentum);
                (running.mean.value[c], running.var.value[c]) = (mean as f32, var as f32);
            }
            state.channels.push(channel);
        }
        Ok(())
    }

    /// Observes the values that the epilogue quantizes, and sets the scale that it quantizes with.
    fn set_rounding(
        &mut self,
        index: usize,
        pictures: &[f32],
        mode: Mode,
        observes: bool,
        state: &mut State,
    ) -> Result<()> {
        let Self { net, qat, plan, arena, isa, pool, units, .. } = self;
        let layer = &net.layers[index];
        (state.fake_quant, state.clamp) = (None, None);
        let Some(qat) = qat else { return Ok(()) };
        if let (true, Round::Own(id)) = (observes, layer.epilogue.round)
            && let Some(rounds) = qat.activation_mut(id)
        {
            let seen = if rounds.observer().spec().kind.needs_all_values() {
                // A histogram needs all values; other observers only the extremes.
                let plan = plan.as_ref().expect("the step is planned");
                let raw =
                    plan.raw[index].as_ref().expect("a layer with an epilogue has a raw value");
                let y = match raw {
                    Place::Pictures => pictures,
                    Place::At(range) => &arena[range.clone()],
                };
                let mut x = vec![0.0; y.len()];
                kernels::activate(*isa, pool, state.activation(&layer.epilogue), y, &mut x);
                x
            } else {
                state.range(layer.epilogue.clamp).to_vec()
            };
            let shape = [seen.len()];
            let observed = rounds.observe_on(pool, &seen, &shape);
            observed.map_err(|error| error.in_layer(&layer.name))?;
        }
        if let Some(Grid { qparams, quant_range, dtype }) = Grid::of(qat, layer.epilogue.round) {
            // int8 kernels have all 8 bits even if training clamps to 7.
            let (quant_min, quant_max) = match mode {
                Mode::Train | Mode::Diagnose | Mode::Reestimate { .. } => quant_range,
                Mode::Evaluate => dtype.bounds(),
            };
            let QParams { scale, zero_point } = qparams;
            state.fake_quant = Some(FakeQuant { scale, zero_point, quant_min, quant_max });
            units[index].adapt(state, layer.epilogue.clamp);
        }
        Ok(())
    }

    /// Applies the epilogue, unless the layers that read the output compute it.
    fn run_epilogue(&mut self, index: usize, pictures: &[f32], state: &State) {
        let Self { net, plan, arena, isa, pool, .. } = self;
        let plan = plan.as_ref().expect("the step is planned");
        let (Some(raw), Output::Stored(Place::At(range))) = (&plan.raw[index], &plan.output[index])
        else {
            return;
        };
        let (output, rest) = split(arena, range);
        let y = Reader { rest, pictures }.get(raw);
        let activation = state.activation(&net.layers[index].epilogue);
        kernels::activate(*isa, pool, activation, y, output);
        if let Some((_, grid)) = self.units[index].product {
            for integer in output.iter_mut() {
                *integer *= grid.scale;
            }
        }
    }
}

/// Sets the factor of the weights before fake quantization: `gamma / sqrt(running_var + eps)` if a
/// batch norm is folded into them, or empty.
fn set_factor(net: &Program, norm: Option<&Norm>, factor: &mut Vec<f32>) {
    factor.clear();
    if let Some(norm) = norm.filter(|norm| norm.folded) {
        let gamma = &net.parameters[norm.gamma].value;
        let var = &net.running[norm.running].var.value;
        factor.extend(gamma.iter().zip(var).map(|(gamma, var)| gamma / (var + norm.eps).sqrt()));
    }
}

/// Returns a weight with each output channel multiplied by its factor.
pub(super) fn scaled(weight: &[f32], factor: &[f32]) -> Vec<f32> {
    if factor.is_empty() {
        return weight.to_vec();
    }
    let taps = weight.len() / factor.len();
    let rows = weight.chunks_exact(taps).zip(factor);
    rows.flat_map(|(row, factor)| row.iter().map(move |w| w * factor)).collect()
}

impl Product {
    /// Returns the weights of the convolution, after fake quantization if there is one.
    pub(super) fn weights<'a>(&self, net: &'a Program, state: &'a State) -> &'a [f32] {
        if self.rounded.is_some() { &state.weight } else { &net.parameters[self.weight].value }
    }
}

impl State {
    /// Returns the smallest and the largest value that the epilogue quantizes. They follow from those
    /// of each channel, since the epilogue is monotone before quantization.
    fn range(&self, clamp: Clamp) -> [f32; 2] {
        let mut range = [f32::INFINITY, f32::NEG_INFINITY];
        let ends = self.stats.min.iter().zip(&self.stats.max);
        for ((&scale, &shift), (&min, &max)) in self.scale.iter().zip(&self.shift).zip(ends) {
            for y in [min, max] {
                let x = (y * scale + shift).max(clamp.min).min(clamp.max);
                // NaN is kept for the observer, which reports it.
                let x = if y.is_nan() { y } else { x };
                range = [
                    if x < range[0] { x } else { range[0] },
                    if x > range[1] { x } else { range[1] },
                ];
            }
        }
        range
    }
}

fn layer_has_epilogue(net: &Program, index: usize) -> bool {
    !net.layers[index].epilogue.is_identity()
}
