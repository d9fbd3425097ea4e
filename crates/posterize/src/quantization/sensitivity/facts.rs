//! What is measured of a layer to find out why it is sensitive.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use super::pictures::Pictures;
use crate::error::Result;
use crate::graph::{Graph, NodeId};
use crate::model::FloatModel;
use crate::ops::Role;
use crate::quantization::observer::{Observer, ObserverSpec};
use crate::quantization::passes::input_means::shapes_of;
use crate::quantization::{QParams, QuantizedModel};
use crate::runtime::{Input, Options, compile};

/// The largest number of pictures that are measured.
const MAX_PICTURES: usize = 32;

/// The number of pictures in a batch. It is small because the outputs of all layers are kept.
const BATCH: usize = 2;

/// The part of the values that [`OutputFacts::percentile`] is the bound of.
const PERCENTILE: f64 = 0.999;

/// What was measured of an int8 layer.
///
/// ```
/// # use posterize::ops::Linear;
/// # use posterize::quantization::{PostTraining, QConfig, QConfigMapping};
/// # use posterize::runtime::Options;
/// # use posterize::{Architecture, Tensor};
/// # let model = Architecture::trace(&Linear::new(4, 2))?.init(0);
/// # let mapping = QConfigMapping::global(QConfig::recommended());
/// # let x = Tensor::new([2, 4], vec![-1.0, 0.0, 0.5, 1.0, 0.2, -0.1, 0.3, 0.9])?;
/// # let options = Options::new(1)?;
/// # let result = model.quantize(&mapping, &PostTraining::pytorch(), options, &mut vec![x.clone()])?;
/// let found = result.sensitivity(&[vec![x]], None, options, &mut |_, _| ())?;
/// let facts = &found.layers[0].facts;
/// assert!(facts.weight.as_ref().is_some_and(|weight| weight.per_channel));
/// assert!(facts.output.largest >= facts.output.median);
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct LayerFacts {
    /// The weight; `None` if the layer has none.
    pub weight: Option<WeightFacts>,
    /// The output.
    pub output: OutputFacts,
}

/// The ranges of the output channels of a weight, without channels that are zero.
///
/// ```
/// use posterize::quantization::{WeightFacts};
///
/// /// Returns how far apart the ranges of channels are.
/// fn ratio(weight: &WeightFacts) -> f32 {
///     weight.largest / weight.median
/// }
/// # let _ = ratio;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct WeightFacts {
    /// Whether each output channel has a scale of its own.
    pub per_channel: bool,
    /// The largest absolute weight.
    pub largest: f32,
    /// The largest absolute weight of the median channel.
    pub median: f32,
    /// The number of integers, of 255, from the smallest to the largest that the median channel uses.
    pub levels: usize,
    /// The noise of the network's outputs with only these weights rounded, divided by that with the whole
    /// layer in int8. The mean error of each channel, which bias correction can remove, is left out. It may be
    /// above 1, because errors may cancel each other.
    pub noise_share: f64,
}

/// The values of a layer's output on some pictures.
///
/// ```
/// use posterize::quantization::{OutputFacts};
///
/// /// Returns whether a few values are much larger than all others.
/// fn has_outliers(output: &OutputFacts) -> bool {
///     output.largest > 10.0 * output.percentile
/// }
/// assert!(!has_outliers(&OutputFacts::default()));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct OutputFacts {
    /// The largest absolute value in the float network.
    pub largest: f32,
    /// The largest absolute value of the median channel that is not always zero.
    pub median: f32,
    /// The absolute value that all but 0.1 % of the values at either end do not exceed.
    pub percentile: f32,
    /// The number of integers, of 256, from the smallest to the largest that the median channel uses.
    pub levels: usize,
    /// The root mean square over the channels of the mean error of a channel, in the int8 network.
    pub mean_error: f64,
    /// The root mean square of the error around the mean error of its channel.
    pub spread: f64,
}

/// Measures the layers of the int8 network, given by their nodes in the float network.
pub(super) fn measure(
    float: &FloatModel,
    int8: &QuantizedModel,
    layers: &[NodeId],
    pictures: &Pictures<'_>,
    options: Options,
) -> Result<BTreeMap<NodeId, LayerFacts>> {
    let mut outputs = BTreeMap::new();
    // By the node in the int8 network.
    let mut floats = BTreeMap::new();
    for &layer in layers {
        outputs.insert(layer, Output::new()?);
        if let Some(id) = int8.graph().find(&float.graph().node(layer).name) {
            floats.insert(id, layer);
        }
    }
    let mut float_engine = compile(float, options)?;
    let mut int8_engine = compile(int8, options)?;
    let pool = Arc::clone(int8_engine.pool());
    for inputs in pictures.first(MAX_PICTURES, BATCH)? {
        let channels = channels(float.graph(), &inputs)?;
        let given: Vec<Input<'_>> = inputs.iter().map(Input::from).collect();
        let mut expected = BTreeMap::new();
        float_engine.run_all_observed(&given, &mut |id, values| {
            if outputs.contains_key(&id) {
                expected.insert(id, values.to_vec());
            }
            Ok(())
        })?;
        int8_engine.run_all_observed(&given, &mut |id, values| {
            let Some(layer) = floats.get(&id) else { return Ok(()) };
            let (Some(expected), Some(output)) = (expected.get(layer), outputs.get_mut(layer))
            else {
                return Ok(());
            };
            output
                .observer
                .observe_on(&pool, expected, &[expected.len()])
                .map_err(|error| error.in_layer(float.graph().node(*layer).name.clone()))?;
            output.add(channels[layer.0], expected, values);
            Ok(())
        })?;
    }
    let of = |(layer, output): (NodeId, Output)| {
        let id = int8.graph().find(&float.graph().node(layer).name);
        let qparams = id.and_then(|id| int8.qparams(id));
        let weight = id.and_then(|id| weight_facts(float, int8, layer, id));
        (layer, LayerFacts { weight, output: output.facts(qparams) })
    };
    Ok(outputs.into_iter().map(of).collect())
}

