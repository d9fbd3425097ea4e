//! The numbers of a report, and how they are printed.

use std::{fmt, path::PathBuf};

use posterize::{
    Evaluation,
    data::{Class, Sample},
    graph::Graph,
    quantization::{OutputQuality, QuantizedModel, Sensitivity},
    report::{
        ActivationStatistics, ChangedPrediction, Interval, LayerStatistics, Outcome, Outcomes,
        TopClass, WeightStatistics, wilson_interval,
    },
};
use serde::Serialize;

use super::verdict::{Difference, in_percent, verdict};
use crate::{
    ranking::RankedLayer,
    timing::{Ratio, Times},
    ui::{Align, Table, count, decibels, duration, finite, megabytes, percent},
};

/// Number of layers that are printed.
const SHOWN_LAYERS: usize = 5;

/// All numbers of a report.
#[derive(Debug, Serialize)]
pub(super) struct Numbers {
    pub(super) model: String,
    pub(super) file: PathBuf,
    pub(super) against: String,
    pub(super) data: PathBuf,
    /// Number of pictures that predictions were compared on.
    pub(super) images: usize,
    /// Number of pictures skipped because they could not be decoded.
    pub(super) skipped: usize,
    pub(super) float: Network,
    pub(super) int8: Network,
    pub(super) time_ratio: Ratio,
    pub(super) outcomes: Outcomes,
    pub(super) difference: Difference,
    /// `None` if the logits are equal.
    pub(super) logits_sqnr_db: Option<f64>,
    pub(super) changed: Vec<Changed>,
    /// Number of pictures that layers were compared on.
    pub(super) layer_images: usize,
    /// In execution order.
    pub(super) layers: Vec<Layer>,
    /// With --sensitivity.
    pub(super) sensitivity: Option<Ranking>,
    pub(super) output: PathBuf,
    /// Size of the page.
    pub(super) page_bytes: u64,
    pub(super) threads: usize,
    pub(super) isa: String,
    pub(super) seconds: f64,
}

/// The measurements of a network.
#[derive(Debug, Serialize)]
pub(super) struct Network {
    /// In percent.
    pub(super) top1: f64,
    /// In percent.
    pub(super) top1_interval: Interval,
    /// In percent.
    pub(super) top5: f64,
    /// In percent.
    pub(super) top5_interval: Interval,
    /// Mean cross-entropy.
    pub(super) loss: f64,
    /// Size of the saved file.
    pub(super) bytes: u64,
    pub(super) times: Times,
}

impl Network {
    pub(super) fn new(evaluation: &Evaluation, bytes: u64, times: Times) -> Self {
        let interval = |correct| in_percent(wilson_interval(correct, evaluation.images));
        Self {
            top1: evaluation.top1(),
            top1_interval: interval(evaluation.correct1),
            top5: evaluation.top5(),
            top5_interval: interval(evaluation.correct5),
            loss: evaluation.loss(),
            bytes,
            times,
        }
    }

