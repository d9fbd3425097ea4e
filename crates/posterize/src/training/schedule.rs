//! Learning rate schedules.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The schedule of the learning rate after the warm-up; `torch.optim.lr_scheduler`.
///
/// ```
/// use posterize::training::{LearningRate, Schedule};
///
/// let schedule = Schedule::Step { every: 10, gamma: 0.5 };
/// let lr = LearningRate { base: 0.1, schedule, warmup: 0, total: 30 };
/// assert_eq!([0, 9, 10, 20].map(|step| lr.at(step)), [0.1, 0.1, 0.05, 0.025]);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// A constant learning rate.
    #[default]
    Constant,
    /// The learning rate is multiplied by `gamma` every `every` steps; PyTorch's `StepLR`.
    Step {
        /// Number of steps between two changes, at least 1; PyTorch's `step_size`.
        every: usize,
        /// The factor, greater than 0.
        gamma: f64,
    },
    /// The learning rate decreases from the base to `least` along half a cosine; PyTorch's
    /// `CosineAnnealingLR` (Loshchilov and Hutter 2017, <https://arxiv.org/abs/1608.03983>, without
    /// restarts).
    Cosine {
        /// The learning rate after the last step, from 0 to the base; PyTorch's `eta_min`.
        least: f64,
    },
}

/// The learning rate of every step: a linear warm-up, followed by a [`Schedule`].
///
/// It is PyTorch's `SequentialLR` of `LinearLR(start_factor=1 / (warmup + 1), total_iters=warmup)`
/// and the schedule, stepped after each batch. Step `i` of the warm-up has the learning rate
/// `base · (i + 1) / (warmup + 1)`. Step `i` after the warm-up has `base · gamma^floor(i / every)`, or
/// `least + (base − least) · (1 + cos(π · i / (total − warmup))) / 2`.
///
/// ```
/// use posterize::training::{LearningRate, Schedule};
///
/// let schedule = Schedule::Cosine { least: 0.0 };
/// let lr = LearningRate { base: 0.1, schedule, warmup: 1, total: 5 };
/// assert_eq!([0, 1, 3].map(|step| (lr.at(step) * 1e3).round()), [50.0, 100.0, 50.0]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LearningRate {
    /// The learning rate after the warm-up, greater than 0.
    pub base: f64,
    /// The schedule after the warm-up.
    pub schedule: Schedule,
    /// Number of steps of the warm-up; 0 for none.
    pub warmup: usize,
    /// Number of all steps, with the warm-up.
    pub total: usize,
}

impl LearningRate {
    /// Checks the learning rate, the warm-up and the schedule.
    ///
    /// # Errors
    /// Returns an error if `base` or `gamma` is not positive and finite, if `every` is 0, if `least`
    /// is not from 0 to `base`, or if there are no steps after the warm-up.
    pub fn validate(&self) -> Result<()> {
        let refuse = |problem: String| Err(Error::Argument(problem));
        let base = self.base;
        if !(base.is_finite() && base > 0.0) {
            return refuse(format!("the learning rate must be greater than 0, found {base}"));
        }
        if self.warmup > 0 && self.warmup >= self.total {
            return refuse(format!(
                "the warm-up of the learning rate must have less than the {} steps of the training, \
                 found {}",
                self.total, self.warmup
            ));
        }
        match self.schedule {
            Schedule::Step { every: 0, .. } => {
                refuse("a step schedule must change after at least 1 step, found 0".into())
            }
            Schedule::Step { gamma, .. } if !(gamma.is_finite() && gamma > 0.0) => {
                refuse(format!("gamma of a step schedule must be greater than 0, found {gamma}"))
            }
            Schedule::Cosine { least } if !(0.0..=base).contains(&least) => {
                refuse(format!("a cosine schedule must end at 0 to {base}, found {least}"))
            }
            _ => Ok(()),
        }
    }

    /// Returns the learning rate of a step, counted from 0.
    pub fn at(&self, step: usize) -> f64 {
        let Some(after) = step.checked_sub(self.warmup) else {
            return self.base * (step + 1) as f64 / (self.warmup + 1) as f64;
        };
        match self.schedule {
            Schedule::Constant => self.base,
            Schedule::Step { every, gamma } => {
                self.base * gamma.powi((after / every.max(1)).min(i32::MAX as usize) as i32)
            }
            Schedule::Cosine { least } => {
                let length = self.total.saturating_sub(self.warmup).max(1);
                let part = (after as f64 / length as f64).min(1.0);
                least + (self.base - least) * (1.0 + (std::f64::consts::PI * part).cos()) / 2.0
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_invalid_schedules_name_the_value() {
        let good = LearningRate { base: 0.1, schedule: Schedule::Constant, warmup: 2, total: 10 };
        good.validate().unwrap();
        let with = |schedule| LearningRate { schedule, ..good };
        for (bad, says) in [
            (LearningRate { base: 0.0, ..good }, "must be greater than 0, found 0"),
            (LearningRate { base: f64::NAN, ..good }, "NaN"),
            (
                LearningRate { warmup: 10, ..good },
                "less than the 10 steps of the training, found 10",
            ),
            (with(Schedule::Step { every: 0, gamma: 0.1 }), "at least 1 step, found 0"),
            (with(Schedule::Step { every: 1, gamma: -0.1 }), "gamma of a step schedule must be"),
            (with(Schedule::Cosine { least: 0.2 }), "must end at 0 to 0.1, found 0.2"),
        ] {
            let error = bad.validate().unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn a_cosine_stays_at_its_end() {
        let schedule = Schedule::Cosine { least: 0.01 };
        let lr = LearningRate { base: 0.1, schedule, warmup: 0, total: 4 };
        assert_eq!((lr.at(4), lr.at(400)), (0.01, 0.01));
    }
}
