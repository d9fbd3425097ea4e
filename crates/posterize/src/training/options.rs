//! The options of a training run.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::clip::check_max_norm;
use super::{AdamOptions, CrossEntropy, Distillation, LearningRate, OptimizerOptions, Schedule};
use crate::error::{Error, Result};
use crate::graph::ModuleGlob;

/// The epoch whose network is the result of a training run.
///
/// ```
/// use posterize::training::{Keep, TrainOptions};
///
/// assert_eq!(TrainOptions::default().keep, Keep::Best);
/// assert_eq!(serde_json::to_value(Keep::Last).unwrap(), "last");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Keep {
    /// The epoch with the highest top-1 accuracy of the validation pictures, or the lowest loss of
    /// epochs with the same accuracy.
    #[default]
    Best,
    /// The last epoch.
    Last,
}

/// The epoch from which observers or the running estimates of batch norms are frozen.
///
/// ```
/// use posterize::training::{Freeze, TrainOptions};
///
/// assert_eq!(TrainOptions::default().freeze_observer, Freeze::After(4));
/// assert_eq!(Freeze::Start.to_string(), "start");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Freeze {
    /// They are not frozen.
    Never,
    /// They are frozen from the start of training.
    Start,
    /// They are frozen after the training of this epoch, counted from 0, before its validation.
    After(usize),
}

impl Freeze {
    /// Returns whether they are frozen after the training of `epoch`.
    pub(super) fn holds_after(self, epoch: usize) -> bool {
        match self {
            Self::Never => false,
            Self::Start => true,
            Self::After(after) => epoch >= after,
        }
    }
}

impl fmt::Display for Freeze {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Never => f.write_str("never"),
            Self::Start => f.write_str("start"),
            Self::After(epoch) => write!(f, "{epoch}"),
        }
    }
}

/// A factor of the learning rate of modules.
///
/// ```
/// use posterize::training::{LrFactor, TrainOptions};
///
/// let head = LrFactor { modules: "classifier".parse()?, factor: 10.0 };
/// let options = TrainOptions { lr_factors: vec![head], ..TrainOptions::default() };
/// assert_eq!(options.lr_factors[0].to_string(), "classifier=10");
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LrFactor {
    /// The modules whose parameters have the factor, and those of all modules in them.
    pub modules: ModuleGlob,
    /// The factor, greater than 0.
    pub factor: f64,
}

impl fmt::Display for LrFactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.modules, self.factor)
    }
}

/// The options of a [`Trainer`](super::Trainer).
///
/// The defaults are those of the quantization-aware training in PyTorch's tutorial "Static
/// Quantization with Eager Mode".
///
/// ```
/// use posterize::training::{Schedule, TrainOptions};
///
/// let schedule = Schedule::Step { every: 40, gamma: 0.1 };
/// let options = TrainOptions { lr: 0.1, schedule, ..TrainOptions::default() };
/// // 8 epochs of 20 steps.
/// let lr = options.learning_rate(20);
/// assert_eq!((lr.total, lr.at(0), lr.at(40)), (160, 0.1, 0.1 * 0.1));
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainOptions {
    /// Number of epochs, at least 1.
    pub epochs: usize,
    /// The largest number of batches in an epoch, at least 1; `None` for all pictures.
    pub batches: Option<usize>,
    /// Number of pictures in a batch, at least 1.
    pub batch_size: usize,
    /// The learning rate after the warm-up.
    pub lr: f64,
    /// The schedule of the learning rate after the warm-up.
    pub schedule: Schedule,
    /// Number of steps of the linear warm-up.
    pub warmup: usize,
    /// The optimizer.
    pub optimizer: OptimizerOptions,
    /// The loss of the labels.
    pub loss: CrossEntropy,
    /// The distillation from the float network before training, in eval mode; `None` for the loss of
    /// the labels only.
    pub distillation: Option<Distillation>,
    /// The largest norm of the gradients, see [`clip_grad_norm`](super::clip_grad_norm); `None` for no
    /// clipping.
    pub clip: Option<f64>,
    /// When observers are disabled, in quantization-aware training. The tutorial's
    /// `if nepoch > 3: disable_observer` is `After(4)`.
    pub freeze_observer: Freeze,
    /// When the running estimates of batch norms are frozen and used in training. The tutorial's
    /// `if nepoch > 2: freeze_bn_stats` is `After(3)`.
    pub freeze_bn: Freeze,
    /// The largest number of training batches from which the running estimates of batch norms are
    /// [re-estimated](super::Network::reestimate_bn_stats) for the validation after each epoch and for the
    /// result, at least 1; `None` to keep those of the training. The training goes on with its own.
    #[serde(default)]
    pub reestimate_bn: Option<usize>,
    /// The modules that are not trained, see [`Network::freeze`](super::Network::freeze).
    pub frozen: Vec<ModuleGlob>,
    /// The factors of the learning rate of modules. If several match a parameter, the last is used.
    pub lr_factors: Vec<LrFactor>,
    /// The epoch whose network is the result.
    pub keep: Keep,
    /// The seed of the order of pictures, their augmentation, and dropout.
    pub seed: u64,
}

