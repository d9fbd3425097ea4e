//! Saved models: a network with its preprocessing and classes.

use std::collections::HashSet;

use super::limits::{MAX_NAME_BYTES, MAX_OUTPUT_VALUES};
use crate::data::{Class, Preprocessing};
use crate::graph::Graph;
use crate::loading::check_variance;
use crate::logits;
use crate::runtime::Model;

/// A float or int8 network with the preprocessing of its pictures and the names of its classes.
///
/// The file of a float network is at the same time a safetensors file of its state dict, with
/// PyTorch's names.
///
/// ```
/// # #[cfg(feature = "save")] {
/// use posterize::data::Preprocessing;
/// use posterize::runtime::Options;
/// use posterize::format::SavedModel;
/// use posterize::ops::Conv2d;
/// use posterize::quantization::{QConfig, QConfigMapping};
/// use posterize::{Architecture, Tensor};
///
/// let float = Architecture::trace(&Conv2d::new(3, 8, 3))?.init(0);
/// let mut observed = float.prepare(&QConfigMapping::global(QConfig::recommended()))?;
/// observed.calibrate(Options::new(1)?, [Ok(Tensor::zeros([1, 3, 8, 8]))])?;
/// let int8 = observed.convert()?;
///
/// let folder = tempfile::tempdir().unwrap();
/// let path = folder.path().join("small.safetensors");
/// let saved = SavedModel::new(int8)
///     .with_name("small")
///     .with_preprocessing(Preprocessing::imagenet());
/// saved.save(&path)?;
/// assert_eq!(SavedModel::open(&path)?, saved);
/// # }
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct SavedModel {
    /// The name of the network (`tf_mobilenet_v2`), at most 256 bytes, without control characters.
    pub name: String,
    /// The network.
    pub model: Model,
    /// The preprocessing of its pictures; `None` if it is not known.
    pub preprocessing: Option<Preprocessing>,
    /// The classes in the order of the values of the first output; empty if they are not known.
    pub classes: Vec<Class>,
    /// The graph of the float network that an int8 network was made from; `None` if it is not known,
    /// and in a float network. A float checkpoint has this graph's parameters.
    pub float_graph: Option<Graph>,
}

impl SavedModel {
    /// Creates a saved model with the name of the graph's class, without preprocessing and classes.
    pub fn new(model: impl Into<Model>) -> Self {
        let model = model.into();
        Self {
            name: model.graph().kind().to_owned(),
            model,
            preprocessing: None,
            classes: Vec::new(),
            float_graph: None,
        }
    }

    /// Sets the name.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets the preprocessing.
    #[must_use]
    pub fn with_preprocessing(mut self, preprocessing: impl Into<Option<Preprocessing>>) -> Self {
        self.preprocessing = preprocessing.into();
        self
    }

    /// Sets the classes. A model with classes must also have a preprocessing.
    #[must_use]
    pub fn with_classes(mut self, classes: impl Into<Vec<Class>>) -> Self {
        self.classes = classes.into();
        self
    }

    /// Sets the graph of the float network that the int8 network was made from, before layers were
    /// fused. Checkpoints of the float network can then be compared with it.
    #[must_use]
    pub fn with_float_graph(mut self, graph: impl Into<Option<Graph>>) -> Self {
        self.float_graph = graph.into();
        self
    }

    /// Returns the number of values in the first output for one picture; `None` if the size of
    /// pictures is not known, because there is no preprocessing.
    pub fn outputs(&self) -> Option<usize> {
        let [height, width] = self.preprocessing.as_ref()?.crop;
        let graph = self.model.graph();
        let shapes = graph.infer(&[1, 3, height, width]).ok()?;
        Some(shapes[graph.output().0].shape.iter().product())
    }

    /// Checks that the parts fit together.
    ///
    /// # Errors
    /// Returns a message about the first part that does not fit.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.name.len() > MAX_NAME_BYTES || self.name.chars().any(char::is_control) {
            return Err(format!(
                "its name has more than {MAX_NAME_BYTES} bytes or control characters"
            ));
        }
        self.check_parameters()?;
        if self.float_graph.is_some() && self.model.as_float().is_some() {
            return Err("it is a float network and has another float graph; remove that".into());
        }
        self.check_classes()?;
        let Some(preprocessing) = &self.preprocessing else {
            return if self.classes.is_empty() {
                Ok(())
            } else {
                Err("it has classes but no preprocessing; a model with classes needs one".into())
            };
        };
        preprocessing.validate().map_err(|error| error.to_string())?;
        let graph = self.model.graph();
        let [height, width] = preprocessing.crop;
        let shapes = graph.infer(&[1, 3, height, width]).map_err(|error| error.to_string())?;
        for (node, layer) in graph.nodes().iter().zip(&shapes) {
            let values: usize = layer.shape.iter().product();
            if values > MAX_OUTPUT_VALUES {
                return Err(format!(
                    "{}: its output of shape {:?} has more than {MAX_OUTPUT_VALUES} values",
                    node.name, layer.shape
                ));
            }
        }
        let output = &shapes[graph.output().0].shape;
        if !self.classes.is_empty() && logits::shape(output) != Some([1, self.classes.len()]) {
            return Err(format!(
                "it has {} classes, but the network's output for one picture has the shape \
                 {output:?}; expected [1, {}]",
                self.classes.len(),
                self.classes.len()
            ));
        }
        Ok(())
    }

    /// Checks the values of float layers.
    fn check_parameters(&self) -> Result<(), String> {
        let parameters = self.model.parameters();
        for found in self.model.graph().parameters() {
            let Some(tensor) = parameters.get(&found.key) else { continue };
            if let Some(index) = tensor.data().iter().position(|value| !value.is_finite()) {
                return Err(format!(
                    "{}: value {index} is {}; it must be finite",
                    found.name,
                    tensor.data()[index]
                ));
            }
            check_variance(&found, tensor.data()).map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    fn check_classes(&self) -> Result<(), String> {
        let mut folders = HashSet::new();
        for Class { folder, name } in &self.classes {
            if folder.is_empty() || !folders.insert(folder.as_str()) {
                return Err(format!(
                    "two of its classes have the folder {folder:?}, or one has no folder; each \
                     class needs a different one"
                ));
            }
            if folder.chars().chain(name.chars()).any(char::is_control) {
                return Err(format!("the class {folder:?} has control characters in its name"));
            }
        }
        Ok(())
    }
}
