//! The command `posterize quantize`.

mod layers;
mod modes;
mod pictures_digest;
mod ranges_file;
mod recipe_file;
mod search;

use std::{fmt, fs, path::PathBuf, time::Instant};

use clap::Args;
use posterize::{
    Tensor,
    data::{Class, ImageFolder},
    format::SavedModel,
    quantization::{
        AccuracyTarget, BiasCorrection, CalibrationData, PostTraining, PostTrainingResult,
        Rounding, Varied,
    },
};
use serde::Serialize;

use self::{
    layers::{FloatLayer, LayerRange, ranges_table},
    modes::{Mode, ModeArgs},
    ranges_file::RangesFile,
    recipe_file::RecipeFile,
    search::Validation,
};
use crate::{
    args::{CacheArgs, ExifArgs, ThreadArgs},
    arrays,
    calibration::CalibrationPictures,
    error::{CliError, Result},
    loaded::outputs,
    model::{FLOAT_MODEL_HELP, ModelArgs},
    onnx,
    paths::Paths,
    pictures,
    quantization::{Choice, QuantizationArgs},
    ui::{Align, Table, Ui, Verbosity, count, megabytes},
};

const EXAMPLES: &str = "\
Examples:
  posterize quantize mobilenet_v2 --calibrate 'photos/*.jpg' -o int8.safetensors
  posterize quantize resnet50 --weights resnet50.pth --no-pictures -o int8.safetensors
  posterize quantize mobilenet_v2 --calibrate photos --data val --max-drop 0.5 -o int8.safetensors
  posterize quantize mobilenet_v2 --ranges ranges.json --calibrate photos -o int8.safetensors";

const JSON_HELP: &str = "\
JSON output (--json), one object:
  model, weights, output  The model's name, its checkpoint and the file written
  qconfig, per_tensor, augment, seed, threads  As given by the options
  passes              Passes of post-training quantization:
    equalization      never, unbounded, always or if_better
    bias_correction   none, fast or empirical
    rounding          nearest, coordinate_descent or ada_round
    float_outputs     Whether linear layers that are outputs are quantized dynamically
    seed              That of the samples that rounding uses
  equalized           Whether channels between layers were scaled
  pictures, skipped   Numbers of calibration pictures, and of those that could not be decoded
  bytes_before, bytes_after  Sizes of the checkpoint (or null) and of the file written
  classes             Number of class names in the file
  int8_layers         Number of layers that compute in int8
  float_layers        Layers that stay in float:
    name, type, reason  Dotted path, operator, and why it stays in float
  ranges              Observed outputs, in execution order:
    name, min, max    Dotted path of the layer, and observed range of its output
    scale, zero_point  Quantization parameters computed from the range that the observer chose
  ranges_file         File of --ranges, or null
  saved_ranges        File of --save-ranges, or null
  target              With --max-drop, the search; alone with model if the target is not met:
    max_drop, budget_ms, data  As given by the options
    met               Whether the target is met
    images            Numbers of pictures of both halves:
      search, confirmation  The half that decides, and the other one (0 or null: not looked at)
    float, attempts   The float network, and the int8 ones in the order in which they were tried:
      what            What was changed
      metric, drop    Top-1 in percent, and what it lost, on both halves as above
      sqnr_db         Signal-to-quantization-noise ratio of the outputs on calibration pictures
      ms, bytes       Time for one picture, and size of the weights
      kept, met       Whether the search went on from it, and whether it meets the target
    chosen            Position of the result in the attempts
    given_back        Layers that were given back to float, with name, type and:
      sqnr_db         The same with only this layer in int8
      extra_ms, extra_bytes  What only this layer in float costs
  calibration_seconds, seconds  Time of calibration, and of the whole command

JSON output with --dynamic, --weight-only, --no-pictures or --calibrate-arrays, one object:
  model, weights, output, qconfig, per_tensor, bytes_before, bytes_after  As above
  classes, float_layers, seconds  As above
  mode                dynamic, weight_only, no_pictures or arrays
  samples             With --calibrate-arrays, the number of samples
  float_bytes, int8_bytes  Bytes of the weights, scales and biases in float, and as written
  int8_layers, int8_weights  Numbers of layers that compute in int8, and of those with int8 weights
                      and float values
  passes, ranges      With --no-pictures or --calibrate-arrays, as above; those of --no-pictures are
                      estimates";

