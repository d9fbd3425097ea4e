//! Shows progress and writes files while a network trains.

use std::time::Instant;

use indicatif::ProgressBar;
use posterize::{
    Evaluation,
    data::Skipped,
    training::{
        Checkpoint, EpochRecord, History, Position, Stagnation, StepRecord, TrainOptions,
        TrainedModel, Trainer, Watch,
    },
};

use super::{
    advice::advice,
    checkpoints::{CheckpointEvery, Timer},
    files::{Files, Metadata, write_model},
    log,
};
use crate::{
    interrupt::{Deferred, is_requested},
    ui::{Ui, duration, percent},
};

/// Seconds between progress lines if stderr is not a terminal.
const LINE_EVERY: f64 = 15.0;

/// What the first Ctrl-C prints.
const INTERRUPTED: &str = "Ctrl-C: the checkpoint is written after this batch; press Ctrl-C again to end \
                           without it";

/// Shows the progress of a run, as a bar on a terminal and as lines elsewhere, and writes the files
/// after every epoch.
pub(super) struct LiveView<'a> {
    ui: &'a Ui,
    metadata: &'a Metadata,
    files: &'a Files,
    options: &'a TrainOptions,
    steps_per_epoch: usize,
    /// Number of validation pictures.
    val_images: usize,
    bar: ProgressBar,
    history: History,
    timer: Timer,
    saved: Option<Position>,
    /// The epoch that has ended, until its files are written.
    to_write: Option<Ended>,
    skipped: usize,
    /// While the run lasts, the first Ctrl-C is only noted.
    _interrupt: Deferred,
    /// Whether it was said that the run does not seem to learn.
    warned: bool,
    /// When the first batch of this epoch ended, its number, and the number of pictures since.
    began: Option<(Instant, usize, usize)>,
    /// When the last progress line was written.
    last_line: Instant,
}

/// An epoch that has ended.
struct Ended {
    /// Its model, if it is to be written.
    kept: Option<TrainedModel>,
}

impl<'a> LiveView<'a> {
    pub(super) fn new(
        ui: &'a Ui,
        metadata: &'a Metadata,
        files: &'a Files,
        trainer: &Trainer,
        options: &'a TrainOptions,
        val_images: usize,
        every: CheckpointEvery,
    ) -> Self {
        let bar = ui.epoch_bar();
        bar.set_length(trainer.steps_per_epoch() as u64);
        Self {
            ui,
            metadata,
            files,
            options,
            steps_per_epoch: trainer.steps_per_epoch(),
            val_images,
            bar,
            history: trainer.history().clone(),
            timer: Timer::new(every),
            saved: None,
            to_write: None,
            skipped: 0,
            _interrupt: Deferred::new(INTERRUPTED),
            warned: false,
            began: None,
            last_line: Instant::now(),
        }
    }

    /// Removes the progress bar.
    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }

    /// Returns the position of the last checkpoint that this run wrote.
    pub(super) fn saved(&self) -> Option<Position> {
        self.saved
    }

    /// Returns how often a training picture was skipped.
    pub(super) fn skipped(&self) -> usize {
        self.skipped
    }

    /// Warns once if the run does not seem to learn, after its second epoch or at its end.
    fn warn_if_stagnating(&mut self, model: &TrainedModel) {
        let epochs = self.history.epochs.len();
        if self.warned || (epochs < 2 && epochs < self.options.epochs) {
            return;
        }
        let problem = match self.history.stagnation(self.metadata.classes.len()) {
            // A network that is trained for int8 may be as good as the float one from the start.
            Some(Stagnation::Flat { .. }) if matches!(model, TrainedModel::Int8(_)) => return,
            Some(problem) => problem,
            None => return,
        };
        self.warned = true;
        self.ui.warn(advice(problem, self.options));
    }

    /// Estimates the seconds to the end of the run from the times of batches and validations so far.
    fn seconds_left(&self, epoch: usize, batches_left: usize, seconds_per_batch: f64) -> f64 {
        let done = &self.history.epochs;
        let validation: f64 = done.iter().map(|epoch| epoch.val_seconds).sum();
        // Until the first validation has been timed: a forward pass takes about a third of a step.
        let validation = if done.is_empty() {
            let batches = self.val_images.div_ceil(self.options.batch_size);
            seconds_per_batch * batches as f64 / 3.0
        } else {
            validation / done.len() as f64
        };
        let epochs = self.options.epochs.saturating_sub(epoch + 1);
        let batches = batches_left + epochs * self.steps_per_epoch;
        batches as f64 * seconds_per_batch + (epochs + 1) as f64 * validation
    }
}

