//! The options of `posterize train`.

use std::{path::PathBuf, str::FromStr};

use clap::{Args, ValueEnum, builder::PossibleValuesParser};
use posterize::{
    data::{Augmentation, Class, ImageFolder, Preprocessing, RandomCrop, Transform},
    graph::ModuleGlob,
    models,
    quantization::{ObserverSpec, PostTraining, QConfig, QConfigMapping},
    training::{
        AdamOptions, CrossEntropy, Decay, Distillation, Freeze, Keep, LrFactor, OptimizerOptions,
        Schedule, SgdOptions, TrainOptions,
    },
};

use crate::{
    args::{ExifArgs, positive},
    error::{CliError, Result},
    paths::Paths,
    pictures,
};

/// The options about pictures.
#[derive(Args, Debug)]
pub(super) struct DataArgs {
    /// Folder of training pictures, with one folder in it for each class
    #[arg(long, value_name = "DIR")]
    data: PathBuf,

    /// Folder of validation pictures, with one folder in it for each class
    #[arg(long, value_name = "DIR")]
    val: PathBuf,

    /// File with one line for each class, in the order of the class numbers: the name of the class's
    /// folder, in double quotes or with a tab after it if it has spaces, then its readable name
    /// [default: classes.txt in one of the DIRs or beside it; else the folders of --val, if there is one
    /// for each class]
    #[arg(long, value_name = "FILE")]
    classes: Option<PathBuf>,

    /// Validate on only the first N pictures
    #[arg(long, value_name = "N", value_parser = positive())]
    pub(super) limit: Option<usize>,

    /// Number of pictures in a batch
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) batch_size: u16,

    /// Augmentation of the training pictures: `resized` for RandomResizedCrop and
    /// RandomHorizontalFlip, as in PyTorch's tutorial; `shifted:N` for RandomCrop with a padding of N
    /// pixels and RandomHorizontalFlip, which suits small pictures; `none` for the centre crops of
    /// validation [default: what the model was published with, `resized` for ImageNet models]
    #[arg(long, value_name = "HOW")]
    augment: Option<Augment>,

    #[command(flatten)]
    pub(super) exif: ExifArgs,

    /// Seed of the random numbers for the order and augmentation of pictures, dropout and initial
    /// weights
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(super) seed: u64,
}

impl DataArgs {
    /// Adds the files of the options to those that the command reads.
    pub(super) fn add_to(&self, paths: Paths) -> Paths {
        paths
            .reads("--data", [&self.data])
            .reads("--val", [&self.val])
            .reads("--classes", &self.classes_file())
    }

    /// Returns the file that lists the classes: the one given, or else one in or beside the folders.
    fn classes_file(&self) -> Option<PathBuf> {
        self.classes.clone().or_else(|| {
            let beside_val = pictures::classes_file(None, &self.val);
            beside_val.or_else(|| pictures::classes_file(None, &self.data))
        })
    }

    /// Opens the training and validation pictures, with the same class numbers for both. `classes` are
    /// those of the model, if it knows them.
    pub(super) fn open(
        &self,
        classes: &[Class],
        outputs: usize,
    ) -> Result<(ImageFolder, ImageFolder)> {
        let given = self.classes_file();
        let val = if classes.is_empty() || self.classes.is_some() {
            pictures::open(&self.val, given.as_deref(), &[], outputs)?
        } else {
            pictures::open(&self.val, None, classes, outputs)?
        };
        // The training pictures may lack some classes.
        let train = ImageFolder::with_classes(&self.data, val.classes())?;
        Ok((train, val))
    }

    /// Returns the transform of the training pictures of a model.
    pub(super) fn transform(&self, model: &str, preprocessing: &Preprocessing) -> Transform {
        match self.augment {
            None => models::augmentation(model, preprocessing, self.seed),
            Some(Augment::Resized) => Augmentation::new(preprocessing, self.seed).into(),
            Some(Augment::Shifted(padding)) => {
                RandomCrop::new(preprocessing, usize::from(padding), self.seed).into()
            }
            Some(Augment::None) => preprocessing.into(),
        }
    }
}

/// The augmentation of training pictures.
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
            Some(("shifted", pixels)) => pixels.parse().map(Self::Shifted).map_err(|error| {
                format!("shifted:N needs a number of pixels from 0 to 65535: {error}")
            }),
            _ => Err("expected resized, shifted:N (such as shifted:4) or none".to_owned()),
        }
    }
}

/// The options of quantization-aware training.
#[derive(Args, Debug)]
pub(super) struct QatArgs {
    /// Quantization-aware training: round weights and activations to int8 values in the forward pass
    /// (fake quantization)
    #[arg(long)]
    pub(super) qat: bool,

