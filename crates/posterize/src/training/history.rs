//! What happened in a training run so far.

use serde::{Deserialize, Serialize};

/// One step of the optimiser.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepRecord {
    /// Its number over all epochs, from 0.
    pub step: usize,
    /// The epoch, from 0.
    pub epoch: usize,
    /// The batch within the epoch, from 0.
    pub batch: usize,
    /// How many batches the epoch has.
    pub batches: usize,
    /// The batch's loss.
    pub loss: f32,
    /// Pictures of the batch that were classified rightly.
    pub correct: usize,
    /// Pictures of the batch.
    pub images: usize,
    /// The learning rate.
    pub lr: f64,
    /// The length of the gradient before it was clipped.
    pub grad_norm: f64,
    /// The mean loss of the epoch so far.
    pub epoch_loss: f64,
    /// The accuracy of the epoch so far, in percent.
    pub epoch_top1: f64,
}

/// One epoch: the training and the validation that follows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EpochRecord {
    /// Its number, from 0.
    pub epoch: usize,
    /// How many steps were made until its end.
    pub steps: usize,
    /// The learning rate of its last step.
    pub lr: f64,
    /// Mean loss over the training pictures, each as it was when its batch came.
    pub train_loss: f64,
    /// Accuracy over the training pictures in percent, each as it was when its batch came.
    pub train_top1: f64,
    /// Training pictures seen.
    pub train_images: usize,
    /// Seconds of training, decoding included.
    pub train_seconds: f64,
    /// Mean cross-entropy over the validation pictures.
    pub val_loss: f64,
    /// Top-1 accuracy over the validation pictures in percent: of the int8 model in
    /// quantization-aware training, else of the float one.
    pub val_top1: f64,
    /// The same for top-5.
    pub val_top5: f64,
    /// Validation pictures.
    pub val_images: usize,
    /// Seconds of converting and validating.
    pub val_seconds: f64,
    /// Whether the observers were frozen when it was validated.
    pub observers_frozen: bool,
    /// Whether the batch norms' statistics were frozen when it was validated.
    pub bn_stats_frozen: bool,
}

impl EpochRecord {
    /// Whether it is the better one to keep: the higher top-1, of equal ones the lower loss.
    pub fn beats(&self, other: &Self) -> bool {
        match self.val_top1.total_cmp(&other.val_top1) {
            std::cmp::Ordering::Equal => self.val_loss < other.val_loss,
            order => order.is_gt(),
        }
    }
}

/// Every epoch, and the loss and the gradient's length of every step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    /// The finished epochs in order.
    pub epochs: Vec<EpochRecord>,
    /// The loss of each step.
    pub losses: Vec<f32>,
    /// The length of each step's gradient before it was clipped; what to choose a clipping by.
    pub grad_norms: Vec<f32>,
}

impl History {
    /// The epoch to keep; `None` before the first ended.
    pub fn best(&self) -> Option<&EpochRecord> {
        self.epochs.iter().reduce(|best, next| if next.beats(best) { next } else { best })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_has_the_highest_accuracy_then_the_lowest_loss_and_came_first() {
        let record = |epoch, val_top1, val_loss| EpochRecord {
            epoch,
            steps: 1,
            lr: 0.1,
            train_loss: 0.0,
            train_top1: 0.0,
            train_images: 1,
            train_seconds: 0.0,
            val_loss,
            val_top1,
            val_top5: 0.0,
            val_images: 1,
            val_seconds: 0.0,
            observers_frozen: false,
            bn_stats_frozen: false,
        };
        let mut history = History::default();
        assert_eq!(history.best(), None);
        for (epoch, (top1, loss)) in
            [(50.0, 1.0), (60.0, 2.0), (60.0, 1.5), (60.0, 1.5), (40.0, 0.1)]
                .into_iter()
                .enumerate()
        {
            history.epochs.push(record(epoch, top1, loss));
        }
        assert_eq!(history.best().unwrap().epoch, 2);
    }
}
