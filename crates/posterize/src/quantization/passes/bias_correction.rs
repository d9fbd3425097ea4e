//! Bias correction: the mean of every output channel before its activation is made that of the float
//! network; Nagel et al. 2019, [Data-Free Quantization Through Weight Equalization and Bias
//! Correction](https://arxiv.org/abs/1906.04721), section 4.2.
//!
//! Rounded weights and inputs shift the mean of a channel, and the shift is the same for every pixel.
//! The bias takes it back: it becomes `E[W x + b] − E[Ŵ x̂]`. Both means follow from those of the inputs,
//! so a layer's clamp does not matter.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::input_means::{InputMeans, mean_products, shapes_of};
use crate::error::Result;
use crate::graph::NodeId;
use crate::model::FloatModel;
use crate::ops::Role;
use crate::quantization::QuantizedModel;
use crate::runtime::{Input, Options, Replacement, compile};
use crate::tensor::Tensor;

/// The largest absolute value of a corrected bias.
pub(super) const MAX_BIAS: f64 = (1 << 30) as f64;

/// The largest number of weights of an output channel, so that its sum of products with the largest bias
/// fits an i32.
pub(super) const MAX_WEIGHTS: usize = (1 << 30) / (255 * 128);

/// Corrects the biases from the float network's means alone: `E[W x + b] − E[Ŵ x]`.
///
/// It takes back what the rounding of a layer's weights shifts, and not what the layers before it do.
pub(crate) fn fast(
    model: QuantizedModel,
    float: &FloatModel,
    means: &InputMeans,
) -> Result<QuantizedModel> {
    let layers = Layers::new(&model, float);
    let mut biases = BTreeMap::new();
    for (&id, layer) in &layers.0 {
        let found = means.of(layer.float);
        if let Some(bias) = found.and_then(|found| layers.bias(&model, id, means, &found)) {
            biases.insert(id, bias);
        }
    }
    let dynamic = dynamic_biases(&model, float, means, &|_, original| means.of(original));
    model.with_biases(biases, dynamic)
}

/// Corrects the biases layer by layer, on the inputs that the int8 network has once the layers before
/// are corrected.
///
/// The float network's values are clamped to the ranges of the int8 network's. Values outside of them
/// are few but large, so that they determine means, and biases that made up for them would be wrong for
/// all others.
///
/// The pictures are read once. Of every batch, the means up to a layer are added to those of the
/// batches before it, and the layer computes the batch with the bias that they give. So memory does not
/// depend on the number of pictures.
pub(crate) fn empirical(
    model: QuantizedModel,
    float: &FloatModel,
    options: Options,
    batches: &mut dyn Iterator<Item = Result<Vec<Tensor>>>,
) -> Result<QuantizedModel> {
    let layers = Layers::new(&model, float);
    let mut expected = InputMeans::new(float.graph(), |_| true);
    let mut found = InputMeans::new(model.graph(), |id| {
        layers.0.contains_key(&id) || model.weight(id).is_some()
    });
    let bounds = bounds(&model, float);
    let mut float_engine = compile(float, options)?;
    let mut engine = compile(&model, options)?;
    let pool = Arc::clone(engine.pool());
    let mut biases: BTreeMap<NodeId, Vec<i32>> = BTreeMap::new();
    for inputs in batches {
        let inputs = inputs?;
        let shapes = shapes_of(float.graph(), &inputs)?;
        let given: Vec<Input<'_>> = inputs.iter().map(Input::from).collect();
        float_engine.run_all_clamped(&given, &bounds, &mut |id, shown| {
            expected.add(&pool, float.graph(), &shapes, id, shown);
            Ok(())
        })?;
        let shapes = shapes_of(model.graph(), &inputs)?;
        // Both closures use it, one after the other.
        let found = RefCell::new(&mut found);
        engine.run_all_replaced(
            &given,
            &mut |id, shown| {
                found.borrow_mut().add(&pool, model.graph(), &shapes, id, shown);
                Ok(())
            },
            &mut |id| {
                let Some(found) = found.borrow().of(id) else { return Ok(None) };
                let bias = layers.bias(&model, id, &expected, &found);
                if let Some(bias) = &bias {
                    biases.insert(id, bias.clone());
                }
                Ok(bias.map(|bias| Replacement { weight: None, bias }))
            },
        )?;
    }
    let dynamic = dynamic_biases(&model, float, &expected, &|id, _| found.of(id));
    model.with_biases(biases, dynamic)
}