    /// QConfig of --qat: `recommended`, or a QAT preset of PyTorch
    #[arg(long, value_name = "NAME", default_value = "recommended", requires = "qat", value_parser = PossibleValuesParser::new(QConfig::PRESETS))]
    pub(super) qconfig: String,

    /// Quantize each weight with one scale, instead of one for each output channel
    #[arg(long, requires = "qat")]
    pub(super) per_tensor: bool,

    /// Keep modules in float whose dotted path matches this glob pattern, such as features.0,
    /// 'features.1?' or '*.conv.0'; can be given several times
    #[arg(long, value_name = "GLOB", requires = "qat")]
    skip: Vec<String>,
}

impl QatArgs {
    /// Returns the qconfigs of the modules, or `None` for float training.
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
        self.skipping(qconfig).map(Some)
    }

    /// Returns the qconfigs of the modules for quantization after training, as of `posterize quantize`.
    pub(super) fn post_training_mapping(&self) -> Result<QConfigMapping> {
        let mut qconfig: QConfig = self.qconfig.parse()?;
        if self.per_tensor {
            qconfig.weight = ObserverSpec::default_weight_observer();
        }
        self.skipping(qconfig)
    }

    /// Returns the passes of quantization after training, as of `posterize quantize`.
    pub(super) fn passes(&self, seed: u64) -> PostTraining {
        PostTraining::of_preset(&self.qconfig).seed(seed)
    }

    /// Returns the mapping of all modules to a qconfig, except for those of --skip.
    fn skipping(&self, qconfig: QConfig) -> Result<QConfigMapping> {
        let mut mapping = QConfigMapping::global(qconfig);
        for glob in &self.skip {
            mapping = mapping.set_module_glob(glob, None)?;
        }
        Ok(mapping)
    }

    /// Describes the kind of training: `float`, or `QAT` with its qconfig.
    pub(super) fn describe(&self) -> String {
        match (self.qat, self.per_tensor) {
            (false, _) => "float".to_owned(),
            (true, false) => format!("QAT, {}", self.qconfig),
            (true, true) => format!("QAT, {}, per tensor", self.qconfig),
        }
    }
}

/// The options of the optimizer and its schedule.
#[derive(Args, Debug)]
pub(super) struct ScheduleArgs {
    /// Number of epochs [default: 10 in float training from weights, 20 from random weights; 8 with
    /// --qat]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    epochs: Option<u32>,

    /// Number of batches in an epoch, or `all` for all pictures [default: all in float training, 20 with
    /// --qat]
    #[arg(long, value_name = "N|all")]
    batches: Option<Batches>,

    /// Optimizer, as in torch.optim: stochastic gradient descent, Adam or AdamW [default: adamw in float
    /// training, unless --momentum or --nesterov is given; sgd with --qat]
    #[arg(long, value_enum, value_name = "NAME")]
    optimizer: Option<OptimizerName>,

    /// Learning rate [default: in float training 0.0001 from weights and 0.002 from random weights, with
    /// --optimizer sgd 30 times that; 0.0001 with --qat]
    #[arg(long, value_name = "RATE")]
    lr: Option<f64>,

    /// Learning rate schedule: `constant`, `step` to multiply by --gamma every --step-epochs, or
    /// `cosine` to anneal to 0 at the end [default: cosine in float training, and with --qat and the
    /// qconfig `recommended`; else constant]
    #[arg(long, value_enum, value_name = "NAME")]
    schedule: Option<ScheduleName>,

