//! Quantization-aware training in the tutorial.

use clap::{Args, builder::PossibleValuesParser};
use indicatif::ProgressBar;
use posterize::{
    FloatModel,
    data::{ImageFolder, Loader, Preprocessing, Skipped},
    graph::ModuleTree,
    models,
    quantization::{PostTrainingResult, QConfig, QConfigMapping, QatModel, QuantizedModel},
    runtime::Options,
    training::{
        Distillation, EpochRecord, Freeze, Network, Schedule, StepRecord, TrainOptions,
        TrainedModel, Trainer, Watch,
    },
};

use crate::{
    error::{CliError, Result},
    quantization::prepare_qat,
    ui::{Ui, percent},
};

use super::{
    block::block,
    calibration::Calibration,
    content::Epoch,
    evaluation_set::EvaluationSet,
    sources::{Source, Sources},
};

/// The value of `--qat` that skips training.
const NONE: &str = "none";

fn choices() -> PossibleValuesParser {
    PossibleValuesParser::new(QConfig::PRESETS.into_iter().chain([NONE]))
}

/// The options of quantization-aware training.
#[derive(Args, Debug)]
pub(super) struct TrainingArgs {
    /// Finish with quantization-aware training with this qconfig on the pictures of --calibrate, or
    /// `none` to skip it [default: `default` with the built-in pictures, else `none`, because it takes
    /// minutes]
    #[arg(long, value_name = "QCONFIG", value_parser = choices())]
    qat: Option<String>,

    /// Number of epochs of --qat
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..))]
    epochs: u32,

    /// Number of batches of 30 pictures in an epoch of --qat [default: 40 with the built-in pictures,
    /// which are all of them, else 20]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    batches: Option<u32>,

    /// Learning rate of --qat [default: 0.003 with the built-in pictures, annealed along a cosine; else
    /// 0.0001]
    #[arg(long, value_name = "RATE")]
    lr: Option<f64>,
}

/// A training run that has not started.
#[derive(Debug)]
pub(super) struct Training {
    pub(super) qconfig: String,
    folder: ImageFolder,
    /// The name of the folder in reports.
    pub(super) name: String,
    options: TrainOptions,
}

/// The result of training.
#[derive(Debug)]
pub(super) struct Trained {
    pub(super) model: QuantizedModel,
    /// The path and the modules of the printed block, with fake quantization, before training.
    pub(super) tree: (String, ModuleTree),
    pub(super) epochs: Vec<Epoch>,
    /// The epoch after which the network was kept, counted from 1.
    pub(super) kept: usize,
}

impl TrainingArgs {
    /// Returns the training run that the options ask for, or `None`.
    pub(super) fn plan(
        &self,
        sources: &Sources,
        evaluated: &EvaluationSet,
        calibration: &Calibration,
        seed: u64,
    ) -> Result<Option<Training>> {
        let built_in = sources.are_embedded();
        let qconfig = self.qat.as_deref().unwrap_or(if built_in { "default" } else { NONE });
        if qconfig == NONE {
            return Ok(None);
        }
        let others = sources.calibrate.as_ref().filter(|_| calibration.is_on_others());
        let Some(Source { folder, name }) = others else {
            return Err(CliError::Usage(
                "--qat trains on the pictures of --calibrate, which must not be those that are \
                 evaluated; pass --calibrate DIR with another folder"
                    .into(),
            ));
        };
        // The built-in network can be trained with larger steps than those of PyTorch's tutorial, which
        // are the defaults for other networks.
        let defaults = TrainOptions::qat(qconfig);
        let (batches, lr, schedule) = if built_in {
            (40, 3e-3, Schedule::Cosine { least: 0.0 })
        } else {
            (20, 1e-4, defaults.schedule)
        };
        let options = TrainOptions {
            epochs: self.epochs as usize,
            batches: Some(self.batches.unwrap_or(batches) as usize),
            lr: self.lr.unwrap_or(lr),
            schedule,
            seed,
            ..defaults
        };
        Ok(Some(Training {
            qconfig: qconfig.to_owned(),
            folder: ImageFolder::with_classes(folder, evaluated.folder.classes())?,
            name: name.clone(),
            options,
        }))
    }
}

