//! What repeats a quantization.

use serde::{Deserialize, Serialize};

use super::options::PostTraining;
use super::qconfig::{QConfig, QConfigMapping};
use crate::error::Result;

/// How a float network is quantized after training: with the same recipe, weights and calibration
/// pictures, [`FloatModel::quantize`](crate::FloatModel::quantize) gives the same int8 network.
///
/// ```
/// use posterize::quantization::{PostTraining, QConfig, Recipe};
///
/// let mut recipe = Recipe::new(QConfig::recommended(), PostTraining::recommended());
/// recipe.float_layers.push("features.1.conv.0.0".into());
/// let mapping = recipe.mapping()?;
/// assert_eq!(mapping.get("features.1.conv.0.0", "Conv2d"), None);
/// assert_eq!(mapping.get("features.1.conv.1", "Conv2d"), Some(&QConfig::recommended()));
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Recipe {
    /// The observers of activations and weights.
    pub qconfig: QConfig,
    /// The passes besides PyTorch's.
    pub passes: PostTraining,
    /// Globs of the modules that stay in float.
    pub skip: Vec<String>,
    /// The dotted names of layers that stay in float because int8 costs too much accuracy there.
    pub float_layers: Vec<String>,
}

impl Recipe {
    /// Returns a recipe for all layers.
    pub fn new(qconfig: QConfig, passes: PostTraining) -> Self {
        Self { qconfig, passes, skip: Vec::new(), float_layers: Vec::new() }
    }

    /// Keeps the modules in float whose dotted name matches a glob.
    #[must_use]
    pub fn skip(mut self, globs: impl IntoIterator<Item = String>) -> Self {
        self.skip.extend(globs);
        self
    }

    /// Returns the qconfigs of the layers.
    ///
    /// # Errors
    /// Returns an error if a glob is malformed.
    pub fn mapping(&self) -> Result<QConfigMapping> {
        let mut mapping = QConfigMapping::global(self.qconfig.clone());
        for glob in &self.skip {
            mapping = mapping.set_module_glob(glob, None)?;
        }
        for name in &self.float_layers {
            mapping = mapping.set_module_name(name, None);
        }
        Ok(mapping)
    }
}
