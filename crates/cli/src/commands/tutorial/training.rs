//! Quantization-aware training, where the story has it.

use clap::{Args, builder::PossibleValuesParser};
use indicatif::ProgressBar;
use posterize::{
    FloatModel,
    data::{ImageFolder, Loader, Preprocessing, Skipped},
    graph::ModuleTree,
    models,
    quantization::{QConfig, QConfigMapping, QuantizedModel},
    runtime::Options,
    training::{
        Distillation, EpochRecord, Freeze, Network, Schedule, StepRecord, TrainOptions,
        TrainedModel, Trainer, Watch,
    },
};

use crate::{
    error::{CliError, Result},
    ui::{Ui, percent},
};

use super::{
    block::block,
    calibration::Calibration,
    labelled::Labelled,
    sources::{Source, Sources},
    story::Epoch,
};

/// Leaves training out.
const NONE: &str = "none";

fn choices() -> PossibleValuesParser {
    PossibleValuesParser::new(QConfig::PRESETS.into_iter().chain([NONE]))
}

/// Whether and how the story ends in training.
#[derive(Args, Debug)]
pub(super) struct TrainingArgs {
    /// Train with fake quantization at the end, on the labelled pictures of --calibrate, from this
    /// qconfig, or `none` [default: default for the program's own pictures, else none, since it takes
    /// minutes]
    #[arg(long, value_name = "QCONFIG", value_parser = choices())]
    qat: Option<String>,

    /// Epochs of --qat
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..))]
    epochs: u32,

    /// Batches of 30 pictures in an epoch of --qat [default: 40 for the program's own network, which
    /// are all of its pictures, else 20]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    batches: Option<u32>,

    /// Learning rate of --qat [default: 0.003 for the program's own network, falling along a cosine,
    /// else 0.0001]
    #[arg(long, value_name = "RATE")]
    lr: Option<f64>,
}

/// What is to be trained.
#[derive(Debug)]
pub(super) struct Training {
    pub(super) qconfig: String,
    folder: ImageFolder,
    /// What the folder is called.
    pub(super) place: String,
    options: TrainOptions,
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Trained {
    pub(super) model: QuantizedModel,
    /// The block that the story shows, before the first step.
    pub(super) tree: (String, ModuleTree),
    pub(super) epochs: Vec<Epoch>,
    /// The epoch whose network this is, counted from 1.
    pub(super) kept: usize,
}

impl TrainingArgs {
    /// What they ask for, if anything.
    pub(super) fn plan(
        &self,
        sources: &Sources,
        evaluated: &Labelled,
        calibration: &Calibration,
        seed: u64,
    ) -> Result<Option<Training>> {
        let own = sources.are_embedded();
        let qconfig = self.qat.as_deref().unwrap_or(if own { "default" } else { NONE });
        if qconfig == NONE {
            return Ok(None);
        }
        let others = sources.calibrate.as_ref().filter(|_| calibration.is_on_others());
        let Some(Source { folder, place }) = others else {
            return Err(CliError::Usage(
                "--qat: training needs labelled pictures that are not evaluated: pass --calibrate \
                 DIR"
                .into(),
            ));
        };
        // The program's own network bears long steps; those of PyTorch's tutorial are for others.
        let usual = TrainOptions::qat(qconfig);
        let (batches, lr, schedule) = if own {
            (40, 3e-3, Schedule::Cosine { least: 0.0 })
        } else {
            (20, 1e-4, usual.schedule)
        };
        let options = TrainOptions {
            epochs: self.epochs as usize,
            batches: Some(self.batches.unwrap_or(batches) as usize),
            lr: self.lr.unwrap_or(lr),
            schedule,
            seed,
            ..usual
        };
        Ok(Some(Training {
            qconfig: qconfig.to_owned(),
            folder: ImageFolder::with_classes(folder, evaluated.folder.classes())?,
            place: place.clone(),
            options,
        }))
    }
}

impl Training {
    /// What the table calls it.
    pub(super) fn method(&self) -> String {
        format!("int8 {}, QAT", self.qconfig)
    }

