//! Tells whether a training run learns.

use super::History;

/// Why a training run does not seem to learn.
///
/// ```
/// use posterize::training::{History, Stagnation};
///
/// let losses = vec![2.31, 2.29, 2.30, 2.30, 2.29, 2.31];
/// let history = History { losses, ..History::default() };
/// assert!(matches!(history.stagnation(10), Some(Stagnation::Flat { .. })));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Stagnation {
    /// The training loss at the end is not lower than at the beginning by more than its noise.
    Flat {
        /// The mean loss at the beginning.
        first: f64,
        /// The mean loss at the end.
        last: f64,
    },
    /// The training loss at the end is higher than at the beginning by more than its noise.
    Rising {
        /// The mean loss at the beginning.
        first: f64,
        /// The mean loss at the end.
        last: f64,
    },
    /// The best validation accuracy is not higher than that of guessing by more than its noise.
    Guessing {
        /// The best top-1 accuracy in percent.
        top1: f64,
        /// The accuracy of guessing in percent: 100 divided by the number of classes.
        chance: f64,
    },
}

/// Number of standard errors that a difference must have.
const SIGNIFICANT: f64 = 2.0;

impl History {
    /// Returns why the run does not seem to learn; `None` if it does, or has too few steps to tell.
    ///
    /// The mean losses of the first and the last epoch are compared, or those of the first and the last
    /// third of the steps if there is one epoch. They are different if they differ by more than two
    /// standard errors of the losses of the steps. The best accuracy of a network with that number of
    /// `classes` is compared with that of guessing in the same way.
    pub fn stagnation(&self, classes: usize) -> Option<Stagnation> {
        if let Some(best) = self.best() {
            let (chance, pictures) = (1.0 / classes.max(1) as f64, best.val_images.max(1) as f64);
            let error = (chance * (1.0 - chance) / pictures).sqrt();
            if classes > 1 && best.val_top1 / 100.0 <= chance + SIGNIFICANT * error {
                let (top1, chance) = (best.val_top1, 100.0 * chance);
                return Some(Stagnation::Guessing { top1, chance });
            }
        }
        let (first, last) = self.ends()?;
        let noise = SIGNIFICANT * (first.squared_error + last.squared_error).sqrt();
        let (first, last) = (first.mean, last.mean);
        if last > first + noise {
            Some(Stagnation::Rising { first, last })
        } else if last >= first - noise {
            Some(Stagnation::Flat { first, last })
        } else {
            None
        }
    }

    /// Returns the losses at the beginning and at the end; `None` for too few of them.
    fn ends(&self) -> Option<(Mean, Mean)> {
        let steps = self.losses.len();
        let (first, last) = match self.epochs.as_slice() {
            [first, .., before, _] => (first.steps, steps.saturating_sub(before.steps)),
            [first, _] => (first.steps, steps.saturating_sub(first.steps)),
            [] | [_] => (steps / 3, steps / 3),
        };
        let first = Mean::of(self.losses.get(..first)?)?;
        let last = Mean::of(self.losses.get(steps - last..)?)?;
        Some((first, last))
    }
}

/// A mean, and the square of its standard error.
struct Mean {
    mean: f64,
    squared_error: f64,
}

impl Mean {
    fn of(losses: &[f32]) -> Option<Self> {
        if losses.len() < 2 {
            return None;
        }
        let n = losses.len() as f64;
        let mean = losses.iter().copied().map(f64::from).sum::<f64>() / n;
        let squares: f64 = losses.iter().map(|&loss| (f64::from(loss) - mean).powi(2)).sum();
        Some(Self { mean, squared_error: squares / (n - 1.0) / n })
    }
}

#[cfg(test)]
mod tests {
    use super::super::EpochRecord;
    use super::*;

    fn history(epochs: &[&[f32]], val_top1: f64) -> History {
        let mut history = History::default();
        for (epoch, losses) in epochs.iter().enumerate() {
            history.losses.extend_from_slice(losses);
            history.epochs.push(EpochRecord {
                epoch,
                steps: history.losses.len(),
                lr: 0.1,
                train_loss: 0.0,
                train_top1: 0.0,
                train_images: 1,
                train_seconds: 0.0,
                val_loss: 0.0,
                val_top1,
                val_top5: 0.0,
                val_images: 100,
                val_seconds: 0.0,
                observers_frozen: false,
                bn_stats_frozen: false,
            });
        }
        history
    }

    #[test]
    fn a_loss_that_falls_by_more_than_its_noise_is_learning() {
        let noisy: &[f32] = &[2.0, 2.4, 2.2, 2.3];
        let lower: &[f32] = &[1.0, 1.4, 1.2, 1.3];
        let middle: &[f32] = &[9.0, 9.0];
        assert_eq!(history(&[noisy, middle, lower], 50.0).stagnation(10), None);
        assert_eq!(history(&[noisy, lower], 50.0).stagnation(10), None);
        let slightly: &[f32] = &[2.0, 2.3, 2.2, 2.3];
        let flat = history(&[noisy, middle, slightly], 50.0).stagnation(10);
        assert!(matches!(flat, Some(Stagnation::Flat { .. })), "{flat:?}");
        let rising = history(&[lower, noisy], 50.0).stagnation(10);
        assert!(matches!(rising, Some(Stagnation::Rising { .. })), "{rising:?}");
        // One epoch is compared by its thirds.
        let one: &[f32] = &[2.0, 2.1, 1.5, 1.6, 1.0, 1.1];
        assert_eq!(history(&[one], 50.0).stagnation(10), None);
        let constant = history(&[&[2.3; 6]], 50.0).stagnation(10);
        assert_eq!(constant.map(|found| matches!(found, Stagnation::Flat { .. })), Some(true));
        // Too few steps to tell.
        assert_eq!(history(&[&[1.0; 5]], 50.0).stagnation(10), None);
        assert_eq!(history(&[&[1.0], &[1.0]], 50.0).stagnation(10), None);
        assert_eq!(History::default().stagnation(10), None);
    }

    #[test]
    fn an_accuracy_within_the_noise_of_guessing_is_guessing() {
        let falling: &[&[f32]] = &[&[2.0, 2.1], &[1.0, 1.1]];
        // The standard error of 100 pictures of 10 classes is 3 %.
        let found = history(falling, 16.0).stagnation(10);
        assert_eq!(found, Some(Stagnation::Guessing { top1: 16.0, chance: 10.0 }));
        assert_eq!(history(falling, 16.1).stagnation(10), None);
        assert_eq!(history(falling, 100.0).stagnation(1), None);
    }
}
