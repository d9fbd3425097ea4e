//! The training loop of an image classifier.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::time::Instant;

use super::checkpoint::{Checkpoint, Position, Settings, differences};
use super::history::{EpochRecord, History, StepRecord};
use super::settings::settings;
use super::{
    DistillationLoss, Freeze, Keep, LearningRate, LrFactor, Network, NetworkState, Optimizer,
    OptimizerBuffer, OptimizerState, Outcome, TrainOptions, TrainedModel, TrainedMut, Watch,
    clip_grad_norm, global_norm,
};
use crate::data::{Batches, Loader, RandomSampler};
use crate::error::{Error, Result};
use crate::evaluate::evaluate;
use crate::runtime::{Engine, Options, compile};
use crate::tensor::Tensor;
use crate::trace;

/// Trains a [`Network`] on an image folder and validates it after each
/// epoch.
///
/// It validates the converted int8 model in quantization-aware training, the float model otherwise.
/// Other threads decode the next batches during a step. The result is bit-identical for any number of
/// threads, and if the run is stopped and [resumed](Self::resume).
///
/// ```no_run
/// use posterize::data::{Augmentation, ImageFolder, Loader, Preprocessing};
/// use posterize::runtime::Options;
/// use posterize::quantization::{QConfig, QConfigMapping};
/// use posterize::training::{Network, TrainOptions, Trainer};
/// # fn run(model: &posterize::FloatModel) -> posterize::Result<()> {
/// let qat = model.prepare_qat(&QConfigMapping::global(QConfig::recommended_qat()))?;
/// let options = Options::all_threads()?;
/// let preprocessing = Preprocessing::imagenet();
/// let train = ImageFolder::open("imagenet/train", Some("imagenet/classes.txt".as_ref()))?;
/// let val = ImageFolder::open("imagenet/val", None)?;
/// let mut trainer = Trainer::new(
///     Network::qat(qat, options)?,
///     &Loader::new(&train, Augmentation::new(&preprocessing, 0)),
///     &Loader::new(&val, preprocessing).batch_size(30),
///     TrainOptions { lr: 1e-5, ..TrainOptions::default() },
///     options,
/// )?;
/// let outcome = trainer.run(&mut ())?;
/// println!("{:.2} % after epoch {}", outcome.best.val_top1, outcome.best.epoch);
/// trainer.network().qat_model()?.unwrap().convert()?.save("int8.safetensors")?;
/// # Ok(())
/// # }
/// ```
pub struct Trainer {
    network: Network,
    /// Whether it is a quantization-aware training.
    is_qat: bool,
    /// The float network before training, for distillation.
    teacher: Option<Engine>,
    train: Loader,
    val: Loader,
    options: TrainOptions,
    executor: Options,
    learning_rate: LearningRate,
    steps_per_epoch: usize,
    optimizer: Box<dyn Optimizer>,
    position: Position,
    history: History,
    best: Option<NetworkState>,
    settings: Settings,
}

impl Trainer {
    /// Creates a training run.
    ///
    /// `options` sets the order, batch size and limit of `train`; `val` is used unchanged. With
    /// [distillation](super::Distillation), the teacher is the current `network`.
    ///
    /// # Errors
    /// Returns an error if an option is out of range, if a glob matches no module with parameters, if
    /// all modules are frozen, or if there are no pictures.
    pub fn new(
        mut network: Network,
        train: &Loader,
        val: &Loader,
        options: TrainOptions,
        executor: Options,
    ) -> Result<Self> {
        let limit = options.batches.map(|n| n.saturating_mul(options.batch_size));
        let train = train
            .clone()
            .sampler(RandomSampler { seed: options.seed })
            .batch_size(options.batch_size)
            .limit(limit);
        let steps_per_epoch = train.len().div_ceil(options.batch_size.max(1));
        options.validate(steps_per_epoch)?;
        if train.is_empty() || val.is_empty() {
            let which = if train.is_empty() { "training" } else { "validation" };
            return Err(Error::Argument(format!("the {which} data has no pictures")));
        }
        network.set_seed(options.seed);
        for modules in &options.frozen {
            network.freeze(modules)?;
        }
        for LrFactor { modules, factor } in &options.lr_factors {
            network.set_lr_factor(modules, *factor)?;
        }
        let qat = network.qat_model()?;
        let float = network.float_model()?;
        let settings = settings(&float, qat.as_ref(), &train, val, &options);
        let teacher = match options.distillation {
            Some(_) => Some(compile(&float.fuse()?, executor)?),
            None => None,
        };
        Ok(Self {
            is_qat: qat.is_some(),
            teacher,
            learning_rate: options.learning_rate(steps_per_epoch),
            optimizer: options.optimizer.build()?,
            network,
            train,
            val: val.clone(),
            options,
            executor,
            steps_per_epoch,
            position: Position::default(),
            history: History::default(),
            best: None,
            settings,
        })
    }

