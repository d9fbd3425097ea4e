//! Statistics of each layer in the float and the int8 network.

use std::collections::BTreeMap;

use serde::Serialize;

use super::activations::{ActivationStatistics, ActivationSums};
use super::weights::WeightStatistics;
use crate::compare::{LayerError, counterparts, run_both};
use crate::error::Result;
use crate::graph::NodeId;
use crate::model::FloatModel;
use crate::quantization::QuantizedModel;
use crate::runtime::Options;
use crate::tensor::Tensor;

/// How a layer of the int8 network differs from that of the float network.
///
/// [`layer_statistics`] computes it.
///
/// ```
/// use posterize::report::LayerStatistics;
///
/// /// Returns the layer with the lowest signal-to-quantization-noise ratio.
/// fn worst(layers: &[LayerStatistics]) -> Option<&LayerStatistics> {
///     layers.iter().min_by(|a, b| a.error.sqnr().total_cmp(&b.error.sqnr()))
/// }
/// # assert!(worst(&[]).is_none());
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerStatistics {
    /// The layer's name, and the signal and the noise of its outputs.
    #[serde(flatten)]
    pub error: LayerError,
    /// Statistics of its outputs.
    pub activations: ActivationStatistics,
    /// Statistics of its weights; `None` if it has none in int8.
    pub weights: Option<WeightStatistics>,
    /// What each output channel was divided by when the network was equalized; `None` if it was not. The
    /// other statistics are of the channels scaled back.
    pub channel_factors: Option<Vec<f32>>,
    /// Why the layer stays in float; `None` if it does not.
    pub float_reason: Option<&'static str>,
}

