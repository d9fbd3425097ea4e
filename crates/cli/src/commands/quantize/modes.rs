//! Quantization without calibration pictures: with arrays, or with nothing.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    time::Instant,
};

use clap::{Args, ValueHint};
use posterize::{
    FloatModel, Tensor,
    data::{Class, Preprocessing},
    format::SavedModel,
    import::onnx::OnnxInput,
    quantization::{PostTraining, PostTrainingResult, QuantizedModel, Recipe},
    runtime::{Model, Options},
};
use serde::Serialize;

use super::layers::{FloatLayer, LayerRange, ranges_table};
use crate::{
    arrays::{self, Array, named},
    calibration_arrays::CalibrationArrays,
    error::{CliError, Result},
    loaded::Loaded,
    onnx::OnnxFile,
    quantization::{BiasCorrectionName, QuantizationArgs},
    ui::{Align, Table, Ui, Verbosity, megabytes},
};

/// The options that make sense only with calibration pictures.
const PICTURE_OPTIONS: [&str; 8] = [
    "calibrate",
    "batches",
    "augment",
    "max_drop",
    "recipe",
    "save_recipe",
    "ranges",
    "save_ranges",
];

/// The options that make sense only with calibration pictures or arrays.
const CALIBRATION_OPTIONS: [&str; 4] = ["batch_size", "equalize", "rounding", "seed"];

/// The options that do not matter where activations are not quantized with fixed ranges.
const RANGE_OPTIONS: [&str; 4] = ["observer", "percentile", "bias_correction", "reduce_range"];

/// The options that need no calibration pictures.
#[derive(Args, Clone, Debug)]
pub(super) struct ModeArgs {
    /// Quantize only linear layers, dynamically: their weights are int8 in the file, and each row of
    /// their input is quantized when it runs; needs no pictures
    #[arg(long, conflicts_with_all = PICTURE_OPTIONS, conflicts_with_all = CALIBRATION_OPTIONS, conflicts_with_all = RANGE_OPTIONS)]
    dynamic: bool,

    /// Quantize only weights: the file has about a quarter of the size, and the model runs in float, at
    /// the speed of float; needs no pictures
    #[arg(long, conflicts_with_all = PICTURE_OPTIONS, conflicts_with_all = CALIBRATION_OPTIONS, conflicts_with_all = RANGE_OPTIONS, conflicts_with = "dynamic")]
    weight_only: bool,

    /// Quantize everything with ranges that are not observed but estimated from the statistics of the batch
    /// norms; a classifier is quantized dynamically
    #[arg(long, conflicts_with_all = PICTURE_OPTIONS, conflicts_with_all = CALIBRATION_OPTIONS, conflicts_with_all = ["dynamic", "weight_only", "observer", "percentile"])]
    no_pictures: bool,

    /// Calibrate with arrays as --input of `posterize run` takes them, for networks whose inputs are no
    /// pictures of three channels: .npy for one input, .npz with one array for each of several. The
    /// first axis is that of the samples. The file then has no preprocessing, unless the model has one
    #[arg(long, value_name = "X.npy", num_args = 1.., value_hint = ValueHint::FilePath, conflicts_with_all = PICTURE_OPTIONS, conflicts_with_all = ["dynamic", "weight_only", "no_pictures"])]
    calibrate_arrays: Vec<String>,
}

/// How a model is quantized without calibration pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Mode {
    Dynamic,
    WeightOnly,
    NoPictures,
    Arrays,
}

impl ModeArgs {
    pub(super) fn mode(&self) -> Option<Mode> {
        match (self.dynamic, self.weight_only, self.no_pictures) {
            (true, _, _) => Some(Mode::Dynamic),
            (_, true, _) => Some(Mode::WeightOnly),
            (_, _, true) => Some(Mode::NoPictures),
            _ if !self.calibrate_arrays.is_empty() => Some(Mode::Arrays),
            _ => None,
        }
    }

    /// Returns the files of --calibrate-arrays.
    pub(super) fn array_files(&self) -> Vec<PathBuf> {
        self.calibrate_arrays.iter().map(|argument| named(argument).1).collect()
    }

    /// Reads the arrays of --calibrate-arrays.
    pub(super) fn arrays(&self) -> Result<Vec<Vec<Array>>> {
        let files = self.calibrate_arrays.iter();
        files.map(|argument| arrays::read(std::slice::from_ref(argument))).collect()
    }
}

