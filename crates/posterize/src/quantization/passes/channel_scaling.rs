//! The scaling of channels between layers, which leaves what a network computes as it is.
//!
//! A channel that is divided by a positive number, and whose weights in the layers that read it are
//! multiplied by that number, leaves the network as it is if everything between them is positively
//! homogeneous.

use std::sync::Arc;

use crate::error::Result;
use crate::graph::{Graph, NodeId};
use crate::model::{FloatModel, Parameters};
use crate::ops::{Op, Role};
#[cfg(feature = "training")]
use crate::quantization::Blocks;
use crate::tensor::Tensor;

/// The channels of a value, and what they are divided by.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ScaledChannels {
    /// The layers whose output channels are divided.
    pub(crate) producers: Vec<NodeId>,
    /// The layers whose weights are multiplied, for each input channel.
    pub(crate) consumers: Vec<NodeId>,
    /// A factor for each channel.
    pub(crate) factors: Vec<f32>,
}

/// Returns the model with scaled channels. The same factors in the same order give the same bits.
pub(crate) fn scale_channels(model: &FloatModel, scaled: &[ScaledChannels]) -> Result<FloatModel> {
    scale_layers(model, scaled, |id| id, |id| id)
}

/// Returns a model that is not fused with those channels scaled that are `scaled` in its fused form. The
/// outputs of a layer with a batch norm are scaled by the batch norm.
#[cfg(feature = "training")]
pub(crate) fn scale_unfused(model: &FloatModel, scaled: &[ScaledChannels]) -> Result<FloatModel> {
    let members = Blocks::of(model)?.members;
    let is_norm = |id: &NodeId| matches!(model.graph().node(*id).op, Op::BatchNorm(_));
    let last = |id: NodeId| {
        let members = &members[id.0];
        members.iter().copied().find(is_norm).unwrap_or(members[0])
    };
    scale_layers(model, scaled, last, |id| members[id.0][0])
}

/// Scales channels; `divided` and `multiplied` return the node of a producer and of a consumer that has the
/// parameters.
fn scale_layers(
    model: &FloatModel,
    scaled: &[ScaledChannels],
    divided: impl Fn(NodeId) -> NodeId,
    multiplied: impl Fn(NodeId) -> NodeId,
) -> Result<FloatModel> {
    let graph = model.graph();
    let mut parameters = model.parameters().clone();
    for ScaledChannels { producers, consumers, factors } in scaled {
        for &producer in producers {
            divide_layer(&mut parameters, divided(producer), factors);
        }
        for &consumer in consumers {
            multiply_layer(&mut parameters, graph, multiplied(consumer), factors);
        }
    }
    FloatModel::new(graph.clone(), parameters)
}

/// Divides the weight and the bias of a layer by the factor of each output channel.
pub(super) fn divide_layer(parameters: &mut Parameters, id: NodeId, factors: &[f32]) {
    for role in [Role::Weight, Role::Bias] {
        if let Some(tensor) = parameters.get_mut(&(id, role)) {
            divide_outputs(Arc::make_mut(tensor), factors);
        }
    }
}

/// Multiplies the weight of a layer by the factor of each input channel.
pub(super) fn multiply_layer(
    parameters: &mut Parameters,
    graph: &Graph,
    id: NodeId,
    factors: &[f32],
) {
    if let Some(weight) = parameters.get_mut(&(id, Role::Weight)) {
        multiply_inputs(&graph.node(id).op, Arc::make_mut(weight), factors);
    }
}

/// Returns the number of input channels of a convolution or linear layer; 0 for other operators.
pub(crate) fn input_channels(op: &Op) -> usize {
    match op {
        Op::Conv2d(conv) => conv.in_channels,
        Op::Linear(linear) => linear.in_features,
        _ => 0,
    }
}

/// Returns the number of output channels of a convolution or linear layer; 0 for other operators.
pub(crate) fn output_channels(op: &Op) -> usize {
    match op {
        Op::Conv2d(conv) => conv.out_channels,
        Op::Linear(linear) => linear.out_features,
        _ => 0,
    }
}

