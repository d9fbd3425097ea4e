//! What is told, before it is text, Markdown or a page.

use serde::Serialize;

/// The whole of it.
#[derive(Debug)]
pub(super) struct Story {
    /// The network's name.
    pub(super) model: String,
    /// What it is told on: network, pictures.
    pub(super) facts: Vec<String>,
    pub(super) steps: Vec<Step>,
    /// The float network first.
    pub(super) rows: Vec<Row>,
    /// How the figures were measured, and what they cannot say.
    pub(super) notes: Vec<String>,
}

/// One step on the way.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) heading: String,
    /// Why it is done.
    pub(super) explanation: String,
    pub(super) trees: Vec<Tree>,
    pub(super) figure: Option<Figure>,
    /// What came out of it.
    pub(super) findings: Vec<String>,
}

/// What words say badly.
#[derive(Debug)]
pub(super) enum Figure {
    Channels(Channels),
    Epochs(Epochs),
}

/// How large a layer's channels are beside the one step that they share.
#[derive(Debug)]
pub(super) struct Channels {
    pub(super) layer: String,
    /// The largest absolute weight of each output channel, in falling order.
    pub(super) largest: Vec<f32>,
    /// What one step of int8 is worth.
    pub(super) scale: f32,
    /// How many channels have no weight but zero in int8.
    pub(super) lost: usize,
}

/// How training went.
#[derive(Debug)]
pub(super) struct Epochs {
    pub(super) rows: Vec<Epoch>,
    /// Top-1 of the float network, and of the int8 network before training, in percent.
    pub(super) float: f64,
    pub(super) untrained: Option<f64>,
}

impl Epochs {
    /// The heads of the table's columns.
    pub(super) const HEADS: [&str; 4] = ["epoch", "loss", "training top-1 %", "int8 top-1 %"];
}

/// One epoch.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Epoch {
    /// Counted from 1.
    #[serde(rename = "epoch")]
    pub(super) number: usize,
    /// Mean over the training pictures.
    pub(super) loss: f64,
    /// Of the fake-quantized network on the training pictures, in percent.
    pub(super) train_top1: f64,
    /// Of the converted int8 network on the evaluated pictures, in percent.
    pub(super) top1: f64,
}

impl Epoch {
    /// The cells below [`Epochs::HEADS`].
    pub(super) fn cells(&self) -> [String; 4] {
        [
            self.number.to_string(),
            format!("{:.4}", self.loss),
            format!("{:.2}", self.train_top1),
            format!("{:.2}", self.top1),
        ]
    }
}

/// A module as it prints.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) caption: String,
    pub(super) code: String,
}

/// What a network is worth, whatever the machine.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Score {
    pub(super) method: String,
    /// 10^6 bytes.
    pub(super) size_mb: f64,
    /// Percent.
    pub(super) top1: f64,
    /// Percent.
    pub(super) top5: f64,
}

/// One line of the table.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Row {
    #[serde(flatten)]
    pub(super) score: Score,
    /// One picture at a time on one thread, the network alone.
    pub(super) ms_per_image: f64,
    /// The float network's time over this one's.
    pub(super) speedup: f64,
}

impl Row {
    /// The heads of the table's columns.
    pub(super) const HEADS: [&str; 6] =
        ["method", "size MB", "top-1 %", "top-5 %", "ms/picture", "speed-up"];

    /// The cells below them.
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

/// Three digits or so.
pub(super) fn milliseconds(value: f64) -> String {
    let decimals = if value < 1.0 { 3 } else { 2 };
    format!("{value:.decimals$}")
}

#[cfg(test)]
impl Epochs {
    /// Two epochs.
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
impl Story {
    /// A made-up one, with everything that has to be escaped somewhere.
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
