//! `posterize evaluate MODEL`.

mod predictions;

use std::{fmt, path::PathBuf, time::Instant};

use clap::Args;
use posterize::{
    Evaluation,
    data::{ImageFolder, Loader, Preprocessing},
    runtime::{Engine, Options},
};
use serde::Serialize;

use crate::{
    args::{CacheArgs, ThreadArgs},
    embedded,
    error::Result,
    fetch::{Fetcher, Item},
    model::ModelArgs,
    pictures,
    ui::{Align, Table, Ui, count, percent},
};

use predictions::Predictions;

/// Runs a network over a folder of labelled pictures and prints its top-1 and top-5 accuracy.
///
/// Without --weights and --data, the published weights and 20 ImageNet photographs are fetched;
/// fashion_mobilenet_v2 and its pictures are carried by the program.
#[derive(Args, Debug)]
pub(crate) struct Evaluate {
    #[command(flatten)]
    model: ModelArgs,

    /// Pictures, in one folder for each class [default: the fetched samples, or the program's own]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,

    /// A line for each class in the order of their numbers; its first word is the name of the
    /// class's folder [default: the saved model's; else classes.txt in DIR or beside it where there
    /// is one, else the sorted folders]
    #[arg(long, value_name = "FILE")]
    classes: Option<PathBuf>,

    /// Only the first N pictures
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,

    /// Pictures that go through the network together
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u16).range(1..))]
    batch_size: u16,

    /// Leave batch norms and activations layers of their own
    #[arg(long)]
    no_fuse: bool,

    /// End with an error at the first picture that cannot be decoded, instead of leaving it out
    #[arg(long)]
    strict: bool,

    /// Write the five likeliest classes of every picture, with their logits, to this CSV file
    #[arg(long, value_name = "FILE")]
    predictions: Option<PathBuf>,

    #[command(flatten)]
    threads: ThreadArgs,

    #[command(flatten)]
    cache: CacheArgs,
}

#[derive(Debug, Serialize)]
struct Report {
    model: String,
    precision: &'static str,
    weights: Option<PathBuf>,
    data: PathBuf,
    /// Pictures evaluated.
    images: usize,
    /// Pictures left out because they could not be decoded.
    skipped: usize,
    /// Percent.
    top1: f64,
    /// Percent.
    top5: f64,
    /// Mean cross-entropy.
    loss: f64,
    /// The network alone.
    ms_per_image: f64,
    /// Reading and decoding included, without fetching and loading the weights.
    seconds: f64,
    batch_size: u16,
    threads: usize,
    isa: String,
    fused: bool,
}

impl Evaluate {
    pub(crate) fn run(&self, ui: &Ui) -> Result<()> {
        self.model.refuse_with_file(&[("--no-fuse", self.no_fuse)])?;
        let options = self.threads.options()?;
        let loaded = self.model.with_trained_weights(&self.cache, ui)?;
        let loaded = if self.no_fuse { loaded } else { loaded.fuse()? };
        // Also as an int8 file, which has that in its name.
        let own = loaded.name.split(' ').next() == Some(embedded::MODEL);
        let carried = own && self.data.is_none();
        let unpacked = carried.then(embedded::Pictures::unpack).transpose()?;
        let data = match (&self.data, &unpacked) {
            (Some(data), _) => data.clone(),
            (None, Some(pictures)) => pictures.val(),
            (None, None) => Fetcher::new(&self.cache)?.fetch_noted(Item::Samples, ui)?.path,
        };
        let size = loaded.preprocessing.crop;
        let batch = usize::from(self.batch_size);
        let mut engine = loaded.engine(options.batch(batch))?;
        let outputs = engine.output_shape([1, 3, size, size])?.iter().product();
        let folder = pictures::open(&data, self.classes.as_deref(), &loaded.classes, outputs)?;

        let start = Instant::now();
        let (evaluation, skipped) =
            self.evaluate(&folder, loaded.preprocessing.clone(), options, &mut engine, ui)?;
        let report = Report {
            precision: loaded.precision(),
            model: loaded.name,
            weights: loaded.file,
            data: if carried { embedded::VAL.into() } else { data },
            images: evaluation.images,
            skipped,
            top1: evaluation.top1(),
            top5: evaluation.top5(),
            loss: evaluation.loss(),
            ms_per_image: evaluation.ms_per_image(),
            seconds: start.elapsed().as_secs_f64(),
            batch_size: self.batch_size,
            threads: options.threads,
            isa: options.isa.to_string(),
            fused: !self.no_fuse,
        };
        ui.result(&report, &report)
    }

    /// Runs the network over all pictures, and returns how many were left out besides.
    fn evaluate(
        &self,
        folder: &ImageFolder,
        preprocessing: Preprocessing,
        options: Options,
        engine: &mut Engine,
        ui: &Ui,
    ) -> Result<(Evaluation, usize)> {
        let mut predictions = self.predictions.as_deref().map(Predictions::new).transpose()?;
        let limit = self.limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX));
        let loader = Loader::new(folder, preprocessing)
            .batch_size(usize::from(self.batch_size))
            .threads(options.threads)
            .limit(limit)
            .strict(self.strict);
        let found = pictures::evaluate(engine, folder, &loader, ui, &mut |batch, logits| {
            if let Some(predictions) = &mut predictions {
                let paths = batch.indices.iter().map(|&index| &*folder.samples()[index].path);
                predictions.add(paths.zip(batch.labels.iter().copied()), logits);
            }
        })?;
        predictions.map_or(Ok(()), Predictions::write)?;
        Ok(found)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new([
            ("model", Align::Left),
            ("pictures", Align::Right),
            ("top-1", Align::Right),
            ("top-5", Align::Right),
            ("ms/picture", Align::Right),
            ("pictures/s", Align::Right),
        ]);
        table.row([
            self.model.clone(),
            count(self.images as u64),
            percent(self.top1),
            percent(self.top5),
            format!("{:.2}", self.ms_per_image),
            format!("{:.1}", self.images as f64 / self.seconds),
        ]);
        write!(f, "{table}\n\n{} in {:.1} s", self.data.display(), self.seconds)?;
        match self.skipped {
            0 => Ok(()),
            1 => write!(f, ", 1 picture left out"),
            skipped => write!(f, ", {} pictures left out", count(skipped as u64)),
        }
    }
}
