//! Finds by what the channels of a network were divided when it was equalized before quantization, so that
//! its layers can be compared with the float network's.
//!
//! A saved network does not have these factors, but its weights show them. An equalized layer has the
//! weights `w[o, i] · s_in[i] / s_out[o]`, see `quantization::passes::equalize`. Layer by layer, `s_in` is
//! known from the layer before, and `1 / s_out[o]` is the factor with the smallest squared error between
//! the int8 weights of the channel and `w[o, i] · s_in[i]`.

use std::collections::BTreeMap;

use crate::graph::NodeId;
use crate::model::FloatModel;
use crate::ops::Role;
use crate::quantization::{QuantizedLayer, QuantizedModel, equalize};
use crate::tensor::{MemoryFormat, Tensor};

/// Channels count as scaled if that reduces the squared error of the layer's weights by this factor. Int8
/// weights have an error of about 1/100 of their size, and equalized ones differ by about their size.
const MIN_IMPROVEMENT: f64 = 10.0;

/// The float weight from which a layer's int8 weight was made.
#[derive(Debug)]
pub(crate) struct Original {
    /// The weight of the float network after equalization.
    pub(crate) weight: Tensor,
    /// What each output channel was divided by when the network was equalized; `None` if it was not.
    pub(crate) factors: Option<Vec<f32>>,
}

/// Returns the original weights of the int8 network's nodes. `nodes` are some of them, in execution order,
/// each with the float network's node.
pub(super) fn originals(
    float: &FloatModel,
    int8: &QuantizedModel,
    nodes: &[(NodeId, NodeId)],
) -> BTreeMap<NodeId, Original> {
    let pairs = equalize::pairs(float.graph());
    // What the outputs of the float network's nodes were divided by.
    let mut divided: BTreeMap<NodeId, Vec<f32>> = BTreeMap::new();
    let mut originals = BTreeMap::new();
    for &(id, node) in nodes {
        let weight = float.parameter(node, Role::Weight);
        let Some((weight, layer)) = weight.zip(int8.layer(id)) else { continue };
        let mut weight = weight.to_format(MemoryFormat::Contiguous);
        let before = pairs.iter().find(|pair| pair[1] == node).map(|pair| pair[0]);
        if let Some(factors) = before.and_then(|before| divided.get(&before)) {
            equalize::multiply_inputs(&float.graph().node(node).op, &mut weight, factors);
        }
        let is_first = pairs.iter().any(|pair| pair[0] == node);
        let factors = if is_first { output_factors(&weight, layer) } else { None };
        if let Some(factors) = &factors {
            equalize::divide_outputs(&mut weight, factors);
            divided.insert(node, factors.clone());
        }
        originals.insert(id, Original { weight, factors });
    }
    originals
}

/// Returns what the output channels of `weight` were divided by before they became those of `layer`; `None`
/// if they were not.
fn output_factors(weight: &Tensor, layer: &QuantizedLayer) -> Option<Vec<f32>> {
    let each = weight.data().len() / weight.shape()[0];
    let channels = weight.data().chunks_exact(each).zip(layer.weight.chunks_exact(each));
    let (mut factors, mut noise, mut scaled_noise) = (Vec::new(), 0.0, 0.0);
    for (channel, (weights, integers)) in channels.enumerate() {
        let qparams = layer.qparams.channel(channel);
        let (mut ww, mut wq, mut qq) = (0.0, 0.0, 0.0);
        for (&w, &q) in weights.iter().zip(integers) {
            let (w, q) = (f64::from(w), f64::from(qparams.dequantize(i32::from(q))));
            ww += w * w;
            wq += w * q;
            qq += q * q;
        }
        let gain = wq / ww;
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
    use crate::Architecture;
    use crate::nn::Sequential;
    use crate::ops::{Activation, Conv2d, Padding};
    use crate::quantization::{CalibrationData, Equalization};
    use crate::quantization::{PostTraining, QConfig, QConfigMapping};
    use crate::runtime::Options;

    /// An inverted residual with channels of different ranges.
    fn model() -> FloatModel {
        let net = Sequential::new()
            .then(Conv2d::new(3, 12, 1))
            .then(Activation::ReLU)
            .then(Conv2d::new(12, 12, 3).padding(Padding::all(1)).groups(12))
            .then(Activation::ReLU)
            .then(Conv2d::new(12, 4, 1));
        let model = Architecture::trace(&net).unwrap().init(3).fuse().unwrap();
        let mut parameters = model.parameters().clone();
        for ((id, _), tensor) in &mut parameters {
            let each = tensor.data().len() / tensor.shape()[0];
            let tensor = Arc::make_mut(tensor);
            for (channel, values) in tensor.data_mut().chunks_exact_mut(each).enumerate() {
                let factor = 4_f32.powi((channel * 7 + id.0 * 3) as i32 % 5 - 2);
                for x in values {
                    *x *= factor;
                }
            }
        }
        FloatModel::new(model.graph().clone(), parameters).unwrap()
    }

    fn images() -> Tensor {
        let values = (0..2 * 3 * 36).map(|i| (i * 37 % 101) as f32 / 50.0 - 1.0);
        Tensor::new([2, 3, 6, 6], values.collect()).unwrap()
    }

    struct Images;

    impl CalibrationData for Images {
        fn batches(
            &mut self,
            _: &str,
        ) -> Box<dyn Iterator<Item = crate::Result<Vec<Tensor>>> + '_> {
            Box::new(std::iter::once(Ok(vec![images()])))
        }
    }

    #[test]
    fn layers_of_an_equalized_network_are_compared_with_their_channels_scaled_back() {
        let float = model();
        let options = Options::new(1).unwrap();
        let mapping = QConfigMapping::global(QConfig::recommended());
        let compared = |equalization| {
            let passes = PostTraining::pytorch().equalization(equalization);
            let int8 = float.quantize(&mapping, &passes, options, &mut Images).unwrap().model;
            let found = super::super::counterparts(&float, &int8).unwrap();
            let layers = crate::compare(&float, &int8, options, [Ok(images())], &mut |_| ());
            let sqnr: Vec<f64> = layers.unwrap().iter().map(crate::LayerError::sqnr).collect();
            let found = found.into_values().filter_map(|counterpart| counterpart.original);
            (found.collect::<Vec<Original>>(), sqnr, int8)
        };
        let (found, sqnr, int8) = compared(Equalization::Always);
        let scaled: Vec<bool> = found.iter().map(|layer| layer.factors.is_some()).collect();
        assert_eq!(scaled, [true, true, false]);
        let factors = found[0].factors.as_ref().unwrap();
        let largest =
            factors.iter().fold(0.0_f32, |max, &factor| max.max(factor.max(1.0 / factor)));
        assert!(largest > 4.0, "{factors:?}");
        assert!(sqnr.iter().all(|&sqnr| sqnr > 25.0), "{sqnr:?}");
        // The weights are those that were quantized.
        for (original, layer) in found.iter().zip(int8.layers().values()) {
            let weights = crate::report::WeightStatistics::new(&original.weight, layer);
            assert!(weights.sqnr() > 35.0 && weights.changed == 0.0, "{weights:?}");
        }
        let (found, ..) = compared(Equalization::Never);
        assert!(found.iter().all(|layer| layer.factors.is_none()));
        let original = float.parameter_named("0.weight").unwrap();
        assert_eq!(found[0].weight.data(), original.data());
    }
}