/// Runs every batch through both networks, and computes statistics of the layers that both have.
///
/// Batches have the shape `[N, C, H, W]`. The float network must be the one that was quantized, fused in
/// the same way. The results are in the order of the int8 network's layers. `seen` is called after each
/// batch with the number of pictures so far. The memory does not depend on the number of batches.
///
/// ```
/// use posterize::nn::Sequential;
/// use posterize::ops::{Activation, Conv2d};
/// use posterize::quantization::{QConfig, QConfigMapping};
/// use posterize::report::layer_statistics;
/// use posterize::runtime::Options;
/// use posterize::{Architecture, Tensor};
///
/// let net = Sequential::new().then(Conv2d::new(3, 8, 3)).then(Activation::ReLU);
/// let float = Architecture::trace(&net)?.init(0).fuse()?;
/// let values = (0..3 * 8 * 8).map(|i| (i % 17) as f32 / 8.0 - 1.0).collect();
/// let images = Tensor::new([1, 3, 8, 8], values)?;
/// let mut observed = float.prepare(&QConfigMapping::global(QConfig::recommended()))?;
/// observed.forward(&images)?;
/// let int8 = observed.convert()?;
///
/// let layers = layer_statistics(&float, &int8, Options::new(1)?, [Ok(images)], &mut |_| ())?;
/// let layer = &layers[0];
/// assert_eq!(layer.error.name, "0");
/// assert!(layer.error.sqnr() > 25.0 && layer.activations.bias_shift < 0.05);
/// assert_eq!(layer.weights.as_ref().unwrap().channels.len(), 8);
/// # Ok::<(), posterize::Error>(())
/// ```
///
/// # Errors
/// As [`compare`](crate::compare).
pub fn layer_statistics(
    float: &FloatModel,
    int8: &QuantizedModel,
    options: Options,
    batches: impl IntoIterator<Item = Result<Tensor>>,
    seen: &mut dyn FnMut(usize),
) -> Result<Vec<LayerStatistics>> {
    let counterparts = counterparts(float, int8)?;
    let graph = int8.graph();
    let mut batches = batches.into_iter().peekable();
    let shapes = match batches.peek() {
        Some(Ok(images)) => graph.infer(images.shape())?,
        // Running the networks returns the error.
        _ => Vec::new(),
    };
    let mut sums: BTreeMap<NodeId, (LayerError, ActivationSums)> = BTreeMap::new();
    for (id, layer) in graph.iter().map(|(id, _)| id).zip(shapes) {
        // In memory the channels of pictures are innermost.
        let channels = match *layer.shape {
            [_, channels, _, _] => channels,
            _ => layer.shape.last().copied().unwrap_or(1),
        };
        let range = int8.qparams(id).zip(int8.output_range(id));
        let factors = counterparts.get(&id).and_then(|found| found.factors.clone());
        let activations = ActivationSums::new(channels, range, factors);
        sums.insert(id, (LayerError::new(graph.node(id)), activations));
    }
    run_both((float, int8), &counterparts, options, batches, seen, &mut |id, outputs| {
        if let Some((error, sums)) = sums.get_mut(&id) {
            error.add(outputs.float, outputs.int8);
            sums.add(outputs);
        }
    })?;
    let reasons: BTreeMap<String, &str> =
        int8.float_layers().into_iter().map(|layer| (layer.name, layer.reason)).collect();
    let layers = counterparts.into_iter().filter_map(|(id, counterpart)| {
        let (error, sums) = sums.remove(&id)?;
        let weights = counterpart.weight.as_ref().zip(int8.layer(id));
        Some(LayerStatistics {
            activations: sums.finish(),
            weights: weights.map(|(float, int8)| WeightStatistics::new(float, int8)),
            channel_factors: counterpart.factors,
            float_reason: reasons.get(&error.name).copied(),
            error,
        })
    });
    Ok(layers.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare;
    use crate::nn::Sequential;
    use crate::ops::{Activation, Conv2d, Flatten, Linear};
    use crate::quantization::{QConfig, QConfigMapping};
    use crate::{Architecture, Error};

    fn networks() -> (FloatModel, QuantizedModel, Tensor) {
        let net = Sequential::new()
            .then(Conv2d::new(3, 4, 3))
            .then(Activation::ReLU6)
            .then(Flatten)
            .then(Linear::new(4 * 16, 5))
            .then(Linear::new(5, 2));
        let float = Architecture::trace(&net).unwrap().init(2).fuse().unwrap();
        let values = (0..2 * 3 * 36).map(|i| (i * 37 % 101) as f32 / 50.0 - 1.0);
        let images = Tensor::new([2, 3, 6, 6], values.collect()).unwrap();
        let mapping = QConfigMapping::global(QConfig::recommended()).set_module_name("4", None);
        let mut observed = float.prepare(&mapping).unwrap();
        observed.forward(&images).unwrap();
        (float, observed.convert().unwrap(), images)
    }

    #[test]
    fn layers_have_the_errors_of_compare_and_statistics_of_their_own() {
        let (float, int8, images) = networks();
        let options = Options::new(1).unwrap();
        let batches = || [Ok(images.clone()), Ok(images.clone())];
        let mut pictures = Vec::new();
        let seen = &mut |n| pictures.push(n);
        let layers = layer_statistics(&float, &int8, options, batches(), seen).unwrap();
        assert_eq!(pictures, [2, 4]);
        let errors = compare(&float, &int8, options, batches(), &mut |_| ()).unwrap();
        assert_eq!(layers.iter().map(|layer| layer.error.clone()).collect::<Vec<_>>(), errors);
        let names: Vec<&str> = layers.iter().map(|layer| &*layer.error.name).collect();
        assert_eq!(names, ["0", "2", "3", "4"]);
        for layer in &layers {
            let (error, found) = (&layer.error, &layer.activations);
            assert!(layer.channel_factors.is_none() && error.sqnr() > 25.0, "{}", error.name);
            assert!(found.bias_shift < 0.05 && found.bias_share < 1.0, "{}", error.name);
        }
        let convolution = &layers[0];
        assert_eq!(convolution.activations.levels.iter().sum::<u64>(), 4 * 4 * 16);
        assert!(convolution.activations.levels_used().unwrap() > 20);
        assert_eq!(convolution.weights.as_ref().unwrap().counts.iter().sum::<u64>(), 4 * 27);
        assert!(layers[1].weights.is_none() && layers[1].float_reason.is_none());
        assert_eq!(layers[3].float_reason, Some("it has no qconfig"));
        assert!(layers[3].weights.is_none() && layers[3].activations.range.is_none());
    }

    #[test]
    fn no_pictures_and_pictures_that_cannot_be_read_are_errors() {
        let (float, int8, _) = networks();
        let run = |batches: Vec<Result<Tensor>>| {
            let options = Options::new(1).unwrap();
            layer_statistics(&float, &int8, options, batches, &mut |_| ()).unwrap_err().to_string()
        };
        assert!(run(Vec::new()).contains("found no picture to compare on"));
        assert_eq!(run(vec![Err(Error::Argument("unreadable".into()))]), "unreadable");
    }
}
