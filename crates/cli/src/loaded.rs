//! A model ready for use.

use std::path::{Path, PathBuf};

use posterize::{
    Classifier, FloatModel,
    data::{Class, Preprocessing},
    format::SavedModel,
    graph::{Graph, ModuleTree},
    runtime::{Engine, Model, Options, compile},
};

use crate::error::{CliError, Result};

/// Returns the library's error with the file that the network is from, if that is known.
fn of_file(error: posterize::Error, file: Option<&Path>) -> CliError {
    match file {
        Some(file) => error.of_file(file).into(),
        None => error.into(),
    }
}

/// Returns `float32`, `int8`, `int8 dynamic` if only linear layers compute in int8, or `int8 weights` if
/// nothing does.
pub(crate) fn precision(model: &Model) -> &'static str {
    match model.as_quantized() {
        None => "float32",
        Some(model) if model.weights().is_empty() || !model.layers().is_empty() => "int8",
        Some(model) if model.dynamic_layers() > 0 => "int8 dynamic",
        Some(_) => "int8 weights",
    }
}

/// Returns the number of values that a network returns for a picture of `[H, W]` pixels.
pub(crate) fn outputs(graph: &Graph, [height, width]: [usize; 2]) -> posterize::Result<usize> {
    let shapes = graph.infer(&[1, 3, height, width])?;
    Ok(shapes[graph.output().0].shape.iter().product())
}

/// A model ready for use: the network, its preprocessing and its classes.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) name: String,
    /// The file that the weights were read from, or the name of the built-in weights. `None` for
    /// random weights.
    pub(crate) file: Option<PathBuf>,
    /// The modules that start at random although the weights come from a file: a new classifier.
    pub(crate) new_modules: Vec<String>,
    pub(crate) network: Model,
    pub(crate) preprocessing: Preprocessing,
    /// Empty if they are not known.
    pub(crate) classes: Vec<Class>,
    /// Channels, height and width of the input.
    pub(crate) input: [usize; 3],
}

impl Loaded {
    /// Fuses batch norms and activations into the layers before them. An int8 model is fused already.
    pub(crate) fn fuse(mut self) -> Result<Self> {
        if let Some(model) = self.network.as_float() {
            self.network = model.fuse()?.into();
        }
        Ok(self)
    }

    /// Compiles the network into an engine that accepts tensors and pixels.
    pub(crate) fn engine(&self, options: Options) -> Result<Engine> {
        let [height, width] = self.preprocessing.crop;
        let takes_pictures = self.input == [3, height, width];
        let options = if takes_pictures { options.pictures(&self.preprocessing) } else { options };
        compile(&self.network, options).map_err(|error| of_file(error, self.file.as_deref()))
    }

    /// Compiles the network into a classifier of pictures. Also returns the model's name.
    pub(crate) fn into_classifier(self, options: Options) -> Result<(String, Classifier)> {
        let saved = SavedModel::new(self.network)
            .with_name(&self.name)
            .with_preprocessing(self.preprocessing)
            .with_classes(self.classes);
        let classifier = Classifier::new(saved, options)
            .map_err(|error| of_file(error, self.file.as_deref()))?;
        Ok((self.name, classifier))
    }

    /// Returns the number of values that the network returns for a picture.
    pub(crate) fn outputs(&self) -> Result<usize> {
        outputs(self.graph(), self.preprocessing.crop)
            .map_err(|error| of_file(error, self.file.as_deref()))
    }

    pub(crate) fn graph(&self) -> &Graph {
        self.network.graph()
    }

    pub(crate) fn module(&self, path: &str) -> Result<ModuleTree> {
        Ok(self.network.module(path)?)
    }

    /// Returns the float network, or an error if the model is int8.
    pub(crate) fn into_float(self) -> Result<FloatModel> {
        match self.network {
            Model::Float(model) => Ok(model),
            _ => Err(CliError::Usage(format!(
                "{}: this is an int8 model, but the command needs a float one; pass the file of a \
                 trained float model, or the name of the architecture and --weights FILE",
                self.file.unwrap_or_default().display()
            ))),
        }
    }

    /// Returns `float32`, `int8`, `int8 dynamic` or `int8 weights`.
    pub(crate) fn precision(&self) -> &'static str {
        precision(&self.network)
    }

    /// Returns an error if the model is int8 and the option, which is for float models, was given.
    pub(crate) fn refuse_if_int8(self, option: &str, given: bool) -> Result<Self> {
        if given && self.network.as_float().is_none() {
            return Err(CliError::Usage(format!(
                "{}: {option} cannot be used with an int8 model, whose layers are fused; remove the \
                 option",
                self.file.unwrap_or_default().display()
            )));
        }
        Ok(self)
    }
}