/// Returns the number of groups of a layer and the number of taps of its kernel.
pub(super) fn groups_and_taps(op: &Op) -> (usize, usize) {
    match op {
        Op::Conv2d(conv) => (conv.groups, conv.kernel_size[0] * conv.kernel_size[1]),
        _ => (1, 1),
    }
}

/// Calls `visit` for the weights of every pair of an output and an input channel, with the input channel.
pub(super) fn for_each_input(
    op: &Op,
    weight: &mut Tensor,
    mut visit: impl FnMut(usize, &mut [f32]),
) {
    let (groups, taps) = groups_and_taps(op);
    let (outputs, of_group) = (weight.shape()[0], weight.shape()[1]);
    let outputs_of_group = outputs / groups;
    for (index, taps) in weight.data_mut().chunks_exact_mut(taps).enumerate() {
        let (output, channel) = (index / of_group, index % of_group);
        visit(output / outputs_of_group * of_group + channel, taps);
    }
}

/// Divides a weight or bias by the factor of each output channel.
pub(crate) fn divide_outputs(tensor: &mut Tensor, factors: &[f32]) {
    let per_output = tensor.data().len() / factors.len();
    for (values, factor) in tensor.data_mut().chunks_exact_mut(per_output).zip(factors) {
        for x in values {
            *x /= factor;
        }
    }
}

/// Multiplies a weight by the factor of each input channel.
pub(crate) fn multiply_inputs(op: &Op, weight: &mut Tensor, factors: &[f32]) {
    for_each_input(op, weight, |channel, taps| {
        for x in taps {
            *x *= factors[channel];
        }
    });
}

#[cfg(all(test, feature = "training"))]
mod tests {
    use super::super::fixtures::{assert_same_outputs, pictures};
    use super::*;
    use crate::Architecture;
    use crate::nn::Sequential;
    use crate::ops::{Activation, BatchNorm, Conv2d, Padding};

    #[test]
    fn a_model_with_batch_norms_is_scaled_as_when_it_is_fused() {
        let net = Sequential::new()
            .then(Conv2d::new(3, 8, 1).bias(false))
            .then(BatchNorm::two_d(8))
            .then(Activation::ReLU)
            .then(Conv2d::new(8, 8, 3).padding(Padding::all(1)).groups(8).bias(false))
            .then(BatchNorm::two_d(8))
            .then(Activation::ReLU)
            .then(Conv2d::new(8, 4, 1));
        let model = Architecture::trace(&net).unwrap().init(5);
        let mut parameters = model.parameters().clone();
        for ((_, role), tensor) in &mut parameters {
            let values = Arc::make_mut(tensor).data_mut();
            for (index, x) in values.iter_mut().enumerate() {
                *x += if *role == Role::RunningMean { 0.3 } else { 0.1 + index as f32 % 3.0 };
            }
        }
        let model = FloatModel::new(model.graph().clone(), parameters).unwrap();
        let fused = model.fuse().unwrap();
        let id = |name| fused.graph().find(name).unwrap();
        let factors: Vec<f32> = (0..8).map(|channel| 2f32.powi(channel - 4) * 1.1).collect();
        let reversed = factors.iter().rev().copied().collect();
        let between = |from, to, factors| ScaledChannels {
            producers: vec![id(from)],
            consumers: vec![id(to)],
            factors,
        };
        let scaled = [between("0", "3", factors), between("3", "6", reversed)];
        let unfused = scale_unfused(&model, &scaled).unwrap();
        assert_same_outputs(&model, &unfused, &pictures(), "not fused");
        let (a, b) = (scale_channels(&fused, &scaled).unwrap(), unfused.fuse().unwrap());
        for (key, tensor) in a.parameters() {
            for (x, y) in tensor.data().iter().zip(b.parameters()[key].data()) {
                assert!((x - y).abs() <= 1e-5 * x.abs().max(1.0), "{key:?}: {x} and {y}");
            }
        }
    }
}
