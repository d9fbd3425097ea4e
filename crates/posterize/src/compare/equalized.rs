//! Finds by what the channels of a network were divided when it was equalized before quantization, so that
//! its layers can be compared with the float network's.
//!
//! A saved network does not have these factors, but its weights show them. An equalized layer has the
//! weights `w[o, i] · s_in[i] / s_out[o]`, see `quantization::passes::channel_scaling`. In execution order, `s_in`
//! is known from the layers before. If the scale of the channel is that of its largest weight, which all
//! integers then agree with, `s_out[o]` follows from it. Otherwise `1 / s_out[o]` is the factor with the
//! smallest squared error between the int8 weights of the channel and `w[o, i] · s_in[i]`. Additions, pooling
//! and other operators without weights have the factors of their input.

use std::collections::BTreeMap;

use crate::graph::NodeId;
use crate::model::FloatModel;
use crate::ops::Role;
use crate::quantization::{QuantizedLayer, QuantizedModel, channel_scaling};
use crate::tensor::{MemoryFormat, Tensor};

/// Channels count as scaled if that reduces the squared error of the layer's weights by this factor. Int8
/// weights have an error of about 1/100 of their size, and equalized ones differ by about their size.
const MIN_IMPROVEMENT: f64 = 10.0;

/// What equalization made of a float network: for each of its nodes.
#[derive(Debug, Default)]
pub(super) struct Equalized {
    /// What the output channels were divided by, for nodes that have such factors.
    pub(super) factors: BTreeMap<NodeId, Vec<f32>>,
    /// The weights after equalization.
    pub(super) weights: BTreeMap<NodeId, Tensor>,
}

impl Equalized {
    /// Finds the factors by which the weights of `float` became those of `int8`. `counterparts` has the int8
    /// network's node of each node of the float network that it has, too.
    pub(super) fn find(
        float: &FloatModel,
        int8: &QuantizedModel,
        counterparts: &BTreeMap<NodeId, NodeId>,
    ) -> Self {
        let mut found = Self::default();
        for (id, node) in float.graph().iter() {
            let mut inputs = node.inputs.iter().filter_map(|input| found.factors.get(input));
            let Some(weight) = float.parameter(id, Role::Weight) else {
                // The inputs of an addition have the same factors.
                if let Some(factors) = inputs.next().cloned() {
                    found.factors.insert(id, factors);
                }
                continue;
            };
            let mut weight = weight.to_format(MemoryFormat::Contiguous);
            // Those of a picture that was flattened have another number, and are not equalized.
            let channels = channel_scaling::input_channels(&node.op);
            let fits = |factors: &&Vec<f32>| factors.len() == channels;
            if let Some(factors) = inputs.next().filter(fits) {
                channel_scaling::multiply_inputs(&node.op, &mut weight, factors);
            }
            let quantized = counterparts.get(&id).and_then(|&id| {
                let layer = int8.layer(id);
                let steps = layer.and_then(|_| steps(int8, id));
                Some((real_weight(int8, id)?, layer.zip(steps)))
            });
            let factors = quantized.and_then(|(real, layer)| factors(&weight, &real, layer));
            if let Some(factors) = factors {
                channel_scaling::divide_outputs(&mut weight, &factors);
                found.factors.insert(id, factors);
            }
            found.weights.insert(id, weight);
        }
        found
    }
}

/// Returns the values of a weight of the int8 network, in the order of its shape.
fn real_weight(int8: &QuantizedModel, id: NodeId) -> Option<Vec<f32>> {
    if let Some(weight) = int8.weight(id) {
        return Some(weight.dequantize());
    }
    let Some(layer) = int8.layer(id) else {
        let weight = int8.parameters().get(&(id, Role::Weight))?;
        return Some(weight.to_format(MemoryFormat::Contiguous).into_data());
    };
    Some(layer.dequantized_weight())
}

/// Returns the integer of the largest weight of a channel, if the scale is that of the largest weight.
fn steps(int8: &QuantizedModel, id: NodeId) -> Option<f32> {
    let node = int8.graph().node(id);
    let qconfig = int8.mapping().get(&node.name, &node.op.kind())?;
    let (quant_min, quant_max) = qconfig.weight.target().ok()?.quant_range();
    Some((quant_max - quant_min) as f32 / 2.0)
}