/// The options that a recipe replaces.
const RECIPE_OPTIONS: [&str; 14] = [
    "max_drop",
    "batches",
    "batch_size",
    "augment",
    "qconfig",
    "observer",
    "percentile",
    "bias_correction",
    "equalize",
    "rounding",
    "per_tensor",
    "reduce_range",
    "skip",
    "seed",
];

/// Converts a float model to int8 and writes it to one file.
///
/// This is post-training static quantization: calibration pictures are run through the float model
/// while observers record the range of every activation. The file contains the int8 model, the
/// preprocessing of its pictures and its class names, so other commands need no more than this file.
/// Without --weights, published weights are downloaded (see `posterize fetch --help`). With -v, the
/// observed range, scale and zero point of every layer are printed.
///
/// With --ranges, the ranges are those of a file that --save-ranges wrote, and no picture is observed.
/// Only bias correction and rounding then need --calibrate; with `--bias-correction none --rounding nearest`
/// no pictures are needed. Every line of the file is an activation, whose min and max may be changed: its
/// scale and zero point are calculated from them. The network, --qconfig and --observer must be the same.
///
/// Without pictures, --no-pictures estimates the ranges from the statistics of the batch norms, --dynamic
/// quantizes linear layers with ranges that are found when they run, and --weight-only makes only the file
/// smaller.
///
/// With --max-drop, recipes are tried until the int8 network loses no more than that: ranges,
/// equalization, bias correction, rounding, then layers in float, most sensitive first. Half of the pictures
/// of --data decide, and the other half must confirm it. If the target cannot be met, nothing is written
/// and the exit code is 5. Options for a part of the recipe keep it as they say.
#[derive(Args, Debug)]
#[command(
    mut_arg("name", |name| name.help(FLOAT_MODEL_HELP)),
    mut_arg("calibrate", |calibrate| {
        calibrate.required(false).required_unless_present_any(["ranges", "dynamic", "weight_only", "no_pictures", "calibrate_arrays"])
    }),
    after_help = EXAMPLES,
    after_long_help = format!("{EXAMPLES}\n\n{JSON_HELP}")
)]
pub(crate) struct Quantize {
    #[command(flatten)]
    model: ModelArgs,

    #[command(flatten)]
    quantization: QuantizationArgs,

    #[command(flatten)]
    modes: ModeArgs,

    /// File with one line for each class, in the order of the class numbers: the name of the class's
    /// folder, in double quotes or with a tab after it if it has spaces, then its readable name
    /// [default: if PATH is a folder, classes.txt in it or beside it; else the folders in it, if there
    /// is one for each class]
    #[arg(long, value_name = "FILE")]
    classes: Option<PathBuf>,

    /// Search for an int8 network whose top-1 accuracy on --data is at most P points below that of the
    /// float network
    #[arg(long, value_name = "P", requires = "data", allow_negative_numbers = true)]
    max_drop: Option<f64>,

    /// Folder of pictures for --max-drop, with one folder in it for each class
    #[arg(long, value_name = "DIR", requires = "max_drop")]
    data: Option<PathBuf>,

    /// Use only N pictures of --data, chosen at random
    #[arg(long, value_name = "N", requires = "max_drop", value_parser = clap::value_parser!(u32).range(2..))]
    limit: Option<u32>,

    /// Largest time of the int8 network for one picture in milliseconds, on the threads of --threads
    /// [default: that of the float network, for networks with layers that were given back to it]
    #[arg(long, value_name = "MS", requires = "max_drop")]
    budget_ms: Option<f64>,

    /// Repeat what this file says, without a search: it has the observers, passes, layers in float, seed
    /// and numbers of pictures
    #[arg(long, value_name = "FILE", conflicts_with_all = RECIPE_OPTIONS)]
    recipe: Option<PathBuf>,

