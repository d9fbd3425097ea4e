//! Equalization of activations: channels are scaled so that all channels of a value have similar ranges.
//!
//! All channels of a value share one scale, so channels with small values are rounded most coarsely. They are
//! divided by `s[c] = (m[c] / m)^α`, where `m[c]` is the largest absolute value of the channel, and the
//! weights that read them are multiplied by it: Meller et al. 2019, [Same, Same But
//! Different](https://arxiv.org/abs/1902.01917), and with `α` [SmoothQuant](https://arxiv.org/abs/2211.10438).
//! The weights' own rounding then becomes coarser, so `α` is chosen for each group of values by the noise that
//! the layers behind it are expected to have.

use std::collections::BTreeMap;

use posterize_kernels::Pool;

use super::channel_groups::{ChannelGroup, channel_groups};
use super::channel_scaling::{ScaledChannels, for_each_input, groups_and_taps, multiply_inputs};
use super::equalize::{BOUND, output_ranges, smallest_factor};
use super::input_means::shapes_of;
use crate::error::Result;
use crate::graph::{Graph, NodeId};
use crate::model::FloatModel;
use crate::ops::{Activation, Op, Role};
use crate::runtime::{Input, Options, Shown, compile};
use crate::tensor::Tensor;

/// The values of `α` that are compared.
const ALPHAS: [f64; 5] = [0.0, 0.25, 0.5, 0.75, 1.0];

/// The largest number of pictures that are used, in whole batches.
const PICTURES: usize = 128;

/// The smallest and the largest number that a channel is divided by. A channel that is small on these pictures may
/// be larger on others, so it is not raised by much; one that is large may be divided by any number.
const MIN_FACTOR: f32 = 1.0 / 64.0;
const MAX_FACTOR: f32 = 1e4;

/// The values whose channels are scaled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scaled {
    /// Those without a bound, for which the float network stays as it is.
    Unbounded,
    /// Also those behind a ReLU6, of which channels are scaled that stay below its bound on all calibration
    /// pictures. On other pictures they may reach it.
    All,
}

/// Returns the channels of a fused model to scale, whose weights get a scale for each output channel. The first
/// pictures are read once.
pub(crate) fn equalize_activations(
    model: &FloatModel,
    scaled: Scaled,
    options: Options,
    batches: &mut dyn Iterator<Item = Result<Vec<Tensor>>>,
) -> Result<Vec<ScaledChannels>> {
    let mut groups: Option<Vec<ChannelGroup>> = None;
    let mut channels: BTreeMap<NodeId, Vec<Channel>> = BTreeMap::new();
    let mut engine = compile(model, options)?;
    let pool = engine.pool().clone();
    let graph = model.graph();
    let mut seen = 0;
    for inputs in batches {
        let inputs = inputs?;
        if groups.is_none() {
            let mut found = channel_groups(graph, &shapes_of(graph, &inputs)?);
            found.retain(|group| scaled == Scaled::All || !is_bounded(graph, group));
            for group in &found {
                for &value in &group.values {
                    channels.insert(value, vec![Channel::default(); group.channels]);
                }
            }
            groups = Some(found);
        }
        let given: Vec<Input<'_>> = inputs.iter().map(Input::from).collect();
        let pictures = given.first().map_or(0, Input::batch);
        seen += pictures;
        engine.run_all_shown(&given, &mut |id, shown| {
            if let (Some(channels), Shown::Float(values)) = (channels.get_mut(&id), shown) {
                observe(&pool, values, pictures, channels);
            }
            Ok(())
        })?;
        if seen >= PICTURES {
            break;
        }
    }
    let scaled = groups.unwrap_or_default().into_iter().filter_map(|group| {
        let factors = factors(model, &group, &channels)?;
        let ChannelGroup { producers, consumers, .. } = group;
        Some(ScaledChannels { producers, consumers, factors })
    });
    Ok(scaled.collect())
}

