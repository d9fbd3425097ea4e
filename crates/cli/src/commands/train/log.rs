//! The logs of a training run: a printed line for each epoch, and two CSV files.

use std::fmt::Write;

use posterize::{
    atomic_file,
    training::{EpochRecord, History, TrainOptions, TrainedModel},
};

use super::files::Files;
use crate::ui::percent;

/// Describes an epoch in one line.
pub(super) fn line(epoch: &EpochRecord, model: &TrainedModel, is_best: bool) -> String {
    let mut line = format!(
        "epoch {}: training loss {:.4}, top-1 {}; {} on {} pictures: loss {:.4}, top-1 {}, top-5 {}; \
         {:.1} pictures/s",
        epoch.epoch,
        epoch.train_loss,
        percent(epoch.train_top1),
        match model {
            TrainedModel::Float(_) => "validation",
            TrainedModel::Int8(_) => "validation in int8",
        },
        epoch.val_images,
        epoch.val_loss,
        percent(epoch.val_top1),
        percent(epoch.val_top5),
        epoch.train_images as f64 / epoch.train_seconds.max(1e-9),
    );
    for (is_so, remark) in [
        (epoch.observers_frozen, ", observers frozen"),
        (epoch.bn_stats_frozen, ", batch norms frozen"),
        (is_best, " (best so far)"),
    ] {
        if is_so {
            line += remark;
        }
    }
    line
}

/// Writes the CSV files of epochs and of batches.
pub(super) fn write(
    files: &Files,
    history: &History,
    options: &TrainOptions,
    steps_per_epoch: usize,
) -> posterize::Result<()> {
    let epochs = epochs(history);
    atomic_file::write(&files.log, |file| file.write_all(epochs.as_bytes()))?;
    let rate = options.learning_rate(steps_per_epoch);
    let mut steps = String::from("step,lr,loss,grad_norm\n");
    for (step, (loss, norm)) in history.losses.iter().zip(&history.grad_norms).enumerate() {
        let _ = writeln!(steps, "{step},{},{loss},{norm}", rate.at(step));
    }
    atomic_file::write(&files.steps, |file| file.write_all(steps.as_bytes()))
}

fn epochs(history: &History) -> String {
    let mut csv = String::from(
        "epoch,steps,lr,train_loss,train_top1,train_images,train_seconds,val_loss,val_top1,val_top5,\
         val_images,val_seconds,observers_frozen,bn_stats_frozen\n",
    );
    for e in &history.epochs {
        let _ = writeln!(
            csv,
            "{},{},{},{},{},{},{:.3},{},{},{},{},{:.3},{},{}",
            e.epoch,
            e.steps,
            e.lr,
            e.train_loss,
            e.train_top1,
            e.train_images,
            e.train_seconds,
            e.val_loss,
            e.val_top1,
            e.val_top5,
            e.val_images,
            e.val_seconds,
            e.observers_frozen,
            e.bn_stats_frozen
        );
    }
    csv
}
