//! The command `posterize tutorial`: the steps of PyTorch's tutorial "Static Quantization with Eager
//! Mode", run and explained.

mod block;
mod calibration;
mod channels;
mod chart;
mod content;
mod evaluation_set;
mod figure;
mod html;
mod markdown;
mod measure;
mod sources;
mod steps;
mod text;
mod training;

use std::path::{Path, PathBuf};

use clap::Args;
use posterize::{
    atomic_file,
    quantization::{PostTraining, QConfig, QConfigMapping},
};
use serde::Serialize;

use crate::{
    args::{CacheArgs, ThreadArgs, positive},
    embedded,
    error::Result,
    loaded::outputs,
    model::{FLOAT_MODEL_HELP, ModelArgs},
    paths::Paths,
    pictures,
    ui::Ui,
};

use calibration::Calibration;
use content::{Content, Epoch, Row, Score, Step};
use evaluation_set::EvaluationSet;
use measure::Measure;
use sources::Sources;
use steps::METHODS;
use training::TrainingArgs;

const EXAMPLES: &str = "\
Examples:
  posterize tutorial
  posterize tutorial --qat recommended --epochs 2
  posterize tutorial mobilenet_v2 --data photos/val --calibrate photos/train --out mobilenet";

const JSON_HELP: &str = "\
JSON output (--json), one object:
  model, weights, data  The model's name, its checkpoint, and the evaluated pictures
  images, skipped     Numbers of pictures evaluated, and of those that could not be decoded
  calibration         How the models were calibrated:
    data, images      Where the pictures come from, and how many there are
    augmented, seed   Whether they were cropped and flipped at random, and the seed
    pictures          others (from another folder), rest (not evaluated) or evaluated
  isa                 Instruction set that was used
  rows                The table, the float model first:
    method            float, or int8 and the qconfig
    size_mb           Size of the file in 10⁶ bytes
    top1, top5        Accuracy in percent
    ms_per_image      Milliseconds per picture, one at a time on one thread
    speedup           Time of the float model divided by this one's
  epochs              Epochs of quantization-aware training; empty without:
    epoch, loss       Number, counted from 1, and mean training loss
    train_top1        Training accuracy with fake quantization, in percent
    top1              Accuracy of the converted int8 model, in percent
  files               The two files written";

/// Quantizes a model step by step, explains each step and measures its result.
///
/// The steps are those of PyTorch's tutorial on static quantization: fusion, calibration with three
/// qconfigs, conversion and quantization-aware training. A table of size, accuracy and time comes
/// last. Without arguments, a small model and pictures that are built into the program are used. The
/// same text is written to tutorial.md and tutorial.html in the folder --out.
#[derive(Args, Debug)]
#[command(
    mut_arg("name", |name| {
        name.help(FLOAT_MODEL_HELP).required(false).default_value(embedded::MODEL)
    }),
    after_help = EXAMPLES,
    after_long_help = format!("{EXAMPLES}\n\n{JSON_HELP}")
)]
pub(crate) struct Tutorial {
    #[command(flatten)]
    model: ModelArgs,

    /// Folder of pictures to evaluate on, with one folder in it for each class [default: built-in
    /// pictures for fashion_mobilenet_v2, 20 downloaded ImageNet photographs for other models]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,

    /// File with one line for each class, in the order of the class numbers; a line begins with the name
    /// of the class's folder, in double quotes or with a tab after it if it has spaces [default: classes.txt in
    /// DIR or beside it, else the folders in sorted order]
    #[arg(long, value_name = "FILE")]
    classes: Option<PathBuf>,

    /// Evaluate on only the first N pictures
    #[arg(long, value_name = "N", value_parser = positive())]
    limit: Option<usize>,

    /// Folder of calibration pictures, with one folder in it for each class [default: built-in pictures
    /// with the built-in ones of --data; else the pictures of --data beyond --limit; else the evaluated
    /// ones]
    #[arg(long, value_name = "DIR")]
    calibrate: Option<PathBuf>,

    /// Calibrate on random crops and flips, as PyTorch's tutorial does, instead of centre crops
    #[arg(long)]
    augment: bool,

    #[command(flatten)]
    training: TrainingArgs,

    /// Seed of the random numbers that choose and crop calibration and training pictures
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,

    /// Folder to write tutorial.md and tutorial.html to
    #[arg(long, value_name = "FOLDER", default_value = "posterize-tutorial")]
    out: PathBuf,

    #[command(flatten)]
    threads: ThreadArgs,

    #[command(flatten)]
    cache: CacheArgs,
}

#[derive(Debug, Serialize)]
struct Report<'a> {
    model: &'a str,
    weights: &'a Path,
    data: &'a str,
    /// Number of pictures evaluated.
    images: usize,
    /// Number of pictures skipped because they could not be decoded.
    skipped: usize,
    calibration: &'a Calibration,
    isa: String,
    rows: &'a [Row],
    /// Epochs of quantization-aware training; empty without.
    epochs: &'a [Epoch],
    files: [PathBuf; 2],
}

/// The files in the folder of --out.
const FILES: [&str; 2] = ["tutorial.md", "tutorial.html"];

