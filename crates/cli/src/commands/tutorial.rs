//! `posterize tutorial`: PyTorch's tutorial "Static Quantization with Eager Mode", told by doing it.

mod block;
mod calibration;
mod channels;
mod chart;
mod figure;
mod html;
mod labelled;
mod markdown;
mod measure;
mod narration;
mod sources;
mod story;
mod text;
mod training;

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::Args;
use posterize::{
    atomic_file,
    quantization::{QConfig, QConfigMapping},
};
use serde::Serialize;

use crate::{
    args::{CacheArgs, ThreadArgs},
    embedded,
    error::Result,
    model::ModelArgs,
    pictures,
    ui::Ui,
};

use calibration::Calibration;
use labelled::Labelled;
use measure::Measure;
use narration::METHODS;
use sources::Sources;
use story::{Epoch, Row, Score, Step, Story};
use training::TrainingArgs;

/// Fuses, calibrates and converts a network step by step as PyTorch's tutorial on static
/// quantization does, shows what each step makes of it, and measures what it costs and gains.
///
/// Without arguments it is told on a small network and pictures that the program carries. The story
/// is also written to the folder of --out, as tutorial.md and tutorial.html.
#[derive(Args, Debug)]
#[command(mut_arg("name", |name| name.required(false).default_value(embedded::MODEL)))]
pub(crate) struct Tutorial {
    #[command(flatten)]
    model: ModelArgs,

    /// Pictures, in one folder for each class [default: those that the program carries for its own
    /// network; 20 ImageNet photographs, which are fetched, for others]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,

    /// A line for each class in the order of their numbers; its first word is the name of the
    /// class's folder [default: classes.txt in DIR or beside it where there is one, else the sorted
    /// folders]
    #[arg(long, value_name = "FILE")]
    classes: Option<PathBuf>,

    /// Evaluate only the first N pictures
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,

    /// Pictures to calibrate on, in one folder for each class [default: those of --data that --limit
    /// leaves, else the evaluated ones; the program's own for its own network]
    #[arg(long, value_name = "DIR")]
    calibrate: Option<PathBuf>,

    /// Calibrate on pictures cropped and flipped at random, as PyTorch's tutorial does, in place of
    /// centre crops
    #[arg(long)]
    augment: bool,

    #[command(flatten)]
    training: TrainingArgs,

    /// Determines which pictures calibrate and train, and how they are cropped
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,

    /// Folder for tutorial.md and tutorial.html
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
    /// Pictures evaluated.
    images: usize,
    /// Pictures left out because they could not be decoded.
    skipped: usize,
    calibration: &'a Calibration,
    isa: String,
    rows: &'a [Row],
    /// Of the training, if any.
    epochs: &'a [Epoch],
    files: [PathBuf; 2],
}

impl Tutorial {
    pub(crate) fn run(&self, ui: &Ui) -> Result<()> {
        let options = self.threads.options()?;
        // A folder that cannot be made is better known now than after minutes.
        fs::create_dir_all(&self.out).map_err(posterize::Error::io(&self.out, "create"))?;
        let loaded = self.model.with_trained_weights(&self.cache, ui)?;
        let (name, preprocessing) = (loaded.name.clone(), loaded.preprocessing.clone());
        let weights = loaded.file.clone().unwrap_or_default();
        let unfused = loaded.into_float()?;
        let (data, calibrate) = (self.data.as_deref(), self.calibrate.as_deref());
        let sources = Sources::new(&name, data, calibrate, &self.cache, ui)?;
        let evaluated = &sources.evaluated;
        let size = preprocessing.crop;
        let shapes = unfused.graph().infer(&[1, 3, size, size])?;
        let outputs = shapes[unfused.graph().output().0].shape.iter().product();
        let folder = pictures::open(&evaluated.folder, self.classes.as_deref(), &[], outputs)?;
        let labelled = Labelled::new(folder, &evaluated.place, self.limit);
        let mut measure = Measure::new(&name, &labelled, &preprocessing, options, ui)?;
        let calibration = Calibration::new(
            &name,
            sources.calibrate.as_ref(),
            &labelled,
            preprocessing.clone(),
            self.augment,
            self.seed,
            options,
        )?;
        let training = self.training.plan(&sources, &labelled, &calibration, self.seed)?;

        let mut told = Telling { ui, steps: Vec::new() };
        let mut story = Story {
            model: name.clone(),
            facts: narration::facts(
                &weights,
                &labelled,
                calibration.describe(),
                sources.are_embedded(),
            ),
            steps: Vec::new(),
            rows: Vec::new(),
            notes: Vec::new(),
        };
        ui.part(text::opening(&story))?;

        let float = unfused.fuse()?;
        let prepare = |qconfig| float.prepare(&QConfigMapping::global(qconfig));
        told.step(narration::fusion(&unfused, &float)?)?;
        let baseline = measure.float(&float)?;
        told.step(narration::baseline(&baseline))?;
        told.step(narration::observers(&prepare(QConfig::default_qconfig())?)?)?;
        let mut scores: Vec<Score> = Vec::new();
        for method in &METHODS {
            let mut observed = prepare((method.qconfig)())?;
            let calibrated_on = calibration.run(&mut observed, options, ui)?;
            let int8 = observed.convert()?;
            let score = measure.int8(method.name, &int8)?;
            told.step(narration::converted(
                method,
                (&float, &baseline),
                &int8,
                calibrated_on,
                &score,
            )?)?;
            scores.push(score);
        }
        let mut epochs = Vec::new();
        if let Some(training) = &training {
            let trained = training.run(&name, &unfused, &labelled, &preprocessing, options, ui)?;
            let score = measure.int8(&training.method(), &trained.model)?;
            epochs.clone_from(&trained.epochs);
            let before = format!("int8 {}", training.qconfig);
            let untrained = scores.iter().find(|score| score.method == before).map(|s| s.top1);
            told.step(narration::trained(training, trained, &score, &baseline, untrained))?;
        }

        let (images, skipped) = measure.pictures;
        story.rows = measure.time()?;
        story.steps = told.steps;
        story.notes = measure.describe();
        story.notes.extend(narration::caveats(images, skipped));
        ui.part(text::summary(&story))?;
        let files = self.write(&story)?;
        let written = format!("\nWritten: {} and {}", files[0].display(), files[1].display());
        let report = Report {
            model: &story.model,
            weights: &weights,
            data: &labelled.place,
            images,
            skipped,
            calibration: &calibration,
            isa: options.isa.to_string(),
            rows: &story.rows,
            epochs: &epochs,
            files,
        };
        ui.result(&report, written)
    }

    /// Writes the Markdown and the page.
    fn write(&self, story: &Story) -> Result<[PathBuf; 2]> {
        let files = ["tutorial.md", "tutorial.html"].map(|name| self.out.join(name));
        for (file, content) in files.iter().zip([markdown::render(story), html::render(story)]) {
            atomic_file::write(file, |file| file.write_all(content.as_bytes()))?;
        }
        Ok(files)
    }
}

/// Shows each step as soon as it is done.
struct Telling<'a> {
    ui: &'a Ui,
    steps: Vec<Step>,
}

impl Telling<'_> {
    fn step(&mut self, step: Step) -> Result<()> {
        self.ui.part(text::step(self.steps.len() + 1, &step))?;
        self.steps.push(step);
        Ok(())
    }
}