/// Returns the corrected biases of the layers that are quantized dynamically and have one. `found` returns
/// the means of a layer's input in the int8 network, from its nodes in the int8 and in the float network.
fn dynamic_biases(
    model: &QuantizedModel,
    float: &FloatModel,
    expected: &InputMeans,
    found: &dyn Fn(NodeId, NodeId) -> Option<Vec<f64>>,
) -> BTreeMap<NodeId, Tensor> {
    let biases = model.weights().iter().filter_map(|(&id, weight)| {
        let original = float.graph().find(&model.graph().node(id).name)?;
        let op = &float.graph().node(original).op;
        let bias = float.parameter(original, Role::Bias)?;
        let products = float.parameter(original, Role::Weight)?.data();
        let expected = mean_products(op, &expected.of(original)?, products);
        let found = mean_products(op, &found(id, original)?, &weight.dequantize());
        let mut bias = bias.clone();
        for (b, (expected, found)) in bias.data_mut().iter_mut().zip(expected.iter().zip(found)) {
            *b = (f64::from(*b) + expected - found) as f32;
        }
        Some((id, bias))
    });
    biases.collect()
}

/// Returns for each node of the float network the smallest and the largest value that its output in the
/// int8 network can represent; `None` if that is float.
pub(super) fn bounds(model: &QuantizedModel, float: &FloatModel) -> Vec<Option<[f32; 2]>> {
    let of = |name: &str| {
        let id = model.graph().find(name)?;
        let (qparams, (min, max)) = (model.qparams(id)?, model.output_range(id)?);
        Some([min, max].map(|q| qparams.dequantize(i32::from(q))))
    };
    float.graph().nodes().iter().map(|node| of(&node.name)).collect()
}

/// The int8 layers whose biases can be corrected, by their nodes in the int8 network.
struct Layers<'a>(BTreeMap<NodeId, Layer<'a>>);

struct Layer<'a> {
    /// The node in the float network.
    float: NodeId,
    weight: &'a Tensor,
    bias: Option<&'a Tensor>,
    /// The dequantized int8 weight.
    dequantized: Vec<f32>,
}

impl<'a> Layers<'a> {
    fn new(model: &QuantizedModel, float: &'a FloatModel) -> Self {
        let layers = model.layers().iter().filter_map(|(&id, layer)| {
            let original = float.graph().find(&model.graph().node(id).name)?;
            let per_channel = layer.weight.len() / layer.bias.len();
            if per_channel > MAX_WEIGHTS {
                return None;
            }
            Some((
                id,
                Layer {
                    float: original,
                    weight: float.parameter(original, Role::Weight)?,
                    bias: float.parameter(original, Role::Bias),
                    dequantized: layer.dequantized_weight(),
                },
            ))
        });
        Self(layers.collect())
    }