impl Tutorial {
    /// Returns the files that the command reads and writes.
    pub(crate) fn paths(&self) -> Paths {
        let classes = self
            .classes
            .clone()
            .or_else(|| self.data.as_deref().and_then(|data| pictures::classes_file(None, data)));
        self.model
            .paths()
            .reads("--data", &self.data)
            .reads("--calibrate", &self.calibrate)
            .reads("--classes", &classes)
            .writes_into("--out", &self.out, &FILES)
    }

    pub(crate) fn run(&self, ui: &Ui) -> Result<()> {
        let options = self.threads.options()?;
        let loaded = self.model.with_trained_weights(&self.cache, ui)?;
        let (name, preprocessing) = (loaded.name.clone(), loaded.preprocessing.clone());
        let weights = loaded.file.clone().unwrap_or_default();
        let unfused = loaded.into_float()?;
        let (data, calibrate) = (self.data.as_deref(), self.calibrate.as_deref());
        let sources = Sources::new(&name, data, calibrate, &self.cache, ui)?;
        let evaluated = &sources.evaluated;
        let outputs = outputs(unfused.graph(), preprocessing.crop)?;
        let folder = pictures::open(&evaluated.folder, self.classes.as_deref(), &[], outputs)?;
        let evaluated = EvaluationSet::new(folder, &evaluated.name, self.limit);
        let mut measure = Measure::new(&name, &evaluated, &preprocessing, options, ui)?;
        let calibration = Calibration::new(
            &name,
            sources.calibrate.as_ref(),
            &evaluated,
            preprocessing.clone(),
            self.augment,
            self.seed,
            options,
        )?;
        let training = self.training.plan(&sources, &evaluated, &calibration, self.seed)?;

        let mut printer = StepPrinter { ui, steps: Vec::new() };
        let mut content = Content {
            model: name.clone(),
            facts: steps::facts(
                &weights,
                &evaluated,
                calibration.describe(),
                sources.are_embedded(),
            ),
            steps: Vec::new(),
            rows: Vec::new(),
            notes: Vec::new(),
        };
        ui.part(text::opening(&content))?;

        let float = unfused.fuse()?;
        let prepare = |qconfig| float.prepare(&QConfigMapping::global(qconfig));
        printer.step(steps::fusion(&unfused, &float)?)?;
        let baseline = measure.float(&float)?;
        printer.step(steps::baseline(&baseline))?;
        printer.step(steps::observers(&prepare(QConfig::default_qconfig())?)?)?;
        let mut scores: Vec<Score> = Vec::new();
        let mut start = None;
        for method in &METHODS {
            let (qconfig, passes) = ((method.qconfig)(), (method.passes)());
            let quantized = calibration.run(&float, qconfig, &passes, options, ui)?;
            let int8 = &quantized.model;
            let score = measure.int8(method.name, int8)?;
            printer.step(steps::converted(
                method,
                (&float, &baseline),
                int8,
                quantized.pictures,
                &score,
            )?)?;
            scores.push(score);
            if passes != PostTraining::pytorch() {
                start = Some(quantized);
            }
        }
        let mut epochs = Vec::new();
        if let Some(training) = &training {
            let qat = training.prepare(&unfused, start.as_ref())?;
            let trained = training.run(&name, qat, &evaluated, &preprocessing, options, ui)?;
            let score = measure.int8(&training.method(), &trained.model)?;
            epochs.clone_from(&trained.epochs);
            let before = format!("int8 {}", training.qconfig);
            let untrained = scores.iter().find(|score| score.method == before).map(|s| s.top1);
            printer.step(steps::trained(training, trained, &score, &baseline, untrained))?;
        }

        let (images, skipped) = measure.pictures;
        content.rows = measure.time()?;
        content.steps = printer.steps;
        content.notes = measure.describe();
        content.notes.extend(steps::caveats(images, skipped));
        ui.part(text::summary(&content))?;
        let files = self.write(&content)?;
        let written = format!("\nWritten to {} and {}", files[0].display(), files[1].display());
        let report = Report {
            model: &content.model,
            weights: &weights,
            data: &evaluated.name,
            images,
            skipped,
            calibration: &calibration,
            isa: options.isa.to_string(),
            rows: &content.rows,
            epochs: &epochs,
            files,
        };
        ui.result(&report, written)
    }

    /// Writes the Markdown file and the HTML page.
    fn write(&self, content: &Content) -> Result<[PathBuf; 2]> {
        let files = FILES.map(|name| self.out.join(name));
        for (file, text) in files.iter().zip([markdown::render(content), html::render(content)]) {
            atomic_file::write(file, |file| file.write_all(text.as_bytes()))?;
        }
        Ok(files)
    }
}

/// Prints each step as soon as it is done, and collects the steps.
struct StepPrinter<'a> {
    ui: &'a Ui,
    steps: Vec<Step>,
}

impl StepPrinter<'_> {
    fn step(&mut self, step: Step) -> Result<()> {
        self.ui.part(text::step(self.steps.len() + 1, &step))?;
        self.steps.push(step);
        Ok(())
    }
}