impl Default for TrainOptions {
    fn default() -> Self {
        Self {
            epochs: 8,
            batches: Some(20),
            batch_size: 30,
            lr: 1e-4,
            schedule: Schedule::Constant,
            warmup: 0,
            optimizer: OptimizerOptions::default(),
            loss: CrossEntropy::default(),
            distillation: None,
            clip: None,
            freeze_observer: Freeze::After(4),
            freeze_bn: Freeze::After(3),
            reestimate_bn: None,
            frozen: Vec::new(),
            lr_factors: Vec::new(),
            keep: Keep::Best,
            seed: 0,
        }
    }
}

impl TrainOptions {
    /// Returns the options for float training that starts from trained weights, on hundreds to thousands
    /// of pictures.
    ///
    /// The running estimates of batch norms are frozen from the start, since those of the trained network
    /// are more accurate than the statistics of small batches. `new_modules` are the dotted names of the
    /// modules that start at random, such as a new classifier: their learning rate is 10 times that of
    /// the others, since they have everything to learn. The learning rate follows a cosine.
    ///
    /// ```
    /// use posterize::training::{Freeze, TrainOptions};
    ///
    /// let options = TrainOptions::fine_tuning(["classifier.1"])?;
    /// assert_eq!(options.freeze_bn, Freeze::Start);
    /// assert_eq!(options.lr_factors[0].to_string(), "classifier.1=10");
    /// # Ok::<(), posterize::Error>(())
    /// ```
    ///
    /// # Errors
    /// Returns an error if a name is too long for a [`ModuleGlob`].
    pub fn fine_tuning<'a>(new_modules: impl IntoIterator<Item = &'a str>) -> Result<Self> {
        let factor = |name| Ok(LrFactor { modules: ModuleGlob::of_name(name)?, factor: 10.0 });
        Ok(Self {
            epochs: 10,
            batches: None,
            lr: 1e-4,
            schedule: Schedule::Cosine { least: 0.0 },
            optimizer: OptimizerOptions::AdamW(AdamOptions::adamw()),
            freeze_observer: Freeze::Never,
            freeze_bn: Freeze::Start,
            lr_factors: new_modules.into_iter().map(factor).collect::<Result<_>>()?,
            ..Self::default()
        })
    }

    /// Returns the options for float training that starts from random weights.
    ///
    /// Batch norms use the statistics of the batches, and the learning rate follows a cosine.
    ///
    /// ```
    /// use posterize::training::{Freeze, TrainOptions};
    ///
    /// assert_eq!(TrainOptions::from_scratch().freeze_bn, Freeze::Never);
    /// ```
    #[must_use]
    pub fn from_scratch() -> Self {
        Self {
            epochs: 20,
            batches: None,
            lr: 2e-3,
            schedule: Schedule::Cosine { least: 0.0 },
            optimizer: OptimizerOptions::AdamW(AdamOptions::adamw()),
            freeze_observer: Freeze::Never,
            freeze_bn: Freeze::Never,
            ..Self::default()
        }
    }

    /// Returns the options for quantization-aware training with a qconfig of
    /// [`QConfig::PRESETS`](crate::quantization::QConfig::PRESETS):
    /// [`recommended_qat`](Self::recommended_qat) for `recommended`, the defaults for PyTorch's
    /// qconfigs.
    #[must_use]
    pub fn qat(preset: &str) -> Self {
        if preset == "recommended" { Self::recommended_qat() } else { Self::default() }
    }

    /// Returns the recommended options for quantization-aware training.
    ///
    /// They differ from the defaults for short trainings on a few hundred pictures. The running
    /// estimates of batch norms are frozen from the start, since those of the trained network are
    /// more accurate than the statistics of small batches. Gradients are clipped, since one large step
    /// can lose more accuracy than the others gain. The float network is distilled in place of the
    /// labels, which a network soon overfits. The learning rate follows a cosine.
    #[must_use]
    pub fn recommended_qat() -> Self {
        Self {
            schedule: Schedule::Cosine { least: 0.0 },
            clip: Some(20.0),
            distillation: Some(Distillation::default()),
            freeze_bn: Freeze::Start,
            ..Self::default()
        }
    }

    /// Checks all options, for epochs of `steps` steps.
    pub(super) fn validate(&self, steps: usize) -> Result<()> {
        for (what, value) in [
            ("epochs", self.epochs),
            ("batches", self.batches.unwrap_or(1)),
            ("batch_size", self.batch_size),
            ("reestimate_bn", self.reestimate_bn.unwrap_or(1)),
        ] {
            if value == 0 {
                return Err(Error::Argument(format!("{what} must be at least 1, found 0")));
            }
        }
        self.optimizer.build()?;
        self.loss.validate()?;
        self.distillation.map_or(Ok(()), |distillation| distillation.validate())?;
        self.clip.map_or(Ok(()), check_max_norm)?;
        self.learning_rate(steps).validate()
    }

    /// Returns the learning rate of every step, for epochs of `steps` steps.
    pub fn learning_rate(&self, steps: usize) -> LearningRate {
        let Self { lr: base, schedule, warmup, .. } = *self;
        LearningRate { base, schedule, warmup, total: self.epochs.saturating_mul(steps) }
    }
}