    /// Also write a file (JSON) for --recipe, which can be read and changed
    #[arg(long, value_name = "FILE")]
    save_recipe: Option<PathBuf>,

    /// Do not observe activations, but use the ranges of this file, which can be read and changed
    #[arg(long, value_name = "FILE", conflicts_with_all = ["max_drop", "save_recipe", "save_ranges"])]
    ranges: Option<PathBuf>,

    /// Also write a file (JSON) for --ranges, with the range of every activation
    #[arg(long, value_name = "FILE")]
    save_ranges: Option<PathBuf>,

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

#[allow(clippy::struct_excessive_bools, reason = "they are keys of an object of JSON")]
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
    /// The file that the ranges are from.
    ranges_file: Option<PathBuf>,
    /// The file that the ranges were written to.
    saved_ranges: Option<PathBuf>,
    /// The search, with --max-drop.
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<search::Report>,
    /// Time of decoding and observing.
    calibration_seconds: f64,
    /// Time of the whole command.
    seconds: f64,
    threads: usize,
    #[serde(skip)]
    verbose: bool,
}

/// What is printed with `--json` of a target that is not met.
#[derive(Debug, Serialize)]
struct Missed<'a> {
    model: &'a str,
    target: &'a search::Report,
}

impl Quantize {
    /// Returns the files that the command reads and writes.
    pub(crate) fn paths(&self) -> Paths {
        // A pattern without matches is reported later.
        let calibrate = self.quantization.pictures().unwrap_or_default();
        let classes = self.classes_file(&calibrate);
        self.model
            .paths()
            .reads("--calibrate", &calibrate)
            .reads("--classes", &classes)
            .reads("--calibrate-arrays", &self.modes.array_files())
            .reads("--data", &self.data)
            .reads("--recipe", &self.recipe)
            .reads("--ranges", &self.ranges)
            .writes("-o", [&self.output])
            .writes("--save-recipe", &self.save_recipe)
            .writes("--save-ranges", &self.save_ranges)
    }

