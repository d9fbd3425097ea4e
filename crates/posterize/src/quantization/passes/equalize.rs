//! Cross-layer equalization: the channels between two layers are scaled so that the weights of both have
//! similar ranges in every channel; Nagel et al. 2019, [Data-Free Quantization Through Weight
//! Equalization and Bias Correction](https://arxiv.org/abs/1906.04721), section 4.1.
//!
//! A channel that is divided by a positive `s` and whose weights in the next layer are multiplied by `s`
//! leaves the network as it is, if the activation between them is positively homogeneous: none or ReLU.
//! With `s = sqrt(r1 / r2)` both weights have the range `sqrt(r1 · r2)`. ReLU6 is homogeneous below its
//! bound, so only channels that stay below it on all calibration pictures are scaled.

use std::collections::BTreeMap;

use posterize_kernels::Pool;

use super::channel_scaling::{
    ScaledChannels, divide_layer, for_each_input, groups_and_taps, multiply_layer, output_channels,
};
use crate::error::Result;
use crate::graph::{Graph, NodeId};
use crate::model::FloatModel;
use crate::ops::{Activation, Op, Role};
use crate::runtime::{Input, Options, Shown, compile};
use crate::tensor::Tensor;

/// The largest number of times that all pairs are equalized. A change of one pair changes its neighbors.
const MAX_SWEEPS: usize = 40;

/// The sweeps end when no channel is scaled by more than this factor.
const CONVERGED: f32 = 1.001;

/// How far a channel's largest value stays below the bound of its ReLU6 after scaling.
const MARGIN: f32 = 1.25;

/// The largest factor by which a channel is scaled in all sweeps together, and its inverse.
const MAX_FACTOR: f32 = 1e4;

/// Returns the channels of a fused model to scale, in execution order. The pictures are read once if there is
/// a ReLU6 between two layers.
pub(crate) fn equalize(
    model: &FloatModel,
    options: Options,
    batches: &mut dyn Iterator<Item = Result<Vec<Tensor>>>,
) -> Result<Vec<ScaledChannels>> {
    let pairs = pairs(model.graph());
    let bounded = |&[first, _]: &[NodeId; 2]| {
        model.graph().node(first).op.activation() == Some(Activation::ReLU6)
    };
    let bounded: Vec<NodeId> =
        pairs.iter().filter(|pair| bounded(pair)).map(|pair| pair[0]).collect();
    let maxima = if bounded.is_empty() {
        BTreeMap::new()
    } else {
        channel_maxima(model, &bounded, options, batches)?
    };
    Ok(factors(model, &pairs, &maxima))
}

/// Returns the pairs of layers of which the second is the only one that reads the first.
fn pairs(graph: &Graph) -> Vec<[NodeId; 2]> {
    let consumers = graph.consumers();
    let is_layer = |id: NodeId| matches!(graph.node(id).op, Op::Conv2d(_) | Op::Linear(_));
    let pairs = graph.iter().filter_map(|(id, _)| match *consumers[id.0] {
        [next] if is_layer(id) && is_layer(next) && !graph.is_output(id) => Some([id, next]),
        _ => None,
    });
    pairs.collect()
}

/// Returns the largest value of each channel of the outputs of `nodes` over all pictures.
fn channel_maxima(
    model: &FloatModel,
    nodes: &[NodeId],
    options: Options,
    batches: &mut dyn Iterator<Item = Result<Vec<Tensor>>>,
) -> Result<BTreeMap<NodeId, Vec<f32>>> {
    let mut maxima: BTreeMap<NodeId, Vec<f32>> = BTreeMap::new();
    for &node in nodes {
        let channels = output_channels(&model.graph().node(node).op);
        maxima.insert(node, vec![f32::NEG_INFINITY; channels]);
    }
    let mut engine = compile(model, options)?;
    let pool = engine.pool().clone();
    for inputs in batches {
        let inputs = inputs?;
        let given: Vec<Input<'_>> = inputs.iter().map(Input::from).collect();
        engine.run_all_shown(&given, &mut |id, shown| {
            if let (Some(maxima), Shown::Float(values)) = (maxima.get_mut(&id), shown) {
                raise(&pool, values, maxima);
            }
            Ok(())
        })?;
    }
    Ok(maxima)
}

