//! Quantization that needs no calibration pictures.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    time::Instant,
};

use clap::Args;
use posterize::{
    FloatModel,
    data::{Class, Preprocessing},
    format::SavedModel,
    quantization::{PostTraining, PostTrainingResult, QuantizedModel, Recipe},
};
use serde::Serialize;

use super::layers::{FloatLayer, LayerRange, ranges_table};
use crate::{
    error::{CliError, Result},
    loaded::Loaded,
    quantization::{BiasCorrectionName, QuantizationArgs},
    ui::{Align, Table, Ui, Verbosity, megabytes},
};

/// The options that make sense only with calibration pictures.
const CALIBRATION_OPTIONS: [&str; 12] = [
    "calibrate",
    "batches",
    "batch_size",
    "augment",
    "equalize",
    "rounding",
    "seed",
    "max_drop",
    "recipe",
    "save_recipe",
    "ranges",
    "save_ranges",
];

/// The options that do not matter where activations are not quantized with fixed ranges.
const RANGE_OPTIONS: [&str; 4] = ["observer", "percentile", "bias_correction", "reduce_range"];

/// The options that need no calibration pictures.
#[derive(Args, Clone, Debug)]
pub(super) struct ModeArgs {
    /// Quantize only linear layers, dynamically: their weights are int8 in the file, and each row of
    /// their input is quantized when it runs; needs no pictures
    #[arg(long, conflicts_with_all = CALIBRATION_OPTIONS, conflicts_with_all = RANGE_OPTIONS)]
    dynamic: bool,

    /// Quantize only weights: the file has about a quarter of the size, and the model runs in float, at
    /// the speed of float; needs no pictures
    #[arg(long, conflicts_with_all = CALIBRATION_OPTIONS, conflicts_with_all = RANGE_OPTIONS, conflicts_with = "dynamic")]
    weight_only: bool,

    /// Quantize everything with ranges that are not observed but estimated from the statistics of the batch
    /// norms; a classifier is quantized dynamically
    #[arg(long, conflicts_with_all = CALIBRATION_OPTIONS, conflicts_with_all = ["dynamic", "weight_only", "observer", "percentile"])]
    no_pictures: bool,
}

/// How a model is quantized without calibration pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Mode {
    Dynamic,
    WeightOnly,
    NoPictures,
}

impl ModeArgs {
    pub(super) fn mode(&self) -> Option<Mode> {
        match (self.dynamic, self.weight_only, self.no_pictures) {
            (true, _, _) => Some(Mode::Dynamic),
            (_, true, _) => Some(Mode::WeightOnly),
            (_, _, true) => Some(Mode::NoPictures),
            _ => None,
        }
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
    /// With `Mode::NoPictures`.
    #[serde(skip_serializing_if = "Option::is_none")]
    passes: Option<PostTraining>,
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
    /// The estimated ranges.
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
    ranges: Vec<LayerRange>,
}

fn quantize(
    float: &FloatModel,
    mode: Mode,
    recipe: &Recipe,
    preprocessing: &Preprocessing,
) -> Result<Quantized> {
    let mapping = recipe.mapping()?;
    let of_weights = |model| Quantized { model, passes: None, ranges: Vec::new() };
    Ok(match mode {
        Mode::Dynamic => of_weights(float.quantize_dynamic(&mapping)?),
        Mode::WeightOnly => of_weights(float.quantize_weights(&mapping)?),
        Mode::NoPictures => {
            let found = float.quantize_without_pictures(&mapping, &recipe.passes, preprocessing)?;
            let PostTrainingResult { observed, model, passes, .. } = found;
            Quantized { model, passes: Some(passes), ranges: LayerRange::all(&observed) }
        }
    })
}

/// A quantization without calibration pictures.
pub(super) struct Task<'a> {
    pub(super) mode: Mode,
    pub(super) args: &'a QuantizationArgs,
    /// The classes of --classes; empty for those of the network.
    pub(super) classes: Vec<Class>,
    /// The file to write.
    pub(super) output: &'a Path,
    /// When the command started.
    pub(super) start: Instant,
}

impl Task<'_> {
    /// Quantizes the network and writes its file.
    pub(super) fn quantize(self, network: Loaded, ui: &Ui) -> Result<Report> {
        let Task { mode, args, classes, output, start } = self;
        if matches!(args.bias_correction, Some(BiasCorrectionName::Empirical)) {
            return Err(CliError::Usage(
                "--bias-correction empirical needs pictures; pass fast or none with --no-pictures, or \
                 pictures with --calibrate"
                    .into(),
            ));
        }
        let recipe = args.recipe()?;
        let (name, file) = (network.name.clone(), network.file.clone());
        let (preprocessing, known) = (network.preprocessing.clone(), network.classes.clone());
        let float = network.into_float()?;
        let Quantized { model, passes, ranges } = quantize(&float, mode, &recipe, &preprocessing)?;
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
            Mode::Dynamic | Mode::NoPictures => "int8 layers",
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
                Mode::Dynamic | Mode::NoPictures => self.int8_layers.to_string(),
            },
            self.float_layers.len().to_string(),
        ]);
        writeln!(f, "{table}\n")?;
        for layer in self.float_layers.iter().filter(|_| self.mode != Mode::Dynamic) {
            writeln!(f, "{} ({}) stays in float: {}", layer.name, layer.r#type, layer.reason)?;
        }
        f.write_str(match self.mode {
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
        if self.classes == 0 {
            write!(f, "; it has no class names: pass --classes FILE to include them")?;
        }
        Ok(())
    }
}
