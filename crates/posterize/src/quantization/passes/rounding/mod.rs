//! The rounding of weights by the error of their layer's output.
//!
//! Layers are rounded in execution order. A layer's input is that of the int8 network whose layers before are
//! rounded already, and the target is what the float weights make of the same input, before the activation:
//! `E ‖W x̂ − Ŵ x̂‖²`. The means that the layers before shift are left to bias correction.
//!
//! The int8 network runs once, over a fixed number of pictures together. Right before a layer runs, samples of
//! what it reads are known, and it runs with the weights that they give.

mod adaround;
mod descent;
mod grid;
mod pictures;
mod quadratic;
mod rows;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use posterize_kernels::{Isa, Pool};

use self::grid::Grid;
use self::quadratic::Quadratic;
use self::rows::Rows;
use super::bias_correction::{MAX_BIAS, MAX_WEIGHTS};
use super::input_means::shapes_of;
use crate::error::Result;
use crate::graph::{Graph, NodeId};
use crate::model::FloatModel;
use crate::ops::Role;
use crate::quantization::{CalibrationData, QParams, QuantizedModel, Rounding};
use crate::runtime::{Input, Options, Replacement, Shown, compile};
use crate::tensor::Tensor;

/// The name of the pass for progress bars.
const PASS: &str = "rounding weights";

/// Rounds the weights of a model. `float` is the network that it was converted from.
pub(crate) fn round(
    model: QuantizedModel,
    float: &FloatModel,
    rounding: Rounding,
    seed: u64,
    options: Options,
    data: &mut dyn CalibrationData,
) -> Result<QuantizedModel> {
    if rounding == Rounding::Nearest {
        return Ok(model);
    }
    let inputs = pictures::first(&mut *data.batches(PASS))?;
    let Some(pictures) = inputs.first().map(|input| input.shape()[0]) else { return Ok(model) };
    let layers = layers(&model, float, &inputs, seed)?;
    let mut engine = compile(&model, options)?;
    let (isa, pool) = (engine.options().isa.kernels(), Arc::clone(engine.pool()));
    let readers = readers(model.graph(), layers.keys().copied());
    // Both closures use it, one after the other.
    let read: RefCell<BTreeMap<NodeId, Vec<u8>>> = RefCell::new(BTreeMap::new());
    let mut rounded: BTreeMap<NodeId, (Vec<i8>, Vec<i32>)> = BTreeMap::new();
    let given: Vec<Input<'_>> = inputs.iter().map(Input::from).collect();
    engine.run_all_replaced(
        &given,
        &mut |id, shown| {
            if let Shown::Int8(values, qparams) = shown {
                for reader in &readers[id.0] {
                    let rows = &layers[reader].rows;
                    let rows = rows.gather(&pool, values, pictures, qparams.zero_point);
                    read.borrow_mut().insert(*reader, rows);
                }
            }
            Ok(())
        },
        &mut |id| {
            let (Some(rows), Some(layer)) = (read.borrow_mut().remove(&id), layers.get(&id)) else {
                return Ok(None);
            };
            data.progress(PASS, rounded.len(), layers.len());
            let (weight, bias) = layer.round(isa, &pool, &rows, rounding);
            rounded.insert(id, (weight.clone(), bias.clone()));
            Ok(Some(Replacement { weight: Some(weight), bias }))
        },
    )?;
    data.progress(PASS, layers.len(), layers.len());
    model.with_layers(rounded)
}

/// Returns for each node the layers of `of` whose input it is.
fn readers(graph: &Graph, of: impl Iterator<Item = NodeId>) -> Vec<Vec<NodeId>> {
    let mut readers = vec![Vec::new(); graph.nodes().len()];
    for id in of {
        readers[graph.node(id).inputs[0].0].push(id);
    }
    readers
}

/// An int8 layer that is rounded.
struct Layer<'a> {
    weight: &'a Tensor,
    bias: Option<&'a Tensor>,
    /// The scale and zero point of its input.
    input: QParams,
    /// The scale of each output channel of the weight.
    scales: Vec<f32>,
    quant_range: (i32, i32),
    rows: Rows,
}