    pub(crate) fn run(&self, ui: &Ui) -> Result<()> {
        if let Some(mode) = self.modes.mode() {
            return self.without_pictures(mode, ui);
        }
        let start = Instant::now();
        let calibrate = self.quantization.pictures()?;
        let options = self.threads.options()?;
        let file_of_recipe = self.recipe.as_deref().map(RecipeFile::read).transpose()?;
        let (choice, recipe) = match &file_of_recipe {
            Some(file) => (file.choice.clone(), file.recipe.clone()),
            None => (self.quantization.choice(), self.quantization.recipe()?),
        };
        let file_of_ranges =
            self.ranges.as_deref().map(|path| RangesFile::read(path, ui)).transpose()?;
        if calibrate.is_empty() {
            self.check_without_pictures(&recipe.passes)?;
        }
        let network = self.model.with_trained_weights(&self.cache, ui)?;
        let (name, file) = (network.name.clone(), network.file.clone());
        // Weights that were downloaded have no option.
        self.paths().reads("the downloaded weights", &file).keep_inputs()?;
        let preprocessing = network.preprocessing.clone();
        let float = network.into_float()?;
        let outputs = outputs(float.graph(), preprocessing.crop)?;
        let folder =
            if calibrate.is_empty() { None } else { Some(ImageFolder::unlabelled(&calibrate)?) };
        let mut classes = self.classes(&calibrate, outputs)?;

        let calibration = Instant::now();
        let loader = folder.as_ref().map(|folder| {
            choice.loader(folder, &name, &preprocessing, &self.exif, options.threads)
        });
        if let (Some(file), Some(path)) = (&file_of_recipe, &self.recipe) {
            file.check(path, &float, loader.as_ref(), ui)?;
        }
        let mut observed = loader.as_ref().map(|loader| CalibrationPictures::new(loader, ui));
        let mut no_pictures = Vec::<Tensor>::new();
        let data: &mut dyn CalibrationData = match &mut observed {
            Some(pictures) => pictures,
            None => &mut no_pictures,
        };
        let mut target = None;
        let result = if let (Some(wanted), Some(labelled)) = (&self.target(), &self.data) {
            let folder = pictures::open(labelled, self.classes.as_deref(), &classes, outputs)?;
            if classes.is_empty() {
                classes = folder.classes().to_vec();
            }
            let validation = Validation::new(
                &folder,
                self.limit.map(|limit| limit as usize),
                choice.seed,
                &preprocessing,
                &self.exif,
                options.threads,
                ui,
            )?;
            let options = options.pictures(&preprocessing);
            validation.search(&float, &recipe, wanted, options, data).map(|(found, report)| {
                target = Some(report);
                (found.quantized, found.recipe)
            })
        } else if let (Some(file), Some(path)) = (&file_of_ranges, &self.ranges) {
            if let Some(loader) = loader.as_ref().filter(|_| recipe.passes.needs_pictures()) {
                file.check_pictures(path, &choice, loader, ui);
            }
            let (mapping, passes) = (recipe.mapping()?, &recipe.passes);
            let result = float.quantize_with_ranges(&file.ranges, &mapping, passes, options, data);
            result.map(|quantized| (quantized, recipe)).map_err(|error| match error {
                posterize::Error::Ranges(problem) => CliError::File { path: path.clone(), problem },
                other => other.into(),
            })
        } else {
            let mapping = recipe.mapping()?;
            let result = float.quantize(&mapping, &recipe.passes, options, data);
            result.map(|quantized| (quantized, recipe)).map_err(CliError::from)
        };
        let skipped = match (&observed, &folder) {
            (Some(pictures), Some(folder)) => pictures.skipped(folder.root())?,
            _ => 0,
        };
        let (quantized, recipe) = result?;
        let of_file = file_of_ranges.is_some();
        if let Some(folder) =
            folder.as_ref().filter(|_| !of_file && quantized.pictures < choice.pictures())
        {
            ui.note(format_args!(
                "{}: calibrated on {} pictures, fewer than the {} of --batches times --batch-size",
                folder.root().display(),
                count(quantized.pictures as u64),
                count(choice.pictures() as u64)
            ));
        }
        if let Some(target) = target.as_ref().filter(|target| !target.met) {
            let report = Missed { model: &name, target };
            ui.result(&report, target)?;
            return Err(target.not_met(&self.output));
        }
        let calibration_seconds = calibration.elapsed().as_secs_f64();
        let calibrated = match &self.save_ranges {
            Some(_) => Some(quantized.ranges(&float)?),
            None => None,
        };
        let PostTrainingResult { observed, model, pictures, equalized, passes, .. } = quantized;
        let ranges = LayerRange::all(&observed);
        let float_layers = observed.float_layers().into_iter().map(FloatLayer::from).collect();
        let int8_layers = model.layers().len() + model.dynamic_layers();
        let saved = SavedModel::new(model)
            .with_name(&name)
            .with_preprocessing(preprocessing)
            .with_classes(classes)
            .with_float_graph(float.graph().clone());
        let bytes_after = saved.save(&self.output)?;
        if let (Some(path), Some(loader)) = (&self.save_recipe, &loader) {
            RecipeFile::new(&name, &float, loader, choice.clone(), recipe).write(path)?;
        }
        if let (Some(path), Some(loader), Some(ranges)) = (&self.save_ranges, &loader, calibrated) {
            RangesFile::new(&name, choice.clone(), loader, ranges).write(path)?;
        }
        let Choice { augment, seed, .. } = choice;
        // The weights of an ONNX file may be in another file.
        let is_onnx = file.as_ref().and_then(|file| file.to_str()).is_some_and(onnx::is_onnx);
        let values = float.parameters().values().map(|tensor| tensor.data().len() as u64);
        let bytes_before = if is_onnx {
            Some(4 * values.sum::<u64>())
        } else {
            file.as_deref().and_then(|file| fs::metadata(file).ok()).map(|m| m.len())
        };
        let report = Report {
            bytes_before,
            model: name,
            weights: file,
            output: self.output.clone(),
            qconfig: match &self.recipe {
                Some(path) => path.display().to_string(),
                None => self.quantization.qconfig.clone(),
            },
            per_tensor: self.quantization.per_tensor,
            passes,
            equalized,
            augment,
            seed,
            pictures,
            skipped,
            bytes_after,
            classes: saved.classes.len(),
            int8_layers,
            float_layers,
            ranges,
            ranges_file: self.ranges.clone(),
            saved_ranges: self.save_ranges.clone(),
            target,
            calibration_seconds,
            seconds: start.elapsed().as_secs_f64(),
            threads: options.threads,
            verbose: ui.verbosity() >= Verbosity::Verbose,
        };
        ui.result(&report, &report)
    }

