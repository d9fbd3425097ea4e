//! Which network, and with which weights: by its name with a checkpoint, or from a saved file.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use posterize::{
    Architecture, FloatModel, StateDict,
    data::{Class, Preprocessing},
    format::SavedModel,
    graph::{Graph, ModuleTree},
    models::{self, Config},
    ops::Activation,
    quantization::QuantizedModel,
    runtime::{Engine, Options, compile},
};

use crate::{
    args::CacheArgs,
    embedded,
    error::{CliError, Result},
    fetch::{Fetcher, Item},
    ui::Ui,
};

/// A network by its name, and what may be chosen about it; or a file that holds all of it.
#[derive(Args, Clone, Debug)]
pub(crate) struct ModelArgs {
    /// mobilenet_v2, tf_mobilenet_v2, efficientnet_lite0 to efficientnet_lite4, resnet18, resnet50 or
    /// fashion_mobilenet_v2; or a file that `posterize quantize` wrote, which needs none of the options below
    #[arg(value_name = "MODEL")]
    pub(crate) name: String,

    /// Checkpoint: PyTorch (.pth, zip or legacy) or safetensors
    #[arg(long, value_name = "FILE")]
    pub(crate) weights: Option<PathBuf>,

    /// Activation in place of the published one; PyTorch's tutorial has relu in its MobileNetV2
    #[arg(long, value_enum)]
    activation: Option<ActivationName>,

    /// Classes of the classifier [default: as many as the published network has]
    #[arg(long, value_name = "N")]
    pub(crate) num_classes: Option<usize>,

    /// Scales the channels of every layer (MobileNets only) [default: the published factor]
    #[arg(long, value_name = "FACTOR")]
    width_mult: Option<f64>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ActivationName {
    Relu,
    Relu6,
}

/// Whether there is an architecture of that name.
fn is_architecture(name: &str) -> bool {
    models::names().any(|known| known == name)
}

impl ModelArgs {
    /// Whether a file is meant, and no architecture.
    pub(crate) fn is_file(&self) -> bool {
        !is_architecture(&self.name)
            && (self.name.contains(['/', '\\', '.']) || Path::new(&self.name).exists())
    }

    /// The same options for another architecture, or for the architecture `of` with the weights of
    /// the file `name`.
    pub(crate) fn reference(&self, name: &str, of: &str) -> Self {
        if is_architecture(name) {
            Self { name: name.to_owned(), ..self.clone() }
        } else {
            Self { name: of.to_owned(), weights: Some(name.into()), ..self.clone() }
        }
    }

    /// The same options for another network, or the saved file `name`, which has none.
    pub(crate) fn other(&self, name: &str, weights: Option<PathBuf>) -> Self {
        let other = Self { name: name.to_owned(), weights, ..self.clone() };
        if other.is_file() {
            Self { activation: None, num_classes: None, width_mult: None, ..other }
        } else {
            other
        }
    }

    /// The network without weights.
    pub(crate) fn architecture(&self) -> Result<Architecture> {
        let published = models::config(&self.name)?;
        let config = Config {
            num_classes: self.num_classes.unwrap_or(published.num_classes),
            width_mult: self.width_mult.unwrap_or(published.width_mult),
            activation: self.activation.map(|activation| match activation {
                ActivationName::Relu => Activation::ReLU,
                ActivationName::Relu6 => Activation::ReLU6,
            }),
            ..published
        };
        Ok(models::by_name(&self.name, &config)?)
    }

    /// How the published checkpoint wants its pictures.
    pub(crate) fn preprocessing(&self) -> Result<Preprocessing> {
        Ok(models::preprocessing(&self.name)?)
    }

    /// The network of the file.
    pub(crate) fn saved(&self) -> Result<SavedModel> {
        self.refuse_with_file(&[
            ("--weights", self.weights.is_some()),
            ("--activation", self.activation.is_some()),
            ("--num-classes", self.num_classes.is_some()),
            ("--width-mult", self.width_mult.is_some()),
        ])?;
        Ok(SavedModel::open(&self.name)?)
    }

    /// Refuses options that were given, if a file is meant, which they cannot change.
    pub(crate) fn refuse_with_file(&self, options: &[(&str, bool)]) -> Result<()> {
        match options.iter().find(|(_, given)| *given) {
            Some((option, _)) if self.is_file() => Err(CliError::Usage(format!(
                "{}: {option} cannot change a saved model; leave the option out",
                self.name
            ))),
            _ => Ok(()),
        }
    }

    /// The network of the file, the one with the weights of `--weights`, or one with fresh weights,
    /// the same every time.
    pub(crate) fn with_given_weights(&self, ui: &Ui) -> Result<Loaded> {
        if self.is_file() {
            return Loaded::of_file(&self.name, self.saved()?);
        }
        match &self.weights {
            Some(file) => self.load(file.clone(), ui),
            None => self.loaded(self.architecture()?.init(0), None),
        }
    }

