//! The command `posterize evaluate`.

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
    args::{CacheArgs, ExifArgs, ThreadArgs, positive},
    embedded,
    error::Result,
    fetch::{Fetcher, Item},
    model::ModelArgs,
    paths::Paths,
    pictures,
    ui::{Align, Table, Ui, count, percent},
};

use predictions::Predictions;

const EXAMPLES: &str = "\
Examples:
  posterize evaluate fashion_mobilenet_v2
  posterize evaluate resnet50 --weights resnet50.pth --data photos/val
  posterize evaluate int8.safetensors --data photos/val --predictions predictions.csv";

const JSON_HELP: &str = "\
JSON output (--json), one object:
  model, precision  The model's name, and float32, int8, int8 dynamic or int8 weights
  weights, data     Files or folders that were read; weights can be null
  images            Number of pictures evaluated
  skipped           Number of pictures that could not be decoded
  top1, top5        Accuracy in percent
  loss              Mean cross-entropy
  ms_per_image      Milliseconds per picture of the model alone
  seconds           Seconds of reading, decoding and running the model
  batch_size, threads  As given by the options
  isa               Instruction set that was used
  fused             Whether batch norms and activations were fused";

/// Measures a model's top-1 and top-5 accuracy on a folder of labelled pictures.
///
/// Without --weights, published weights are downloaded, and without --data, 20 ImageNet photographs (see
/// `posterize fetch --help`). For fashion_mobilenet_v2, both are built into the program.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{JSON_HELP}"))]
pub(crate) struct Evaluate {
    #[command(flatten)]
    model: ModelArgs,

    /// Folder of pictures, with one folder in it for each class [default: the downloaded sample
    /// pictures; for fashion_mobilenet_v2 the built-in ones]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,

    /// File with one line for each class, in the order of the class numbers; a line begins with the name
    /// of the class's folder, in double quotes or with a tab after it if it has spaces [default: the classes in the
    /// saved model; else classes.txt in DIR or beside it; else the folders in sorted order]
    #[arg(long, value_name = "FILE")]
    classes: Option<PathBuf>,

    /// Evaluate only the first N pictures
    #[arg(long, value_name = "N", value_parser = positive())]
    limit: Option<usize>,

    /// Number of pictures in a batch
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u16).range(1..))]
    batch_size: u16,

    /// Do not fuse batch norms and activations into the layers before them
    #[arg(long)]
    no_fuse: bool,

    /// Fail at the first picture that cannot be decoded, instead of skipping it
    #[arg(long)]
    strict: bool,

    /// Also write a CSV file with the five most probable classes of every picture and their logits
    /// (columns path,label,p1,s1,…,p5,s5: classes p, logits s)
    #[arg(long, value_name = "FILE")]
    predictions: Option<PathBuf>,

    #[command(flatten)]
    exif: ExifArgs,

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
    /// Number of pictures evaluated.
    images: usize,
    /// Number of pictures skipped because they could not be decoded.
    skipped: usize,
    /// In percent.
    top1: f64,
    /// In percent.
    top5: f64,
    /// Mean cross-entropy.
    loss: f64,
    /// Milliseconds of the model alone.
    ms_per_image: f64,
    /// Seconds of reading, decoding and running the model, without loading the weights.
    seconds: f64,
    batch_size: u16,
    threads: usize,
    isa: String,
    fused: bool,
}

impl Evaluate {
    /// Returns the files that the command reads and writes.
    pub(crate) fn paths(&self) -> Paths {
        let classes = self
            .classes
            .clone()
            .or_else(|| self.data.as_deref().and_then(|data| pictures::classes_file(None, data)));
        self.model
            .paths()
            .reads("--data", &self.data)
            .reads("--classes", &classes)
            .writes("--predictions", &self.predictions)
    }

    pub(crate) fn run(&self, ui: &Ui) -> Result<()> {
        let options = self.threads.options()?;
        let loaded = self.model.with_trained_weights(&self.cache, ui)?;
        let loaded = loaded.refuse_if_int8("--no-fuse", self.no_fuse)?;
        let loaded = if self.no_fuse { loaded } else { loaded.fuse()? };
        // The name of a saved model is that of the architecture, a space and `int8`.
        let is_built_in = loaded.name.split(' ').next() == Some(embedded::MODEL);
        let on_built_in = is_built_in && self.data.is_none();
        let unpacked = on_built_in.then(embedded::Pictures::unpack).transpose()?;
        let data = match (&self.data, &unpacked) {
            (Some(data), _) => data.clone(),
            (None, Some(pictures)) => pictures.val(),
            (None, None) => Fetcher::new(&self.cache)?.fetch_and_report(Item::Samples, ui)?.path,
        };
        // Files that were downloaded have no option.
        let paths = self.paths().reads("the downloaded weights", &loaded.file);
        paths.reads("the downloaded pictures", [&data]).keep_inputs()?;
        let outputs = loaded.outputs()?;
        let folder = pictures::open(&data, self.classes.as_deref(), &loaded.classes, outputs)?;
        let batch =
            usize::from(self.batch_size).min(self.limit.unwrap_or(usize::MAX).min(folder.len()));
        let mut engine = loaded.engine(options.batch(batch))?;

        let start = Instant::now();
        let (evaluation, skipped) =
            self.evaluate(&folder, loaded.preprocessing.clone(), options, &mut engine, ui)?;
        let report = Report {
            precision: loaded.precision(),
            model: loaded.name,
            weights: loaded.file,
            data: if on_built_in { embedded::VAL.into() } else { data },
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

    /// Runs the model over the pictures. Returns the evaluation and the number of skipped pictures.
    fn evaluate(
        &self,
        folder: &ImageFolder,
        preprocessing: Preprocessing,
        options: Options,
        engine: &mut Engine,
        ui: &Ui,
    ) -> Result<(Evaluation, usize)> {
        let mut predictions = self.predictions.as_deref().map(Predictions::new);
        let loader = Loader::new(folder, preprocessing)
            .batch_size(usize::from(self.batch_size))
            .threads(options.threads)
            .limit(self.limit)
            .exif_orientation(self.exif.orientation())
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
            1 => write!(f, ", 1 picture skipped"),
            skipped => write!(f, ", {} pictures skipped", count(skipped as u64)),
        }
    }
}
