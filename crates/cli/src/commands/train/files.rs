//! The files of a training run, and writing its network to them.

use std::path::{Path, PathBuf};

use posterize::{
    atomic_file::Target,
    data::{Class, Preprocessing},
    format::SavedModel,
    graph::Graph,
    runtime::Model,
    training::{Network, TrainedModel},
};

use crate::{
    error::{CliError, Result},
    paths::{Paths, are_same},
};

/// The paths of the files that a training run writes.
#[derive(Clone, Debug)]
pub(super) struct Files {
    /// The trained network.
    pub(super) output: PathBuf,
    /// The trained float weights of quantization-aware training.
    pub(super) float_output: Option<PathBuf>,
    /// CSV file of epochs.
    pub(super) log: PathBuf,
    /// CSV file of batches.
    pub(super) steps: PathBuf,
    /// HTML page of curves.
    pub(super) page: PathBuf,
    pub(super) checkpoint: PathBuf,
}

impl Files {
    /// Derives the paths from those that the user gave.
    pub(super) fn new(output: &Path, float_output: Option<&Path>) -> Self {
        let beside = |extension: &str| output.with_extension(extension);
        Self {
            output: output.to_path_buf(),
            float_output: float_output.map(Path::to_path_buf),
            log: beside("csv"),
            steps: beside("steps.csv"),
            page: beside("html"),
            checkpoint: beside("checkpoint"),
        }
    }

    /// Returns the files whose names were derived.
    fn derived(&self) -> [(&'static str, &PathBuf); 4] {
        [
            ("the checkpoint of -o", &self.checkpoint),
            ("the log of -o", &self.log),
            ("the log of steps of -o", &self.steps),
            ("the page of -o", &self.page),
        ]
    }

    /// Adds the files to those that the command writes.
    pub(super) fn add_to(&self, paths: Paths) -> Paths {
        let paths = paths.writes("-o", [&self.output]).writes("--float-output", &self.float_output);
        self.derived().into_iter().fold(paths, |paths, (option, path)| paths.writes(option, [path]))
    }

    /// Returns an error if the output is no file that others can be beside, such as a pipe.
    pub(super) fn refuse_stream(&self) -> Result<()> {
        match Target::of(&self.output)? {
            Target::File(_) => Ok(()),
            _ => Err(CliError::Usage(format!(
                "{}: training writes this file after every epoch, and others beside it, so it must be \
                 a regular file; give -o the name of one",
                self.output.display()
            ))),
        }
    }

    /// Returns an error if another run than the one that is resumed has left its checkpoint, logs or
    /// page here.
    pub(super) fn refuse_other_run(&self, resume: Option<&Path>) -> Result<()> {
        if resume.is_some_and(|resume| are_same(resume, &self.checkpoint)) {
            return Ok(());
        }
        let found = self.derived().into_iter().map(|(_, path)| path).find(|path| path.exists());
        let Some(found) = found else { return Ok(()) };
        let resume = if self.checkpoint.exists() {
            format!("continue that run with --resume {}, ", self.checkpoint.display())
        } else {
            String::new()
        };
        Err(CliError::Usage(format!(
            "{}: this file of another run would be replaced; give -o another name, {resume}or replace \
             its files with --overwrite",
            found.display()
        )))
    }
}

/// What is saved with a network besides its weights.
#[derive(Clone, Debug)]
pub(super) struct Metadata {
    pub(super) model: String,
    pub(super) preprocessing: Preprocessing,
    pub(super) classes: Vec<Class>,
    /// The float network.
    pub(super) graph: Graph,
}

impl Metadata {
    /// Returns the network with its name, preprocessing and classes.
    fn describe(&self, model: impl Into<Model>) -> SavedModel {
        SavedModel::new(model)
            .with_name(&self.model)
            .with_preprocessing(self.preprocessing.clone())
            .with_classes(self.classes.clone())
    }
}

/// Writes the trained network, and returns the size of the file in bytes.
pub(super) fn save(metadata: &Metadata, files: &Files, network: &Network) -> Result<u64> {
    let model = match network.qat_model()? {
        Some(qat) => {
            if let Some(file) = &files.float_output {
                metadata.describe(network.float_model()?).save(file)?;
            }
            TrainedModel::Int8(qat.convert()?)
        }
        None => TrainedModel::Float(network.float_model()?),
    };
    Ok(write_model(metadata, files, &model)?)
}

/// Writes a network to [`Files::output`], and returns the size of the file in bytes.
pub(super) fn write_model(
    metadata: &Metadata,
    files: &Files,
    model: &TrainedModel,
) -> posterize::Result<u64> {
    let saved = match model {
        TrainedModel::Int8(model) => {
            metadata.describe(model).with_float_graph(metadata.graph.clone())
        }
        TrainedModel::Float(model) => metadata.describe(model),
    };
    saved.save(&files.output)
}
