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
    /// What came out of it.
    pub(super) findings: Vec<String>,
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
    pub(super) method: &'static str,
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
            self.score.method.to_owned(),
            format!("{:.2}", self.score.size_mb),
            format!("{:.2}", self.score.top1),
            format!("{:.2}", self.score.top5),
            format!("{:.2}", self.ms_per_image),
            format!("{:.2}×", self.speedup),
        ]
    }
}

#[cfg(test)]
impl Story {
    /// A made-up one, with everything that has to be escaped somewhere.
    pub(super) fn example() -> Self {
        let row = |method, size_mb, top1, ms_per_image, speedup| Row {
            score: Score { method, size_mb, top1, top5: 98.0 },
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
                findings: vec!["It is smaller.".into()],
            }],
            rows: vec![row("float", 14.0, 88.0, 20.0, 1.0), row("int8", 3.5, 44.0, 5.0, 4.0)],
            notes: vec!["Few pictures.".into()],
        }
    }
}