    /// The headings of [`Self::cells`].
    pub(super) const HEADS: [&'static str; 7] =
        ["network", "top-1 %", "95 % interval", "top-5 %", "loss", "ms/picture", "size MB"];

    /// Returns the cells of the network's row.
    pub(super) fn cells(&self) -> [String; 7] {
        let Interval { low, high } = self.top1_interval;
        [
            if self.times.precision == "int8" { "int8".into() } else { "float".into() },
            format!("{:.2}", self.top1),
            format!("{low:.1} to {high:.1}"),
            format!("{:.2}", self.top5),
            format!("{:.3}", self.loss),
            format!("{:.2}", self.times.median_ms),
            format!("{:.2}", self.bytes as f64 / 1e6),
        ]
    }
}

/// A picture for which the networks predict different classes.
#[derive(Debug, Serialize)]
pub(super) struct Changed {
    pub(super) path: PathBuf,
    /// The number of its class.
    pub(super) label: usize,
    /// The name of its class.
    pub(super) label_name: String,
    pub(super) outcome: Outcome,
    pub(super) float: Vec<Predicted>,
    pub(super) int8: Vec<Predicted>,
}

/// A class and its probability.
#[derive(Debug, Serialize)]
pub(super) struct Predicted {
    pub(super) class: usize,
    pub(super) name: String,
    /// From 0 to 1.
    pub(super) probability: f64,
}

impl Changed {
    pub(super) fn new(changed: &ChangedPrediction, samples: &[Sample], classes: &[Class]) -> Self {
        let name = |class: usize| classes.get(class).map_or(class.to_string(), |c| c.name.clone());
        let predicted = |top: &[TopClass]| {
            let named = |&TopClass { class, probability }: &TopClass| Predicted {
                class,
                name: name(class),
                probability,
            };
            top.iter().map(named).collect()
        };
        Self {
            path: samples[changed.sample].path.clone(),
            label: changed.label,
            label_name: name(changed.label),
            outcome: changed.outcome,
            float: predicted(&changed.float),
            int8: predicted(&changed.int8),
        }
    }
}

/// A layer, and how its int8 output differs from the float one.
#[derive(Debug, Serialize)]
pub(super) struct Layer {
    pub(super) name: String,
    pub(super) r#type: String,
    /// Signal-to-quantization-noise ratio of the output. `None` if the outputs are equal.
    pub(super) sqnr_db: Option<f64>,
    /// Scale of the output. `None` if it is float.
    pub(super) scale: Option<f32>,
    /// Zero point of the output. `None` if it is float.
    pub(super) zero_point: Option<i32>,
    pub(super) activations: Activations,
    /// `None` if the layer has no int8 weights.
    pub(super) weights: Option<Weights>,
    /// What each output channel was divided by when the network was equalized. `None` if it was not.
    pub(super) channel_factors: Option<Vec<f32>>,
    /// Why the layer stays in float. `None` if it does not.
    pub(super) float_reason: Option<&'static str>,
}

#[derive(Debug, Serialize)]
pub(super) struct Activations {
    /// Number of different integers. `None` if the layer stays in float.
    pub(super) levels_used: Option<usize>,
    #[serde(flatten)]
    pub(super) found: ActivationStatistics,
}

#[derive(Debug, Serialize)]
pub(super) struct Weights {
    /// Signal-to-quantization-noise ratio. `None` if the weights are equal.
    pub(super) sqnr_db: Option<f64>,
    /// Number of different integers.
    pub(super) levels_used: usize,
    /// Largest weight of the largest channel, divided by that of the median channel.
    pub(super) range_ratio: f64,
    #[serde(flatten)]
    pub(super) found: WeightStatistics,
}

impl Layer {
    pub(super) fn new(found: LayerStatistics, int8: &QuantizedModel) -> Self {
        let graph: &Graph = int8.graph();
        let qparams = graph.find(&found.error.name).and_then(|id| int8.qparams(id));
        Self {
            sqnr_db: finite(found.error.sqnr()),
            name: found.error.name,
            r#type: found.error.kind,
            scale: qparams.map(|qparams| qparams.scale),
            zero_point: qparams.map(|qparams| qparams.zero_point),
            activations: Activations {
                levels_used: found.activations.levels_used(),
                found: found.activations,
            },
            weights: found.weights.map(|found| Weights {
                sqnr_db: finite(found.sqnr()),
                levels_used: found.levels_used(),
                range_ratio: found.range_ratio(),
                found,
            }),
            channel_factors: found.channel_factors,
            float_reason: found.float_reason,
        }
    }
}

/// How much each int8 layer costs.
#[derive(Debug, Serialize)]
pub(super) struct Ranking {
    /// Number of pictures.
    pub(super) pictures: usize,
    /// Top-1 accuracy of the float network on them, in percent.
    pub(super) float_top1: Option<f64>,
    /// The network with all layers in int8.
    pub(super) int8: OutputQuality,
    /// The one that adds most noise to the logits first.
    pub(super) layers: Vec<RankedLayer>,
}

impl From<Sensitivity> for Ranking {
    fn from(found: Sensitivity) -> Self {
        let Sensitivity { pictures, float_top1, int8, layers, .. } = found;
        let layers = layers.into_iter().map(RankedLayer::new).collect();
        Self { pictures, float_top1, int8, layers }
    }
}

impl Numbers {
    /// Returns the layers, lowest signal-to-quantization-noise ratio first.
    pub(super) fn worst_first(&self) -> Vec<&Layer> {
        let mut layers: Vec<&Layer> = self.layers.iter().collect();
        let key = |layer: &Layer| layer.sqnr_db.unwrap_or(f64::INFINITY);
        layers.sort_by(|a, b| key(a).total_cmp(&key(b)));
        layers
    }
}

impl fmt::Display for Numbers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [network, numbers @ ..] = Network::HEADS;
        let [top1, interval, top5, loss, time, size] = numbers.map(|head| (head, Align::Right));
        let mut table =
            Table::new([(network, Align::Left), top1, interval, top5, loss, time, size]);
        for network in [&self.float, &self.int8] {
            table.row(network.cells());
        }
        writeln!(f, "{table}\n\n{}\n", verdict(&self.outcomes, &self.difference))?;
        let mut table = Table::new([
            ("layers with the lowest SQNR", Align::Left),
            ("type", Align::Left),
            ("SQNR dB", Align::Right),
            ("levels", Align::Right),
            ("clipped", Align::Right),
            ("bias shift", Align::Right),
        ]);
        for layer in self.worst_first().into_iter().take(SHOWN_LAYERS) {
            let found = &layer.activations.found;
            table.row([
                layer.name.clone(),
                layer.r#type.clone(),
                decibels(layer.sqnr_db),
                layer.activations.levels_used.map_or("float".into(), |levels| levels.to_string()),
                percent(100.0 * found.clipped),
                format!("{:.3}", found.bias_shift),
            ]);
        }
        write!(
            f,
            "{table}\n\n{} ({}) written in {}: {} pictures of {}, {} of them for the layers",
            self.output.display(),
            megabytes(self.page_bytes),
            duration(self.seconds),
            count(self.images as u64),
            self.data.display(),
            count(self.layer_images as u64)
        )?;
        match self.skipped {
            0 => Ok(()),
            1 => write!(f, "; 1 picture skipped"),
            skipped => write!(f, "; {} pictures skipped", count(skipped as u64)),
        }
    }
}