/// Raises the maxima of the channels to those of `values`, which are channels last.
fn raise(pool: &Pool, values: &[f32], maxima: &mut [f32]) {
    const PIXELS: usize = 4096;
    let channels = maxima.len();
    let of = |values: &[f32]| {
        let mut maxima = vec![f32::NEG_INFINITY; channels];
        for pixel in values.chunks_exact(channels) {
            for (max, &x) in maxima.iter_mut().zip(pixel) {
                *max = if x > *max { x } else { *max };
            }
        }
        maxima
    };
    let parts: Vec<&[f32]> = values.chunks(PIXELS * channels).collect();
    for part in pool.map(parts.len(), &|index| of(parts[index])) {
        for (max, x) in maxima.iter_mut().zip(part) {
            *max = max.max(x);
        }
    }
}

/// Returns what the channels between all pairs are divided by so that their weights have similar ranges.
fn factors(
    model: &FloatModel,
    pairs: &[[NodeId; 2]],
    maxima: &BTreeMap<NodeId, Vec<f32>>,
) -> Vec<ScaledChannels> {
    let graph = model.graph();
    let mut parameters = model.parameters().clone();
    // What each channel has been divided by.
    let mut divided: Vec<Vec<f32>> =
        pairs.iter().map(|[first, _]| vec![1.0; output_channels(&graph.node(*first).op)]).collect();
    for _ in 0..MAX_SWEEPS {
        let mut largest = 1.0f32;
        for (&[first, second], divided) in pairs.iter().zip(&mut divided) {
            let (Some(before), Some(after)) =
                (parameters.get(&(first, Role::Weight)), parameters.get(&(second, Role::Weight)))
            else {
                continue;
            };
            let first_range = output_ranges(before);
            let second_range = input_ranges(&graph.node(second).op, after);
            if first_range.len() != second_range.len() {
                continue;
            }
            let mut factors = vec![1.0f32; divided.len()];
            for (channel, factor) in factors.iter_mut().enumerate() {
                let (r1, r2) = (first_range[channel], second_range[channel]);
                if r1 <= 0.0 || r2 <= 0.0 {
                    continue;
                }
                let mut total =
                    (divided[channel] * (r1 / r2).sqrt()).clamp(1.0 / MAX_FACTOR, MAX_FACTOR);
                if let Some(maxima) = maxima.get(&first) {
                    total = total.max(smallest_factor(maxima[channel]));
                    if maxima[channel] >= BOUND {
                        total = 1.0;
                    }
                }
                *factor = total / divided[channel];
                divided[channel] = total;
                largest = largest.max(factor.max(1.0 / *factor));
            }
            divide_layer(&mut parameters, first, &factors);
            multiply_layer(&mut parameters, graph, second, &factors);
        }
        if largest < CONVERGED {
            break;
        }
    }
    let scaled = pairs.iter().zip(divided).map(|(&[first, second], factors)| ScaledChannels {
        producers: vec![first],
        consumers: vec![second],
        factors,
    });
    scaled.filter(|channels| channels.factors.iter().any(|&factor| factor != 1.0)).collect()
}

/// The bound of ReLU6.
pub(super) const BOUND: f32 = 6.0;

/// Returns the smallest number that a channel with this largest value may be divided by, so that it stays
/// below the bound.
pub(super) fn smallest_factor(max: f32) -> f32 {
    (max * MARGIN / BOUND).min(1.0)
}

/// Returns the largest absolute weight of each output channel.
pub(super) fn output_ranges(weight: &Tensor) -> Vec<f32> {
    let per_output = weight.data().len() / weight.shape()[0];
    weight.data().chunks_exact(per_output).map(largest).collect()
}