    /// For --schedule step: number of epochs after which the learning rate is multiplied by --gamma
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..))]
    step_epochs: u32,

    /// For --schedule step: factor of the learning rate
    #[arg(long, value_name = "FACTOR", default_value_t = 0.1)]
    gamma: f64,

    /// Number of batches over which the learning rate rises linearly to --lr
    #[arg(long, value_name = "N", default_value_t = 0)]
    warmup: u32,

    /// Momentum of --optimizer sgd [default: 0.9 in float training, 0 with --qat]
    #[arg(long, value_name = "M")]
    momentum: Option<f64>,

    /// Use Nesterov momentum, with --optimizer sgd
    #[arg(long)]
    nesterov: bool,

    /// Weight decay: an L2 penalty with sgd and adam, decoupled from the gradient with adamw [default:
    /// 0.01 with adamw, else 0]
    #[arg(long, value_name = "D")]
    weight_decay: Option<f64>,

    /// Apply weight decay only to weights, not to biases and batch norms
    #[arg(long)]
    decay_weights_only: bool,

    /// Label smoothing, 0 to 1, as in torch.nn.CrossEntropyLoss
    #[arg(long, value_name = "PART", default_value_t = 0.0)]
    label_smoothing: f64,

    /// Knowledge distillation: part of the loss, 0 to 1, that compares the outputs with those of the
    /// float model from which training starts; the rest compares them with the labels [default: 1 for
    /// the qconfig `recommended`, else 0]
    #[arg(long, value_name = "PART", requires = "qat")]
    distill: Option<f64>,

    /// For --distill: divisor of the logits before softmax; above 1 it gives improbable classes more
    /// weight
    #[arg(long, value_name = "T", requires = "qat", default_value_t = 1.0)]
    temperature: f64,

    /// Maximum norm of the gradient, to which a larger one is scaled down, or `never` [default: 20 with
    /// --qat and the qconfig `recommended`, else never]
    #[arg(long, value_name = "NORM")]
    clip: Option<Clip>,

    /// With --qat, freeze scales and zero points at the end of this epoch (counted from 0), at the
    /// `start`, or `never`
    #[arg(long, value_name = "EPOCH", default_value = "4")]
    freeze_observer_after: After,

    /// Freeze the batch norms' running statistics at the end of this epoch (counted from 0), at the
    /// `start`, or `never` [default: in float training `start` from weights and never from random
    /// weights; with --qat `start` for the qconfig `recommended` and 3 for PyTorch's, as in its tutorial]
    #[arg(long, value_name = "EPOCH")]
    freeze_bn_after: Option<After>,

    /// For the validation after each epoch and for the result, estimate the batch norms' running statistics
    /// anew from this many training batches; training goes on with its own
    #[arg(long, value_name = "BATCHES", value_parser = clap::value_parser!(u32).range(1..))]
    reestimate_bn: Option<u32>,

    /// Do not train the parameters of modules whose dotted path matches this glob pattern, such as
    /// features.0, 'features.1?' or '*.conv.0', and of all modules in them; their batch norms keep their
    /// running statistics and normalize with them. Can be given several times
    #[arg(long, value_name = "GLOB")]
    freeze: Vec<ModuleGlob>,

    /// Multiply the learning rate by FACTOR for modules whose dotted path matches this glob pattern, and
    /// all modules in them. Can be given several times; the last that matches is used [default: 10 for a
    /// new classifier in float training from weights]
    #[arg(long, value_name = "GLOB=FACTOR")]
    lr_factor: Vec<Factor>,

    /// Which epoch's model to write: the one with the best validation accuracy, or the last
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
            _ => Err("expected a number of batches, 1 or more, or `all`".to_owned()),
        }
    }
}

/// The maximum norm of the gradient.
#[derive(Clone, Copy, Debug)]
struct Clip(Option<f64>);

impl FromStr for Clip {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text.parse() {
            _ if text == "never" => Ok(Self(None)),
            Ok(norm) => Ok(Self(Some(norm))),
            Err(_) => Err("expected a norm such as 20, or `never`".to_owned()),
        }
    }
}

/// A factor of the learning rate of modules.
#[derive(Clone, Debug)]
struct Factor(LrFactor);

impl FromStr for Factor {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let (glob, factor) = text
            .rsplit_once('=')
            .and_then(|(glob, factor)| Some((glob, factor.parse().ok()?)))
            .ok_or("expected a glob pattern and a factor, such as classifier=10")?;
        let modules = glob.parse().map_err(|error: posterize::Error| error.to_string())?;
        Ok(Self(LrFactor { modules, factor }))
    }
}

/// When something is frozen.
#[derive(Clone, Copy, Debug)]
struct After(Freeze);

