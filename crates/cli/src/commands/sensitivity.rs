//! The command `posterize sensitivity`.

use std::{fmt, path::PathBuf, time::Instant};

use clap::Args;
use posterize::{
    data::{Class, ImageFolder, Loader, RandomSampler},
    quantization::{OutputQuality, Sensitivity as Measured},
};
use serde::Serialize;

use crate::{
    args::{CacheArgs, ExifArgs, ThreadArgs},
    calibration::CalibrationPictures,
    error::Result,
    loaded::outputs,
    model::{FLOAT_MODEL_HELP, ModelArgs},
    pictures::{self, Stream},
    quantization::QuantizationArgs,
    ranking::{RankedLayer, shares},
    ui::{
        Align, Table, Ui, Verbosity, count, decibels, finite, percent, shortened, signed, wrapped,
    },
};

const EXAMPLES: &str = "\
Examples:
  posterize sensitivity mobilenet_v2 --calibrate photos
  posterize sensitivity resnet50 --weights resnet50.pth --calibrate photos --data val -v
  posterize sensitivity mobilenet_v2 --calibrate photos --qconfig default --json";

const JSON_HELP: &str = "\
JSON output (--json), one object:
  model, weights, data  The model's name, its checkpoint, and the folder of --data or null
  pictures, skipped   Numbers of pictures compared, and of pictures that could not be decoded
  labelled            Whether top1 is the accuracy on labels, or else the agreement with float
  float_top1          Top-1 of the float network in percent
  int8                The network with all layers in int8:
    sqnr_db           Signal-to-quantization-noise ratio of the outputs in dB; null if exact
    top1              Top-1 in percent
  layers              Int8 layers, the most sensitive first:
    name, type        Dotted path, and operator
    only_int8, only_float  The network with only this layer in int8 or in float, as int8 above
    extra_ms, extra_bytes  Time for one picture and size that this layer costs in float
    facts             What was measured of the layer:
      weight, output  The weight (or null) and the output, with some of:
      largest, median  Largest absolute value of all channels, and of the median channel
      levels          Number of integers that the median channel uses
      per_channel     Whether each channel has a scale
      noise_share     Share of the noise of only_int8 that the rounding of the weights alone gives
      percentile      Absolute value that 99.9 % do not exceed
      mean_error, spread  Mean error of a channel, and the error around it
    causes            Likely causes, the most pronounced first:
      text, remedy, option  In words, what to try, and the option for it
  seconds, threads    Time of the whole command, and as given by the option";

/// The number of layers that are listed without -v.
const LISTED: usize = 20;

/// The largest number of layers whose causes are listed without -v, and their smallest part of the noise
/// of all layers.
const EXPLAINED: usize = 5;
const MIN_SHARE: f64 = 0.05;

/// The number of pictures in a batch.
const BATCH: usize = 10;

/// Measures how much accuracy each layer loses in int8, and says why and what to try.
///
/// The model is calibrated as by `posterize quantize` with the same options. Then every layer is measured
/// twice on some pictures: with only this layer in int8, and with only this layer in float. Those that add
/// most noise to the outputs are listed first. Without --data, the pictures are those of --calibrate, and
/// top-1 is how often the float model predicts the same.
#[derive(Args, Debug)]
#[command(
    mut_arg("name", |name| name.help(FLOAT_MODEL_HELP)),
    after_help = EXAMPLES,
    after_long_help = format!("{EXAMPLES}\n\n{JSON_HELP}")
)]
pub(crate) struct Sensitivity {
    #[command(flatten)]
    model: ModelArgs,

    #[command(flatten)]
    quantization: QuantizationArgs,

    /// Folder of labelled pictures to measure on, with one folder in it for each class
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,

    /// File with one line for each class, in the order of the class numbers, that begins with the name of
    /// its folder in --data [default: classes.txt in DIR or beside it; else the folders in sorted order]
    #[arg(long, value_name = "FILE", requires = "data")]
    classes: Option<PathBuf>,

    /// Number of pictures to measure on, chosen at random
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,

    #[command(flatten)]
    exif: ExifArgs,

    #[command(flatten)]
    threads: ThreadArgs,

    #[command(flatten)]
    cache: CacheArgs,
}

#[derive(Debug, Serialize)]
struct Report {
    model: String,
    weights: Option<PathBuf>,
    data: Option<PathBuf>,
    pictures: usize,
    skipped: usize,
    labelled: bool,
    float_top1: Option<f64>,
    int8: OutputQuality,
    layers: Vec<RankedLayer>,
    /// Time of the whole command.
    seconds: f64,
    threads: usize,
    #[serde(skip)]
    verbose: bool,
}

