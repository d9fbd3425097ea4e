//! The result that `posterize train` prints.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use posterize::{
    runtime::Options,
    training::{EpochRecord, History, Keep, Outcome, TrainOptions},
};
use serde::Serialize;

use super::{
    baselines::Baselines,
    describe::describe,
    files::{Files, Metadata},
    options::QatArgs,
};
use crate::ui::{Align, Table, count, duration, megabytes, percent};

#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) model: String,
    pub(super) weights: Option<PathBuf>,
    /// Number of trained values.
    pub(super) parameters: usize,
    /// `float`, or `QAT` with its qconfig.
    pub(super) training: String,
    /// What was trained with, as a sentence.
    pub(super) settings: String,
    /// Number of training pictures.
    pub(super) train_images: usize,
    /// Number of validation pictures.
    pub(super) val_images: usize,
    /// How often a training picture was skipped because it could not be decoded.
    skipped: usize,
    pub(super) epochs: Vec<EpochRecord>,
    /// The epoch with the highest validation accuracy.
    best_epoch: usize,
    /// Its validation accuracy in percent.
    best_top1: f64,
    /// The validation accuracy of the last epoch in percent.
    last_top1: f64,
    /// The validation accuracy of the float network before quantization-aware training, in percent.
    float_top1: Option<f64>,
    /// That of the int8 network before training.
    untrained_top1: Option<f64>,
    kept: Keep,
    kept_epoch: usize,
    output: PathBuf,
    bytes: u64,
    float_output: Option<PathBuf>,
    log: PathBuf,
    steps: PathBuf,
    page: PathBuf,
    checkpoint: PathBuf,
    pub(super) seconds: f64,
    threads: usize,
    isa: String,
}

impl Report {
    #[expect(clippy::too_many_arguments, reason = "a report has many parts")]
    pub(super) fn new(
        metadata: &Metadata,
        weights: Option<PathBuf>,
        parameters: usize,
        files: &Files,
        bytes: u64,
        qat: &QatArgs,
        outcome: &Outcome,
        baselines: Option<Baselines>,
        history: &History,
        (train_images, val_images, skipped): (usize, usize, usize),
        (train_options, batches): (&TrainOptions, usize),
        seconds: f64,
        options: Options,
    ) -> Self {
        Self {
            model: metadata.model.clone(),
            weights,
            parameters,
            training: qat.describe(),
            settings: describe(train_options, batches),
            train_images,
            val_images,
            skipped,
            epochs: history.epochs.clone(),
            best_epoch: outcome.best.epoch,
            best_top1: outcome.best.val_top1,
            last_top1: outcome.last.val_top1,
            float_top1: baselines.map(|found| found.float),
            untrained_top1: baselines.map(|found| found.untrained),
            kept: outcome.kept,
            kept_epoch: outcome.kept_epoch().epoch,
            output: files.output.clone(),
            bytes,
            float_output: files.float_output.clone(),
            log: files.log.clone(),
            steps: files.steps.clone(),
            page: files.page.clone(),
            checkpoint: files.checkpoint.clone(),
            seconds,
            threads: options.threads,
            isa: options.isa.to_string(),
        }
    }

    /// Returns the model's name and the kind of training.
    pub(super) fn title(&self) -> String {
        format!("{}, {}", self.model, self.training)
    }

    /// Describes the best and the last accuracy, and which epoch was kept.
    pub(super) fn summary(&self) -> String {
        let before = match (self.float_top1, self.untrained_top1) {
            (Some(float), Some(untrained)) => {
                format!("; before training: float {}, int8 {}", percent(float), percent(untrained))
            }
            _ => String::new(),
        };
        format!(
            "validation top-1: best {} after epoch {}, last {} after epoch {}{before}; written: the {} \
             epoch",
            percent(self.best_top1),
            self.best_epoch,
            percent(self.last_top1),
            self.epochs.len().saturating_sub(1),
            match self.kept {
                Keep::Best => "best",
                Keep::Last => "last",
            }
        )
    }

    /// Column headings of the table of epochs.
    pub(super) const HEADS: [&'static str; 8] = [
        "epoch",
        "lr",
        "train loss",
        "train top-1",
        "val loss",
        "val top-1",
        "val top-5",
        "pictures/s",
    ];

    /// Returns the cells of an epoch's row.
    pub(super) fn cells(epoch: &EpochRecord) -> [String; 8] {
        [
            epoch.epoch.to_string(),
            format!("{:.3e}", epoch.lr),
            format!("{:.4}", epoch.train_loss),
            percent(epoch.train_top1),
            format!("{:.4}", epoch.val_loss),
            percent(epoch.val_top1),
            percent(epoch.val_top5),
            format!("{:.1}", epoch.train_images as f64 / epoch.train_seconds.max(1e-9)),
        ]
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new(Self::HEADS.map(|head| (head, Align::Right)));
        for epoch in &self.epochs {
            table.row(Self::cells(epoch));
        }
        writeln!(f, "{table}\n\n{}: {}", self.title(), self.summary())?;
        writeln!(f, "trained with {}", self.settings)?;
        let show = |path: &Path| path.display().to_string();
        write!(f, "{} ({}", show(&self.output), megabytes(self.bytes))?;
        if let Some(file) = &self.float_output {
            write!(f, "; float model: {}", show(file))?;
        }
        write!(
            f,
            ") written in {}; curves: {}; log: {}",
            duration(self.seconds),
            show(&self.page),
            show(&self.log)
        )?;
        match self.skipped {
            0 => Ok(()),
            1 => write!(f, "; 1 picture skipped"),
            skipped => write!(f, "; pictures skipped {} times", count(skipped as u64)),
        }
    }
}
