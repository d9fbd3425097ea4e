//! The settings of a training run.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::clip::check_max_norm;
use super::{CrossEntropy, Distillation, LearningRate, Schedule, SgdOptions};
use crate::error::{Error, Result};

/// Which epoch's network is the result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Keep {
    /// The one with the highest top-1 accuracy on the validation pictures; of equal ones that with
    /// the lowest loss.
    #[default]
    Best,
    /// The last one.
    Last,
}

/// From when on something stays as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Freeze {
    /// It goes on changing.
    Never,
    /// From the beginning.
    Start,
    /// From the end of this epoch on, counted from 0, before it is validated.
    After(usize),
}

impl Freeze {
    /// Whether it stays when epoch `epoch` has been trained.
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

/// The settings of a [`Trainer`](super::Trainer). The default is the quantization-aware training of
/// PyTorch's tutorial "Static Quantization with Eager Mode".
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainOptions {
    /// How many epochs.
    pub epochs: usize,
    /// How many batches an epoch has at most; `None` for all pictures.
    pub batches: Option<usize>,
    /// Pictures in a batch.
    pub batch_size: usize,
    /// The learning rate after the warm-up.
    pub lr: f64,
    /// Its course.
    pub schedule: Schedule,
    /// Over how many steps it rises to `lr`.
    pub warmup: usize,
    /// The optimiser's settings.
    pub sgd: SgdOptions,
    /// The loss of labels.
    pub loss: CrossEntropy,
    /// How to learn from the network as it was before training, in float and in eval mode; `None`
    /// for labels alone.
    pub distillation: Option<Distillation>,
    /// The greatest length of the gradient; `None` to leave it as it is.
    pub clip: Option<f64>,
    /// When scales and zero points stay as they are; the tutorial's
    /// `if nepoch > 3: disable_observer` is `After(4)`. Quantization-aware training only.
    pub freeze_observer: Freeze,
    /// When batch norms begin to use their running estimates in training; the tutorial's
    /// `if nepoch > 2: freeze_bn_stats` is `After(3)`.
    pub freeze_bn: Freeze,
    /// Which epoch's network is the result.
    pub keep: Keep,
    /// Determines the order of the pictures, how they are augmented, and what dropout drops.
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
            sgd: SgdOptions::default(),
            loss: CrossEntropy::default(),
            distillation: None,
            clip: None,
            freeze_observer: Freeze::After(4),
            freeze_bn: Freeze::After(3),
            keep: Keep::Best,
            seed: 0,
        }
    }
}

impl TrainOptions {
    /// Those of quantization-aware training with a qconfig of that name, one of
    /// [`QConfig::PRESETS`](crate::quantization::QConfig::PRESETS):
    /// [`recommended_qat`](Self::recommended_qat) for `recommended`, the tutorial's for PyTorch's.
    #[must_use]
    pub fn qat(preset: &str) -> Self {
        if preset == "recommended" { Self::recommended_qat() } else { Self::default() }
    }

    /// The ones to train with here, quantization-aware: as PyTorch's tutorial, with batch norms frozen
    /// from the start, gradients clipped, the learning rate falling along a cosine, and the float
    /// network's answers in place of labels.
    ///
    /// A few hundred pictures in batches of 30 give worse statistics than those a trained network
    /// comes with, one large step can cost a sharp network more than all others gain, and so few
    /// labels are soon learnt by heart.
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

    /// Checks all ranges. An epoch has `steps` steps.
    pub(super) fn validate(&self, steps: usize) -> Result<()> {
        for (what, value) in [
            ("epochs", self.epochs),
            ("batches", self.batches.unwrap_or(1)),
            ("batch size", self.batch_size),
        ] {
            if value == 0 {
                return Err(Error::Argument(format!("{what}: 0; expected at least 1")));
            }
        }
        self.sgd.validate()?;
        self.loss.validate()?;
        self.distillation.map_or(Ok(()), |distillation| distillation.validate())?;
        self.clip.map_or(Ok(()), check_max_norm)?;
        self.learning_rate(steps).validate()
    }

    /// The learning rate of every step, where an epoch has `steps`.
    pub fn learning_rate(&self, steps: usize) -> LearningRate {
        let Self { lr: base, schedule, warmup, .. } = *self;
        LearningRate { base, schedule, warmup, total: self.epochs.saturating_mul(steps) }
    }
}
