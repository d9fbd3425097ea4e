//! The files of a training run, and writing its network to them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use posterize::{
    data::{Class, Preprocessing},
    format::SavedModel,
    training::{Network, TrainedModel},
};

use crate::error::{CliError, Result};

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
    /// Derives the paths from those that the user gave. Returns an error if two are the same or a
    /// folder does not exist, before time is spent on training.
    pub(super) fn new(output: &Path, float_output: Option<&Path>) -> Result<Self> {
        let beside = |extension: &str| output.with_extension(extension);
        let files = Self {
            output: output.to_path_buf(),
            float_output: float_output.map(Path::to_path_buf),
            log: beside("csv"),
            steps: beside("steps.csv"),
            page: beside("html"),
            checkpoint: beside("checkpoint"),
        };
        let mut all = vec![&files.output, &files.log, &files.steps, &files.page, &files.checkpoint];
        all.extend(&files.float_output);
        for (index, file) in all.iter().enumerate() {
            if all[..index].contains(file) {
                return Err(CliError::Usage(format!(
                    "{}: training would write two files with this name; let the name given with -o end \
                     in .safetensors",
                    file.display()
                )));
            }
            let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
            if let Some(folder) = folder {
                fs::metadata(folder).map_err(posterize::Error::io(file, "create"))?;
            }
        }
        Ok(files)
    }
}

/// What is saved with a network besides its weights.
#[derive(Clone, Debug)]
pub(super) struct Metadata {
    pub(super) model: String,
    pub(super) preprocessing: Preprocessing,
    pub(super) classes: Vec<Class>,
}

/// Writes the trained network, and returns the size of the file in bytes.
pub(super) fn save(metadata: &Metadata, files: &Files, network: &Network) -> Result<u64> {
    let model = match network.qat_model()? {
        Some(qat) => {
            if let Some(file) = &files.float_output {
                network.float_model()?.state_dict().save_safetensors(file)?;
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
    match model {
        TrainedModel::Int8(model) => {
            let saved = SavedModel::new(model.clone())
                .with_name(&metadata.model)
                .with_preprocessing(metadata.preprocessing.clone())
                .with_classes(metadata.classes.clone());
            saved.save(&files.output)
        }
        TrainedModel::Float(model) => {
            model.state_dict().save_safetensors(&files.output)?;
            fs::metadata(&files.output)
                .map(|metadata| metadata.len())
                .map_err(posterize::Error::io(&files.output, "read"))
        }
    }
}