impl Training {
    /// Returns the name of the method in the summary table.
    pub(super) fn method(&self) -> String {
        format!("int8 {}, QAT", self.qconfig)
    }

    /// Describes in a sentence how the network is trained.
    pub(super) fn describe(&self) -> String {
        let TrainOptions { epochs, batches, batch_size, lr, schedule, distillation, .. } =
            self.options;
        let target = match distillation {
            Some(Distillation { alpha: 1.0, .. }) => {
                ", on the float network's outputs instead of labels"
            }
            Some(_) => ", on labels and the float network's outputs",
            None => "",
        };
        let batches = batches.unwrap_or(0);
        let course = match schedule {
            Schedule::Cosine { .. } => ", annealed along a cosine",
            _ => "",
        };
        format!(
            "Training: {epochs} epochs of {batches} batches of {batch_size} pictures of {}, with \
             random crops and flips{target}, by stochastic gradient descent with a learning rate of \
             {lr}{course}.",
            self.name
        )
    }

    /// Describes in a sentence when observers and batch norms are frozen.
    pub(super) fn describe_freezing(&self) -> String {
        let when = |freeze| match freeze {
            Freeze::Never => "are never frozen".to_owned(),
            Freeze::Start => "are frozen from the start".to_owned(),
            Freeze::After(epoch) => format!("are frozen after epoch {}", epoch + 1),
        };
        format!(
            "Observers {}; the batch norms' statistics {}.",
            when(self.options.freeze_observer),
            when(self.options.freeze_bn)
        )
    }

    /// Inserts fake quantization into `float`, which must not be fused. `quantized` is the recommended int8
    /// network.
    pub(super) fn prepare(
        &self,
        float: &FloatModel,
        quantized: Option<&PostTrainingResult>,
    ) -> Result<QatModel> {
        let mapping = QConfigMapping::global(QConfig::qat(&self.qconfig)?);
        Ok(prepare_qat(float, &self.qconfig, &mapping, quantized)?)
    }

    /// Trains a network and validates it on the evaluated pictures.
    pub(super) fn run(
        &self,
        model: &str,
        qat: QatModel,
        evaluated: &EvaluationSet,
        preprocessing: &Preprocessing,
        options: Options,
        ui: &Ui,
    ) -> Result<Trained> {
        let path = block(qat.model().graph()).to_owned();
        let tree = qat.module(&path)?;
        let transform = models::augmentation(model, preprocessing, self.options.seed);
        let train = Loader::new(&self.folder, transform).threads(options.threads);
        let val = Loader::new(&evaluated.folder, preprocessing)
            .batch_size(self.options.batch_size)
            .threads(options.threads)
            .limit(evaluated.count);
        let network = Network::qat(qat, options)?;
        let mut trainer = Trainer::new(network, &train, &val, self.options.clone(), options)?;
        let steps = (trainer.steps_per_epoch() * self.options.epochs) as u64;
        let bar = ui.steps_bar("training", steps);
        let result = trainer.run(&mut Progress { ui, bar: &bar });
        bar.finish_and_clear();
        let outcome = result?;
        let epochs = trainer.history().epochs.iter().map(|record| Epoch {
            number: record.epoch + 1,
            loss: record.train_loss,
            train_top1: record.train_top1,
            top1: record.val_top1,
        });
        let qat = trainer.network().qat_model()?.expect("the network was made by Network::qat");
        Ok(Trained {
            model: qat.convert()?,
            tree: (path, tree),
            epochs: epochs.collect(),
            kept: outcome.kept_epoch().epoch + 1,
        })
    }
}

/// Advances the progress bar, and prints a line for each epoch.
struct Progress<'a> {
    ui: &'a Ui,
    bar: &'a ProgressBar,
}

impl Watch for Progress<'_> {
    fn step(&mut self, step: &StepRecord) {
        self.bar.inc(1);
        self.bar.set_message(format!("training, loss {:.3}", step.epoch_loss));
    }

    fn skipped(&mut self, picture: &Skipped) {
        self.ui.warn(format_args!("{} (picture skipped)", picture.error));
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