/// What is observed of a channel.
#[derive(Clone, Copy, Debug, Default)]
struct Channel {
    /// The sum of the largest absolute value of every picture.
    maxima: f64,
    /// The largest value of all pictures.
    max: f32,
    /// Whether a value is negative.
    negative: bool,
    /// The sum of the mean squares of all pictures.
    squares: f64,
    pictures: f64,
}

/// Adds the values of a batch, which are channels last.
fn observe(pool: &Pool, values: &[f32], pictures: usize, channels: &mut [Channel]) {
    let picture = values.len() / pictures;
    let count = channels.len();
    let found = pool.map(pictures, &|index| {
        let mut found = vec![(0.0f32, f32::NEG_INFINITY, f32::INFINITY); count];
        for pixel in values[index * picture..][..picture].chunks_exact(count) {
            for ((squares, max, min), &x) in found.iter_mut().zip(pixel) {
                *squares += x * x;
                *max = if x > *max { x } else { *max };
                *min = if x < *min { x } else { *min };
            }
        }
        found
    });
    for picture_channels in found {
        for (channel, (squares, max, min)) in channels.iter_mut().zip(picture_channels) {
            channel.maxima += f64::from(max.max(-min));
            channel.max = channel.max.max(max);
            channel.negative |= min < 0.0;
            channel.squares += f64::from(squares) / (picture / count) as f64;
            channel.pictures += 1.0;
        }
    }
}

/// Returns whether a value of a group is behind a ReLU6.
fn is_bounded(graph: &Graph, group: &ChannelGroup) -> bool {
    group.values.iter().any(|&id| graph.node(id).op.activation() == Some(Activation::ReLU6))
}

/// The channels of a group, over all of its values.
struct Observed {
    /// The mean of the largest absolute value of a picture.
    ranges: Vec<f64>,
    /// The mean square.
    squares: Vec<f64>,
    /// The largest value behind a ReLU6.
    bounded: Vec<f32>,
    /// Whether a value is negative.
    signed: bool,
}

impl Observed {
    fn of(graph: &Graph, group: &ChannelGroup, channels: &BTreeMap<NodeId, Vec<Channel>>) -> Self {
        let mut observed = Self {
            ranges: vec![0.0; group.channels],
            squares: vec![0.0; group.channels],
            bounded: vec![0.0; group.channels],
            signed: false,
        };
        for id in &group.values {
            let bounded = graph.node(*id).op.activation() == Some(Activation::ReLU6);
            for (at, channel) in channels.get(id).into_iter().flatten().enumerate() {
                let pictures = channel.pictures.max(1.0);
                observed.ranges[at] = observed.ranges[at].max(channel.maxima / pictures);
                observed.squares[at] = observed.squares[at].max(channel.squares / pictures);
                if bounded {
                    observed.bounded[at] = observed.bounded[at].max(channel.max);
                }
                observed.signed |= channel.negative;
            }
        }
        observed
    }

    /// Returns what every channel is divided by with an exponent.
    fn factors(&self, is_bounded: bool, alpha: f64) -> Vec<f32> {
        let positive = || self.ranges.iter().filter(|&&range| range > 0.0);
        // Channels at the bound keep their values, so that they are what others are compared with.
        let reference = if is_bounded {
            f64::from(BOUND)
        } else {
            (positive().map(|range| range.ln()).sum::<f64>() / positive().count() as f64).exp()
        };
        let channels = self.ranges.iter().zip(&self.bounded);
        let factors = channels.map(|(&range, &max)| {
            if range <= 0.0 || max >= BOUND {
                return 1.0;
            }
            let factor = (range / reference).powf(alpha) as f32;
            let factor = factor.clamp(MIN_FACTOR, MAX_FACTOR);
            if is_bounded { factor.max(smallest_factor(max)) } else { factor }
        });
        factors.collect()
    }
}

