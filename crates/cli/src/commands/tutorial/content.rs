//! The content of the tutorial, which is rendered as text, Markdown and HTML.

use serde::Serialize;

/// The whole tutorial.
#[derive(Debug)]
pub(super) struct Content {
    /// The name of the architecture.
    pub(super) model: String,
    /// Sentences on the weights and pictures that are used.
    pub(super) facts: Vec<String>,
    pub(super) steps: Vec<Step>,
    /// The summary table. The first row is the float network.
    pub(super) rows: Vec<Row>,
    /// Sentences on how the table was measured.
    pub(super) notes: Vec<String>,
}

/// One step of the tutorial.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) heading: String,
    /// What the step does, and why.
    pub(super) explanation: String,
    pub(super) trees: Vec<Tree>,
    pub(super) figure: Option<Figure>,
    /// Sentences on the results.
    pub(super) findings: Vec<String>,
}

/// A figure of a step.
#[derive(Debug)]
pub(super) enum Figure {
    Channels(Channels),
    Epochs(Epochs),
}

/// The largest weight of each channel of a per-tensor quantized layer.
#[derive(Debug)]
pub(super) struct Channels {
    pub(super) layer: String,
    /// The largest absolute weight of each output channel, in descending order.
    pub(super) largest: Vec<f32>,
    /// The scale of the weight.
    pub(super) scale: f32,
    /// Number of channels whose int8 weights are all zero.
    pub(super) lost: usize,
}

/// The epochs of quantization-aware training.
#[derive(Debug)]
pub(super) struct Epochs {
    pub(super) rows: Vec<Epoch>,
    /// Top-1 accuracy of the float network in percent.
    pub(super) float: f64,
    /// Top-1 accuracy of the int8 network before training in percent, if it was measured.
    pub(super) untrained: Option<f64>,
}

impl Epochs {
    /// Column headings.
    pub(super) const HEADS: [&str; 4] = ["epoch", "loss", "train top-1 %", "int8 top-1 %"];
}

/// One epoch of training.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Epoch {
    /// Counted from 1.
    #[serde(rename = "epoch")]
    pub(super) number: usize,
    /// Mean loss on the training pictures.
    pub(super) loss: f64,
    /// Accuracy of the fake-quantized network on the training pictures in percent.
    pub(super) train_top1: f64,
    /// Accuracy of the converted int8 network on the evaluated pictures in percent.
    pub(super) top1: f64,
}

impl Epoch {
    /// Returns the cells of the epoch's row, in the order of [`Epochs::HEADS`].
    pub(super) fn cells(&self) -> [String; 4] {
        [
            self.number.to_string(),
            format!("{:.4}", self.loss),
            format!("{:.2}", self.train_top1),
            format!("{:.2}", self.top1),
        ]
    }
}

/// The printed form of a module.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) caption: String,
    pub(super) code: String,
}

/// The size and accuracy of a network.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Score {
    pub(super) method: String,
    /// Size of the file in 10^6 bytes.
    pub(super) size_mb: f64,
    /// In percent.
    pub(super) top1: f64,
    /// In percent.
    pub(super) top5: f64,
}

/// A row of the summary table.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Row {
    #[serde(flatten)]
    pub(super) score: Score,
    /// Milliseconds per picture of the network alone, one picture at a time on one thread.
    pub(super) ms_per_image: f64,
    /// Time of the float network divided by this one's.
    pub(super) speedup: f64,
}

impl Row {
    /// Column headings.
    pub(super) const HEADS: [&str; 6] =
        ["method", "size MB", "top-1 %", "top-5 %", "ms/picture", "speed-up"];

    /// Returns the cells of the row, in the order of [`Row::HEADS`].
    pub(super) fn cells(&self) -> [String; 6] {
        [
            self.score.method.clone(),
            format!("{:.2}", self.score.size_mb),
            format!("{:.2}", self.score.top1),
            format!("{:.2}", self.score.top5),
            milliseconds(self.ms_per_image),
            format!("{:.2}×", self.speedup),
        ]
    }
}

/// Formats milliseconds with about three significant digits.
pub(super) fn milliseconds(value: f64) -> String {
    let decimals = if value < 1.0 { 3 } else { 2 };
    format!("{value:.decimals$}")
}

#[cfg(test)]
impl Epochs {
    /// Returns two epochs for tests.
    pub(super) fn example() -> Self {
        let epoch = |number, loss, top1| Epoch { number, loss, train_top1: 70.0, top1 };
        Self {
            rows: vec![epoch(1, 0.5, 80.0), epoch(2, 0.25, 90.0)],
            float: 92.0,
            untrained: Some(40.0),
        }
    }
}

#[cfg(test)]
impl Content {
    /// Returns content for tests, with all characters that have to be escaped in one of the formats.
    pub(super) fn example() -> Self {
        let row = |method, size_mb, top1, ms_per_image, speedup| Row {
            score: Score { method: String::from(method), size_mb, top1, top5: 98.0 },
            ms_per_image,
            speedup,
        };
        Self {
            model: "net".into(),
            facts: vec!["Pictures: a<b>&\"c\"/*val*_1_|x.".into()],
            steps: vec![Step {
                heading: "Fusion".into(),
                explanation: "One kernel in place of three.".into(),
                trees: vec![Tree {
                    caption: "conv.0 & after".into(),
                    code: "Conv2d(3, 8,\n  bias=<none>)".into(),
                }],
                figure: Some(Figure::Channels(Channels {
                    layer: "a<1>".into(),
                    largest: vec![10.0, 1.0, 0.01],
                    scale: 10.0 / 127.5,
                    lost: 1,
                })),
                findings: vec!["It is smaller.".into()],
            }],
            rows: vec![row("float", 14.0, 88.0, 20.0, 1.0), row("int8", 3.5, 44.0, 5.0, 4.0)],
            notes: vec!["Few pictures.".into()],
        }
    }
}