impl Watch for LiveView<'_> {
    fn step(&mut self, step: &StepRecord) {
        let now = Instant::now();
        // The first batch is not timed, because it includes waiting for the first pictures.
        let (since, first, images) = self.began.get_or_insert((now, step.batch, 0));
        let batches = step.batch - *first;
        *images += if batches > 0 { step.images } else { 0 };
        let seconds = now.duration_since(*since).as_secs_f64();
        let (rate, left) = if batches > 0 && seconds > 0.0 {
            let per_second = *images as f64 / seconds;
            let left = step.batches - step.batch - 1;
            let left = self.seconds_left(step.epoch, left, seconds / batches as f64);
            (format!("{per_second:.1} pictures/s"), format!("{} left", duration(left)))
        } else {
            (String::new(), String::new())
        };
        let (loss, top1) = (step.epoch_loss, percent(step.epoch_top1));
        let last = self.options.epochs - 1;
        self.history.losses.push(step.loss);
        self.history.grad_norms.push(step.grad_norm as f32);
        if self.bar.is_hidden() {
            if now.duration_since(self.last_line).as_secs_f64() >= LINE_EVERY {
                self.last_line = now;
                self.ui.note(format_args!(
                    "epoch {} of 0 to {last}, batch {} of {}: loss {loss:.4}, top-1 {top1}, {rate}, \
                     {left}",
                    step.epoch,
                    step.batch + 1,
                    step.batches
                ));
            }
            return;
        }
        self.bar.set_prefix(format!("epoch {}/{last}", step.epoch));
        self.bar.set_position(step.batch as u64 + 1);
        self.bar.set_message(format!("loss {loss:.4}  top-1 {top1}  {rate}  {left}"));
    }

    fn skipped(&mut self, picture: &Skipped) {
        self.skipped += 1;
        self.ui.warn(format_args!("{} (picture skipped)", picture.error));
    }

    fn validating(&mut self, so_far: &Evaluation) {
        self.bar.set_message(format!(
            "validating: {} of {} pictures, top-1 {}",
            so_far.images,
            self.val_images,
            percent(so_far.top1())
        ));
    }

    fn epoch(
        &mut self,
        epoch: &EpochRecord,
        model: &TrainedModel,
        kept: bool,
    ) -> posterize::Result<()> {
        (self.began, self.last_line) = (None, Instant::now());
        self.history.epochs.push(epoch.clone());
        let is_best = self.history.best().is_some_and(|best| best.epoch == epoch.epoch);
        self.ui.line(format_args!("{}", log::line(epoch, model, is_best)));
        self.warn_if_stagnating(model);
        // Written after the checkpoint, with which the epoch is not lost if the others fail.
        self.to_write = Some(Ended { kept: kept.then(|| model.clone()) });
        Ok(())
    }

    fn wants_checkpoint(&mut self, _: &Position, epoch_ended: bool) -> bool {
        self.timer.is_due(epoch_ended)
    }

    fn wants_stop(&mut self) -> bool {
        is_requested()
    }

    fn checkpoint(&mut self, checkpoint: &Checkpoint) -> posterize::Result<()> {
        checkpoint.save(&self.files.checkpoint)?;
        self.saved = Some(checkpoint.position);
        let Some(ended) = self.to_write.take() else { return Ok(()) };
        if let Some(model) = ended.kept {
            write_model(self.metadata, self.files, &model)?;
        }
        log::write(self.files, &self.history, self.options, self.steps_per_epoch)
    }
}