#[derive(Debug, Serialize)]
pub(super) struct Report {
    model: String,
    weights: Option<PathBuf>,
    output: PathBuf,
    mode: Mode,
    qconfig: String,
    per_tensor: bool,
    /// With `Mode::NoPictures` and `Mode::Arrays`.
    #[serde(skip_serializing_if = "Option::is_none")]
    passes: Option<PostTraining>,
    /// Number of calibration samples, with `Mode::Arrays`.
    #[serde(skip_serializing_if = "Option::is_none")]
    samples: Option<usize>,
    /// Size of the checkpoint.
    bytes_before: Option<u64>,
    /// Size of the weights, scales and biases in float and as written.
    float_bytes: usize,
    int8_bytes: usize,
    /// Size of the file written.
    bytes_after: u64,
    /// Number of class names in the file.
    classes: usize,
    int8_layers: usize,
    /// Number of layers with int8 weights whose values are float.
    int8_weights: usize,
    float_layers: Vec<FloatLayer>,
    /// The estimated or observed ranges.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ranges: Vec<LayerRange>,
    seconds: f64,
    #[serde(skip)]
    verbose: bool,
}

/// A model that was quantized without pictures.
struct Quantized {
    model: QuantizedModel,
    passes: Option<PostTraining>,
    samples: Option<usize>,
    ranges: Vec<LayerRange>,
}

impl From<QuantizedModel> for Quantized {
    fn from(model: QuantizedModel) -> Self {
        Self { model, passes: None, samples: None, ranges: Vec::new() }
    }
}

impl From<PostTrainingResult> for Quantized {
    fn from(result: PostTrainingResult) -> Self {
        let PostTrainingResult { observed, model, passes, .. } = result;
        let ranges = LayerRange::all(&observed);
        Self { model, passes: Some(passes), samples: None, ranges }
    }
}

/// The float network to quantize, and what is saved with it.
pub(super) struct Network {
    name: String,
    file: Option<PathBuf>,
    float: FloatModel,
    preprocessing: Option<Preprocessing>,
    classes: Vec<Class>,
    /// The batches of --calibrate-arrays.
    arrays: Vec<Vec<Tensor>>,
}

impl TryFrom<Loaded> for Network {
    type Error = CliError;

    fn try_from(loaded: Loaded) -> Result<Self> {
        let (name, file) = (loaded.name.clone(), loaded.file.clone());
        let (preprocessing, classes) = (Some(loaded.preprocessing.clone()), loaded.classes.clone());
        let (float, arrays) = (loaded.into_float()?, Vec::new());
        Ok(Self { name, file, float, preprocessing, classes, arrays })
    }
}

impl Network {
    /// Returns the network of a file, which is calibrated with arrays.
    pub(super) fn of_file(
        path: &str,
        file: OnnxFile,
        files: &[Vec<Array>],
        batch_size: usize,
    ) -> Result<Self> {
        let SavedModel { name, model, preprocessing, classes, .. } = file.saved;
        let Model::Float(float) = model else {
            return Err(CliError::Usage(format!(
                "{path}: this is an int8 model already; pass the float one"
            )));
        };
        let mut network = Self {
            name,
            file: Some(path.into()),
            float,
            preprocessing,
            classes,
            arrays: Vec::new(),
        };
        network.calibrate_with(path, files, &file.inputs, batch_size)?;
        Ok(network)
    }

    /// Sets the arrays to calibrate with, in batches of at most `batch_size` samples.
    pub(super) fn calibrate_with(
        &mut self,
        path: &str,
        files: &[Vec<Array>],
        of_file: &[OnnxInput],
        batch_size: usize,
    ) -> Result<()> {
        for arrays in files {
            let graph = self.float.graph();
            let inputs =
                arrays::network_inputs(path, "--calibrate-arrays", arrays, graph, of_file)?;
            self.arrays.extend(arrays::batches(&inputs, batch_size, &arrays[0].path)?);
        }
        Ok(())
    }

    /// Returns the number of values of the first output for one sample.
    pub(super) fn outputs(&self) -> Result<usize> {
        let graph = self.float.graph();
        let first = self.arrays.first().map_or(&[][..], Vec::as_slice);
        let shapes: Vec<Vec<usize>> =
            first.iter().map(|x| [&[1], &x.shape()[1..]].concat()).collect();
        let shapes: Vec<&[usize]> = shapes.iter().map(Vec::as_slice).collect();
        Ok(graph.infer_all(&shapes)?[graph.output().0].shape.iter().product())
    }

    fn quantize(
        &self,
        mode: Mode,
        recipe: &Recipe,
        options: Options,
        ui: &Ui,
    ) -> Result<Quantized> {
        let mapping = recipe.mapping()?;
        let float = &self.float;
        let picture = Preprocessing::imagenet();
        let picture = self.preprocessing.as_ref().unwrap_or(&picture);
        Ok(match mode {
            Mode::Dynamic => float.quantize_dynamic(&mapping)?.into(),
            Mode::WeightOnly => float.quantize_weights(&mapping)?.into(),
            Mode::NoPictures => {
                float.quantize_without_pictures(&mapping, &recipe.passes, picture)?.into()
            }
            Mode::Arrays => {
                let mut arrays = CalibrationArrays::new(&self.arrays, ui);
                let found = float.quantize(&mapping, &recipe.passes, options, &mut arrays)?;
                Quantized { samples: Some(found.pictures), ..found.into() }
            }
        })
    }
}

