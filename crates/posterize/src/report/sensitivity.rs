//! How much each int8 layer of a saved network costs in accuracy.

use crate::compare::before_rounding;
use crate::error::Result;
use crate::model::FloatModel;
use crate::ops::Role;
use crate::quantization::{
    BiasCorrection, PostTraining, PostTrainingResult, QuantizedModel, Rounding, Sensitivity,
};
use crate::runtime::Options;
use crate::tensor::Tensor;

/// Measures for every int8 layer of a network how the outputs change if only this layer is int8, and if only
/// this layer is float, as [`PostTrainingResult::sensitivity`] does for a network that was just calibrated.
///
/// Needs no calibration: the scales, integers and biases are those of the int8 network. `float` must be the
/// fused float network that it was made from. If channels were equalized, the factors are recovered from the
/// weights, and single layers are exchanged with those of the equalized float network, which computes the
/// same. `batches` are some pictures, each batch a tensor for every input; they stay in memory. `labels` are
/// the classes of all pictures; without them, top-1 is the agreement with the float network. `progress` is
/// called with the number of layers measured so far and of all.
///
/// ```
/// use posterize::nn::Sequential;
/// use posterize::ops::{Activation, Linear};
/// use posterize::quantization::{PostTraining, QConfig, QConfigMapping};
/// use posterize::report::layer_sensitivity;
/// use posterize::runtime::Options;
/// use posterize::{Architecture, Tensor};
///
/// let hidden = Sequential::new().then(Linear::new(4, 8)).then(Activation::ReLU);
/// let net = hidden.then(Linear::new(8, 8)).then(Activation::ReLU).then(Linear::new(8, 2));
/// let model = Architecture::trace(&net)?.init(0);
/// let (mapping, options) = (QConfigMapping::global(QConfig::recommended()), Options::new(1)?);
/// let x = Tensor::new([2, 4], vec![-1.0, 0.0, 0.5, 1.0, 0.2, -0.1, 0.3, 0.9])?;
/// let passes = PostTraining::recommended();
/// let int8 = model.quantize(&mapping, &passes, options, &mut vec![x.clone()])?.model;
///
/// let float = model.fuse()?;
/// let found = layer_sensitivity(&float, &int8, &[vec![x]], None, options, &mut |_, _| ())?;
/// let names: Vec<&str> = found.layers.iter().map(|layer| layer.name.as_str()).collect();
/// assert!(names.contains(&"0") && names.contains(&"2"));
/// # Ok::<(), posterize::Error>(())
/// ```
///
/// # Errors
/// Returns an error if layers of the same name have different operators, if the networks have no layer in
/// common, if there is no picture or not as many labels, or if a picture cannot be run.
pub fn layer_sensitivity(
    float: &FloatModel,
    int8: &QuantizedModel,
    batches: &[Vec<Tensor>],
    labels: Option<&[usize]>,
    options: Options,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Sensitivity> {
    let (float, equalized) = before_rounding(float, int8)?;
    let bias_correction = if has_nearest_biases(&float, int8) {
        BiasCorrection::None
    } else {
        BiasCorrection::Empirical
    };
    let rounding = if has_nearest_weights(&float, int8) {
        Rounding::Nearest
    } else {
        Rounding::CoordinateDescent
    };
    let passes = PostTraining::pytorch().bias_correction(bias_correction).rounding(rounding);
    PostTrainingResult::of_quantized(float, int8.clone(), equalized, passes)?
        .sensitivity(batches, labels, options, progress)
}

/// Whether all weights of int8 layers are those of the float network, rounded to the nearest integer.
fn has_nearest_weights(float: &FloatModel, int8: &QuantizedModel) -> bool {
    int8.layers().iter().all(|(&id, layer)| {
        let counterpart = float.graph().find(&int8.graph().node(id).name);
        let weight = counterpart.and_then(|id| float.parameter(id, Role::Weight));
        let Some(weight) = weight else { return true };
        let each = (layer.weight.len() / layer.bias.len().max(1)).max(1);
        let channels = weight.data().chunks(each).zip(layer.weight.chunks(each)).enumerate();
        channels.into_iter().all(|(channel, (weights, integers))| {
            let scale = layer.qparams.channel(channel).scale;
            let mut weights = weights.iter().zip(integers);
            // Half a step, up to the rounding of an f32.
            weights.all(|(w, &q)| (w / scale - f32::from(q)).abs() < 0.501)
        })
    })
}

/// Whether all biases of int8 layers are those of the float network, rounded. Bias correction and rounding that
/// is not to the nearest integer change them; which of the two did, the network does not tell.
fn has_nearest_biases(float: &FloatModel, int8: &QuantizedModel) -> bool {
    int8.layers().iter().all(|(&id, layer)| {
        let node = int8.graph().node(id);
        let input = int8.qparams(node.inputs[0]);
        let counterpart = float.graph().find(&node.name);
        let (Some(input), Some(counterpart)) = (input, counterpart) else { return true };
        let bias = float.parameter(counterpart, Role::Bias).map(Tensor::data);
        layer.bias.iter().enumerate().all(|(channel, &q)| {
            let scale = f64::from(input.scale) * f64::from(layer.qparams.channel(channel).scale);
            let exact = bias.map_or(0.0, |bias| f64::from(bias[channel])) / scale;
            // Recovered factors are exact up to the rounding of an f32.
            (f64::from(q) - exact).abs() <= 1.0 + exact.abs() * f64::from(f32::EPSILON) * 4.0
        })
    })
}
