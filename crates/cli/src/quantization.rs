//! How a float network is quantized after training, and the pictures it is calibrated on.

use std::path::PathBuf;

use clap::{Args, ValueEnum, builder::PossibleValuesParser};
use posterize::{
    FloatModel,
    data::{ImageFolder, Loader, Preprocessing, RandomSampler, Transform},
    models,
    quantization::{
        BiasCorrection, Equalization, ObserverSpec, PostTraining, PostTrainingResult, QConfig,
        QConfigMapping, QatModel, Recipe, Rounding,
    },
};
use serde::{Deserialize, Serialize};

use crate::{
    args::ExifArgs,
    error::{CliError, Result},
    pictures,
};

/// The options of a quantization after training.
#[derive(Args, Clone, Debug)]
pub(crate) struct QuantizationArgs {
    /// Calibration pictures, which need no labels: a folder, whose pictures may be in folders at any
    /// depth, a picture, or a glob pattern such as 'photos/*.jpg'; can be given several times
    #[arg(long, value_name = "PATH", required = true)]
    pub(crate) calibrate: Vec<PathBuf>,

    /// Number of calibration batches
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) batches: u32,

    /// Number of pictures in a batch
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) batch_size: u16,

    /// Calibrate on random crops and flips, as in training, instead of centre crops
    #[arg(long)]
    pub(crate) augment: bool,

    /// QConfig: `recommended`, or a preset of PyTorch
    #[arg(long, value_name = "NAME", default_value = "recommended", value_parser = PossibleValuesParser::new(QConfig::PRESETS))]
    pub(crate) qconfig: String,

    /// How the ranges of activations are chosen [default: that of the qconfig]
    #[arg(long, value_enum, value_name = "NAME")]
    pub(crate) observer: Option<ObserverName>,

    /// Percentage of the values that is not above, and of those that is not below, the range of
    /// `--observer percentile`
    #[arg(long, value_name = "P", default_value_t = 99.999, value_parser = parse_percentile)]
    pub(crate) percentile: f64,

    /// How biases are corrected for the errors of quantization [default: empirical with `recommended`,
    /// none with a preset of PyTorch]
    #[arg(long, value_enum, value_name = "NAME")]
    pub(crate) bias_correction: Option<BiasCorrectionName>,

    /// Whether channels between layers are scaled so that all channels of a value have similar ranges;
    /// with --per-tensor, the weights on both sides [default: if-better with `recommended`, never with a
    /// preset of PyTorch]
    #[arg(long, value_enum, value_name = "WHEN")]
    pub(crate) equalize: Option<EqualizeName>,

    /// How weights are rounded to integers [default: coordinate-descent with `recommended`, nearest with a
    /// preset of PyTorch]
    #[arg(long, value_enum, value_name = "NAME")]
    pub(crate) rounding: Option<RoundingName>,

    /// Quantize each weight with one scale, instead of one for each output channel
    #[arg(long)]
    pub(crate) per_tensor: bool,

    /// Quantize activations to 7 bits, 0 to 127, as PyTorch's reduce_range: for programs whose int8
    /// products saturate, such as those of FBGEMM on CPUs without VNNI; posterize itself needs it nowhere
    #[arg(long)]
    pub(crate) reduce_range: bool,

    /// Keep modules in float whose dotted path matches this glob pattern, such as features.0,
    /// 'features.1?' or '*.conv.0'; can be given several times
    #[arg(long, value_name = "GLOB")]
    pub(crate) skip: Vec<String>,

    /// Seed of the random numbers that choose the pictures, their crops with --augment, and the samples
    /// that rounding uses
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum ObserverName {
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
pub(crate) enum EqualizeName {
    /// They are not
    Never,
    /// They are where no ReLU6 bounds them
    Unbounded,
    /// They are
    Always,
    /// They are if the outputs of some calibration pictures are then closer to those of the float network
    IfBetter,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum RoundingName {
    /// To the nearest integer
    Nearest,
    /// Up or down, so that the outputs of their layer are close: one weight after the other
    CoordinateDescent,
    /// Up or down, as learned by AdaRound; takes minutes
    #[value(name = "adaround")]
    AdaRound,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum BiasCorrectionName {
    /// They are not
    None,
    /// For the rounding of the weights of their layer
    Fast,
    /// For all that shifts the mean of a channel in the int8 network; reads the pictures once more
    Empirical,
}

/// The calibration pictures that are chosen from those of a folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Choice {
    pub(crate) batches: u32,
    pub(crate) batch_size: u16,
    pub(crate) augment: bool,
    pub(crate) seed: u64,
}

impl Choice {
    /// Returns the number of pictures.
    pub(crate) fn pictures(&self) -> usize {
        usize::from(self.batch_size).saturating_mul(self.batches as usize)
    }

    /// Returns the loader of the pictures of `folder` for the network `name`.
    pub(crate) fn loader(
        &self,
        folder: &ImageFolder,
        name: &str,
        preprocessing: &Preprocessing,
        exif: &ExifArgs,
        threads: usize,
    ) -> Loader {
        let transform: Transform = if self.augment {
            models::augmentation(name, preprocessing, self.seed)
        } else {
            preprocessing.into()
        };
        Loader::new(folder, transform)
            .sampler(RandomSampler { seed: self.seed })
            .batch_size(usize::from(self.batch_size))
            .exif_orientation(exif.orientation())
            .threads(threads)
            .limit(self.pictures())
    }
}

impl QuantizationArgs {
    /// Returns the pictures and folders of --calibrate, with patterns replaced by what matches them.
    pub(crate) fn pictures(&self) -> Result<Vec<PathBuf>> {
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

    /// Returns which of the pictures are used.
    pub(crate) fn choice(&self) -> Choice {
        let Self { batches, batch_size, augment, seed, .. } = *self;
        Choice { batches, batch_size, augment, seed }
    }

    /// Returns the observers, the passes and the modules that stay in float.
    pub(crate) fn recipe(&self) -> Result<Recipe> {
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
        if self.reduce_range {
            qconfig = qconfig.with_reduced_range();
        }
        if self.per_tensor {
            qconfig.weight = ObserverSpec::default_weight_observer();
        }
        Ok(Recipe::new(qconfig, self.passes()).skip(self.skip.iter().cloned()))
    }

    fn passes(&self) -> PostTraining {
        let mut passes = PostTraining::of_preset(&self.qconfig);
        match self.equalize {
            None => {}
            Some(EqualizeName::Never) => passes.equalization = Equalization::Never,
            Some(EqualizeName::Unbounded) => passes.equalization = Equalization::Unbounded,
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
        match self.rounding {
            None => {}
            Some(RoundingName::Nearest) => passes.rounding = Rounding::Nearest,
            Some(RoundingName::CoordinateDescent) => passes.rounding = Rounding::CoordinateDescent,
            Some(RoundingName::AdaRound) => passes.rounding = Rounding::AdaRound,
        }
        passes.seed(self.seed)
    }
}

/// Returns whether quantization-aware training with a preset starts with the channels and ranges of the network
/// that was quantized after training. PyTorch's presets start as its tutorial does.
pub(crate) fn starts_quantized(preset: &str) -> bool {
    preset == "recommended"
}

/// Inserts fake quantization into a model that is not fused. `quantized` is its int8 form with the same preset.
pub(crate) fn prepare_qat(
    float: &FloatModel,
    preset: &str,
    mapping: &QConfigMapping,
    quantized: Option<&PostTrainingResult>,
) -> posterize::Result<QatModel> {
    match quantized.filter(|_| starts_quantized(preset)) {
        Some(quantized) => quantized.prepare_qat(float, mapping),
        None => float.prepare_qat(mapping),
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
