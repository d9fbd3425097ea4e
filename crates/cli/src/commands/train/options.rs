//! The options of `posterize train`, by what they are about.

use std::{path::PathBuf, str::FromStr};

use clap::{Args, ValueEnum, builder::PossibleValuesParser};
use posterize::{
    data::{Augmentation, Class, ImageFolder, Preprocessing, RandomCrop, Transform},
    models,
    quantization::{ObserverSpec, QConfig, QConfigMapping},
    training::{
        CrossEntropy, Decay, Distillation, Freeze, Keep, Schedule, SgdOptions, TrainOptions,
    },
};

use crate::{error::Result, pictures};

/// Pictures, and how they are drawn.
#[derive(Args, Debug)]
pub(super) struct DataArgs {
    /// Pictures to train on, in one folder for each class
    #[arg(long, value_name = "DIR")]
    data: PathBuf,

    /// Pictures to validate on after every epoch, in one folder for each class
    #[arg(long, value_name = "DIR")]
    val: PathBuf,

    /// A line for each class in the order of their numbers: the name of its folder, then its
    /// readable name [default: classes.txt in a DIR or beside it; else the folders of --val, if there
    /// is one for each class]
    #[arg(long, value_name = "FILE")]
    classes: Option<PathBuf>,

    /// Validate only on the first N pictures
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) limit: Option<u64>,

    /// Pictures in a batch
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) batch_size: u16,

    /// What happens to training pictures: `resized` is cropped, zoomed and mirrored at random
    /// (RandomResizedCrop and RandomHorizontalFlip, as in PyTorch's tutorial), `shifted:N` padded by N
    /// pixels, cropped and mirrored at random, which suits small pictures, `none` cropped as for
    /// validation [default: what the model was published with; resized for those of ImageNet]
    #[arg(long, value_name = "HOW")]
    augment: Option<Augment>,

    /// Determines the order of the pictures, how they are augmented, what dropout drops, and fresh
    /// weights
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(super) seed: u64,
}

impl DataArgs {
    /// The pictures to train and to validate on, with the same class numbers.
    pub(super) fn open(
        &self,
        known: &[Class],
        outputs: usize,
    ) -> Result<(ImageFolder, ImageFolder)> {
        let given = self.classes.clone().or_else(|| {
            let beside_val = pictures::classes_file(None, &self.val);
            beside_val.or_else(|| pictures::classes_file(None, &self.data))
        });
        let val = if known.is_empty() || self.classes.is_some() {
            pictures::open(&self.val, given.as_deref(), &[], outputs)?
        } else {
            pictures::open(&self.val, None, known, outputs)?
        };
        // Not every class need occur in the training pictures.
        let train = ImageFolder::with_classes(&self.data, val.classes())?;
        Ok((train, val))
    }

    /// What happens to the training pictures of a model.
    pub(super) fn transform(
        &self,
        model: &str,
        preprocessing: &Preprocessing,
    ) -> Result<Transform> {
        Ok(match self.augment {
            None => models::augmentation(model, self.seed)?,
            Some(Augment::Resized) => Augmentation::new(preprocessing, self.seed).into(),
            Some(Augment::Shifted(padding)) => {
                RandomCrop::new(preprocessing, usize::from(padding), self.seed).into()
            }
            Some(Augment::None) => preprocessing.into(),
        })
    }
}

/// What happens to training pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Augment {
    Resized,
    Shifted(u16),
    None,
}

impl FromStr for Augment {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text.split_once(':') {
            None if text == "resized" => Ok(Self::Resized),
            None if text == "none" => Ok(Self::None),
            Some(("shifted", pixels)) => {
                pixels.parse().map(Self::Shifted).map_err(|error| format!("shifted: {error}"))
            }
            _ => Err("expected resized, shifted:N or none".to_owned()),
        }
    }
}

/// Quantization-aware training.
#[derive(Args, Debug)]
pub(super) struct QatArgs {
    /// Quantization-aware training: weights and activations are rounded to int8 as they train
    #[arg(long)]
    pub(super) qat: bool,

    /// How to quantize: `recommended`, or as PyTorch's presets for training do
    #[arg(long, value_name = "NAME", default_value = "recommended", requires = "qat", value_parser = PossibleValuesParser::new(QConfig::PRESETS))]
    pub(super) qconfig: String,

