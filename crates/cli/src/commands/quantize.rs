//! The command `posterize quantize`.

use std::{fmt, fs, path::PathBuf, time::Instant};

use clap::{Args, ValueEnum, builder::PossibleValuesParser};
use posterize::{
    Tensor,
    data::{Class, ImageFolder, Loader, RandomSampler, Transform},
    format::SavedModel,
    models,
    quantization::{
        BiasCorrection, CalibrationData, Equalization, ObserverSpec, PostTraining,
        PostTrainingResult, QConfig, QConfigMapping, QuantizationParams,
    },
};
use serde::Serialize;

use crate::{
    args::{CacheArgs, ExifArgs, ThreadArgs},
    error::{CliError, Result},
    model::{FLOAT_MODEL_HELP, ModelArgs},
    paths::Paths,
    pictures,
    ui::{Align, Table, Ui, Verbosity, count, megabytes},
};

const EXAMPLES: &str = "\
Examples:
  posterize quantize mobilenet_v2 --calibrate 'photos/*.jpg' -o int8.safetensors
  posterize quantize resnet50 --weights resnet50.pth --calibrate photos -o int8.safetensors
  posterize quantize mobilenet_v2 --calibrate photos --skip 'classifier.*' -o int8.safetensors -v";

const JSON_HELP: &str = "\
JSON output (--json), one object:
  model, weights, output  The model's name, its checkpoint and the file written
  qconfig, per_tensor, augment, seed, threads  As given by the options
  passes              Passes of post-training quantization:
    equalization      never, always or if_better
    bias_correction   none, fast or empirical
  equalized           Whether channels between layers were scaled
  pictures, skipped   Numbers of calibration pictures, and of those that could not be decoded
  bytes_before, bytes_after  Sizes of the checkpoint (or null) and of the file written
  classes             Number of class names in the file
  int8_layers         Number of layers that compute in int8
  float_layers        Layers that stay in float:
    name, type, reason  Dotted path, operator, and why it stays in float
  ranges              Observed outputs, in execution order:
    name, min, max    Dotted path of the layer, and observed range of its output
    scale, zero_point  Quantization parameters computed from the range
  calibration_seconds, seconds  Time of calibration, and of the whole command";

/// Converts a float model to int8 and writes it to one file.
///
/// This is post-training static quantization: calibration pictures are run through the float model
/// while observers record the range of every activation. The file contains the int8 model, the
/// preprocessing of its pictures and its class names, so other commands need no more than this file.
/// Without --weights, published weights are downloaded (see `posterize fetch --help`). With -v, the
/// observed range, scale and zero point of every layer are printed.
#[derive(Args, Debug)]
#[command(
    mut_arg("name", |name| name.help(FLOAT_MODEL_HELP)),
    after_help = EXAMPLES,
    after_long_help = format!("{EXAMPLES}\n\n{JSON_HELP}")
)]
pub(crate) struct Quantize {
    #[command(flatten)]
    model: ModelArgs,

    /// Calibration pictures, which need no labels: a folder, whose pictures may be in folders at any
    /// depth, a picture, or a glob pattern such as 'photos/*.jpg'; can be given several times
    #[arg(long, value_name = "PATH", required = true)]
    calibrate: Vec<PathBuf>,

    /// File with one line for each class, in the order of the class numbers: the name of the class's
    /// folder, in double quotes or with a tab after it if it has spaces, then its readable name
    /// [default: if PATH is a folder, classes.txt in it or beside it; else the folders in it, if there
    /// is one for each class]
    #[arg(long, value_name = "FILE")]
    classes: Option<PathBuf>,

    /// Number of calibration batches
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    batches: u32,