/// Returns by what the weights of a channel were multiplied if the scale is that of the largest one; `None` if
/// the integers are not those to which the weights are rounded then, up or down.
fn gain_of_scale(weights: &[f32], integers: &[i8], scale: f32, steps: f32) -> Option<f32> {
    let largest = weights.iter().fold(0.0f32, |max, w| max.max(w.abs()));
    let gain = scale * steps / largest;
    // One that is almost an integer is rounded either way, and the largest may be clamped by half a step.
    let is_rounding = |(w, &q): (&f32, &i8)| (w * gain / scale - f32::from(q)).abs() < 1.001;
    let agree = gain.is_normal() && weights.iter().zip(integers).all(is_rounding);
    agree.then_some(gain)
}

/// Returns what the output channels of `weight` were divided by before they became those of `quantized`;
/// `None` if they were not. An int8 layer has integers, and the integer of the largest weight of a channel.
fn factors(
    weight: &Tensor,
    quantized: &[f32],
    layer: Option<(&QuantizedLayer, f32)>,
) -> Option<Vec<f32>> {
    let each = weight.data().len() / weight.shape()[0];
    let channels = weight.data().chunks_exact(each).zip(quantized.chunks_exact(each));
    let (mut factors, mut noise, mut scaled_noise) = (Vec::new(), 0.0, 0.0);
    for (channel, (weights, quantized)) in channels.enumerate() {
        let (mut ww, mut wq, mut qq) = (0.0, 0.0, 0.0);
        for (&w, &q) in weights.iter().zip(quantized) {
            let (w, q) = (f64::from(w), f64::from(q));
            ww += w * w;
            wq += w * q;
            qq += q * q;
        }
        let of_scale = layer.filter(|(layer, _)| layer.qparams.axis().is_some());
        let of_scale = of_scale.and_then(|(layer, steps)| {
            let integers = &layer.weight[channel * each..][..each];
            gain_of_scale(weights, integers, layer.qparams.channel(channel).scale, steps)
        });
        let gain = of_scale.map_or(wq / ww, f64::from);
        // A channel whose integers are all 0 was not scaled to it.
        let gain = if gain.is_normal() && gain > 0.0 { gain } else { 1.0 };
        noise += ww - 2.0 * wq + qq;
        scaled_noise += gain * gain * ww - 2.0 * gain * wq + qq;
        factors.push(gain.recip() as f32);
    }
    (scaled_noise * MIN_IMPROVEMENT < noise).then_some(factors)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::compare::counterparts;
    use crate::graph::Graph;
    use crate::nn::{Module, Sequential, Tracer, Value};
    use crate::ops::{Activation, Conv2d, Flatten, Linear, Padding};
    use crate::quantization::{QConfig, QConfigMapping};
    use crate::report::WeightStatistics;
    use crate::runtime::Options;
    use crate::{Architecture, LayerError, compare};

    /// A convolution, an inverted residual and a classifier.
    struct Net;

    impl Module for Net {
        fn kind(&self) -> &'static str {
            "Net"
        }

        fn forward(&self, cx: &mut Tracer, x: Value) -> Value {
            let depthwise = Conv2d::new(12, 12, 3).padding(Padding::all(1)).groups(12);
            let x = cx.call("stem", &Conv2d::new(3, 4, 1), x);
            let y = cx.call("expand", &Conv2d::new(4, 12, 1), x);
            let y = cx.call("relu1", &Activation::ReLU, y);
            let y = cx.call("depthwise", &depthwise, y);
            let y = cx.call("relu2", &Activation::ReLU, y);
            let y = cx.call("project", &Conv2d::new(12, 4, 1), y);
            let x = cx.add(x, y);
            let x = cx.mean(x);
            cx.call("classifier", &Linear::new(4, 2), x)
        }
    }

    fn images() -> Tensor {
        let values = (0..2 * 3 * 36).map(|i| (i * 37 % 101) as f32 / 50.0 - 1.0);
        Tensor::new([2, 3, 6, 6], values.collect()).unwrap()
    }

    /// The factor of a channel.
    fn factor(channel: usize) -> f32 {
        [0.25, 4.0, 1.1, 8.0, 0.5][channel % 5]
    }

    /// Divides the channels behind the first layers, those of the residual connection together, and multiplies
    /// the weights of those that read them.
    fn equalized(float: &FloatModel) -> FloatModel {
        let graph: &Graph = float.graph();
        let mut parameters = float.parameters().clone();
        let factors = |count| (0..count).map(factor).collect::<Vec<f32>>();
        for (producers, consumers, channels) in [
            (&["stem", "project"][..], &["expand", "classifier"][..], 4),
            (&["expand"], &["depthwise"], 12),
            (&["depthwise"], &["project"], 12),
        ] {
            let factors = factors(channels);
            for (names, divide) in [(producers, true), (consumers, false)] {
                for name in names {
                    let id = graph.find(name).unwrap();
                    let weight = Arc::make_mut(parameters.get_mut(&(id, Role::Weight)).unwrap());
                    if divide {
                        channel_scaling::divide_outputs(weight, &factors);
                        let bias = Arc::make_mut(parameters.get_mut(&(id, Role::Bias)).unwrap());
                        channel_scaling::divide_outputs(bias, &factors);
                    } else {
                        channel_scaling::multiply_inputs(&graph.node(id).op, weight, &factors);
                    }
                }
            }
        }
        FloatModel::new(graph.clone(), parameters).unwrap()
    }

    fn quantized(float: &FloatModel, skip: Option<&str>) -> QuantizedModel {
        let mapping = QConfigMapping::global(QConfig::recommended());
        let mapping =
            skip.map(|name| mapping.clone().set_module_name(name, None)).unwrap_or(mapping);
        let mut observed = float.prepare(&mapping).unwrap();
        observed.forward(&images()).unwrap();
        observed.convert().unwrap()
    }

    #[test]
    fn layers_of_an_equalized_network_are_compared_with_their_channels_scaled_back() {
        let float = Architecture::trace(&Net).unwrap().init(3).fuse().unwrap();
        let scaled = equalized(&float);
        let (x, y) = (float.forward(&images()).unwrap(), scaled.forward(&images()).unwrap());
        assert!(x.data().iter().zip(y.data()).all(|(x, y)| (x - y).abs() < 1e-5));
        // In the second case a layer in the middle stays in float.
        for skip in [None, Some("depthwise")] {
            let int8 = quantized(&scaled, skip);
            let found = counterparts(&float, &int8).unwrap();
            for (&id, counterpart) in &found {
                let name = &int8.graph().node(id).name;
                let factors = counterpart.factors.as_deref().unwrap_or_default();
                assert_eq!(factors.is_empty(), name == "classifier", "{name}");
                for (channel, found) in factors.iter().enumerate() {
                    // That of a float layer is exact, too.
                    assert!((found / factor(channel) - 1.0).abs() < 1e-6, "{name}: {factors:?}");
                }
                // The weights are those that were quantized.
                if let (Some(weight), Some(layer)) = (&counterpart.weight, int8.layer(id)) {
                    let weights = WeightStatistics::new(weight, layer);
                    assert!(weights.sqnr() > 35.0 && weights.changed == 0.0, "{name}: {weights:?}");
                }
            }
            let options = Options::new(1).unwrap();
            let layers = compare(&float, &int8, options, [Ok(images())], &mut |_| ()).unwrap();
            assert!(layers.iter().map(LayerError::sqnr).all(|sqnr| sqnr > 18.0), "{layers:?}");
        }
    }

    #[test]
    fn a_network_that_was_not_equalized_has_no_factors() {
        let float = Architecture::trace(&Net).unwrap().init(3).fuse().unwrap();
        for counterpart in
            counterparts(&float, &quantized(&float, Some("project"))).unwrap().values()
        {
            assert!(counterpart.factors.is_none());
            if let Some(weight) = &counterpart.weight {
                let original = float.parameter(counterpart.float, Role::Weight).unwrap();
                assert_eq!(weight.data(), original.data());
            }
        }
    }

    /// Weights of another network may look as if channels had been scaled that cannot be.
    #[test]
    fn factors_that_do_not_fit_the_next_layer_are_ignored() {
        let net =
            Sequential::new().then(Conv2d::new(3, 4, 1)).then(Flatten).then(Linear::new(4 * 36, 2));
        let float = Architecture::trace(&net).unwrap().init(3);
        let mut parameters = float.parameters().clone();
        let id = float.graph().find("0").unwrap();
        let weight = Arc::make_mut(parameters.get_mut(&(id, Role::Weight)).unwrap());
        channel_scaling::divide_outputs(weight, &[2.0; 4]);
        let other = FloatModel::new(float.graph().clone(), parameters).unwrap();
        let options = Options::new(1).unwrap();
        let int8 = quantized(&other, None);
        let layers = compare(&float, &int8, options, [Ok(images())], &mut |_| ()).unwrap();
        assert_eq!(layers.len(), 3);
    }
}