    /// Returns an error if a pass needs pictures, which are not given because the ranges are.
    fn check_without_pictures(&self, passes: &PostTraining) -> Result<()> {
        let mut needing = Vec::new();
        if passes.bias_correction != BiasCorrection::None {
            needing.push(("bias correction", " --bias-correction none"));
        }
        if passes.rounding != Rounding::Nearest {
            needing.push(("rounding", " --rounding nearest"));
        }
        let (names, options): (Vec<_>, Vec<_>) = needing.into_iter().unzip();
        let verb = match *names {
            [] => return Ok(()),
            [_] => "needs",
            _ => "need",
        };
        // With a recipe, these options are its own.
        let instead = match self.recipe {
            Some(_) => String::new(),
            None => format!(", or{}", options.concat()),
        };
        Err(CliError::Usage(format!(
            "--ranges has the ranges of activations, but {} {verb} pictures: pass --calibrate PATH{instead}",
            names.join(" and ")
        )))
    }

    /// Quantizes without calibration pictures.
    fn without_pictures(&self, mode: Mode, ui: &Ui) -> Result<()> {
        let start = Instant::now();
        let (options, batch_size) =
            (self.threads.options()?, usize::from(self.quantization.choice().batch_size));
        let files = self.modes.arrays()?;
        let (network, outputs) = if mode == modes::Mode::Arrays && self.model.is_file() {
            let size = files.first().and_then(|first| arrays::size(first));
            let file = self.model.saved(size, ui)?;
            let network = modes::Network::of_file(&self.model.name, file, &files, batch_size)?;
            let outputs = network.outputs()?;
            (network, outputs)
        } else {
            let loaded = self.model.with_trained_weights(&self.cache, ui)?;
            self.paths().reads("the downloaded weights", &loaded.file).keep_inputs()?;
            let outputs = loaded.outputs()?;
            let mut network = modes::Network::try_from(loaded)?;
            network.calibrate_with(&self.model.name, &files, &[], batch_size)?;
            (network, outputs)
        };
        let classes = self.classes(&[], outputs)?;
        let args = &self.quantization;
        let task = modes::Task { mode, args, classes, output: &self.output, options, start };
        let report = task.quantize(network, ui)?;
        ui.result(&report, &report)
    }

    /// Returns the target of a search. Parts of the recipe that an option sets are kept.
    fn target(&self) -> Option<AccuracyTarget> {
        let mut target = AccuracyTarget::new(self.max_drop?).budget_ms(self.budget_ms);
        for (part, given) in [
            (Varied::Ranges, self.quantization.observer.is_some()),
            (Varied::Equalization, self.quantization.equalize.is_some()),
            (Varied::BiasCorrection, self.quantization.bias_correction.is_some()),
            (Varied::Rounding, self.quantization.rounding.is_some()),
        ] {
            if given {
                target = target.keep(part);
            }
        }
        Some(target)
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
            writeln!(f, "{}\n", ranges_table(&self.ranges))?;
        }
        if let Some(target) = &self.target {
            writeln!(f, "{target}\n")?;
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
        let given_back = |name| self.target.as_ref().is_some_and(|target| target.gave_back(name));
        for layer in self.float_layers.iter().filter(|layer| !given_back(&layer.name)) {
            writeln!(f, "{} ({}) stays in float: {}", layer.name, layer.r#type, layer.reason)?;
        }
        write!(f, "{} written in {:.1} s", self.output.display(), self.seconds)?;
        match &self.ranges_file {
            Some(file) => write!(f, " with the ranges of {}", file.display())?,
            None => write!(f, ", of which calibration took {:.1} s", self.calibration_seconds)?,
        }
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