    /// Number of pictures in a batch
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u16).range(1..))]
    batch_size: u16,

    /// Calibrate on random crops and flips, as in training, instead of centre crops
    #[arg(long)]
    augment: bool,

    /// QConfig: `recommended`, or a preset of PyTorch
    #[arg(long, value_name = "NAME", default_value = "recommended", value_parser = PossibleValuesParser::new(QConfig::PRESETS))]
    qconfig: String,

    /// How the ranges of activations are chosen [default: that of the qconfig]
    #[arg(long, value_enum, value_name = "NAME")]
    observer: Option<ObserverName>,

    /// Percentage of the values that is not above, and of those that is not below, the range of
    /// `--observer percentile`
    #[arg(long, value_name = "P", default_value_t = 99.999, value_parser = parse_percentile)]
    percentile: f64,

    /// How biases are corrected for the errors of quantization [default: empirical with `recommended`,
    /// none with a preset of PyTorch]
    #[arg(long, value_enum, value_name = "NAME")]
    bias_correction: Option<BiasCorrectionName>,

    /// Whether channels between layers are scaled so that the weights of both layers have similar ranges
    /// [default: if-better with `recommended`, never with a preset of PyTorch]
    #[arg(long, value_enum, value_name = "WHEN")]
    equalize: Option<EqualizeName>,

    /// Quantize each weight with one scale, instead of one for each output channel
    #[arg(long)]
    per_tensor: bool,

    /// Keep modules in float whose dotted path matches this glob pattern, such as features.0,
    /// 'features.1?' or '*.conv.0'; can be given several times
    #[arg(long, value_name = "GLOB")]
    skip: Vec<String>,

    /// Seed of the random numbers that choose the pictures, and their crops with --augment
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,

    /// File to write (safetensors)
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,

    #[command(flatten)]
    exif: ExifArgs,

    #[command(flatten)]
    threads: ThreadArgs,

    #[command(flatten)]
    cache: CacheArgs,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ObserverName {
    /// From the smallest to the largest value
    MinMax,
    /// The part of a histogram that PyTorch's HistogramObserver chooses
    Histogram,
    /// The range with the smallest squared error of the quantized values
    Mse,
    /// The range with the smallest Kullback-Leibler divergence, as ONNX Runtime's entropy calibration
    Entropy,
    /// Without the outermost values, see --percentile
    Percentile,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum EqualizeName {
    /// They are not
    Never,
    /// They are
    Always,
    /// They are if the outputs of some calibration pictures are then closer to those of the float network
    IfBetter,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum BiasCorrectionName {
    /// They are not
    None,
    /// For the rounding of the weights of their layer
    Fast,
    /// For all that shifts the mean of a channel in the int8 network; reads the pictures once more
    Empirical,
}

#[derive(Debug, Serialize)]
struct Report {
    model: String,
    weights: Option<PathBuf>,
    output: PathBuf,
    qconfig: String,
    per_tensor: bool,
    passes: PostTraining,
    /// Whether channels were equalized.
    equalized: bool,
    augment: bool,
    seed: u64,
    /// Number of calibration pictures.
    pictures: usize,
    /// Number of pictures skipped because they could not be decoded.
    skipped: usize,
    /// Size of the checkpoint.
    bytes_before: Option<u64>,
    /// Size of the file written.
    bytes_after: u64,
    /// Number of class names in the file.
    classes: usize,
    int8_layers: usize,
    float_layers: Vec<FloatLayer>,
    ranges: Vec<LayerRange>,
    /// Time of decoding and observing.
    calibration_seconds: f64,
    /// Time of the whole command.
    seconds: f64,
    threads: usize,
    #[serde(skip)]
    verbose: bool,
}

#[derive(Debug, Serialize)]
struct FloatLayer {
    name: String,
    r#type: String,
    reason: &'static str,
}

/// The observed range of a layer's output, and the quantization parameters computed from it.
#[derive(Debug, Serialize)]
struct LayerRange {
    name: String,
    min: f32,
    max: f32,
    scale: f32,
    zero_point: i32,
}

impl Quantize {
    /// Returns the files that the command reads and writes.
    pub(crate) fn paths(&self) -> Paths {
        // A pattern without matches is reported later.
        let calibrate = self.pictures().unwrap_or_default();
        let classes = self.classes_file(&calibrate);
        self.model
            .paths()
            .reads("--calibrate", &calibrate)
            .reads("--classes", &classes)
            .writes("-o", [&self.output])
    }

    pub(crate) fn run(&self, ui: &Ui) -> Result<()> {
        let start = Instant::now();
        let calibrate = self.pictures()?;
        let options = self.threads.options()?;
        let mapping = self.mapping()?;
        let network = self.model.with_trained_weights(&self.cache, ui)?;
        let (name, file) = (network.name.clone(), network.file.clone());
        // Weights that were downloaded have no option.
        self.paths().reads("the downloaded weights", &file).keep_inputs()?;
        let preprocessing = network.preprocessing.clone();
        let float = network.into_float()?;
        let crop = preprocessing.crop;
        let shapes = float.graph().infer(&[1, 3, crop, crop])?;
        let outputs = shapes[float.graph().output().0].shape.iter().product();
        let folder = ImageFolder::unlabelled(&calibrate)?;
        let classes = self.classes(&calibrate, outputs)?;

        let calibration = Instant::now();
        let transform: Transform = if self.augment {
            models::augmentation(&name, &preprocessing, self.seed)
        } else {
            (&preprocessing).into()
        };
        let batch_size = usize::from(self.batch_size);
        let loader = Loader::new(&folder, transform)
            .sampler(RandomSampler { seed: self.seed })
            .batch_size(batch_size)
            .exif_orientation(self.exif.orientation())
            .threads(options.threads)
            .limit(batch_size.saturating_mul(self.batches as usize));
        let passes = self.passes();
        let mut data = Pictures { loader: &loader, ui, skipped: 0 };
        let result = float.quantize(&mapping, &passes, options, &mut data);
        let skipped = data.skipped;
        if skipped == loader.len() {
            let data = folder.root().to_path_buf();
            return Err(CliError::NoPictures { data, skipped });
        }
        let PostTrainingResult { observed, model, pictures, equalized, .. } = result?;
        if pictures < batch_size * self.batches as usize {
            ui.note(format_args!(
                "{}: calibrated on {} pictures, fewer than the {} of --batches times --batch-size",
                folder.root().display(),
                count(pictures as u64),
                count(batch_size as u64 * u64::from(self.batches))
            ));
        }
        let calibration_seconds = calibration.elapsed().as_secs_f64();

        let ranges = observed.observers().filter_map(|(name, observer)| {
            let (range, qparams) = (observer.range()?, observer.calculate_qparams()?);
            let QuantizationParams::PerTensor(qparams) = qparams else { return None };
            Some(LayerRange {
                name: name.to_owned(),
                min: range.min,
                max: range.max,
                scale: qparams.scale,
                zero_point: qparams.zero_point,
            })
        });
        let ranges = ranges.collect();
        let float_layers = observed
            .float_layers()
            .into_iter()
            .map(|layer| FloatLayer { name: layer.name, r#type: layer.kind, reason: layer.reason })
            .collect();
        let int8_layers = model.layers().len();
        let saved = SavedModel::new(model)
            .with_name(&name)
            .with_preprocessing(preprocessing)
            .with_classes(classes)
            .with_float_graph(float.graph().clone());
        let bytes_after = saved.save(&self.output)?;
        let report = Report {
            bytes_before: file.as_deref().and_then(|file| fs::metadata(file).ok()).map(|m| m.len()),
            model: name,
            weights: file,
            output: self.output.clone(),
            qconfig: self.qconfig.clone(),
            per_tensor: self.per_tensor,
            passes,
            equalized,
            augment: self.augment,
            seed: self.seed,
            pictures,
            skipped,
            bytes_after,
            classes: saved.classes.len(),
            int8_layers,
            float_layers,
            ranges,
            calibration_seconds,
            seconds: start.elapsed().as_secs_f64(),
            threads: options.threads,
            verbose: ui.verbosity() >= Verbosity::Verbose,
        };
        ui.result(&report, &report)
    }

    fn passes(&self) -> PostTraining {
        let mut passes = PostTraining::of_preset(&self.qconfig);
        match self.equalize {
            None => {}
            Some(EqualizeName::Never) => passes.equalization = Equalization::Never,
            Some(EqualizeName::Always) => passes.equalization = Equalization::Always,
            Some(EqualizeName::IfBetter) => passes.equalization = Equalization::IfBetter,
        }
        match self.bias_correction {
            None => {}
            Some(BiasCorrectionName::None) => passes.bias_correction = BiasCorrection::None,
            Some(BiasCorrectionName::Fast) => passes.bias_correction = BiasCorrection::Fast,
            Some(BiasCorrectionName::Empirical) => {
                passes.bias_correction = BiasCorrection::Empirical;
            }
        }
        passes
    }

    fn mapping(&self) -> Result<QConfigMapping> {
        let mut qconfig: QConfig = self.qconfig.parse()?;
        if let Some(observer) = self.observer {
            let ObserverSpec { quant_range, reduce_range, .. } = qconfig.activation;
            let spec = match observer {
                ObserverName::MinMax => ObserverSpec::min_max(),
                ObserverName::Histogram => ObserverSpec::histogram(),
                ObserverName::Mse => ObserverSpec::mse(),
                ObserverName::Entropy => ObserverSpec::entropy(),
                ObserverName::Percentile => ObserverSpec::percentile(self.percentile / 100.0),
            };
            qconfig.activation = ObserverSpec { quant_range, reduce_range, ..spec };
        }
        if self.per_tensor {
            qconfig.weight = ObserverSpec::default_weight_observer();
        }
        let mut mapping = QConfigMapping::global(qconfig);
        for glob in &self.skip {
            mapping = mapping.set_module_glob(glob, None)?;
        }
        Ok(mapping)
    }

    /// Returns the pictures and folders of --calibrate, with patterns replaced by what matches them.
    fn pictures(&self) -> Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        for path in &self.calibrate {
            match path.to_str() {
                Some(path) => {
                    found.extend(pictures::expand(path).map_err(CliError::Usage)?);
                }
                None => found.push(path.clone()),
            }
        }
        Ok(found)
    }

    /// Returns the file of classes that was given, or else the one in or beside the folder of pictures.
    fn classes_file(&self, calibrate: &[PathBuf]) -> Option<PathBuf> {
        match only_folder(calibrate) {
            Some(folder) => pictures::classes_file(self.classes.as_deref(), folder),
            None => self.classes.clone(),
        }
    }

    /// Returns the classes to save, or none if they are not known. Calibration needs no classes.
    fn classes(&self, calibrate: &[PathBuf], outputs: usize) -> Result<Vec<Class>> {
        if let Some(file) = self.classes_file(calibrate) {
            let root = only_folder(calibrate).map(PathBuf::as_path);
            return pictures::read_classes(&file, root, outputs);
        }
        let labelled =
            only_folder(calibrate).and_then(|folder| ImageFolder::open(folder, None).ok());
        let classes = labelled.map(|folder| folder.classes().to_vec()).unwrap_or_default();
        Ok(if classes.len() == outputs { classes } else { Vec::new() })
    }
}

fn parse_percentile(text: &str) -> std::result::Result<f64, String> {
    let percentile = text.parse().map_err(|_| "expected a number from 50 to 100".to_owned())?;
    if (50.0..=100.0).contains(&percentile) {
        Ok(percentile)
    } else {
        Err(format!("expected a number from 50 to 100, found {percentile}"))
    }
}

/// The calibration pictures, with a progress bar for each pass over them.
struct Pictures<'a> {
    loader: &'a Loader,
    ui: &'a Ui,
    /// The number of pictures that were skipped, which is the same in every pass over all of them.
    skipped: usize,
}

impl CalibrationData for Pictures<'_> {
    fn batches(
        &mut self,
        pass: &str,
    ) -> Box<dyn Iterator<Item = posterize::Result<Vec<Tensor>>> + '_> {
        let (mut batches, ui) = (self.loader.tensors(), self.ui);
        let bar = ui.pictures_bar(self.loader.len() as u64);
        bar.set_message(pass.to_owned());
        let warned = &mut self.skipped;
        let mut seen = 0;
        Box::new(std::iter::from_fn(move || {
            let batch = batches.next();
            let skipped = batches.skipped();
            bar.inc((skipped.len() - seen) as u64);
            seen = skipped.len();
            // Of the pictures that an earlier pass skipped, the user knows.
            for picture in skipped.iter().skip(*warned) {
                ui.warn(format_args!("{} (picture skipped)", picture.error));
            }
            *warned = seen.max(*warned);
            match batch {
                Some(Ok(batch)) => {
                    bar.inc(batch.images.shape()[0] as u64);
                    Some(Ok(vec![batch.images]))
                }
                Some(Err(error)) => Some(Err(error)),
                None => {
                    bar.finish_and_clear();
                    None
                }
            }
        }))
    }
}

