//! The command `posterize bench`.

mod flame;
mod per_layer;

use std::{fmt, path::PathBuf};

use clap::{Args, ValueEnum, ValueHint};
use serde::Serialize;

use self::per_layer::PerLayer;
use crate::{
    args::ThreadArgs,
    error::Result,
    loaded::Loaded,
    model::ModelArgs,
    timing::{self, Comparison, Pictures, Times},
    ui::{Align, Table, Ui},
};

const EXAMPLES: &str = "\
Examples:
  posterize bench mobilenet_v2 --batch 8 --threads 4
  posterize bench int8.safetensors --per-layer
  posterize bench int8.safetensors --compare mobilenet_v2";

const JSON_HELP: &str = "\
JSON output (--json), one object:
  model, precision      The model's name, and float32, int8, int8 dynamic or int8 weights
  median_ms, min_ms, p99_ms  Milliseconds per picture
  images_per_second     Pictures per second, from the mean time
  batch, threads, runs  As given by the options
  isa                   Instruction set that was used
  input                 float or pixels
  fused                 Whether batch norms and activations were fused
  compared              With --compare:
    other               model, precision and times of the other model, with the keys above
    ratio               Time of the first model divided by that of the other
      median, lower_quartile, upper_quartile, min, max  Over all pairs
      pairs             Number of pairs of measurements
  per_layer             With --per-layer:
    layers              In execution order:
      name, kind, kernel, precision  Node, operator, kernel, and type of the output:
                          float32 or int8; or int8 dynamic, whose output is float
      shape             Output shape of the whole batch
      multiply_adds     Multiply-adds of the whole batch
      seconds           Median time of the whole batch
      share             Part of the sum of all layers' times, 0 to 1
      of_peak           Part of the peak below that the layer reaches, 0 to 1, or null
    sum_ms              Sum of the median times, for the whole batch
    activation_bytes    Memory of all activations
    peaks               Measured peaks: isa, precision and
      multiply_adds_per_second  Of all threads together";

/// Measures how long a model takes, without reading pictures.
///
/// After a warm-up, one batch of noise runs through the model --runs times. Without --weights the
/// weights are random.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{JSON_HELP}"))]
pub(crate) struct Bench {
    #[command(flatten)]
    model: ModelArgs,

    /// Number of pictures in a batch
    #[arg(long, value_name = "B", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    batch: u16,

    /// Number of timed runs
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,

    /// What the model is given
    #[arg(long, value_enum, value_name = "INPUT", default_value_t = InputKind::Float)]
    input: InputKind,

    /// Also time every layer, and show how close it comes to the peak of the instruction set; the middle
    /// of long names is left out, which --json has
    #[arg(long)]
    per_layer: bool,

    /// Also time another model, alternating between the two, and print the ratio of their times: a file
    /// that `posterize train` or `posterize quantize` wrote, or the name of an architecture
    #[arg(long, value_name = "OTHER", value_hint = ValueHint::FilePath, conflicts_with = "per_layer")]
    compare: Option<String>,

    /// Checkpoint of the other model [default: random weights]
    #[arg(long, value_name = "FILE", requires = "compare")]
    compare_weights: Option<PathBuf>,

    /// Do not fuse batch norms and activations into the layers before them
    #[arg(long)]
    no_fuse: bool,

    #[command(flatten)]
    threads: ThreadArgs,
}

#[derive(Clone, Copy, Debug, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
enum InputKind {
    /// A normalized f32 tensor
    Float,
    /// 8-bit RGB values, as a decoder returns them
    Pixels,
}

/// The result: what was timed, and milliseconds per picture.
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
        let options = self.threads.options()?;
        let loaded = self.model.with_given_weights(ui)?;
        let loaded = self.prepare(loaded.refuse_if_int8("--no-fuse", self.no_fuse)?)?;
        let pictures = self.pictures(&loaded)?;
        let mut engine = loaded.engine(options)?;

        let (times, compared) = if let Some(other) = &self.compare {
            let other = self.model.other(other, self.compare_weights.clone());
            let other = self.prepare(other.with_given_weights(ui)?)?;
            let (other_pictures, other_engine) = (self.pictures(&other)?, other.engine(options)?);
            let mut engines = [engine, other_engine];
            let inputs = [pictures.input(), other_pictures.input()];
            let (own, compared) = timing::compare(
                &mut engines,
                &inputs,
                (&other.name, other.precision()),
                self.runs,
                ui,
            )?;
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
            times: Times::new(&loaded.name, loaded.precision(), times),
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
            InputKind::Float => timing::values(batch, loaded.input).map(Pictures::Tensor),
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
            ("ISA", Align::Left),
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