    /// One scale for all of a weight, instead of one for each output channel
    #[arg(long, requires = "qat")]
    pub(super) per_tensor: bool,

    /// Keep the modules whose dotted name matches in float: features.0, 'features.1?', '*.conv.0'
    #[arg(long, value_name = "GLOB", requires = "qat")]
    skip: Vec<String>,
}

impl QatArgs {
    /// Nothing for float training.
    pub(super) fn mapping(&self) -> Result<Option<QConfigMapping>> {
        if !self.qat {
            return Ok(None);
        }
        let mut qconfig = QConfig::qat(&self.qconfig)?;
        if self.per_tensor {
            let quant_range = qconfig.weight.quant_range;
            qconfig.weight =
                ObserverSpec { quant_range, ..ObserverSpec::default_weight_fake_quant() };
        }
        let mut mapping = QConfigMapping::global(qconfig);
        for glob in &self.skip {
            mapping = mapping.set_module_glob(glob, None)?;
        }
        Ok(Some(mapping))
    }

    /// What is trained, in words.
    pub(super) fn describe(&self) -> String {
        match (self.qat, self.per_tensor) {
            (false, _) => "float".to_owned(),
            (true, false) => format!("QAT, {}", self.qconfig),
            (true, true) => format!("QAT, {}, per tensor", self.qconfig),
        }
    }
}

/// The optimiser and its course.
#[derive(Args, Debug)]
pub(super) struct ScheduleArgs {
    /// How many epochs
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..))]
    epochs: u32,

    /// How many batches an epoch has, or `all` pictures
    #[arg(long, value_name = "N|all", default_value = "20")]
    batches: Batches,

    /// Learning rate
    #[arg(long, value_name = "RATE", default_value_t = 1e-4)]
    lr: f64,

    /// The learning rate's course: it stays, falls by --gamma every --step-epochs, or falls along a
    /// cosine to 0 at the end [default: cosine for the qconfig `recommended`, else constant]
    #[arg(long, value_enum, value_name = "NAME")]
    schedule: Option<ScheduleName>,

    /// For --schedule step: epochs between two steps
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..))]
    step_epochs: u32,

    /// For --schedule step: the factor
    #[arg(long, value_name = "FACTOR", default_value_t = 0.1)]
    gamma: f64,

    /// Batches over which the learning rate rises to --lr
    #[arg(long, value_name = "N", default_value_t = 0)]
    warmup: u32,

    /// Momentum of the gradient descent
    #[arg(long, value_name = "M", default_value_t = 0.0)]
    momentum: f64,

    /// Nesterov's momentum
    #[arg(long)]
    nesterov: bool,

    /// How strongly weights are pulled towards 0
    #[arg(long, value_name = "D", default_value_t = 0.0)]
    weight_decay: f64,

    /// Keep weight decay from biases and batch norms
    #[arg(long)]
    decay_weights_only: bool,

    /// How much of the target is spread over all classes, 0 to 1
    #[arg(long, value_name = "PART", default_value_t = 0.0)]
    label_smoothing: f64,

    /// How much is learnt from the answers of the float network that training begins with, in place
    /// of labels, 0 to 1 (knowledge distillation) [default: 1 for the qconfig `recommended`, else 0]
    #[arg(long, value_name = "PART", requires = "qat")]
    distill: Option<f64>,

    /// For --distill: what logits are divided by before they are compared; more than 1 gives
    /// unlikely classes more weight
    #[arg(long, value_name = "T", requires = "qat", default_value_t = 1.0)]
    temperature: f64,

    /// The greatest length of the gradient, or `never`; a longer one is shortened to it [default: 20
    /// for the qconfig `recommended`, else never]
    #[arg(long, value_name = "NORM")]
    clip: Option<Clip>,

    /// Scales and zero points stay from the end of this epoch on, counted from 0, or `never`
    #[arg(long, value_name = "EPOCH", default_value = "4")]
    freeze_observer_after: After,

    /// Batch norms use their running statistics from the end of this epoch on, counted from 0, from
    /// the `start` on, or `never` [default: start for the qconfig `recommended`, 3 for PyTorch's, as
    /// in its tutorial; never in float training]
    #[arg(long, value_name = "EPOCH")]
    freeze_bn_after: Option<After>,

    /// Which epoch's network is written
    #[arg(long, value_enum, value_name = "WHICH", default_value_t = KeepName::Best)]
    keep: KeepName,
}