fn largest(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |max, x| max.max(x.abs()))
}

/// Returns the largest absolute weight of each input channel.
fn input_ranges(op: &Op, weight: &Tensor) -> Vec<f32> {
    let (groups, _) = groups_and_taps(op);
    let mut ranges = vec![0.0f32; weight.shape()[1] * groups];
    for_each_input(op, &mut weight.clone(), |channel, taps| {
        ranges[channel] = ranges[channel].max(largest(taps));
    });
    ranges
}

#[cfg(test)]
mod tests {
    use super::super::channel_scaling::scale_channels;
    use super::super::fixtures::{assert_same_outputs, pictures, scaled_apart};
    use super::*;
    use crate::Architecture;
    use crate::nn::Sequential;
    use crate::ops::{Conv2d, Padding};

    /// An inverted residual with channels of very different ranges, and pictures for it.
    fn model(activation: Activation) -> (FloatModel, Vec<Tensor>) {
        let net = Sequential::new()
            .then(Conv2d::new(3, 12, 1))
            .then(activation)
            .then(Conv2d::new(12, 12, 3).padding(Padding::all(1)).groups(12))
            .then(activation)
            .then(Conv2d::new(12, 8, 1).groups(2))
            .then(Conv2d::new(8, 4, 1));
        let model = Architecture::trace(&net).unwrap().init(3).fuse().unwrap();
        (scaled_apart(&model, 0.3), pictures())
    }

    fn equalized(model: &FloatModel, pictures: &[Tensor], threads: usize) -> FloatModel {
        let mut batches = pictures.iter().map(|images| Ok(vec![images.clone()]));
        let scaled = equalize(model, Options::new(threads).unwrap(), &mut batches).unwrap();
        scale_channels(model, &scaled).unwrap()
    }

    #[test]
    fn the_float_outputs_do_not_change() {
        for activation in [Activation::ReLU, Activation::ReLU6] {
            let (model, pictures) = model(activation);
            let after = equalized(&model, &pictures, 2);
            assert_same_outputs(&model, &after, &pictures, &format!("{activation:?}"));
            assert_eq!(equalized(&model, &pictures, 1).parameters(), after.parameters());
        }
    }

    #[test]
    fn channels_below_the_bound_get_the_same_range_on_both_sides() {
        let (model, pictures) = model(Activation::ReLU);
        let after = equalized(&model, &pictures, 1);
        for [first, second] in pairs(after.graph()) {
            let r1 = output_ranges(after.parameter(first, Role::Weight).unwrap());
            let weight = after.parameter(second, Role::Weight).unwrap();
            let r2 = input_ranges(&after.graph().node(second).op, weight);
            for (r1, r2) in r1.iter().zip(r2) {
                assert!((r1 / r2 - 1.0).abs() < 0.01, "{r1} and {r2}");
            }
        }
    }

    #[test]
    fn channels_that_reach_the_bound_of_relu6_are_not_scaled() {
        let (model, pictures) = model(Activation::ReLU6);
        let pairs = pairs(model.graph());
        let mut batches = pictures.iter().map(|images| Ok(vec![images.clone()]));
        let options = Options::new(1).unwrap();
        let maxima = channel_maxima(&model, &[pairs[0][0]], options, &mut batches).unwrap();
        let after = equalized(&model, &pictures, 1);
        let weight =
            |model: &FloatModel| output_ranges(model.parameter(pairs[0][0], Role::Weight).unwrap());
        let (before, after) = (weight(&model), weight(&after));
        let mut kept = 0;
        for (channel, &max) in maxima[&pairs[0][0]].iter().enumerate() {
            if max >= BOUND {
                kept += 1;
                assert_eq!(before[channel], after[channel], "channel {channel}");
            }
        }
        assert!((1..before.len()).contains(&kept), "{kept} channels reach the bound");
    }
}
