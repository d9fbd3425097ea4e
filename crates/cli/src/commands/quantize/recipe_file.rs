//! Files of recipes.

use std::{
    fs,
    path::{Path, PathBuf},
};

use posterize::{FloatModel, atomic_file, data::Loader, quantization::Recipe};
use serde::{Deserialize, Serialize};

use super::pictures_digest::pictures_digest;
use crate::{
    error::{CliError, Result},
    quantization::Choice,
    ui::Ui,
};

/// What repeats a quantization, but for the weights and the pictures, of which it has digests.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RecipeFile {
    /// The model's name, for readers.
    model: String,
    weights_digest: String,
    /// Of the names and sizes of the calibration pictures.
    pictures_digest: String,
    #[serde(rename = "calibration")]
    pub(super) choice: Choice,
    pub(super) recipe: Recipe,
}

impl RecipeFile {
    pub(super) fn new(
        model: &str,
        float: &FloatModel,
        loader: &Loader,
        choice: Choice,
        recipe: Recipe,
    ) -> Self {
        Self {
            model: model.to_owned(),
            weights_digest: float.digest(),
            pictures_digest: pictures_digest(loader),
            choice,
            recipe,
        }
    }

    /// Reads a file.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).map_err(posterize::Error::io(path, "read"))?;
        serde_json::from_str(&text).map_err(|error| CliError::File {
            path: path.to_path_buf(),
            problem: format!(
                "this is no recipe: {error}; pass a file that `posterize quantize --save-recipe` wrote"
            ),
        })
    }

    /// Writes the file.
    pub(super) fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self).map_err(|e| CliError::Output(e.into()))?;
        Ok(atomic_file::write(path, |file| writeln!(file, "{text}"))?)
    }

    /// Returns an error if the recipe is for other weights, and warns if it is for other pictures.
    pub(super) fn check(
        &self,
        path: &Path,
        float: &FloatModel,
        loader: Option<&Loader>,
        ui: &Ui,
    ) -> Result<()> {
        let found = float.digest();
        if self.weights_digest != found {
            return Err(CliError::File {
                path: PathBuf::from(path),
                problem: format!(
                    "the recipe is for {} with other weights (digest {}, found {found}); pass those \
                     weights, or search again with --max-drop",
                    self.model, self.weights_digest
                ),
            });
        }
        if loader.is_some_and(|loader| self.pictures_digest != pictures_digest(loader)) {
            ui.warn(format_args!(
                "{}: the calibration pictures are not those of the recipe, so the result will differ",
                path.display()
            ));
        }
        Ok(())
    }
}
