//! The figures of the table: size, accuracy, time.

use posterize::{
    FloatModel, Tensor,
    data::{Loader, Preprocessing},
    format::SavedModel,
    quantization::QuantizedModel,
    runtime::{Engine, Model, Options, compile},
};

use crate::{error::Result, pictures, timing, ui::Ui};

use super::labelled::Labelled;
use super::story::{Row, Score};

/// How often each network's turn comes to be timed, and how many runs it has then.
const TURNS: u32 = 5;
const RUNS: u32 = 40;
const BATCH: usize = 30;

/// Measures one network after the other in the same way.
pub(super) struct Measure<'a> {
    /// The network's name.
    name: &'a str,
    labelled: &'a Labelled,
    preprocessing: &'a Preprocessing,
    loader: Loader,
    /// The picture that is timed.
    picture: Tensor,
    options: Options,
    ui: &'a Ui,
    scores: Vec<Score>,
    /// One for each score, on one thread.
    engines: Vec<Engine>,
    /// Pictures evaluated, and those left out because they could not be decoded.
    pub(super) pictures: (usize, usize),
}

impl<'a> Measure<'a> {
    pub(super) fn new(
        name: &'a str,
        labelled: &'a Labelled,
        preprocessing: &'a Preprocessing,
        options: Options,
        ui: &'a Ui,
    ) -> Result<Self> {
        let loader = Loader::new(&labelled.folder, preprocessing)
            .batch_size(BATCH)
            .threads(options.threads)
            .limit(labelled.count);
        Ok(Self {
            name,
            labelled,
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

    /// The float network, which the others are compared with: the first to be measured.
    pub(super) fn float(&mut self, model: &FloatModel) -> Result<Score> {
        let folder = tempfile::tempdir()
            .map_err(posterize::Error::io(std::env::temp_dir(), "create a folder in"))?;
        let file = folder.path().join("float.safetensors");
        model.state_dict().save_safetensors(&file)?;
        let bytes = file.metadata().map_err(posterize::Error::io(&file, "read"))?.len();
        self.score("float", bytes, model)
    }

    /// An int8 network.
    pub(super) fn int8(&mut self, method: &str, model: &QuantizedModel) -> Result<Score> {
        let saved = SavedModel::new(model.clone())
            .with_name(self.name)
            .with_preprocessing(self.preprocessing.clone())
            .with_classes(self.labelled.folder.classes());
        let bytes = saved.to_bytes()?.len() as u64;
        self.score(method, bytes, model)
    }

    fn score(&mut self, method: &str, bytes: u64, model: impl Into<Model>) -> Result<Score> {
        let folder = &self.labelled.folder;
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
        self.engines.push(engine.with_threads(1));
        Ok(score)
    }

    /// Times all that was measured, in turns.
    pub(super) fn time(&mut self) -> Result<Vec<Row>> {
        let pictures = vec![(&self.picture).into(); self.engines.len()];
        let times = timing::times_in_turns(&mut self.engines, &pictures, TURNS, RUNS, self.ui)?;
        let medians: Vec<f64> =
            times.into_iter().map(|mut times| timing::percentile(&mut times, 0.5)).collect();
        let rows = self.scores.iter().zip(&medians).map(|(score, &ms_per_image)| Row {
            score: score.clone(),
            ms_per_image,
            speedup: medians[0] / ms_per_image,
        });
        Ok(rows.collect())
    }

    /// How it is measured.
    pub(super) fn describe(&self) -> Vec<String> {
        let side = self.preprocessing.crop;
        vec![
            format!(
                "Time: one picture of {side} × {side} at a time on one thread with {}, the network \
                 alone, median of {} runs after a warm-up; the networks take turns. The speed-up is \
                 over our own float network.",
                self.options.isa,
                TURNS * RUNS
            ),
            "Size: the saved file, in 10⁶ bytes: of the fused float network its weights, of an int8 \
             network also its graph, scales, preprocessing and class names."
                .into(),
        ]
    }
}
