//! `posterize bench MODEL`.

mod compare;
mod flame;
mod per_layer;
mod times;

use std::{fmt, path::PathBuf};

use clap::{Args, ValueEnum};
use serde::Serialize;

use self::{compare::Comparison, per_layer::PerLayer, times::Times};
use crate::{
    args::ThreadArgs,
    error::Result,
    model::{Loaded, ModelArgs},
    timing::{self, Pictures},
    ui::{Align, Table, Ui},
};

/// Times a network alone, without reading pictures: after a warm-up, over many runs of one batch.
#[derive(Args, Debug)]
pub(crate) struct Bench {
    #[command(flatten)]
    model: ModelArgs,

    /// Pictures in a run
    #[arg(long, value_name = "B", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    batch: u16,

    /// How many runs are timed
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,

    /// What the network is given: a normalised tensor, or pixels as they come from a decoder
    #[arg(long, value_enum, value_name = "INPUT", default_value_t = InputKind::Float)]
    input: InputKind,

    /// Time every layer, and show its share of the most that the instruction set could do
    #[arg(long)]
    per_layer: bool,

    /// Time another network in turns with it, and compare them: a file that `posterize quantize`
    /// wrote, or a network's name
    #[arg(long, value_name = "OTHER", conflicts_with = "per_layer")]
    compare: Option<String>,

    /// Checkpoint of the other network [default: fresh weights]
    #[arg(long, value_name = "FILE", requires = "compare")]
    compare_weights: Option<PathBuf>,

    /// Leave batch norms and activations layers of their own
    #[arg(long)]
    no_fuse: bool,

    #[command(flatten)]
    threads: ThreadArgs,
}

#[derive(Clone, Copy, Debug, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
enum InputKind {
    /// A tensor
    Float,
    /// 8-bit red, green and blue
    Pixels,
}

/// Milliseconds per picture.
#[derive(Debug, Serialize)]
struct Report {
    #[serde(flatten)]
    times: Times,
    batch: u16,
    threads: usize,
    runs: u32,
    isa: String,
    input: InputKind,
    fused: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    compared: Option<Comparison>,
    #[serde(skip_serializing_if = "Option::is_none")]
    per_layer: Option<PerLayer>,
}

impl Bench {
    pub(crate) fn run(&self, ui: &Ui) -> Result<()> {
        self.model.refuse_with_file(&[("--no-fuse", self.no_fuse)])?;
        let options = self.threads.options()?;
        let loaded = self.prepare(self.model.with_given_weights(ui)?)?;
        let pictures = self.pictures(&loaded)?;
        let mut engine = loaded.engine(options)?;

        let (times, compared) = if let Some(other) = &self.compare {
            let other = self.model.other(other, self.compare_weights.clone());
            let other = self.prepare(other.with_given_weights(ui)?)?;
            let (other_pictures, other_engine) = (self.pictures(&other)?, other.engine(options)?);
            let mut engines = [engine, other_engine];
            let inputs = [pictures.input(), other_pictures.input()];
            let (own, compared) = compare::run(&mut engines, &inputs, &other, self.runs, ui)?;
            (own, Some(compared))
        } else {
            (timing::times(&mut engine, pictures.input(), self.runs, ui)?, None)
        };
        let per_layer = if self.per_layer {
            let profile = loaded.engine(options)?.profile(pictures.input(), self.runs as usize)?;
            Some(PerLayer::new(profile, options))
        } else {
            None
        };
        let report = Report {
            times: Times::new(&loaded, times),
            batch: self.batch,
            threads: options.threads,
            runs: self.runs,
            isa: options.isa.to_string(),
            input: self.input,
            fused: !self.no_fuse,
            compared,
            per_layer,
        };
        ui.result(&report, &report)
    }

    fn prepare(&self, loaded: Loaded) -> Result<Loaded> {
        if self.no_fuse { Ok(loaded) } else { loaded.fuse() }
    }

    fn pictures(&self, loaded: &Loaded) -> Result<Pictures> {
        let (batch, size) = (usize::from(self.batch), loaded.preprocessing.crop);
        match self.input {
            InputKind::Float => timing::pictures(batch, size).map(Pictures::Tensor),
            InputKind::Pixels => timing::pixels(batch, size).map(Pictures::Pixels),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new([
            ("model", Align::Left),
            ("batch", Align::Right),
            ("threads", Align::Right),
            ("isa", Align::Left),
            ("median ms", Align::Right),
            ("min ms", Align::Right),
            ("p99 ms", Align::Right),
            ("pictures/s", Align::Right),
        ]);
        let other = self.compared.as_ref().map(|compared| &compared.other);
        for times in std::iter::once(&self.times).chain(other) {
            table.row([
                times.model.clone(),
                self.batch.to_string(),
                self.threads.to_string(),
                self.isa.clone(),
                format!("{:.3}", times.median_ms),
                format!("{:.3}", times.min_ms),
                format!("{:.3}", times.p99_ms),
                format!("{:.1}", times.images_per_second),
            ]);
        }
        write!(f, "{table}")?;
        if let Some(compared) = &self.compared {
            write!(f, "\n\n{} takes {compared}", self.times.model)?;
        }
        self.per_layer.as_ref().map_or(Ok(()), |per_layer| write!(f, "\n\n{per_layer}"))
    }
}
