//! Evaluation of a fake-quantized network with the arithmetic of its int8 model, in f32.
//!
//! A difference in the last bit of an f32 can change the rounding of a value halfway between two
//! integers, and after 50 layers all values differ. So that the network computes exactly what its
//! int8 model will, its convolutions and linear layers run on the integers themselves, whose sums are
//! exact in f32 up to 2^24, and are requantized as described in `docs/arithmetic.md`, with quantized
//! biases.

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
    /// Chooses for each layer whether it is evaluated on real values or integers.
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
                    // The layers that compute this one's output must read integers.
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

    /// Returns the scale of a layer's output if it is fake-quantized.
    fn grid(&self, index: usize) -> Option<QParams> {
        let layer = &self.net.layers[index];
        match layer.epilogue.round {
            Round::None if layer.moves_values && layer.epilogue.is_identity() => {
                self.grid(layer.inputs[0])
            }
            round => Grid::of(self.qat.as_ref()?, round).map(|grid| grid.qparams),
        }
    }

    /// Sets a layer's weights to integers and its scales to the multipliers, and returns its
    /// quantized biases.
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
    /// Makes an epilogue round to integers minus the zero point.
    pub(super) fn adapt(self, state: &mut State, clamp: Clamp) {
        let Some(fake_quant) = &mut state.fake_quant else { return };
        let grid = match (self.product, self.output) {
            (Some((_, output)), _) => output,
            (None, Some(output)) => {
                // Quantization multiplies by the inverse of the scale before rounding.
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