/// Returns what the channels of a group are divided by; `None` if that is nothing.
fn factors(
    model: &FloatModel,
    group: &ChannelGroup,
    channels: &BTreeMap<NodeId, Vec<Channel>>,
) -> Option<Vec<f32>> {
    let graph = model.graph();
    let observed = Observed::of(graph, group, channels);
    let consumers: Vec<Consumer<'_>> = group
        .consumers
        .iter()
        .filter_map(|&id| {
            let weight = model.parameter(id, Role::Weight)?;
            Some(Consumer { op: &graph.node(id).op, weight })
        })
        .collect();
    let is_bounded = is_bounded(graph, group);
    let candidates = ALPHAS.map(|alpha| {
        let factors = observed.factors(is_bounded, alpha);
        (noise(&observed, &consumers, &factors), factors)
    });
    // The first has no factors but 1.
    let best = (0..ALPHAS.len()).min_by(|&a, &b| candidates[a].0.total_cmp(&candidates[b].0))?;
    (best > 0).then(|| candidates[best].1.clone())
}

/// A layer that reads the channels of a group.
struct Consumer<'a> {
    op: &'a Op,
    weight: &'a Tensor,
}

/// Returns the expected noise of the consumers' outputs if channels are divided by `factors`: that of the
/// rounding of the values, which have one scale, and that of the weights, which have one for each output.
fn noise(observed: &Observed, consumers: &[Consumer<'_>], factors: &[f32]) -> f64 {
    let scaled = observed.ranges.iter().zip(factors).map(|(range, s)| range / f64::from(*s));
    let step = scaled.fold(0.0, f64::max) * if observed.signed { 2.0 } else { 1.0 } / 255.0;
    let mut noise = 0.0;
    for Consumer { op, weight } in consumers {
        let mut weight = Tensor::clone(weight);
        multiply_inputs(op, &mut weight, factors);
        let scales: Vec<f32> = output_ranges(&weight).iter().map(|max| max / 127.0).collect();
        let (_, taps) = groups_and_taps(op);
        let per_output = weight.shape()[1] * taps;
        let mut at = 0;
        for_each_input(op, &mut weight, |channel, taps| {
            let scale = scales[at / per_output];
            at += taps.len();
            let power = observed.squares[channel] / f64::from(factors[channel]).powi(2);
            for &mut w in taps {
                let error = if scale > 0.0 { w - (w / scale).round() * scale } else { 0.0 };
                noise += step * step / 12.0 * f64::from(w * w) + power * f64::from(error * error);
            }
        });
    }
    noise
}

#[cfg(test)]
mod tests {
    use super::super::channel_scaling::scale_channels;
    use super::super::fixtures::{assert_same_outputs, pictures, scaled_apart};
    use super::*;
    use crate::Architecture;
    use crate::nn::{Module, Sequential, Tracer, Value};
    use crate::ops::{AdaptiveAvgPool2d, Conv2d, Flatten, Linear, Padding};

    /// Two inverted residuals along one residual connection, and a classifier.
    struct Stage([Sequential; 3]);

    impl Module for Stage {
        fn kind(&self) -> &'static str {
            "Stage"
        }

        fn forward(&self, cx: &mut Tracer, x: Value) -> Value {
            let [stem, block, head] = &self.0;
            let x = cx.call("stem", stem, x);
            let y = cx.call("block", block, x);
            let y = cx.add(x, y);
            cx.call("head", head, y)
        }
    }

    fn model(activation: Activation) -> (FloatModel, Vec<Tensor>) {
        let depthwise = Conv2d::new(12, 12, 3).padding(Padding::all(1)).groups(12);
        let block = Sequential::new()
            .then(Conv2d::new(6, 12, 1))
            .then(activation)
            .then(depthwise)
            .then(activation)
            .then(Conv2d::new(12, 6, 1));
        let head = Sequential::new()
            .then(Conv2d::new(6, 8, 1))
            .then(activation)
            .then(AdaptiveAvgPool2d::new([1, 1]))
            .then(Flatten)
            .then(Linear::new(8, 5));
        let stage = Stage([Sequential::new().then(Conv2d::new(3, 6, 1)), block, head]);
        let model = Architecture::trace(&stage).unwrap().init(3).fuse().unwrap();
        (scaled_apart(&model, 0.0), pictures())
    }

    fn equalized(model: &FloatModel, scaled: Scaled, threads: usize, of: &[Tensor]) -> FloatModel {
        let mut batches = of.iter().map(|images| Ok(vec![images.clone()]));
        let options = Options::new(threads).unwrap();
        let scaled = equalize_activations(model, scaled, options, &mut batches).unwrap();
        scale_channels(model, &scaled).unwrap()
    }

    #[test]
    fn the_float_outputs_do_not_change() {
        for (activation, scaled) in [
            (Activation::ReLU, Scaled::All),
            (Activation::ReLU6, Scaled::Unbounded),
            (Activation::ReLU6, Scaled::All),
        ] {
            let (model, pictures) = model(activation);
            let after = equalized(&model, scaled, 2, &pictures);
            assert_same_outputs(&model, &after, &pictures, &format!("{activation:?}"));
            assert_eq!(equalized(&model, scaled, 1, &pictures).parameters(), after.parameters());
        }
    }

    #[test]
    fn all_values_along_a_residual_connection_have_the_same_factors() {
        let (model, pictures) = model(Activation::ReLU6);
        let graph = model.graph();
        let shapes = shapes_of(graph, &pictures[..1]).unwrap();
        let names = |ids: &[NodeId]| -> Vec<&str> {
            ids.iter().map(|&id| graph.node(id).name.as_str()).collect()
        };
        let groups = channel_groups(graph, &shapes);
        let residual = groups.iter().find(|group| group.producers.len() == 2).unwrap();
        assert_eq!(names(&residual.producers), ["stem.0", "block.4"]);
        assert_eq!(names(&residual.consumers), ["block.0", "head.0"]);
        assert_eq!((residual.channels, residual.values.len()), (6, 3));
        assert!(!is_bounded(graph, residual));
        // The last layer's outputs are the network's, and pooling keeps the channels of head.0.
        let head = groups.iter().find(|group| names(&group.producers) == ["head.0"]).unwrap();
        assert_eq!(names(&head.consumers), ["head.4"]);
        assert_eq!(groups.len(), 4);
    }

    #[test]
    fn one_channel_that_is_thousands_of_times_the_others_gets_their_range() {
        let observed = Observed {
            ranges: [vec![4096.0], vec![1.0; 15]].concat(),
            squares: vec![1.0; 16],
            bounded: vec![0.0; 16],
            signed: true,
        };
        let factors = observed.factors(false, 1.0);
        for (range, factor) in observed.ranges.iter().zip(&factors) {
            let scaled = range / f64::from(*factor);
            assert!((scaled / 4096f64.powf(1.0 / 16.0) - 1.0).abs() < 1e-3, "{factors:?}");
        }
        // Small ones are raised 64 times at most.
        let small = Observed { ranges: [vec![1e-6], vec![1.0; 15]].concat(), ..observed };
        assert_eq!(small.factors(false, 1.0)[0], 1.0 / 64.0);
    }

    #[test]
    fn channels_of_a_residual_connection_get_similar_ranges() {
        let (model, pictures) = model(Activation::ReLU6);
        let spread = |model: &FloatModel| {
            let add = model.graph().iter().find(|(_, node)| matches!(node.op, Op::Add(_)));
            let add = add.unwrap().0;
            let mut channels = vec![Channel::default(); 6];
            let mut engine = compile(model, Options::new(1).unwrap()).unwrap();
            let pool = engine.pool().clone();
            let mut show = |id, shown: Shown<'_>| {
                if let (true, Shown::Float(values)) = (id == add, shown) {
                    observe(&pool, values, 2, &mut channels);
                }
                Ok(())
            };
            engine.run_all_shown(&[(&pictures[0]).into()], &mut show).unwrap();
            let ranges = channels.iter().map(|channel| channel.maxima);
            ranges.clone().fold(0.0, f64::max) / ranges.fold(f64::INFINITY, f64::min)
        };
        let (before, after) =
            (spread(&model), spread(&equalized(&model, Scaled::Unbounded, 1, &pictures)));
        assert!(after < 0.5 * before, "{before} became {after}");
    }
}