    /// Returns the network; after [`run`](Self::run) that of the kept epoch.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Returns the number of values that are trained: those of all parameters except for frozen ones.
    pub fn trained_values(&mut self) -> usize {
        self.network.trained().map(|tensor| tensor.value.len()).sum()
    }

    /// Returns the records of the run so far.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// Returns the position of the run.
    pub fn position(&self) -> &Position {
        &self.position
    }

    /// Returns the number of steps in an epoch if no picture is skipped.
    pub fn steps_per_epoch(&self) -> usize {
        self.steps_per_epoch
    }

    /// Returns a checkpoint of the run.
    pub fn checkpoint(&self) -> Checkpoint {
        Checkpoint {
            position: self.position,
            history: self.history.clone(),
            network: self.network.state(),
            optimizer: self.optimizer.state(),
            best: self.best.clone(),
            settings: self.settings.clone(),
        }
    }

    /// Resumes the run of a checkpoint.
    ///
    /// The model, data and options must be those of that run, except for
    /// [`epochs`](TrainOptions::epochs) and [`keep`](TrainOptions::keep).
    ///
    /// # Errors
    /// Returns an error that lists every setting that is not that of the checkpoint, or an error if
    /// the state does not fit the network. The trainer must not be used after an error.
    pub fn resume(&mut self, checkpoint: Checkpoint) -> Result<()> {
        let Checkpoint { position, history, network, optimizer, best, settings } = checkpoint;
        let differences = differences(&settings, &self.settings);
        if !differences.is_empty() {
            return Err(Error::Argument(format!(
                "the checkpoint is of another training: {}; resume it with the same model, data and \
                 options",
                differences.join("; ")
            )));
        }
        let refuse = |problem: String| {
            Err(Error::Argument(format!("the checkpoint is inconsistent: {problem}")))
        };
        let Position { epoch, batch, step, .. } = position;
        if best.is_some() != (epoch > 0) {
            let problem = if best.is_some() { "a best" } else { "no best" };
            return refuse(format!("it has {problem} network after {epoch} epochs"));
        }
        if history.epochs.len() != epoch {
            return refuse(format!(
                "expected the records of {epoch} epochs, found {}",
                history.epochs.len()
            ));
        }
        let steps = [history.losses.len(), history.grad_norms.len()];
        if steps != [step; 2] || batch > step || batch > self.steps_per_epoch {
            return refuse(format!(
                "expected {step} losses and gradient norms, found {steps:?}, at batch {batch} of {}",
                self.steps_per_epoch
            ));
        }
        // The best state is loaded only to check it now, and not at the end of the training.
        if let Some(best) = &best {
            self.network.load_state(best.clone())?;
        }
        self.network.load_state(network)?;
        if let Err(problem) = self.check_optimizer(&optimizer, step) {
            return refuse(problem);
        }
        self.optimizer.load_state(optimizer);
        (self.position, self.history, self.best) = (position, history, best);
        Ok(())
    }

    /// Returns a description of the problem if the state is not that of the optimizer after `step`
    /// steps.
    fn check_optimizer(&mut self, state: &OptimizerState, step: usize) -> Result<(), String> {
        if state.step != step as u64 {
            return Err(format!("expected {step} steps of the optimizer, found {}", state.step));
        }
        let lengths: BTreeMap<&str, usize> =
            self.network.trained().map(|t| (t.name, t.value.len())).collect();
        for (kind, buffers) in &state.buffers {
            for (name, buffer) in buffers {
                let expected = lengths.get(name.as_str()).copied().unwrap_or(0);
                if buffer.is_empty() || expected != buffer.len() {
                    return Err(format!(
                        "expected {expected} values in the {kind} buffer of {name:.80}, found {}",
                        buffer.len()
                    ));
                }
            }
        }
        for kind in OptimizerBuffer::ALL {
            let kept = step > 0 && self.optimizer.kept().contains(&kind);
            let expected = if kept { lengths.len() } else { 0 };
            let found = state.buffers.get(&kind).map_or(0, BTreeMap::len);
            if found != expected {
                return Err(format!("expected {expected} {kind} buffers, found {found}"));
            }
        }
        Ok(())
    }