    /// The network of the file, the one with the weights of `--weights`, or one with the published
    /// ones, fetched if need be or carried by the program.
    pub(crate) fn with_trained_weights(&self, cache: &CacheArgs, ui: &Ui) -> Result<Loaded> {
        if self.is_file() {
            return Loaded::of_file(&self.name, self.saved()?);
        }
        if let Some(file) = &self.weights {
            return self.load(file.clone(), ui);
        }
        // A wrong name is a better reason than missing weights.
        self.architecture()?;
        let item = match self.name.as_str() {
            embedded::MODEL => {
                return self.with_state(&embedded::weights()?, embedded::WEIGHTS_NAME.into(), ui);
            }
            "efficientnet_lite0" => Item::EfficientnetLite0,
            "mobilenet_v2" => Item::MobilenetV2,
            name => {
                return Err(CliError::Usage(format!(
                    "no weights of {name} can be fetched: pass --weights FILE"
                )));
            }
        };
        self.load(Fetcher::new(cache)?.fetch_noted(item, ui)?.path, ui)
    }

    /// The float network to train, with the weights of `--weights`. Without them fresh ones of `seed`
    /// for training in float; those that are published for training further in int8.
    pub(crate) fn to_train(
        &self,
        qat: bool,
        seed: u64,
        cache: &CacheArgs,
        ui: &Ui,
    ) -> Result<Loaded> {
        if qat || self.weights.is_some() || self.is_file() {
            self.with_trained_weights(cache, ui)
        } else {
            self.loaded(self.architecture()?.init(seed), None)
        }
    }

    fn load(&self, weights: PathBuf, ui: &Ui) -> Result<Loaded> {
        self.with_state(&StateDict::open(&weights)?, weights, ui)
    }

    fn with_state(&self, state: &StateDict, weights: PathBuf, ui: &Ui) -> Result<Loaded> {
        let architecture = self.architecture()?;
        let model = architecture.load(state).map_err(|error| CliError::Weights {
            path: weights.clone(),
            source: Box::new(error),
        })?;
        for tensor in state.non_finite() {
            ui.warn(format_args!(
                "{}: {} holds {} NaN and {} infinite values; the results will be of little use",
                weights.display(),
                tensor.name,
                tensor.nan,
                tensor.infinite
            ));
        }
        self.loaded(model, Some(weights))
    }

    fn loaded(&self, model: FloatModel, file: Option<PathBuf>) -> Result<Loaded> {
        Ok(Loaded {
            name: self.name.clone(),
            file,
            network: Network::Float(model),
            preprocessing: self.preprocessing()?,
            classes: Vec::new(),
        })
    }
}

/// A network that can run.
#[derive(Debug)]
pub(crate) enum Network {
    Float(FloatModel),
    Int8(QuantizedModel),
}

/// A network with what it takes to use it.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) name: String,
    /// Where its weights come from.
    pub(crate) file: Option<PathBuf>,
    pub(crate) network: Network,
    pub(crate) preprocessing: Preprocessing,
    /// Empty where they are not known.
    pub(crate) classes: Vec<Class>,
}

impl Loaded {
    fn of_file(file: &str, saved: SavedModel) -> Result<Self> {
        let SavedModel { name, model, preprocessing, classes, .. } = saved;
        let preprocessing = preprocessing.ok_or_else(|| {
            CliError::Usage(format!(
                "{file}: it was saved without the preprocessing of its pictures; save it with one \
                 (SavedModel::save), or quantize it again"
            ))
        })?;
        let (file, network) = (Some(file.into()), Network::Int8(model));
        Ok(Self { name: format!("{name} int8"), file, network, preprocessing, classes })
    }

    /// The same, batch norms and activations fused. A saved model is so already.
    pub(crate) fn fuse(mut self) -> Result<Self> {
        if let Network::Float(model) = &self.network {
            self.network = Network::Float(model.fuse()?);
        }
        Ok(self)
    }

    /// What runs it, ready for its pictures as tensors and as pixels.
    pub(crate) fn engine(&self, options: Options) -> Result<Engine> {
        let options = options.pictures(&self.preprocessing);
        Ok(match &self.network {
            Network::Float(model) => compile(model, options)?,
            Network::Int8(model) => compile(model, options)?,
        })
    }

    pub(crate) fn graph(&self) -> &Graph {
        match &self.network {
            Network::Float(model) => model.graph(),
            Network::Int8(model) => model.graph(),
        }
    }

    pub(crate) fn module(&self, path: &str) -> Result<ModuleTree> {
        Ok(match &self.network {
            Network::Float(model) => model.module(path)?,
            Network::Int8(model) => model.module(path)?,
        })
    }

    /// The float network.
    pub(crate) fn into_float(self) -> Result<FloatModel> {
        match self.network {
            Network::Float(model) => Ok(model),
            Network::Int8(_) => Err(CliError::Usage(format!(
                "{}: it is quantized; a float network is needed: pass MODEL and --weights FILE",
                self.file.unwrap_or_default().display()
            ))),
        }
    }

    /// `float32` or `int8`.
    pub(crate) fn precision(&self) -> &'static str {
        match self.network {
            Network::Float(_) => "float32",
            Network::Int8(_) => "int8",
        }
    }
}