/// A quantization without calibration pictures.
pub(super) struct Task<'a> {
    pub(super) mode: Mode,
    pub(super) args: &'a QuantizationArgs,
    /// The classes of --classes; empty for those of the network.
    pub(super) classes: Vec<Class>,
    /// The file to write.
    pub(super) output: &'a Path,
    pub(super) options: Options,
    /// When the command started.
    pub(super) start: Instant,
}

impl Task<'_> {
    /// Quantizes the network and writes its file.
    pub(super) fn quantize(self, network: Network, ui: &Ui) -> Result<Report> {
        let Task { mode, args, classes, output, options, start } = self;
        if mode != Mode::Arrays
            && matches!(args.bias_correction, Some(BiasCorrectionName::Empirical))
        {
            return Err(CliError::Usage(
                "--bias-correction empirical needs pictures; pass fast or none with --no-pictures, or \
                 pictures with --calibrate"
                    .into(),
            ));
        }
        let recipe = args.recipe()?;
        let Quantized { model, passes, samples, ranges } =
            network.quantize(mode, &recipe, options, ui)?;
        let Network { name, file, float, preprocessing, classes: known, .. } = network;
        let fused = float.fuse()?;
        let float_layers = model.float_layers().into_iter().map(FloatLayer::from).collect();
        let (int8_bytes, int8_weights) = (model.bytes(), model.weights().len());
        let int8_layers = model.layers().len() + model.dynamic_layers();
        let saved = SavedModel::new(model)
            .with_name(&name)
            .with_preprocessing(preprocessing)
            .with_classes(if classes.is_empty() { known } else { classes })
            .with_float_graph(float.graph().clone());
        let bytes_after = saved.save(output)?;
        Ok(Report {
            bytes_before: file.as_deref().and_then(|file| fs::metadata(file).ok()).map(|m| m.len()),
            model: name,
            weights: file,
            output: output.to_path_buf(),
            mode,
            qconfig: args.qconfig.clone(),
            per_tensor: args.per_tensor,
            passes,
            samples,
            float_bytes: size_of::<f32>() * fused.parameter_count(),
            int8_bytes,
            bytes_after,
            classes: saved.classes.len(),
            int8_layers,
            int8_weights,
            float_layers,
            ranges,
            seconds: start.elapsed().as_secs_f64(),
            verbose: ui.verbosity() >= Verbosity::Verbose,
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.verbose && !self.ranges.is_empty() {
            writeln!(f, "{}\n", ranges_table(&self.ranges))?;
        }
        let layers = match self.mode {
            Mode::WeightOnly => "layers with int8 weights",
            Mode::Dynamic | Mode::NoPictures | Mode::Arrays => "int8 layers",
        };
        let mut table = Table::new([
            ("model", Align::Left),
            ("qconfig", Align::Left),
            ("float size", Align::Right),
            ("size", Align::Right),
            (layers, Align::Right),
            ("float layers", Align::Right),
        ]);
        table.row([
            self.model.clone(),
            format!("{}{}", self.qconfig, if self.per_tensor { ", per tensor" } else { "" }),
            megabytes(self.bytes_before.unwrap_or(self.float_bytes as u64)),
            megabytes(self.bytes_after),
            match self.mode {
                Mode::WeightOnly => self.int8_weights.to_string(),
                Mode::Dynamic | Mode::NoPictures | Mode::Arrays => self.int8_layers.to_string(),
            },
            self.float_layers.len().to_string(),
        ]);
        writeln!(f, "{table}\n")?;
        for layer in self.float_layers.iter().filter(|_| self.mode != Mode::Dynamic) {
            writeln!(f, "{} ({}) stays in float: {}", layer.name, layer.r#type, layer.reason)?;
        }
        f.write_str(match self.mode {
            Mode::Arrays => "",
            Mode::Dynamic => {
                "Only linear layers compute in int8. All other layers stay in float, with the size and \
                 the speed of float.\n"
            }
            Mode::WeightOnly => {
                "Only weights are int8, and dequantized when the file is loaded: the model runs in \
                 float, at the speed of float.\n"
            }
            Mode::NoPictures => {
                "The ranges were not observed but estimated from the statistics of the batch norms, so \
                 how much accuracy is lost\nis not known: measure it with `posterize evaluate`.\n"
            }
        })?;
        write!(f, "{} written in {:.1} s", self.output.display(), self.seconds)?;
        if self.classes == 0 && self.mode != Mode::Arrays {
            write!(f, "; it has no class names: pass --classes FILE to include them")?;
        }
        Ok(())
    }
}
