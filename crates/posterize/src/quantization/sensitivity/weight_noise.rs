//! How much noise the rounding of a layer's weights adds.

use std::sync::Arc;

use super::pictures::Pictures;
use crate::error::Result;
use crate::graph::NodeId;
use crate::model::FloatModel;
use crate::ops::Role;
use crate::quantization::passes::input_means::{InputMeans, mean_products, shapes_of};
use crate::quantization::{QuantizedLayer, QuantizedModel};
use crate::runtime::{Input, Options, compile};
use crate::tensor::Tensor;

/// Returns the means of what layers with weights read in the float network.
pub(super) fn input_means(
    float: &FloatModel,
    pictures: &Pictures<'_>,
    options: Options,
) -> Result<InputMeans> {
    let mut engine = compile(float, options)?;
    let pool = Arc::clone(engine.pool());
    let mut means = InputMeans::new(float.graph(), |_| true);
    for inputs in pictures.batches() {
        let shapes = shapes_of(float.graph(), inputs)?;
        let given: Vec<Input<'_>> = inputs.iter().map(Input::from).collect();
        engine.run_all_shown(&given, &mut |id, shown| {
            means.add(&pool, float.graph(), &shapes, id, shown);
            Ok(())
        })?;
    }
    Ok(means)
}

/// Returns the sum of the squared errors of the outputs if only the weights of a layer are rounded, without
/// the mean error of each channel, which bias correction can remove.
pub(super) fn weight_noise(
    float: &FloatModel,
    int8: &QuantizedModel,
    id: NodeId,
    means: &InputMeans,
    pictures: &Pictures<'_>,
    options: Options,
) -> Result<f64> {
    let node = float.graph().node(id);
    let rounded = int8.graph().find(&node.name).and_then(|layer| {
        let of_layer = int8.layer(layer).map(QuantizedLayer::dequantized_weight);
        of_layer.or_else(|| Some(int8.weight(layer)?.dequantize()))
    });
    let Some((rounded, weight)) = rounded.zip(float.parameter(id, Role::Weight)) else {
        return Ok(0.0);
    };
    let mut parameters = float.parameters().clone();
    if let Some((means, bias)) = means.of(id).zip(parameters.get_mut(&(id, Role::Bias))) {
        let errors: Vec<f32> = weight.data().iter().zip(&rounded).map(|(w, r)| w - r).collect();
        let shifts = mean_products(&node.op, &means, &errors);
        for (bias, shift) in Arc::make_mut(bias).data_mut().iter_mut().zip(shifts) {
            *bias += shift as f32;
        }
    }
    parameters.insert((id, Role::Weight), Arc::new(Tensor::new(weight.shape(), rounded)?));
    let rounded = FloatModel::new(float.graph().clone(), parameters)?;
    Ok(pictures.noise(pictures.quality(&mut compile(rounded, options)?)?))
}
