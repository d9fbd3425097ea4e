//! `posterize bench MODEL`.

use std::fmt;

use clap::Args;
use serde::Serialize;

use crate::{
    args::ThreadArgs,
    error::Result,
    model::ModelArgs,
    timing,
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

    /// Leave batch norms and activations layers of their own
    #[arg(long)]
    no_fuse: bool,

    #[command(flatten)]
    threads: ThreadArgs,
}

/// Milliseconds per picture.
#[derive(Debug, Serialize)]
struct Report {
    model: String,
    precision: &'static str,
    median_ms: f64,
    min_ms: f64,
    p99_ms: f64,
    images_per_second: f64,
    batch: u16,
    threads: usize,
    runs: u32,
    isa: String,
    fused: bool,
}

impl Bench {
    pub(crate) fn run(&self, ui: &Ui) -> Result<()> {
        self.model.refuse_with_file(&[("--no-fuse", self.no_fuse)])?;
        let options = self.threads.options()?;
        let loaded = self.model.with_given_weights(ui)?;
        let loaded = if self.no_fuse { loaded } else { loaded.fuse()? };
        let images = timing::pictures(usize::from(self.batch), loaded.preprocessing.crop)?;
        let mut engine = loaded.engine(options)?;

        let mut times = timing::times(&mut engine, &images, self.runs, ui)?;

        let report = Report {
            median_ms: timing::percentile(&mut times, 0.5),
            min_ms: timing::percentile(&mut times, 0.0),
            p99_ms: timing::percentile(&mut times, 0.99),
            images_per_second: 1e3 * times.len() as f64 / times.iter().sum::<f64>(),
            precision: loaded.precision(),
            model: loaded.name,
            batch: self.batch,
            threads: options.threads,
            runs: self.runs,
            isa: options.isa.to_string(),
            fused: !self.no_fuse,
        };
        ui.result(&report, &report)
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
        table.row([
            self.model.clone(),
            self.batch.to_string(),
            self.threads.to_string(),
            self.isa.clone(),
            format!("{:.3}", self.median_ms),
            format!("{:.3}", self.min_ms),
            format!("{:.3}", self.p99_ms),
            format!("{:.1}", self.images_per_second),
        ]);
        write!(f, "{table}")
    }
}
