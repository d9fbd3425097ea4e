//! What is shown and written while a network trains.

use std::time::Instant;

use indicatif::ProgressBar;
use posterize::{
    Evaluation,
    data::Skipped,
    training::{
        Checkpoint, EpochRecord, History, Position, StepRecord, TrainOptions, TrainedModel,
        Trainer, Watch,
    },
};

use super::{
    checkpoints::{CheckpointEvery, Timer},
    files::{Files, Naming, write_model},
    log,
};
use crate::ui::{Ui, duration, percent};

/// Without a terminal a line is written this often.
const LINE_EVERY: f64 = 15.0;

/// Watches a run: a bar on a terminal, lines elsewhere; files after every epoch.
pub(super) struct Live<'a> {
    ui: &'a Ui,
    naming: &'a Naming,
    files: &'a Files,
    options: &'a TrainOptions,
    steps_per_epoch: usize,
    /// Pictures to validate on.
    validated: usize,
    bar: ProgressBar,
    history: History,
    timer: Timer,
    saved: Option<Position>,
    skipped: usize,
    /// When this epoch's training began, at which batch, and how many pictures since.
    began: Option<(Instant, usize, usize)>,
    line: Instant,
    /// When validation began.
    validating: Option<Instant>,
}

impl<'a> Live<'a> {
    pub(super) fn new(
        ui: &'a Ui,
        naming: &'a Naming,
        files: &'a Files,
        trainer: &Trainer,
        options: &'a TrainOptions,
        validated: usize,
        every: CheckpointEvery,
    ) -> Self {
        let bar = ui.epoch_bar();
        bar.set_length(trainer.steps_per_epoch() as u64);
        Self {
            ui,
            naming,
            files,
            options,
            steps_per_epoch: trainer.steps_per_epoch(),
            validated,
            bar,
            history: trainer.history().clone(),
            timer: Timer::new(every),
            saved: None,
            skipped: 0,
            began: None,
            line: Instant::now(),
            validating: None,
        }
    }

    /// Removes the bar.
    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }

    /// Where the last checkpoint of this run is.
    pub(super) fn saved(&self) -> Option<Position> {
        self.saved
    }

    /// Training pictures that were left out.
    pub(super) fn skipped(&self) -> usize {
        self.skipped
    }

    /// Seconds to the end of the run, by what batches and validations took so far.
    fn seconds_left(&self, epoch: usize, batches_left: usize, seconds_per_batch: f64) -> f64 {
        let past = &self.history.epochs;
        let validation: f64 = past.iter().map(|epoch| epoch.val_seconds).sum();
        // Before the first validation: a batch forwards costs about a third of a step.
        let validation = if past.is_empty() {
            let batches = self.validated.div_ceil(self.options.batch_size);
            seconds_per_batch * batches as f64 / 3.0
        } else {
            validation / past.len() as f64
        };
        let epochs = self.options.epochs.saturating_sub(epoch + 1);
        let batches = batches_left + epochs * self.steps_per_epoch;
        batches as f64 * seconds_per_batch + (epochs + 1) as f64 * validation
    }
}

impl Watch for Live<'_> {
    fn step(&mut self, step: &StepRecord) {
        let now = Instant::now();
        // The first batch waits for the first pictures: it says nothing of the pace.
        let (since, first, images) = self.began.get_or_insert((now, step.batch, 0));
        let batches = step.batch - *first;
        *images += if batches > 0 { step.images } else { 0 };
        let seconds = now.duration_since(*since).as_secs_f64();
        let (pace, left) = if batches > 0 && seconds > 0.0 {
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
            if now.duration_since(self.line).as_secs_f64() >= LINE_EVERY {
                self.line = now;
                self.ui.note(format_args!(
                    "epoch {} of 0 to {last}, batch {} of {}: loss {loss:.4}, top-1 {top1}, {pace}, \
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
        self.bar.set_message(format!("loss {loss:.4}  top-1 {top1}  {pace}  {left}"));
    }

    fn skipped(&mut self, picture: &Skipped) {
        self.skipped += 1;
        self.ui.warn(format_args!("{} (left out)", picture.error));
    }

    fn validating(&mut self, so_far: &Evaluation) {
        self.validating.get_or_insert_with(Instant::now);
        self.bar.set_message(format!(
            "validating: {} of {}, top-1 {}",
            so_far.images,
            self.validated,
            percent(so_far.top1())
        ));
    }

    fn epoch(
        &mut self,
        epoch: &EpochRecord,
        model: &TrainedModel,
        kept: bool,
    ) -> posterize::Result<()> {
        (self.began, self.validating, self.line) = (None, None, Instant::now());
        self.history.epochs.push(epoch.clone());
        let is_best = self.history.best().is_some_and(|best| best.epoch == epoch.epoch);
        self.ui.line(format_args!("{}", log::line(epoch, model, is_best)));
        if kept {
            write_model(self.naming, self.files, model)?;
        }
        log::write(self.files, &self.history, self.options, self.steps_per_epoch)
    }

    fn wants_checkpoint(&mut self, _: &Position, epoch_ended: bool) -> bool {
        self.timer.is_due(epoch_ended)
    }

    fn checkpoint(&mut self, checkpoint: &Checkpoint) -> posterize::Result<()> {
        checkpoint.save(&self.files.checkpoint)?;
        self.saved = Some(checkpoint.position);
        Ok(())
    }
}
