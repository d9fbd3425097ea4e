//! `posterize train MODEL`.

mod checkpoints;
mod curves;
mod files;
mod live;
mod log;
mod options;
mod page;
mod report;

use std::{path::PathBuf, time::Instant};

use clap::Args;
use posterize::{
    data::{ImageFolder, Loader, Preprocessing},
    runtime::Options,
    training::{Checkpoint, Network, Trainer},
};

use crate::{
    args::{CacheArgs, ThreadArgs},
    error::{CliError, Result},
    model::ModelArgs,
    ui::Ui,
};

use checkpoints::CheckpointEvery;
use files::{Files, Naming, save};
use live::Live;
use options::{DataArgs, QatArgs, ScheduleArgs};
use report::Report;

/// Trains a network: in float, or (--qat) a trained one further with fake quantization, so that it
/// becomes more accurate in int8.
///
/// After every epoch it is validated; with --qat as the int8 network that comes of it. The most
/// accurate is kept. Beside OUT there will be OUT's name with .csv (every epoch), .steps.csv (every
/// batch), .html (the curves) and .checkpoint, from which --resume goes on. The defaults are those of
/// PyTorch's tutorial on static quantization.
#[derive(Args, Debug)]
pub(crate) struct Train {
    #[command(flatten)]
    model: ModelArgs,

    #[command(flatten)]
    data: DataArgs,

    #[command(flatten)]
    qat: QatArgs,

    #[command(flatten)]
    schedule: ScheduleArgs,

    /// How often to write the checkpoint within an epoch: every so many batches (50), seconds (60s),
    /// or only at its end (epoch)
    #[arg(long, value_name = "N|Ns|epoch", default_value = "60s")]
    checkpoint_every: CheckpointEvery,

    /// Go on with the training that left this checkpoint; the other options must be the same, except
    /// --epochs, --keep, --threads and -o
    #[arg(long, value_name = "FILE")]
    resume: Option<PathBuf>,

    /// The file to write: with --qat the int8 network, which is what MODEL may be in other commands;
    /// else float weights under PyTorch's names (safetensors), for --weights
    #[arg(short, long, value_name = "OUT")]
    output: PathBuf,

    /// With --qat, write the trained float weights to this file, too
    #[arg(long, value_name = "FILE", requires = "qat")]
    float_output: Option<PathBuf>,

    #[command(flatten)]
    threads: ThreadArgs,

    #[command(flatten)]
    cache: CacheArgs,
}

impl Train {
    pub(crate) fn run(&self, ui: &Ui) -> Result<()> {
        let start = Instant::now();
        let files = Files::new(&self.output, self.float_output.as_deref())?;
        let options = self.threads.options()?;
        let seed = self.data.seed;
        let mapping = self.qat.mapping()?;
        let checkpoint = self.resume.as_deref().map(Checkpoint::open).transpose()?;

        let loaded = self.model.to_train(self.qat.qat, seed, &self.cache, ui)?;
        let (name, weights) = (loaded.name.clone(), loaded.file.clone());
        let preprocessing = loaded.preprocessing.clone();
        let known = loaded.classes.clone();
        let float = loaded.into_float()?;
        let crop = preprocessing.crop;
        let shapes = float.graph().infer(&[1, 3, crop, crop])?;
        let outputs = shapes[float.graph().output().0].shape.iter().product();
        let (train, val) = self.data.open(&known, outputs)?;
        let train_options = self.schedule.options(&self.data, &self.qat, train.len());
        let parameters = float.parameter_count();
        let network = match &mapping {
            Some(mapping) => Network::qat(float.prepare_qat(mapping)?, options)?,
            None => Network::float(&float, options)?,
        };
        let naming = Naming { model: name, preprocessing, classes: val.classes().to_vec() };

        let transform = self.data.transform(&naming.model, &naming.preprocessing)?;
        let train_loader = Loader::new(&train, transform).threads(options.threads);
        let val_loader = self.validation(&val, &naming.preprocessing, options);
        let mut trainer =
            Trainer::new(network, &train_loader, &val_loader, train_options.clone(), options)?;
        if let Some(checkpoint) = checkpoint {
            trainer.resume(checkpoint)?;
        }
        let mut live = Live::new(
            ui,
            &naming,
            &files,
            &trainer,
            &train_options,
            val_loader.len(),
            self.checkpoint_every,
        );
        let result = trainer.run(&mut live);
        live.finish();
        let outcome = result.map_err(|error| match live.saved() {
            Some(position) => CliError::Training {
                source: Box::new(error),
                checkpoint: files.checkpoint.clone(),
                epoch: position.epoch,
                batch: position.batch,
            },
            None => error.into(),
        })?;
        // Also where nothing was left to do, or the files of before are gone.
        let bytes = save(&naming, &files, trainer.network())?;
        log::write(&files, trainer.history(), &train_options, trainer.steps_per_epoch())?;
        let report = Report::new(
            &naming,
            weights,
            parameters,
            &files,
            bytes,
            &self.qat,
            &outcome,
            trainer.history(),
            (train.len(), val_loader.len(), live.skipped()),
            start.elapsed().as_secs_f64(),
            options,
        );
        page::write(&files, &report, trainer.history())?;
        ui.result(&report, &report)
    }

    fn validation(
        &self,
        folder: &ImageFolder,
        preprocessing: &Preprocessing,
        options: Options,
    ) -> Loader {
        let limit = self.data.limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX));
        Loader::new(folder, preprocessing)
            .batch_size(usize::from(self.data.batch_size))
            .threads(options.threads)
            .limit(limit)
    }
}