/// A number of batches, or all of them.
#[derive(Clone, Copy, Debug)]
struct Batches(Option<usize>);

impl FromStr for Batches {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text.parse::<u32>() {
            _ if text == "all" => Ok(Self(None)),
            Ok(number) if number > 0 => Ok(Self(Some(number as usize))),
            _ => Err("expected a number of batches, at least 1, or `all`".to_owned()),
        }
    }
}

/// The greatest length of the gradient.
#[derive(Clone, Copy, Debug)]
struct Clip(Option<f64>);

impl FromStr for Clip {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text.parse() {
            _ if text == "never" => Ok(Self(None)),
            Ok(norm) => Ok(Self(Some(norm))),
            Err(_) => Err("expected a number or `never`".to_owned()),
        }
    }
}

/// From when on something stays.
#[derive(Clone, Copy, Debug)]
struct After(Freeze);

impl FromStr for After {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text.parse::<u32>() {
            _ if text == "never" => Ok(Self(Freeze::Never)),
            _ if text == "start" => Ok(Self(Freeze::Start)),
            Ok(epoch) => Ok(Self(Freeze::After(epoch as usize))),
            Err(_) => Err("expected an epoch, counted from 0, `start` or `never`".to_owned()),
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ScheduleName {
    Constant,
    Step,
    Cosine,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum KeepName {
    Best,
    Last,
}

impl ScheduleArgs {
    /// The trainer's options, for that many pictures.
    pub(super) fn options(&self, data: &DataArgs, qat: &QatArgs, pictures: usize) -> TrainOptions {
        let usual = if qat.qat {
            TrainOptions::qat(&qat.qconfig)
        } else {
            TrainOptions { freeze_bn: Freeze::Never, ..TrainOptions::default() }
        };
        let batch_size = usize::from(data.batch_size);
        let batches = pictures.div_ceil(batch_size).min(self.batches.0.unwrap_or(usize::MAX));
        TrainOptions {
            epochs: self.epochs as usize,
            batches: self.batches.0,
            batch_size,
            lr: self.lr,
            schedule: match self.schedule {
                None => usual.schedule,
                Some(ScheduleName::Constant) => Schedule::Constant,
                Some(ScheduleName::Step) => {
                    Schedule::Step { every: self.step_epochs as usize * batches, gamma: self.gamma }
                }
                Some(ScheduleName::Cosine) => Schedule::Cosine { least: 0.0 },
            },
            warmup: self.warmup as usize,
            sgd: SgdOptions {
                momentum: self.momentum,
                weight_decay: self.weight_decay,
                decay: if self.decay_weights_only { Decay::Weights } else { Decay::All },
                nesterov: self.nesterov,
            },
            loss: CrossEntropy { label_smoothing: self.label_smoothing },
            distillation: self.distillation(usual.distillation),
            clip: self.clip.map_or(usual.clip, |Clip(norm)| norm),
            freeze_observer: self.freeze_observer_after.0,
            freeze_bn: self.freeze_bn_after.map_or(usual.freeze_bn, |After(freeze)| freeze),
            keep: match self.keep {
                KeepName::Best => Keep::Best,
                KeepName::Last => Keep::Last,
            },
            seed: data.seed,
        }
    }

    fn distillation(&self, usual: Option<Distillation>) -> Option<Distillation> {
        let alpha = self.distill.or(usual.map(|usual| usual.alpha)).filter(|&alpha| alpha != 0.0);
        alpha.map(|alpha| Distillation { alpha, temperature: self.temperature })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn augmentations_are_told_apart() {
        assert_eq!("resized".parse(), Ok(Augment::Resized));
        assert_eq!("shifted:4".parse(), Ok(Augment::Shifted(4)));
        assert_eq!("none".parse(), Ok(Augment::None));
        for bad in ["", "shifted", "shifted:", "shifted:-1", "zoomed", "none:1"] {
            assert!(bad.parse::<Augment>().is_err(), "{bad}");
        }
    }
}