/// Numbers for tests.
#[cfg(test)]
pub(super) mod example {
    use posterize::report::{ChannelWeights, Histogram};

    use super::*;

    /// Weights whose first channel has the largest range.
    pub(in super::super) fn weights(channels: usize, per_channel: bool) -> Weights {
        let channel = |number: usize| ChannelWeights {
            min: -0.5 / (1 + number) as f32,
            max: 0.25,
            scale: 1.0 / 127.5,
            max_int8: 0.5,
        };
        let mut counts = vec![0; 256];
        counts[128] = 10;
        let found = WeightStatistics {
            channels: (0..channels).map(channel).collect(),
            per_channel,
            counts,
            lost_channels: 0,
            changed: 0.0,
            signal: 1.0,
            noise: 0.1,
        };
        Weights { sqnr_db: Some(10.0), levels_used: 1, range_ratio: 2.0, found }
    }

    pub(in super::super) fn activations([low, high]: [f32; 2]) -> Activations {
        let [from, to] = [low, high].map(f64::from);
        let mut histogram = Histogram::new(from - (to - from) / 2.0, to + (to - from) / 2.0, 128);
        (0..100_usize).for_each(|i| histogram.add(from + (to - from) * (i * i % 97) as f64 / 97.0));
        let found = ActivationStatistics {
            min: low,
            max: high,
            mean: 1.0,
            std: 0.5,
            range: Some([low, high]),
            histogram: Some(histogram),
            clipped: 0.3,
            levels: vec![1; 256],
            bias_shift: 0.25,
            bias_share: 0.5,
        };
        Activations { levels_used: Some(256), found }
    }

    /// A layer. The one with the highest number has the lowest ratio, and every tenth is in float.
    fn layer(number: usize) -> Layer {
        let float = number % 10 == 9;
        let mut activations = activations([0.0, 2.0]);
        if float {
            activations.levels_used = None;
            activations.found.range = None;
            activations.found.histogram = None;
        }
        Layer {
            name: format!("layers.{number}<x>"),
            r#type: "Conv2d".into(),
            sqnr_db: (number > 0).then(|| 40.0 - 50.0 * number as f64 / 500.0),
            scale: (!float).then_some(0.01),
            zero_point: (!float).then_some(3),
            activations,
            weights: (!float).then(|| weights(1000, true)),
            channel_factors: (number == 1).then(|| vec![0.25, 4.0]),
            float_reason: float.then_some("it has no qconfig"),
        }
    }

    /// Float is right about 169 of 200 pictures, int8 about 163.
    pub(in super::super) fn numbers(layers: usize) -> Numbers {
        let outcomes = Outcomes { both: 160, only_float: 9, only_int8: 3, neither: 28 };
        let network = |correct1, bytes, precision, ms: f64| {
            let evaluation = Evaluation {
                images: 200,
                correct1,
                correct5: 190,
                loss_sum: 100.0,
                model_seconds: 1.0,
            };
            Network::new(&evaluation, bytes, Times::new("net", precision, vec![ms; 3]))
        };
        let predicted = |class: usize, name: &str, probability| Predicted {
            class,
            name: name.into(),
            probability,
        };
        let changed = |outcome, label: usize| Changed {
            path: "val/a&b/1.jpg".into(),
            label,
            label_name: "a&b".into(),
            outcome,
            float: vec![predicted(0, "a&b", 0.75), predicted(1, "sea_snake", 0.25)],
            int8: vec![predicted(1, "sea_snake", 0.5), predicted(0, "a&b", 0.5)],
        };
        Numbers {
            model: "net".into(),
            file: "net.int8".into(),
            against: "net.pth".into(),
            data: "val".into(),
            images: 200,
            skipped: 1,
            float: network(169, 4_000_000, "float32", 3.0),
            int8: network(163, 1_000_000, "int8", 1.0),
            time_ratio: Ratio {
                median: 0.33,
                lower_quartile: 0.3,
                upper_quartile: 0.4,
                min: 0.2,
                max: 0.5,
                pairs: 20,
            },
            difference: Difference::new(&outcomes),
            outcomes,
            logits_sqnr_db: Some(20.25),
            changed: vec![changed(Outcome::OnlyFloat, 0), changed(Outcome::OnlyInt8, 1)],
            layer_images: 50,
            layers: (0..layers).map(layer).collect(),
            sensitivity: None,
            output: "report.html".into(),
            page_bytes: 1234,
            threads: 1,
            isa: "scalar".into(),
            seconds: 12.0,
        }
    }
}
