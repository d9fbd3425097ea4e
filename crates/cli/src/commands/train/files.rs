//! The files that a training run leaves, and how its network is written to them.

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

/// The files that a run leaves.
#[derive(Clone, Debug)]
pub(super) struct Files {
    pub(super) output: PathBuf,
    pub(super) float_output: Option<PathBuf>,
    pub(super) log: PathBuf,
    pub(super) steps: PathBuf,
    pub(super) page: PathBuf,
    pub(super) checkpoint: PathBuf,
}

impl Files {
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
                    "{}: two files of the training would have this name; end OUT in .safetensors",
                    file.display()
                )));
            }
            // Before hours of work are lost to it.
            let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
            if let Some(folder) = folder {
                fs::metadata(folder).map_err(posterize::Error::io(file, "create"))?;
            }
        }
        Ok(files)
    }
}

/// What a saved network needs besides its weights.
#[derive(Clone, Debug)]
pub(super) struct Naming {
    pub(super) model: String,
    pub(super) preprocessing: Preprocessing,
    pub(super) classes: Vec<Class>,
}

/// Writes the network that was kept, and returns the size of the file.
pub(super) fn save(naming: &Naming, files: &Files, network: &Network) -> Result<u64> {
    let model = match network.qat_model()? {
        Some(qat) => {
            if let Some(file) = &files.float_output {
                network.float_model()?.state_dict().save_safetensors(file)?;
            }
            TrainedModel::Int8(qat.convert()?)
        }
        None => TrainedModel::Float(network.float_model()?),
    };
    Ok(write_model(naming, files, &model)?)
}

/// Writes a network to OUT, and returns the size of the file.
pub(super) fn write_model(
    naming: &Naming,
    files: &Files,
    model: &TrainedModel,
) -> posterize::Result<u64> {
    match model {
        TrainedModel::Int8(model) => {
            let saved = SavedModel::new(model.clone())
                .with_name(&naming.model)
                .with_preprocessing(naming.preprocessing.clone())
                .with_classes(naming.classes.clone());
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