    /// How it is trained, in a sentence.
    pub(super) fn describe(&self) -> String {
        let TrainOptions { epochs, batches, batch_size, lr, schedule, distillation, .. } =
            self.options;
        let aim = match distillation {
            Some(Distillation { alpha: 1.0, .. }) => " towards the float network's answers",
            Some(_) => " towards labels and the float network's answers",
            None => "",
        };
        let batches = batches.unwrap_or(0);
        let course = match schedule {
            Schedule::Cosine { .. } => " that falls along a cosine",
            _ => "",
        };
        format!(
            "{epochs} epochs of {batches} batches of {batch_size} pictures of {}, shifted or zoomed \
             at random and mirrored, by stochastic gradient descent{aim} with a learning rate of \
             {lr}{course}.",
            self.place
        )
    }

    /// What is frozen when, in a sentence.
    pub(super) fn describe_freezing(&self) -> String {
        let when = |freeze| match freeze {
            Freeze::Never => "never freeze".to_owned(),
            Freeze::Start => "are frozen from the start".to_owned(),
            Freeze::After(epoch) => format!("freeze after epoch {}", epoch + 1),
        };
        format!(
            "Observers {}; the batch norms' statistics {}.",
            when(self.options.freeze_observer),
            when(self.options.freeze_bn)
        )
    }

    /// Trains `float`, which is not fused, and validates it on the evaluated pictures.
    pub(super) fn run(
        &self,
        model: &str,
        float: &FloatModel,
        evaluated: &Labelled,
        preprocessing: &Preprocessing,
        options: Options,
        ui: &Ui,
    ) -> Result<Trained> {
        let qat = float.prepare_qat(&QConfigMapping::global(QConfig::qat(&self.qconfig)?))?;
        let path = block(float.graph()).to_owned();
        let tree = qat.module(&path)?;
        let transform = models::augmentation(model, self.options.seed)?;
        let train = Loader::new(&self.folder, transform).threads(options.threads);
        let val = Loader::new(&evaluated.folder, preprocessing)
            .batch_size(self.options.batch_size)
            .threads(options.threads)
            .limit(evaluated.count);
        let network = Network::qat(qat, options)?;
        let mut trainer = Trainer::new(network, &train, &val, self.options.clone(), options)?;
        let steps = (trainer.steps_per_epoch() * self.options.epochs) as u64;
        let bar = ui.steps_bar("training", steps);
        let result = trainer.run(&mut Watching { ui, bar: &bar });
        bar.finish_and_clear();
        let outcome = result?;
        let epochs = trainer.history().epochs.iter().map(|record| Epoch {
            number: record.epoch + 1,
            loss: record.train_loss,
            train_top1: record.train_top1,
            top1: record.val_top1,
        });
        let qat = trainer.network().qat_model()?.expect("it is trained with fake quantization");
        Ok(Trained {
            model: qat.convert()?,
            tree: (path, tree),
            epochs: epochs.collect(),
            kept: outcome.kept_epoch().epoch + 1,
        })
    }
}

/// Moves the bar.
struct Watching<'a> {
    ui: &'a Ui,
    bar: &'a ProgressBar,
}

impl Watch for Watching<'_> {
    fn step(&mut self, step: &StepRecord) {
        self.bar.inc(1);
        self.bar.set_message(format!("training, loss {:.3}", step.epoch_loss));
    }

    fn skipped(&mut self, picture: &Skipped) {
        self.ui.warn(format_args!("{} (left out)", picture.error));
    }

    fn epoch(
        &mut self,
        epoch: &EpochRecord,
        _model: &TrainedModel,
        _kept: bool,
    ) -> posterize::Result<()> {
        let top1 = percent(epoch.val_top1);
        self.ui.note(format_args!("epoch {}: int8 top-1 {top1}", epoch.epoch + 1));
        Ok(())
    }
}