    /// Returns the bias of a layer whose input in the int8 network has the means `found`.
    fn bias(
        &self,
        model: &QuantizedModel,
        id: NodeId,
        expected: &InputMeans,
        found: &[f64],
    ) -> Option<Vec<i32>> {
        let layer = self.0.get(&id)?;
        let node = model.graph().node(id);
        let input = model.qparams(node.inputs[0])?;
        let expected = mean_products(&node.op, &expected.of(layer.float)?, layer.weight.data());
        let found = mean_products(&node.op, found, &layer.dequantized);
        let scales = &model.layer(id)?.qparams;
        let channels =
            expected.iter().zip(found).enumerate().map(|(channel, (expected, found))| {
                let bias = layer.bias.map_or(0.0, |bias| f64::from(bias.data()[channel]));
                let step = f64::from(input.scale) * f64::from(scales.channel(channel).scale);
                ((expected + bias - found) / step).round_ties_even().clamp(-MAX_BIAS, MAX_BIAS)
                    as i32
            });
        Some(channels.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Architecture;
    use crate::nn::{Module, Sequential, Tracer, Value};
    use crate::ops::{Activation, AdaptiveAvgPool2d, Conv2d, Flatten, Linear, Padding};
    use crate::quantization::{
        BiasCorrection, ObserverSpec, PostTraining, QConfig, QConfigMapping,
    };

    struct Residual(Sequential, Sequential);

    impl Module for Residual {
        fn kind(&self) -> &'static str {
            "Residual"
        }

        fn forward(&self, cx: &mut Tracer, x: Value) -> Value {
            let x = cx.call("stem", &Activation::ReLU6, x);
            let y = cx.call("block", &self.0, x);
            let y = cx.add(x, y);
            cx.call("head", &self.1, y)
        }
    }

    fn float() -> FloatModel {
        let depthwise = Conv2d::new(12, 12, 3).padding(Padding::all(1)).groups(12);
        let block = Sequential::new()
            .then(Conv2d::new(4, 12, 1))
            .then(Activation::ReLU6)
            .then(depthwise)
            .then(Activation::ReLU)
            .then(Conv2d::new(12, 4, 1));
        let head = Sequential::new()
            .then(Conv2d::new(4, 6, 3).stride(2).padding(Padding::all(2)))
            .then(Activation::ReLU)
            .then(AdaptiveAvgPool2d::new([1, 1]))
            .then(Flatten)
            .then(Linear::new(6, 5));
        Architecture::trace(&Residual(block, head)).unwrap().init(5).fuse().unwrap()
    }

    fn pictures(seeds: std::ops::Range<usize>) -> Vec<Tensor> {
        let values =
            |seed| (0..2 * 4 * 49).map(move |i| ((i * 37 + seed * 29) % 113) as f32 / 30.0 - 1.0);
        seeds.map(|seed| Tensor::new([2, 4, 7, 7], values(seed).collect()).unwrap()).collect()
    }

    fn quantized(correction: BiasCorrection, threads: usize, images: &[Tensor]) -> QuantizedModel {
        let qconfig = QConfig { activation: ObserverSpec::min_max(), ..QConfig::qnnpack() };
        let passes = PostTraining::pytorch().bias_correction(correction);
        let (mapping, options) = (QConfigMapping::global(qconfig), Options::new(threads).unwrap());
        float().quantize(&mapping, &passes, options, &mut images.to_vec()).unwrap().model
    }

    /// Returns the largest difference of the mean of a channel before its activation between the int8
    /// and the float network, in steps of the bias.
    fn largest_shift(model: &QuantizedModel, images: &[Tensor]) -> f64 {
        let float = float();
        let layers = Layers::new(model, &float);
        let mut expected = InputMeans::new(float.graph(), |_| true);
        let mut found = InputMeans::new(model.graph(), |_| true);
        let options = Options::new(1).unwrap();
        for images in images {
            let given = [images.into()];
            let mut engine = compile(&float, options).unwrap();
            let pool = Arc::clone(engine.pool());
            let shapes = shapes_of(float.graph(), std::slice::from_ref(images)).unwrap();
            let bounds = bounds(model, &float);
            let mut add = |id, shown: crate::runtime::Shown<'_>| {
                expected.add(&pool, float.graph(), &shapes, id, shown);
                Ok(())
            };
            engine.run_all_clamped(&given, &bounds, &mut add).unwrap();
            let shapes = shapes_of(model.graph(), std::slice::from_ref(images)).unwrap();
            let mut add = |id, shown: crate::runtime::Shown<'_>| {
                found.add(&pool, model.graph(), &shapes, id, shown);
                Ok(())
            };
            compile(model, options).unwrap().run_all_shown(&given, &mut add).unwrap();
        }
        let shifts = layers.0.keys().flat_map(|&id| {
            let wanted = layers.bias(model, id, &expected, &found.of(id).unwrap()).unwrap();
            let bias = &model.layer(id).unwrap().bias;
            wanted.into_iter().zip(bias).map(|(a, &b)| f64::from((a - b).abs())).collect::<Vec<_>>()
        });
        shifts.fold(0.0, f64::max)
    }

    #[test]
    fn the_means_of_one_batch_become_those_of_the_float_network() {
        let images = pictures(0..1);
        assert!(largest_shift(&quantized(BiasCorrection::None, 1, &images), &images) > 20.0);
        assert_eq!(largest_shift(&quantized(BiasCorrection::Empirical, 1, &images), &images), 0.0);
    }

    #[test]
    fn the_means_of_many_batches_come_close_on_any_number_of_threads() {
        let images = pictures(0..12);
        let before = largest_shift(&quantized(BiasCorrection::None, 1, &images), &images);
        let corrected = quantized(BiasCorrection::Empirical, 1, &images);
        let after = largest_shift(&corrected, &images);
        assert!(after < 0.2 * before, "{before} became {after}");
        assert_eq!(corrected, quantized(BiasCorrection::Empirical, 3, &images));
    }

    #[test]
    fn the_fast_form_takes_back_what_the_rounding_of_weights_shifts() {
        let images = pictures(0..3);
        let model = quantized(BiasCorrection::Fast, 1, &images);
        let float = float();
        let layers = Layers::new(&model, &float);
        let before = quantized(BiasCorrection::None, 1, &images);
        // The first layer's input is the same in both networks up to rounding.
        let first = *model.layers().keys().next().unwrap();
        assert_ne!(model.layer(first).unwrap().bias, before.layer(first).unwrap().bias);
        assert_eq!(layers.0.len(), model.layers().len());
    }
}