/// Returns the folder if the pictures are those of one folder.
fn only_folder(calibrate: &[PathBuf]) -> Option<&PathBuf> {
    match calibrate {
        [folder] if folder.is_dir() => Some(folder),
        _ => None,
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.verbose {
            let mut table = Table::new([
                ("output of", Align::Left),
                ("min", Align::Right),
                ("max", Align::Right),
                ("scale", Align::Right),
                ("zero point", Align::Right),
            ]);
            for range in &self.ranges {
                table.row([
                    range.name.clone(),
                    format!("{:.4}", range.min),
                    format!("{:.4}", range.max),
                    format!("{:.6}", range.scale),
                    range.zero_point.to_string(),
                ]);
            }
            writeln!(f, "{table}\n")?;
        }
        let mut table = Table::new([
            ("model", Align::Left),
            ("qconfig", Align::Left),
            ("pictures", Align::Right),
            ("float size", Align::Right),
            ("int8 size", Align::Right),
            ("int8 layers", Align::Right),
            ("float layers", Align::Right),
        ]);
        table.row([
            self.model.clone(),
            format!("{}{}", self.qconfig, if self.per_tensor { ", per tensor" } else { "" }),
            count(self.pictures as u64),
            self.bytes_before.map(megabytes).unwrap_or_default(),
            megabytes(self.bytes_after),
            self.int8_layers.to_string(),
            self.float_layers.len().to_string(),
        ]);
        writeln!(f, "{table}\n")?;
        for layer in &self.float_layers {
            writeln!(f, "{} ({}) stays in float: {}", layer.name, layer.r#type, layer.reason)?;
        }
        write!(
            f,
            "{} written in {:.1} s, of which calibration took {:.1} s",
            self.output.display(),
            self.seconds,
            self.calibration_seconds
        )?;
        if self.classes == 0 {
            write!(f, "; it has no class names: pass --classes FILE to include them")?;
        }
        match self.skipped {
            0 => Ok(()),
            1 => write!(f, "; 1 picture skipped"),
            skipped => write!(f, "; {} pictures skipped", count(skipped as u64)),
        }
    }
}
