//! The records of a training run.

use serde::{Deserialize, Serialize};

/// The record of one step of the optimizer.
///
/// [`Watch::step`](super::Watch::step) receives it.
///
/// ```
/// use posterize::training::StepRecord;
///
/// let step = StepRecord {
///     step: 21,
///     epoch: 1,
///     batch: 1,
///     batches: 20,
///     loss: 0.7,
///     correct: 24,
///     images: 30,
///     lr: 1e-4,
///     grad_norm: 3.5,
///     epoch_loss: 0.8,
///     epoch_top1: 75.0,
/// };
/// let line = format!("epoch {} {}/{}: {}", step.epoch, step.batch + 1, step.batches, step.loss);
/// assert_eq!(line, "epoch 1 2/20: 0.7");
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepRecord {
    /// The index of the step over all epochs, from 0.
    pub step: usize,
    /// The epoch, from 0.
    pub epoch: usize,
    /// The batch within the epoch, from 0.
    pub batch: usize,
    /// Number of batches in the epoch.
    pub batches: usize,
    /// The loss of the batch.
    pub loss: f32,
    /// Number of the batch's pictures that were classified correctly.
    pub correct: usize,
    /// Number of pictures in the batch.
    pub images: usize,
    /// The learning rate.
    pub lr: f64,
    /// The norm of the gradients before clipping.
    pub grad_norm: f64,
    /// The mean loss of the epoch's pictures so far.
    pub epoch_loss: f64,
    /// The top-1 accuracy of the epoch's pictures so far, in percent.
    pub epoch_top1: f64,
}

/// The record of one epoch of training and the validation after it.
///
/// ```
/// use posterize::training::EpochRecord;
///
/// let record = |epoch, val_top1, val_loss| EpochRecord {
///     epoch,
///     steps: 20 * (epoch + 1),
///     lr: 1e-4,
///     train_loss: 0.8,
///     train_top1: 75.0,
///     train_images: 600,
///     train_seconds: 60.0,
///     val_loss,
///     val_top1,
///     val_top5: 90.0,
///     val_images: 300,
///     val_seconds: 5.0,
///     observers_frozen: false,
///     bn_stats_frozen: false,
/// };
/// assert!(record(1, 71.0, 1.2).beats(&record(0, 70.0, 1.0)));
/// assert!(record(1, 70.0, 0.9).beats(&record(0, 70.0, 1.0)));
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EpochRecord {
    /// The epoch, from 0.
    pub epoch: usize,
    /// Number of steps of all epochs up to its end.
    pub steps: usize,
    /// The learning rate of its last step.
    pub lr: f64,
    /// The mean loss of the training pictures, each in the step that trained it.
    pub train_loss: f64,
    /// The top-1 accuracy of the training pictures, each in the step that trained it, in percent.
    pub train_top1: f64,
    /// Number of training pictures.
    pub train_images: usize,
    /// Time spent on training, with the decoding of pictures, in seconds.
    pub train_seconds: f64,
    /// The mean cross-entropy of the validation pictures.
    pub val_loss: f64,
    /// The top-1 accuracy of the validation pictures in percent: of the int8 model in
    /// quantization-aware training, of the float model otherwise.
    pub val_top1: f64,
    /// The top-5 accuracy of the validation pictures in percent, of the same model.
    pub val_top5: f64,
    /// Number of validation pictures.
    pub val_images: usize,
    /// Time spent on conversion and validation, in seconds.
    pub val_seconds: f64,
    /// Whether the observers were disabled when it was validated.
    pub observers_frozen: bool,
    /// Whether the running estimates of batch norms were frozen when it was validated.
    pub bn_stats_frozen: bool,
}

impl EpochRecord {
    /// Returns whether it is better than `other`: its top-1 accuracy is higher, or equal with a lower
    /// loss.
    pub fn beats(&self, other: &Self) -> bool {
        match self.val_top1.total_cmp(&other.val_top1) {
            std::cmp::Ordering::Equal => self.val_loss < other.val_loss,
            order => order.is_gt(),
        }
    }
}

/// The records of all epochs of a training run, and the loss and gradient norm of each step.
///
/// ```
/// use posterize::training::History;
///
/// let history = History { losses: vec![0.9, 0.7], grad_norms: vec![4.0, 3.0], ..History::default() };
/// assert!(history.best().is_none()); // no epoch has ended
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    /// The records of the finished epochs, in order.
    pub epochs: Vec<EpochRecord>,
    /// The loss of each step.
    pub losses: Vec<f32>,
    /// The norm of the gradients of each step before clipping. Use it to choose
    /// [`TrainOptions::clip`](super::TrainOptions::clip).
    pub grad_norms: Vec<f32>,
}

impl History {
    /// Returns the best epoch, the earliest of equally good ones; `None` if no epoch has ended.
    pub fn best(&self) -> Option<&EpochRecord> {
        self.epochs.iter().reduce(|best, next| if next.beats(best) { next } else { best })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_epoch_is_the_first_with_the_highest_accuracy_and_lowest_loss() {
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