    /// Trains until the last epoch.
    ///
    /// # Errors
    /// Returns an error if pictures or labels do not fit the network, if the loss is not finite (it
    /// names the first layer whose output is not), if no picture of an epoch can be read, or if
    /// `watch` returns one, and [`Error::Interrupted`] if it [stops](Watch::wants_stop) the run.
    pub fn run(&mut self, watch: &mut dyn Watch) -> Result<Outcome> {
        while self.position.epoch < self.options.epochs {
            trace::span!(INFO, "epoch", epoch = self.position.epoch);
            self.train_epoch(watch)?;
            self.validate(watch)?;
        }
        let last = self.history.epochs.last().cloned();
        let (Some(best), Some(last)) = (self.history.best().cloned(), last) else {
            return Err(Error::Argument("no epoch was trained".into()));
        };
        match (self.options.keep, &self.best) {
            (Keep::Best, Some(state)) => self.network.load_state(state.clone())?,
            _ => self.reestimate_bn(last.epoch)?,
        }
        Ok(Outcome { best, last, kept: self.options.keep })
    }

    fn train_epoch(&mut self, watch: &mut dyn Watch) -> Result<()> {
        let epoch = self.position.epoch;
        if self.options.freeze_observer == Freeze::Start {
            self.network.disable_observer();
        }
        if self.options.freeze_bn == Freeze::Start {
            self.network.freeze_bn_stats();
        }
        let loader = self.train.clone().epoch(epoch as u64).start(self.position.place);
        let mut batches = loader.tensors();
        let mut reported = 0;
        let mut since = Instant::now();
        let spent = self.position.seconds;
        while self.position.batch < self.steps_per_epoch {
            let Some(batch) = next(&mut batches, &mut reported, watch)? else { break };
            let images = batch.labels.len();
            trace::span!(DEBUG, "batch", batch = self.position.batch, pictures = images);
            let lr = self.learning_rate.at(self.position.step);
            let (loss, correct, grad_norm) = self
                .step(&batch.images, &batch.labels, lr)
                .map_err(|error| self.explained(error, lr))?;
            let position = &mut self.position;
            position.place = batches.place();
            position.loss_sum += f64::from(loss) * images as f64;
            position.correct += correct;
            position.images += images;
            position.seconds = spent + since.elapsed().as_secs_f64();
            self.history.losses.push(loss);
            self.history.grad_norms.push(grad_norm as f32);
            watch.step(&StepRecord {
                step: position.step,
                epoch,
                batch: position.batch,
                batches: self.steps_per_epoch,
                loss,
                correct,
                images,
                lr,
                grad_norm,
                epoch_loss: position.loss_sum / position.images as f64,
                epoch_top1: 100.0 * position.correct as f64 / position.images as f64,
            });
            position.batch += 1;
            position.step += 1;
            if watch.wants_stop() {
                return self.stop(watch);
            }
            if watch.wants_checkpoint(&self.position, false) {
                let before = Instant::now();
                watch.checkpoint(&self.checkpoint())?;
                since += before.elapsed();
            }
        }
        if self.position.images == 0 {
            return Err(Error::Argument(format!(
                "epoch {epoch}: none of the {} training pictures could be read",
                loader.len()
            )));
        }
        Ok(())
    }

    /// Saves a checkpoint and returns the error of a stopped run.
    fn stop<T>(&self, watch: &mut dyn Watch) -> Result<T> {
        watch.checkpoint(&self.checkpoint())?;
        let Position { epoch, batch, .. } = self.position;
        Err(Error::Interrupted { epoch, batch })
    }

    /// Trains one step and returns the loss, the number of correctly classified pictures, and the norm
    /// of the gradients.
    fn step(&mut self, images: &Tensor, labels: &[usize], lr: f64) -> Result<(f32, usize, f64)> {
        self.network.set_step(self.position.step as u64);
        let TrainOptions { loss, distillation, .. } = self.options;
        let found = match (&mut self.teacher, distillation) {
            (Some(teacher), Some(distillation)) => {
                let teacher = &teacher.run(images)?;
                let loss = DistillationLoss { labels: loss, distillation, teacher };
                self.network.forward_backward(images, labels, &loss)?
            }
            _ => self.network.forward_backward(images, labels, &loss)?,
        };
        let mut trained: Vec<TrainedMut<'_>> = self.network.trained().collect();
        match finite_norm(&mut trained, self.options.clip) {
            Ok(norm) => {
                self.optimizer.step(lr, &mut trained);
                Ok((found.loss, found.correct, norm))
            }
            Err(error) => {
                drop(trained);
                self.network.undo_step();
                Err(error)
            }
        }
    }

    /// Adds the position of the run and advice to the error of a step.
    fn explained(&self, error: Error, lr: f64) -> Error {
        let Position { epoch, batch, .. } = self.position;
        match error {
            Error::Layer { layer, problem } => Error::Layer {
                layer,
                problem: format!(
                    "{problem} (epoch {epoch}, batch {batch}, learning rate {lr}; a warm-up or \
                     gradient clipping may help)"
                ),
            },
            other => other,
        }
    }

