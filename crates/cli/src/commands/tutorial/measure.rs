//! Measures the columns of the summary table: size, accuracy and time.

use posterize::{
    FloatModel, Tensor,
    data::{Loader, Preprocessing},
    format::SavedModel,
    quantization::QuantizedModel,
    runtime::{Engine, Model, Options, compile},
};

use crate::{error::Result, pictures, size::Size, timing, ui::Ui};

use super::content::{Row, Score};
use super::evaluation_set::EvaluationSet;

/// Number of turns in which each network is timed.
const TURNS: u32 = 5;
/// Number of timed runs in a turn.
const RUNS_PER_TURN: u32 = 40;
const BATCH: usize = 30;

/// Measures networks in the same way, and keeps their engines for timing.
pub(super) struct Measure<'a> {
    /// The name of the architecture.
    name: &'a str,
    evaluated: &'a EvaluationSet,
    preprocessing: &'a Preprocessing,
    loader: Loader,
    /// The input of timed runs.
    picture: Tensor,
    options: Options,
    ui: &'a Ui,
    scores: Vec<Score>,
    /// One engine for each score, with one thread.
    engines: Vec<Engine>,
    /// Numbers of pictures evaluated, and of those skipped because they could not be decoded.
    pub(super) pictures: (usize, usize),
}

impl<'a> Measure<'a> {
    pub(super) fn new(
        name: &'a str,
        evaluated: &'a EvaluationSet,
        preprocessing: &'a Preprocessing,
        options: Options,
        ui: &'a Ui,
    ) -> Result<Self> {
        let loader = Loader::new(&evaluated.folder, preprocessing)
            .batch_size(BATCH)
            .threads(options.threads)
            .limit(evaluated.count);
        Ok(Self {
            name,
            evaluated,
            preprocessing,
            loader,
            picture: timing::pictures(1, preprocessing.crop)?,
            options,
            ui,
            scores: Vec::new(),
            engines: Vec::new(),
            pictures: (0, 0),
        })
    }

    /// Measures the float network. It must be measured first, because speed-ups are relative to the
    /// first network.
    pub(super) fn float(&mut self, model: &FloatModel) -> Result<Score> {
        let folder = tempfile::tempdir()
            .map_err(posterize::Error::io(std::env::temp_dir(), "create a folder in"))?;
        let file = folder.path().join("float.safetensors");
        model.state_dict().save_safetensors(&file)?;
        let bytes = file.metadata().map_err(posterize::Error::io(&file, "read"))?.len();
        self.score("float", bytes, model)
    }

    /// Measures an int8 network.
    pub(super) fn int8(&mut self, method: &str, model: &QuantizedModel) -> Result<Score> {
        let saved = SavedModel::new(model.clone())
            .with_name(self.name)
            .with_preprocessing(self.preprocessing.clone())
            .with_classes(self.evaluated.folder.classes());
        let bytes = saved.to_bytes()?.len() as u64;
        self.score(method, bytes, model)
    }

    fn score(&mut self, method: &str, bytes: u64, model: impl Into<Model>) -> Result<Score> {
        let folder = &self.evaluated.folder;
        let mut engine = compile(model, self.options.pictures(self.preprocessing))?;
        let (found, skipped) =
            pictures::evaluate(&mut engine, folder, &self.loader, self.ui, &mut |_, _| ())?;
        self.pictures = (found.images, skipped);
        let score = Score {
            method: method.into(),
            size_mb: bytes as f64 / 1e6,
            top1: found.top1(),
            top5: found.top5(),
        };
        self.scores.push(score.clone());
        self.engines.push(engine.with_threads(1)?);
        Ok(score)
    }

    /// Times all measured networks alternately.
    pub(super) fn time(&mut self) -> Result<Vec<Row>> {
        let pictures = vec![(&self.picture).into(); self.engines.len()];
        let times =
            timing::times_in_turns(&mut self.engines, &pictures, TURNS, RUNS_PER_TURN, self.ui)?;
        let medians: Vec<f64> =
            times.into_iter().map(|mut times| timing::percentile(&mut times, 0.5)).collect();
        let rows = self.scores.iter().zip(&medians).map(|(score, &ms_per_image)| Row {
            score: score.clone(),
            ms_per_image,
            speedup: medians[0] / ms_per_image,
        });
        Ok(rows.collect())
    }

    /// Describes how time and size are measured.
    pub(super) fn describe(&self) -> Vec<String> {
        let size = Size(self.preprocessing.crop);
        vec![
            format!(
                "Time: one picture of {size} pixels at a time, on one thread with {}, without \
                 reading pictures; median of {} runs after a warm-up, alternating between the \
                 networks. The speed-up is relative to posterize's own float network.",
                self.options.isa,
                TURNS * RUNS_PER_TURN
            ),
            "Size: the saved file in 10⁶ bytes. The float file has only the weights of the fused \
             network; an int8 file also has its graph, scales, preprocessing and class names."
                .into(),
        ]
    }
}