/// Returns the layers that can be rounded, by their nodes in the int8 network.
fn layers<'a>(
    model: &QuantizedModel,
    float: &'a FloatModel,
    inputs: &[Tensor],
    seed: u64,
) -> Result<BTreeMap<NodeId, Layer<'a>>> {
    let shapes = shapes_of(model.graph(), inputs)?;
    let pictures = inputs[0].shape()[0];
    let found = model.layers().iter().filter_map(|(&id, layer)| {
        let node = model.graph().node(id);
        let original = float.graph().find(&node.name)?;
        let input = node.inputs[0];
        let rows = Rows::draw(&node.op, &shapes[input.0].shape, pictures, [seed, id.0 as u64])?;
        if rows.geometry.taps_per_output() > MAX_WEIGHTS {
            return None;
        }
        let qconfig = model.mapping().get(&node.name, &node.op.kind())?;
        let outputs = 0..layer.bias.len();
        let layer = Layer {
            weight: float.parameter(original, Role::Weight)?,
            bias: float.parameter(original, Role::Bias),
            input: model.qparams(input)?,
            scales: outputs.map(|channel| layer.qparams.channel(channel).scale).collect(),
            quant_range: qconfig.weight.target().ok()?.quant_range(),
            rows,
        };
        Some((id, layer))
    });
    Ok(found.collect())
}

impl Layer<'_> {
    /// Returns the integers of the weight and of the bias, from the samples `rows` of its input.
    fn round(&self, isa: Isa, pool: &Pool, rows: &[u8], rounding: Rounding) -> (Vec<i8>, Vec<i32>) {
        let groups = self.rows.geometry.groups;
        let of_group = |group| self.round_group(isa, pool, rows, group, rounding);
        let (weights, biases): (Vec<_>, Vec<_>) = if groups == 1 {
            std::iter::once(of_group(0)).unzip()
        } else {
            pool.map(groups, &of_group).into_iter().unzip()
        };
        (weights.concat(), biases.concat())
    }

    fn round_group(
        &self,
        isa: Isa,
        pool: &Pool,
        rows: &[u8],
        group: usize,
        rounding: Rounding,
    ) -> (Vec<i8>, Vec<i32>) {
        let weights = self.rows.geometry.taps_per_output();
        let outputs = self.scales.len() / self.rows.geometry.groups;
        let channels = group * outputs..(group + 1) * outputs;
        let float = &self.weight.data()[channels.start * weights..channels.end * weights];
        let grid = Grid::new(float, &self.scales[channels.clone()], self.quant_range);
        let (inputs, means) = self.inputs(rows, group);
        let problem = Quadratic::new(isa, pool, &inputs, float, weights);
        let nearest = descent::descend(pool, &problem, &grid, &grid.nearest());
        let up = if rounding == Rounding::AdaRound {
            let learned = adaround::learn(isa, pool, &problem, &grid);
            let learned = descent::descend(pool, &problem, &grid, &learned);
            problem.better(&grid, &learned, &nearest)
        } else {
            nearest
        };
        let biases = channels.zip(up.chunks_exact(weights)).enumerate();
        let biases = biases.map(|(output, (channel, up))| {
            let rounded = grid.dequantized(output, up);
            let weights = float[output * weights..].iter().zip(rounded).zip(&means);
            let shift: f64 =
                weights.map(|((w, rounded), mean)| f64::from(w - rounded) * mean).sum();
            let bias = self.bias.map_or(0.0, |bias| f64::from(bias.data()[channel]));
            let step = f64::from(self.input.scale) * f64::from(self.scales[channel]);
            ((bias + shift) / step).round_ties_even().clamp(-MAX_BIAS, MAX_BIAS) as i32
        });
        (grid.integers(&up), biases.collect())
    }

    /// Returns what a group reads, `[samples, weights]`, without the mean of each column, and the means.
    fn inputs(&self, rows: &[u8], group: usize) -> (Vec<f32>, Vec<f64>) {
        let weights = self.rows.geometry.taps_per_output();
        let rows =
            || rows.chunks_exact(self.rows.width()).map(|row| &row[group * weights..][..weights]);
        let mut sums = vec![0u64; weights];
        for row in rows() {
            sums.iter_mut().zip(row).for_each(|(sum, &q)| *sum += u64::from(q));
        }
        let samples = self.rows.len() as f64;
        let means: Vec<f64> = sums.iter().map(|&sum| sum as f64 / samples).collect();
        let scale = f64::from(self.input.scale);
        let centered = rows().flat_map(|row| {
            row.iter().zip(&means).map(|(&q, mean)| ((f64::from(q) - mean) * scale) as f32)
        });
        let zero_point = f64::from(self.input.zero_point);
        (centered.collect(), means.iter().map(|mean| (mean - zero_point) * scale).collect())
    }
}

#[cfg(test)]
mod tests;
