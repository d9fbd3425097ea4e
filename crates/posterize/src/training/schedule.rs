//! How the learning rate changes from step to step.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The course of the learning rate after the warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// Always the same.
    #[default]
    Constant,
    /// Multiplied by `gamma` after every so many steps; PyTorch's `StepLR`.
    Step {
        /// How many steps; at least 1.
        every: usize,
        /// The factor, above 0.
        gamma: f64,
    },
    /// Half a cosine from the base down to `least`; PyTorch's `CosineAnnealingLR`, after Loshchilov
    /// and Hutter (2017), without restarts.
    Cosine {
        /// What it would reach one step after the last; not negative.
        least: f64,
    },
}

/// The learning rate of every step: a linear warm-up, then a [`Schedule`].
///
/// In PyTorch's words `SequentialLR` of `LinearLR(start_factor=1 / (warmup + 1),
/// total_iters=warmup)` and the schedule, stepped after every batch.
///
/// ```
/// use posterize::training::{LearningRate, Schedule};
/// let schedule = Schedule::Cosine { least: 0.0 };
/// let lr = LearningRate { base: 0.1, schedule, warmup: 1, total: 5 };
/// assert_eq!([0, 1, 3].map(|step| (lr.at(step) * 1e3).round()), [50.0, 100.0, 50.0]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LearningRate {
    /// The rate after the warm-up.
    pub base: f64,
    /// Its course from there.
    pub schedule: Schedule,
    /// Over how many steps the rate rises linearly; 0 for none.
    pub warmup: usize,
    /// How many steps there are in all, the warm-up among them.
    pub total: usize,
}

impl LearningRate {
    /// Checks the ranges.
    ///
    /// # Errors
    /// The base is not above 0, a step of the schedule is 0 steps long, `gamma` is not above 0,
    /// `least` is negative or above the base, or the warm-up takes all steps.
    pub fn validate(&self) -> Result<()> {
        let refuse = |problem: String| Err(Error::Argument(format!("learning rate: {problem}")));
        let base = self.base;
        if !(base.is_finite() && base > 0.0) {
            return refuse(format!("it is {base}; it must be above 0"));
        }
        if self.warmup > 0 && self.warmup >= self.total {
            return refuse(format!(
                "a warm-up of {} steps leaves nothing of the {} there are",
                self.warmup, self.total
            ));
        }
        match self.schedule {
            Schedule::Step { every: 0, .. } => refuse("it changes after every 0 steps".into()),
            Schedule::Step { gamma, .. } if !(gamma.is_finite() && gamma > 0.0) => {
                refuse(format!("gamma is {gamma}; it must be above 0"))
            }
            Schedule::Cosine { least } if !(0.0..=base).contains(&least) => {
                refuse(format!("the cosine ends at {least}; expected 0 to {base}"))
            }
            _ => Ok(()),
        }
    }

    /// The rate of a step, counted from 0.
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
    fn what_makes_no_sense_is_refused_with_its_number() {
        let good = LearningRate { base: 0.1, schedule: Schedule::Constant, warmup: 2, total: 10 };
        good.validate().unwrap();
        let with = |schedule| LearningRate { schedule, ..good };
        for (bad, says) in [
            (LearningRate { base: 0.0, ..good }, "it is 0"),
            (LearningRate { base: f64::NAN, ..good }, "NaN"),
            (LearningRate { warmup: 10, ..good }, "10 steps leaves nothing of the 10"),
            (with(Schedule::Step { every: 0, gamma: 0.1 }), "every 0 steps"),
            (with(Schedule::Step { every: 1, gamma: -0.1 }), "gamma is -0.1"),
            (with(Schedule::Cosine { least: 0.2 }), "ends at 0.2"),
        ] {
            let error = bad.validate().unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn a_cosine_that_is_over_stays_down() {
        let schedule = Schedule::Cosine { least: 0.01 };
        let lr = LearningRate { base: 0.1, schedule, warmup: 0, total: 4 };
        assert_eq!((lr.at(4), lr.at(400)), (0.01, 0.01));
    }
}