    /// Re-estimates the running estimates of batch norms from pictures of an epoch, if that is asked for.
    fn reestimate_bn(&mut self, epoch: usize) -> Result<()> {
        let Some(batches) = self.options.reestimate_bn else { return Ok(()) };
        let pictures = batches.saturating_mul(self.options.batch_size).min(self.train.len());
        let loader = self.train.clone().epoch(epoch as u64).limit(pictures);
        let images = loader.tensors().map(|batch| Ok(batch?.images));
        self.network.reestimate_bn_stats(images)?;
        Ok(())
    }

    /// Freezes and validates the network after the training of an epoch, and keeps it if it is the
    /// best.
    fn validate(&mut self, watch: &mut dyn Watch) -> Result<()> {
        let epoch = self.position.epoch;
        let observers_frozen = self.is_qat && self.options.freeze_observer.holds_after(epoch);
        let bn_stats_frozen = self.options.freeze_bn.holds_after(epoch);
        if observers_frozen {
            self.network.disable_observer();
        }
        if bn_stats_frozen {
            self.network.freeze_bn_stats();
        }
        let start = Instant::now();
        let trained = self.options.reestimate_bn.map(|_| self.network.state());
        self.reestimate_bn(epoch)?;
        let (model, mut engine) = if let Some(qat) = self.network.qat_model()? {
            let int8 = qat.convert()?;
            let engine = compile(&int8, self.executor)?;
            (TrainedModel::Int8(int8), engine)
        } else {
            let float = self.network.float_model()?;
            let engine = compile(&float.fuse()?, self.executor)?;
            (TrainedModel::Float(float), engine)
        };
        let stopped = Cell::new(false);
        let batches = self.val.tensors().take_while(|_| !stopped.get());
        let found = evaluate(&mut engine, batches, &mut |so_far, _, _| {
            watch.validating(so_far);
            stopped.set(watch.wants_stop());
        })?;
        if stopped.get() {
            if let Some(state) = trained {
                self.network.load_state(state)?;
            }
            return self.stop(watch);
        }
        let position = self.position;
        let record = EpochRecord {
            epoch,
            steps: position.step,
            lr: self.learning_rate.at(position.step.saturating_sub(1)),
            train_loss: position.loss_sum / position.images as f64,
            train_top1: 100.0 * position.correct as f64 / position.images as f64,
            train_images: position.images,
            train_seconds: position.seconds,
            val_loss: found.loss(),
            val_top1: found.top1(),
            val_top5: found.top5(),
            val_images: found.images,
            val_seconds: start.elapsed().as_secs_f64(),
            observers_frozen,
            bn_stats_frozen,
        };
        let is_best = self.history.best().is_none_or(|best| record.beats(best));
        if is_best {
            self.best = Some(self.network.state());
        }
        if let Some(state) = trained {
            self.network.load_state(state)?;
        }
        watch.epoch(&record, &model, is_best || self.options.keep == Keep::Last)?;
        self.history.epochs.push(record);
        self.position = Position { epoch: epoch + 1, step: position.step, ..Position::default() };
        if watch.wants_checkpoint(&self.position, true) {
            watch.checkpoint(&self.checkpoint())?;
        }
        Ok(())
    }
}

/// Returns the norm of the gradients, which are clipped to `clip`.
///
/// # Errors
/// Returns an error that names the parameter if a gradient is not finite.
fn finite_norm(trained: &mut [TrainedMut<'_>], clip: Option<f64>) -> Result<f64> {
    let norm = match clip {
        Some(max_norm) => clip_grad_norm(trained, max_norm)?,
        None => global_norm(trained),
    };
    if norm.is_finite() {
        return Ok(norm);
    }
    let infinite = |t: &&TrainedMut<'_>| !t.gradient.iter().all(|g| g.is_finite());
    let name = trained.iter().find(infinite).map_or("the network", |tensor| tensor.name);
    Err(Error::layer(name, "the gradient holds NaN or infinite values"))
}

/// Returns the next batch, after calling `watch` for the pictures that were skipped. `reported` is
/// the number of skipped pictures it was called for.
fn next(
    batches: &mut Batches<Tensor>,
    reported: &mut usize,
    watch: &mut dyn Watch,
) -> Result<Option<crate::data::Batch<Tensor>>> {
    let batch = batches.next().transpose();
    batches.skipped()[*reported..].iter().for_each(|picture| watch.skipped(picture));
    *reported = batches.skipped().len();
    batch
}