impl FromStr for After {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text.parse::<u32>() {
            _ if text == "never" => Ok(Self(Freeze::Never)),
            _ if text == "start" => Ok(Self(Freeze::Start)),
            Ok(epoch) => Ok(Self(Freeze::After(epoch as usize))),
            Err(_) => Err("expected an epoch (counted from 0), `start` or `never`".to_owned()),
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ScheduleName {
    Constant,
    Step,
    Cosine,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum OptimizerName {
    Sgd,
    Adam,
    #[value(name = "adamw")]
    AdamW,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum KeepName {
    Best,
    Last,
}

/// The weights that training starts from.
#[derive(Debug)]
pub(super) enum Initial {
    Random,
    /// Trained weights, except for these modules, which start at random.
    Trained {
        new_modules: Vec<String>,
    },
}

/// Factor of the default learning rate of AdamW for SGD with momentum.
const SGD_TO_ADAMW: f64 = 30.0;

impl ScheduleArgs {
    /// Returns the trainer's options, given the number of training pictures and the weights that training
    /// starts from.
    pub(super) fn options(
        &self,
        data: &DataArgs,
        qat: &QatArgs,
        pictures: usize,
        initial: &Initial,
    ) -> Result<TrainOptions> {
        let defaults = match initial {
            _ if qat.qat => TrainOptions::qat(&qat.qconfig),
            Initial::Random => TrainOptions::from_scratch(),
            Initial::Trained { new_modules } => {
                TrainOptions::fine_tuning(new_modules.iter().map(String::as_str))?
            }
        };
        let batch_size = usize::from(data.batch_size);
        let batches = self.batches.map_or(defaults.batches, |Batches(batches)| batches);
        let steps = pictures.div_ceil(batch_size).min(batches.unwrap_or(usize::MAX));
        let optimizer = self.optimizer(defaults.optimizer)?;
        let becomes_sgd = matches!(optimizer, OptimizerOptions::Sgd(_))
            && !matches!(defaults.optimizer, OptimizerOptions::Sgd(_));
        let default_lr = defaults.lr * if becomes_sgd { SGD_TO_ADAMW } else { 1.0 };
        let factors = self.lr_factor.iter().map(|Factor(factor)| factor.clone());
        Ok(TrainOptions {
            epochs: self.epochs.map_or(defaults.epochs, |epochs| epochs as usize),
            batches,
            batch_size,
            lr: self.lr.unwrap_or(default_lr),
            schedule: match self.schedule {
                None => defaults.schedule,
                Some(ScheduleName::Constant) => Schedule::Constant,
                Some(ScheduleName::Step) => {
                    Schedule::Step { every: self.step_epochs as usize * steps, gamma: self.gamma }
                }
                Some(ScheduleName::Cosine) => Schedule::Cosine { least: 0.0 },
            },
            warmup: self.warmup as usize,
            optimizer,
            loss: CrossEntropy { label_smoothing: self.label_smoothing },
            distillation: self.distillation(defaults.distillation),
            clip: self.clip.map_or(defaults.clip, |Clip(norm)| norm),
            freeze_observer: self.freeze_observer_after.0,
            freeze_bn: self.freeze_bn_after.map_or(defaults.freeze_bn, |After(freeze)| freeze),
            reestimate_bn: self.reestimate_bn.map(|batches| batches as usize),
            frozen: self.freeze.clone(),
            lr_factors: defaults.lr_factors.into_iter().chain(factors).collect(),
            keep: match self.keep {
                KeepName::Best => Keep::Best,
                KeepName::Last => Keep::Last,
            },
            seed: data.seed,
        })
    }

    /// Returns the optimizer that was chosen, or else the default. Options of SGD choose it.
    fn optimizer(&self, default: OptimizerOptions) -> Result<OptimizerOptions> {
        let decay = if self.decay_weights_only { Decay::Weights } else { Decay::All };
        let adam = |defaults: AdamOptions| AdamOptions {
            weight_decay: self.weight_decay.unwrap_or(defaults.weight_decay),
            decay,
            ..defaults
        };
        let of_sgd = self.momentum.is_some() || self.nesterov;
        let name = self.optimizer.unwrap_or(match default {
            _ if of_sgd => OptimizerName::Sgd,
            OptimizerOptions::Adam(_) => OptimizerName::Adam,
            OptimizerOptions::AdamW(_) => OptimizerName::AdamW,
            _ => OptimizerName::Sgd,
        });
        if name != OptimizerName::Sgd && of_sgd {
            let option = if self.nesterov { "--nesterov" } else { "--momentum" };
            return Err(CliError::Usage(format!(
                "{option} is an option of --optimizer sgd; leave it out, or choose that optimizer"
            )));
        }
        let momentum = if matches!(default, OptimizerOptions::Sgd(_)) { 0.0 } else { 0.9 };
        Ok(match name {
            OptimizerName::Sgd => OptimizerOptions::Sgd(SgdOptions {
                momentum: self.momentum.unwrap_or(momentum),
                weight_decay: self.weight_decay.unwrap_or(0.0),
                decay,
                nesterov: self.nesterov,
            }),
            OptimizerName::Adam => OptimizerOptions::Adam(adam(AdamOptions::default())),
            OptimizerName::AdamW => OptimizerOptions::AdamW(adam(AdamOptions::adamw())),
        })
    }

    fn distillation(&self, default: Option<Distillation>) -> Option<Distillation> {
        let default = default.map(|default| default.alpha);
        let alpha = self.distill.or(default).filter(|&alpha| alpha != 0.0);
        alpha.map(|alpha| Distillation { alpha, temperature: self.temperature })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn augmentations_are_parsed() {
        assert_eq!("resized".parse(), Ok(Augment::Resized));
        assert_eq!("shifted:4".parse(), Ok(Augment::Shifted(4)));
        assert_eq!("none".parse(), Ok(Augment::None));
        for bad in ["", "shifted", "shifted:", "shifted:-1", "zoomed", "none:1"] {
            assert!(bad.parse::<Augment>().is_err(), "{bad}");
        }
    }
}
