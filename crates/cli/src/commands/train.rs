//! The command `posterize train`.

mod advice;
mod baselines;
mod checkpoints;
mod curves;
mod describe;
mod files;
mod live;
mod log;
mod options;
mod page;
mod report;
mod resume;

use std::{env, path::PathBuf, time::Instant};

use clap::Args;
use posterize::{
    data::{ImageFolder, Loader, Preprocessing},
    runtime::Options,
    training::{Checkpoint, Network, Trainer},
};

use crate::{
    args::{CacheArgs, ThreadArgs},
    error::{CliError, Result},
    loaded::outputs,
    model::{FLOAT_MODEL_HELP, ModelArgs},
    paths::{Paths, are_same},
    quantization::prepare_qat,
    ui::Ui,
};

use baselines::Baselines;
use checkpoints::CheckpointEvery;
use curves::Shown;
use files::{Files, Metadata, save};
use live::LiveView;
use options::{DataArgs, Initial, QatArgs, ScheduleArgs};
use report::Report;

const EXAMPLES: &str = "\
Examples:
  posterize train resnet18 --num-classes 10 --data photos/train --val photos/val -o out.safetensors
  posterize train mobilenet_v2 --qat --data photos/train --val photos/val -o int8.safetensors";

const JSON_HELP: &str = "\
JSON output (--json), one object:
  model, weights      The model's name, and the checkpoint that training started from or null
  parameters          Number of trained values
  training            float, or QAT and its qconfig
  settings            Epochs, optimizer, learning rate and what was frozen, as a sentence
  train_images, val_images  Numbers of pictures
  skipped             How often a training picture was skipped because it could not be decoded
  epochs              The epochs, as in the CSV log:
    epoch             Counted from 0
    steps             Number of batches up to its end
    lr                Learning rate of its last batch
    train_loss, train_top1, train_images, train_seconds  Training; top1 in percent
    val_loss, val_top1, val_top5, val_images, val_seconds  Validation; with --qat in int8
    observers_frozen, bn_stats_frozen  Whether these were frozen during validation
  best_epoch, best_top1  Epoch with the highest val_top1
  last_top1           val_top1 of the last epoch
  float_top1          With --qat: top-1 of the float model before training, else null
  untrained_top1      With --qat: top-1 of the int8 model before training (`quantize`), else null
  kept, kept_epoch    best or last, and which epoch's model was written
  output, bytes       The file written, and its size
  float_output        File of --float-output, or null
  log, steps, page, checkpoint  The other files
  seconds             Time of the whole command
  threads, isa        Number of threads, and instruction set that was used";

/// Trains a model in float or by quantization-aware training (QAT).
///
/// Float training starts from random weights, or from --weights. QAT starts from the published
/// weights, or from --weights, and makes the int8 form of the model more accurate. If the weights have
/// no classifier, or one for another number of classes than --num-classes, a new one starts at random.
/// With the qconfig `recommended`, QAT starts with the equalized channels and the ranges that `posterize
/// quantize` finds.
/// The model is validated after every epoch, with --qat in its converted int8 form, and the most
/// accurate one is written to OUT. Files with OUT's name and other endings are written beside it: .csv (one line
/// for each epoch), .steps.csv (one line for each batch), .html (curves) and .checkpoint, from
/// which --resume continues. Ctrl-C writes the checkpoint and prints the command that continues. Those of another run are not replaced without --overwrite. The defaults of float training are for
/// fine-tuning if it starts from weights, and for longer training if it starts from random ones; those of
/// --qat are PyTorch's tutorial's on static quantization, or for the qconfig `recommended`.
#[derive(Args, Debug)]
#[command(
    mut_arg("name", |name| name.help(FLOAT_MODEL_HELP)),
    after_help = EXAMPLES,
    after_long_help = format!("{EXAMPLES}\n\n{JSON_HELP}")
)]
pub(crate) struct Train {
    #[command(flatten)]
    model: ModelArgs,

    #[command(flatten)]
    data: DataArgs,

    #[command(flatten)]
    qat: QatArgs,

    #[command(flatten)]
    schedule: ScheduleArgs,

    /// When to write the checkpoint: after this many batches (such as 50), after this many seconds (such
    /// as 60s), or `epoch`; it is always written at the end of an epoch
    #[arg(long, value_name = "N|Ns|epoch", default_value = "60s")]
    checkpoint_every: CheckpointEvery,

    /// Continue the training run that wrote this checkpoint; the other options must be the same as
    /// then, except --epochs, --keep, --threads and -o
    #[arg(long, value_name = "FILE")]
    resume: Option<PathBuf>,

    /// Replace the files of an earlier run with the same OUT
    #[arg(long)]
    overwrite: bool,

    /// File to write (safetensors): the float model, or with --qat the int8 one, which other commands
    /// take as MODEL. The tensors of a float model are a state dict with PyTorch's names
    #[arg(short, long, value_name = "OUT")]
    output: PathBuf,

    /// With --qat, also write the trained float model to this file
    #[arg(long, value_name = "FILE", requires = "qat")]
    float_output: Option<PathBuf>,

    #[command(flatten)]
    threads: ThreadArgs,

    #[command(flatten)]
    cache: CacheArgs,
}