impl Sensitivity {
    pub(crate) fn run(&self, ui: &Ui) -> Result<()> {
        let start = Instant::now();
        let calibrate = self.quantization.pictures()?;
        let options = self.threads.options()?;
        let recipe = self.quantization.recipe()?;
        let network = self.model.with_trained_weights(&self.cache, ui)?;
        let (name, file) = (network.name.clone(), network.file.clone());
        let (preprocessing, classes) = (network.preprocessing.clone(), network.classes.clone());
        let float = network.into_float()?;
        let outputs = outputs(float.graph(), preprocessing.crop)?;
        let folder = ImageFolder::unlabelled(&calibrate)?;
        let labelled = self.labelled(&classes, outputs)?;

        let choice = self.quantization.choice();
        let loader = choice.loader(&folder, &name, &preprocessing, &self.exif, options.threads);
        let mut data = CalibrationPictures::new(&loader, ui);
        let quantized = float.quantize(&recipe.mapping()?, &recipe.passes, options, &mut data);
        data.skipped(folder.root())?;
        let quantized = quantized?;

        let measured = Loader::new(labelled.as_ref().unwrap_or(&folder), &preprocessing)
            .sampler(RandomSampler { seed: choice.seed })
            .batch_size(BATCH)
            .exif_orientation(self.exif.orientation())
            .threads(options.threads)
            .limit(self.limit as usize);
        let mut stream = Stream::new(&measured, measured.tensors(), ui);
        let (mut batches, mut labels) = (Vec::new(), Vec::new());
        for batch in stream.by_ref() {
            let batch = batch?;
            batches.push(vec![batch.images]);
            labels.extend(batch.labels);
        }
        stream.finish(labelled.as_ref().unwrap_or(&folder).root())?;
        let labels = labelled.is_some().then_some(&*labels);
        let bar = ui.steps_bar("measuring layers", 0);
        let found = quantized.sensitivity(&batches, labels, options, &mut |done, total| {
            bar.set_length(total as u64);
            bar.set_position(done as u64);
        })?;
        bar.finish_and_clear();
        let Measured { pictures, labelled, float_top1, int8, layers, .. } = found;
        let report = Report {
            model: name,
            weights: file,
            data: self.data.clone(),
            pictures,
            skipped: stream.skipped,
            labelled,
            float_top1,
            int8,
            layers: layers.into_iter().map(RankedLayer::new).collect(),
            seconds: start.elapsed().as_secs_f64(),
            threads: options.threads,
            verbose: ui.verbosity() >= Verbosity::Verbose,
        };
        ui.result(&report, &report)
    }

    /// Opens the pictures of --data.
    fn labelled(&self, classes: &[Class], outputs: usize) -> Result<Option<ImageFolder>> {
        let open = |data| pictures::open(data, self.classes.as_deref(), classes, outputs);
        self.data.as_deref().map(open).transpose()
    }
}

/// The width to which names of layers and operators are shortened.
const NAME_WIDTH: usize = 26;
const TYPE_WIDTH: usize = 14;

/// The width of the causes.
const TEXT_WIDTH: usize = 98;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new([
            ("layer", Align::Left),
            ("type", Align::Left),
            ("int8: dB", Align::Right),
            ("top-1", Align::Right),
            ("float: dB", Align::Right),
            ("top-1", Align::Right),
            ("ms", Align::Right),
            ("kB", Align::Right),
        ]);
        let difference = |a: Option<f64>, b: Option<f64>| {
            a.zip(b).map(|(a, b)| signed(a - b)).unwrap_or_default()
        };
        let listed = if self.verbose { self.layers.len() } else { LISTED };
        for layer in self.layers.iter().take(listed) {
            let RankedLayer { only_int8, only_float, .. } = layer;
            table.row([
                shortened(&layer.name, NAME_WIDTH),
                shortened(&layer.r#type, TYPE_WIDTH),
                decibels(finite(only_int8.sqnr_db)),
                difference(only_int8.top1, self.float_top1),
                if only_float.sqnr_db.is_finite() {
                    signed(only_float.sqnr_db - self.int8.sqnr_db)
                } else {
                    "exact".into()
                },
                difference(only_float.top1, self.int8.top1),
                layer.extra_ms.map(|ms| format!("{ms:+.3}")).unwrap_or_default(),
                format!("{:+.1}", layer.extra_bytes as f64 / 1e3),
            ]);
        }
        writeln!(f, "{table}")?;
        if self.layers.len() > listed {
            writeln!(f, "and {} less sensitive layers (-v for all)", self.layers.len() - listed)?;
        }
        for (index, (layer, share)) in self.layers.iter().zip(shares(&self.layers)).enumerate() {
            if !self.verbose && (index >= EXPLAINED || share < MIN_SHARE) {
                break;
            }
            let percent = 100.0 * share;
            writeln!(f, "\n{}, {percent:.0} % of the noise of all layers:", layer.name)?;
            let texts: Vec<&str> = layer.causes.iter().map(|cause| &*cause.text).collect();
            let text = if texts.is_empty() { "no single cause".into() } else { texts.join("; ") };
            for line in wrapped(&text, TEXT_WIDTH).lines() {
                writeln!(f, "  {line}")?;
            }
            write!(f, "  try {}", layer.option())?;
        }
        let of = |top1: Option<f64>| top1.map(percent).unwrap_or_default();
        let pictures = count(self.pictures as u64);
        write!(
            f,
            "\n\n{} with all layers in int8: {} dB, {} on {pictures} pictures",
            self.model,
            decibels(finite(self.int8.sqnr_db)),
            if self.labelled {
                format!("top-1 {} (float {})", of(self.int8.top1), of(self.float_top1))
            } else {
                format!("{} as float", of(self.int8.top1))
            },
        )?;
        f.write_str(
            "\nint8: signal-to-quantization-noise ratio of the outputs and change of top-1 with only this \
             layer\nin int8; float: gain with only this layer in float, and what it costs",
        )?;
        match self.skipped {
            0 => Ok(()),
            1 => f.write_str("; 1 picture skipped"),
            skipped => write!(f, "; {} pictures skipped", count(skipped as u64)),
        }
    }
}