/// Returns the number of channels of every node's output, which are the innermost axis in memory.
fn channels(graph: &Graph, inputs: &[crate::Tensor]) -> Result<Vec<usize>> {
    let of = |shape: &[usize]| match *shape {
        [_, channels, _, _] | [_, channels] => channels,
        _ => 1,
    };
    Ok(shapes_of(graph, inputs)?.iter().map(|found| of(&found.shape).max(1)).collect())
}

fn weight_facts(
    float: &FloatModel,
    int8: &QuantizedModel,
    layer: NodeId,
    id: NodeId,
) -> Option<WeightFacts> {
    let weight = float.parameter(layer, Role::Weight)?;
    let (integers, qparams) = match (int8.layer(id), int8.weight(id)) {
        (Some(layer), _) => (&layer.weight, &layer.qparams),
        (None, Some(weight)) => (&weight.weight, &weight.qparams),
        (None, None) => return None,
    };
    let per_channel = weight.data().len() / weight.shape()[0];
    let largest = |values: &[f32]| values.iter().fold(0.0, |max: f32, x| max.max(x.abs()));
    let ranges = weight.data().chunks_exact(per_channel).map(largest);
    let levels = integers.chunks_exact(per_channel).map(|channel| {
        channel.iter().map(|q| 2 * usize::from(q.unsigned_abs()) + 1).max().unwrap_or(1).min(255)
    });
    let (ranges, mut levels): (Vec<f32>, Vec<usize>) =
        ranges.zip(levels).filter(|(range, _)| *range > 0.0).unzip();
    levels.sort_unstable();
    Some(WeightFacts {
        per_channel: qparams.axis().is_some(),
        largest: largest(weight.data()),
        median: median(ranges),
        levels: levels.get(levels.len() / 2).copied().unwrap_or(1),
        // Measured with the layer.
        noise_share: 0.0,
    })
}

/// Returns the value in the middle; 0 without values.
fn median(mut values: Vec<f32>) -> f32 {
    values.sort_unstable_by(f32::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

/// The statistics of a layer's output.
struct Output {
    /// Finds the percentile.
    observer: Observer,
    channels: Vec<Channel>,
    values: usize,
}

#[derive(Clone, Copy, Default)]
struct Channel {
    /// Extremes, of which 0 is one.
    min: f32,
    max: f32,
    error: f64,
    squared_error: f64,
}

impl Output {
    fn new() -> Result<Self> {
        let observer = ObserverSpec::percentile(PERCENTILE).build()?;
        Ok(Self { observer, channels: Vec::new(), values: 0 })
    }

    /// Adds the outputs of both networks for a batch.
    fn add(&mut self, channels: usize, expected: &[f32], found: &[f32]) {
        self.channels.resize(channels, Channel::default());
        let pixels = expected.chunks_exact(channels).zip(found.chunks_exact(channels));
        for (expected, found) in pixels {
            for ((channel, &x), &y) in self.channels.iter_mut().zip(expected).zip(found) {
                channel.min = channel.min.min(x);
                channel.max = channel.max.max(x);
                let error = f64::from(y - x);
                channel.error += error;
                channel.squared_error += error * error;
            }
        }
        self.values += expected.len();
    }

    fn facts(&self, qparams: Option<QParams>) -> OutputFacts {
        let largest = |channel: &Channel| channel.max.max(-channel.min);
        let used = || self.channels.iter().filter(|channel| largest(channel) > 0.0);
        let middle = median(used().map(|channel| channel.max - channel.min).collect());
        let levels = qparams.map_or(256.0, |qparams| (middle / qparams.scale).round() + 1.0);
        let range = self.observer.chosen_range();
        let count = self.channels.len().max(1) as f64;
        let per_channel = (self.values as f64 / count).max(1.0);
        let (mut shift, mut variance) = (0.0, 0.0);
        for channel in &self.channels {
            let mean = channel.error / per_channel;
            shift += mean * mean / count;
            variance += (channel.squared_error / per_channel - mean * mean).max(0.0) / count;
        }
        OutputFacts {
            largest: self.channels.iter().map(largest).fold(0.0, f32::max),
            median: median(used().map(largest).collect()),
            percentile: range.map_or(0.0, |range| range.max.max(-range.min)),
            levels: levels.clamp(1.0, 256.0) as usize,
            mean_error: shift.sqrt(),
            spread: variance.sqrt(),
        }
    }
}