impl Train {
    /// Returns the files that the command reads and writes.
    pub(crate) fn paths(&self) -> Paths {
        let files = self.files();
        // A resumed run goes on in its own checkpoint.
        let resume = self.resume.as_ref().filter(|file| !are_same(file, &files.checkpoint));
        files.add_to(self.data.add_to(self.model.paths().reads("--resume", resume)))
    }

    fn files(&self) -> Files {
        Files::new(&self.output, self.float_output.as_deref())
    }

    pub(crate) fn run(&self, ui: &Ui) -> Result<()> {
        let start = Instant::now();
        let files = self.files();
        files.refuse_stream()?;
        if !self.overwrite {
            files.refuse_other_run(self.resume.as_deref())?;
        }
        let options = self.threads.options()?;
        let seed = self.data.seed;
        let mapping = self.qat.mapping()?;
        let checkpoint = self.resume.as_deref().map(Checkpoint::open).transpose()?;

        let loaded = self.model.to_train(self.qat.qat, seed, &self.cache, ui)?;
        let (name, weights) = (loaded.name.clone(), loaded.file.clone());
        // Weights that were downloaded have no option.
        self.paths().reads("the downloaded weights", &weights).keep_inputs()?;
        let preprocessing = loaded.preprocessing.clone();
        let classes = loaded.classes.clone();
        let initial = match &weights {
            Some(_) => Initial::Trained { new_modules: loaded.new_modules.clone() },
            None => Initial::Random,
        };
        let float = loaded.into_float()?;
        let outputs = outputs(float.graph(), preprocessing.crop)?;
        let (train, val) = self.data.open(&classes, outputs)?;
        let train_options = self.schedule.options(&self.data, &self.qat, train.len(), &initial)?;
        let preprocessing = &preprocessing;
        let val_loader = self.validation(&val, preprocessing, options);
        let exif = self.data.exif.orientation();
        let (baselines, network) = if let Some(mapping) = &mapping {
            let calibration =
                Loader::new(&train, preprocessing).threads(options.threads).exif_orientation(exif);
            let passes = self.qat.passes(seed);
            let untrained = self.qat.post_training_mapping()?;
            let (baselines, quantized) = Baselines::measure(
                &float,
                &untrained,
                &passes,
                &calibration,
                &val_loader,
                options,
                ui,
            )?;
            let qat = prepare_qat(&float, &self.qat.qconfig, mapping, Some(&quantized))?;
            (Some(baselines), Network::qat(qat, options)?)
        } else {
            (None, Network::float(&float, options)?)
        };
        let metadata = Metadata {
            model: name,
            preprocessing: preprocessing.clone(),
            classes: val.classes().to_vec(),
            graph: float.graph().clone(),
        };

        let transform = self.data.transform(&metadata.model, &metadata.preprocessing);
        let train_loader =
            Loader::new(&train, transform).threads(options.threads).exif_orientation(exif);
        let mut trainer =
            Trainer::new(network, &train_loader, &val_loader, train_options.clone(), options)?;
        let parameters = trainer.trained_values();
        if let Some(checkpoint) = checkpoint {
            trainer.resume(checkpoint)?;
        }
        let mut live = LiveView::new(
            ui,
            &metadata,
            &files,
            &trainer,
            &train_options,
            val_loader.len(),
            self.checkpoint_every,
        );
        let result = trainer.run(&mut live);
        live.finish();
        let outcome = result.map_err(|error| match live.saved() {
            Some(position) if matches!(error, posterize::Error::Interrupted { .. }) => {
                CliError::Interrupted {
                    checkpoint: files.checkpoint.clone(),
                    epoch: position.epoch,
                    batch: position.batch,
                    command: resume::command(env::args_os(), &files.checkpoint),
                }
            }
            Some(position) => CliError::Training {
                source: Box::new(error),
                checkpoint: files.checkpoint.clone(),
                epoch: position.epoch,
                batch: position.batch,
            },
            None => error.into(),
        })?;
        // Written even if a resumed run had nothing left to do, because the files may be gone.
        let bytes = save(&metadata, &files, trainer.network())?;
        log::write(&files, trainer.history(), &train_options, trainer.steps_per_epoch())?;
        let report = Report::new(
            &metadata,
            weights,
            parameters,
            &files,
            bytes,
            &self.qat,
            &outcome,
            baselines,
            trainer.history(),
            (train.len(), val_loader.len(), live.skipped()),
            (&train_options, trainer.steps_per_epoch()),
            start.elapsed().as_secs_f64(),
            options,
        );
        let shown = Shown {
            kept_epoch: outcome.kept_epoch().epoch,
            baselines,
            distilled: train_options.distillation.map(|distillation| distillation.alpha),
        };
        page::write(&files, &report, trainer.history(), &shown)?;
        ui.result(&report, &report)
    }

    /// Returns the loader of the validation pictures.
    fn validation(
        &self,
        folder: &ImageFolder,
        preprocessing: &Preprocessing,
        options: Options,
    ) -> Loader {
        Loader::new(folder, preprocessing)
            .batch_size(usize::from(self.data.batch_size))
            .threads(options.threads)
            .exif_orientation(self.data.exif.orientation())
            .limit(self.data.limit)
    }
}
