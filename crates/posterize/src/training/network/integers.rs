//! Evaluation over integers: what int8 kernels will compute, computed in f32.
//!
//! Rounding makes a deep network chaotic: a value that lies near the middle between two integers goes
//! to the other one for the last bit of an f32, and 50 layers on all values differ. So that the
//! fake-quantized network says what its int8 form will say, its products run over the integers
//! themselves, whose sums are exact in f32 up to 2^24, and are rounded as `docs/arithmetic.md` has
//! it, the bias included.

use posterize_kernels::f32::Clamp;
use posterize_kernels::f32::training::FakeQuant;

use super::grid::Grid;
use super::layers::{Core, Layer, Round};
use super::plan::{Output, Plan};
use super::units::Units;
use super::{Network, State};
use crate::error::Result;
use crate::quantization::{FakeQuantize, QParams, folded_bias, quantize_layer};
use crate::tensor::Tensor;

impl Network {
    /// In what every layer is going to be evaluated.
    pub(super) fn choose_units(&self, plan: &Plan) -> Vec<Units> {
        let layers = &self.net.layers;
        let could: Vec<bool> = layers.iter().map(|layer| self.could_be_product(layer)).collect();
        let mut readers = vec![true; layers.len()];
        for (index, layer) in layers.iter().enumerate() {
            layer.inputs.iter().for_each(|&input| readers[input] &= could[index]);
        }
        let mut units: Vec<Units> = Vec::with_capacity(layers.len());
        for (index, layer) in layers.iter().enumerate() {
            let computed = |index: usize| matches!(plan.output[index], Output::Computed);
            let own = self.grid(index);
            let output = own.filter(|_| computed(index) && readers[index]);
            let product = match (could[index], layer.inputs.first()) {
                (true, Some(&input)) => self
                    .grid(input)
                    .filter(|_| !computed(input) || units[input].output.is_some())
                    // Who computes the output must be able to take integers.
                    .filter(|_| !computed(index) || output.is_some())
                    .zip(own),
                _ => None,
            };
            units.push(Units { product, output });
        }
        units
    }

    fn could_be_product(&self, layer: &Layer) -> bool {
        let Core::Product(product) = &layer.core else { return false };
        let weight = product.rounded.and_then(|id| self.qat.as_ref()?.weight(id));
        weight.is_some_and(FakeQuantize::fake_quant_enabled)
            && matches!(layer.epilogue.round, Round::Own(_))
    }

    /// The scale of a layer's output, where that is rounded.
    fn grid(&self, index: usize) -> Option<QParams> {
        let layer = &self.net.layers[index];
        match layer.epilogue.round {
            Round::None if layer.moves_values && layer.epilogue.is_identity() => {
                self.grid(layer.inputs[0])
            }
            round => Grid::of(self.qat.as_ref()?, round).map(|grid| grid.qparams),
        }
    }

    /// Fills a product's weights with integers, and its epilogue with the multipliers. Returns the
    /// biases.
    pub(super) fn set_integers(
        &self,
        index: usize,
        (input, output): (QParams, QParams),
        scaled: Vec<f32>,
        state: &mut State,
    ) -> Result<Vec<f32>> {
        let layer = &self.net.layers[index];
        let Core::Product(product) = &layer.core else { return Ok(Vec::new()) };
        let Some(rounds) = product.rounded.and_then(|id| self.qat.as_ref()?.weight(id)) else {
            return Ok(Vec::new());
        };
        let weight = &self.net.parameters[product.weight];
        let bias = layer.epilogue.bias.map(|bias| self.net.parameters[bias].value.as_slice());
        let folded: Option<Vec<f32>> = match &layer.epilogue.norm {
            None => bias.map(<[f32]>::to_vec),
            Some(norm) => {
                let mean = &self.net.running[norm.running].mean.value;
                let beta = &self.net.parameters[norm.beta].value;
                let at = |c: usize| {
                    let bias = bias.map_or(0.0, |bias| bias[c]);
                    folded_bias(bias, mean[c], state.factor[c], beta[c])
                };
                Some((0..mean.len()).map(at).collect())
            }
        };
        let quantized = quantize_layer(
            &layer.name,
            &Tensor::new(weight.shape.clone(), scaled)?,
            folded.as_deref(),
            rounds.qparams().clone(),
            rounds.observer().target().quant_range(),
            input,
            output,
        )?;
        let in_layer = |problem| crate::error::Error::layer(&layer.name, problem);
        state.scale = quantized.multipliers(input, output).map_err(in_layer)?;
        state.shift = vec![0.0; state.scale.len()];
        state.weight.clear();
        state.weight.extend(quantized.weight.iter().map(|&q| f32::from(q)));
        Ok(quantized.bias.iter().map(|&q| q as f32).collect())
    }
}

impl Units {
    /// Makes an epilogue round to integers, less the zero point.
    pub(super) fn adapt(self, state: &mut State, clamp: Clamp) {
        let Some(fake_quant) = &mut state.fake_quant else { return };
        let grid = match (self.product, self.output) {
            (Some((_, output)), _) => output,
            (None, Some(output)) => {
                // What is rounded is divided by the scale first, as when it is quantized.
                let inverse = 1.0 / output.scale;
                let map = state.scale.iter_mut().chain(&mut state.shift);
                map.for_each(|factor| *factor *= inverse);
                output
            }
            (None, None) => return,
        };
        let FakeQuant { quant_min, quant_max, .. } = *fake_quant;
        let integer = |x: f32| {
            if x.is_finite() {
                (grid.quantize_within(x, quant_min, quant_max) - grid.zero_point) as f32
            } else {
                x
            }
        };
        state.clamp = Some(Clamp { min: integer(clamp.min), max: integer(clamp.max) });
        fake_quant.scale = 1.0;
    }
}
