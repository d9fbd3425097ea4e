//! Which network, and with which weights.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use posterize::{
    Architecture, FloatModel, StateDict,
    data::Preprocessing,
    graph::Activation,
    models::{self, Config},
};

use crate::{
    args::CacheArgs,
    error::{CliError, Result},
    fetch::{Fetcher, Item},
    ui::Ui,
};

/// A network by its name, and what may be chosen about it.
#[derive(Args, Clone, Debug)]
pub(crate) struct ModelArgs {
    /// mobilenet_v2, tf_mobilenet_v2, efficientnet_lite0 to efficientnet_lite4, resnet18 or resnet50
    #[arg(value_name = "MODEL")]
    pub(crate) name: String,

    /// Checkpoint: PyTorch (.pth, zip or legacy) or safetensors
    #[arg(long, value_name = "FILE")]
    pub(crate) weights: Option<PathBuf>,

    /// Activation in place of the published one; PyTorch's tutorial has relu in its MobileNetV2
    #[arg(long, value_enum)]
    activation: Option<ActivationName>,

    /// Classes of the classifier
    #[arg(long, value_name = "N", default_value_t = 1000)]
    num_classes: usize,

    /// Scales the channels of every layer (MobileNets only)
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0)]
    width_mult: f64,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ActivationName {
    Relu,
    Relu6,
}

impl ModelArgs {
    /// The network without weights.
    pub(crate) fn architecture(&self) -> Result<Architecture> {
        let config = Config {
            num_classes: self.num_classes,
            width_mult: self.width_mult,
            activation: self.activation.map(|activation| match activation {
                ActivationName::Relu => Activation::ReLU,
                ActivationName::Relu6 => Activation::ReLU6,
            }),
            ..Config::default()
        };
        Ok(models::by_name(&self.name, &config)?)
    }

    /// How the published checkpoint wants its pictures.
    pub(crate) fn preprocessing(&self) -> Result<Preprocessing> {
        Ok(models::preprocessing(&self.name)?)
    }

    /// The network with the weights of `--weights`, or fresh ones, the same every time.
    pub(crate) fn with_given_weights(&self, ui: &Ui) -> Result<FloatModel> {
        match &self.weights {
            Some(file) => self.load(file.clone(), ui).map(|loaded| loaded.model),
            None => Ok(self.architecture()?.init(0)),
        }
    }

    /// The network with the weights of `--weights`, or the published ones, fetched if need be.
    pub(crate) fn with_trained_weights(&self, cache: &CacheArgs, ui: &Ui) -> Result<Loaded> {
        if let Some(file) = &self.weights {
            return self.load(file.clone(), ui);
        }
        // A wrong name is a better reason than missing weights.
        self.architecture()?;
        let item = match self.name.as_str() {
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

    fn load(&self, weights: PathBuf, ui: &Ui) -> Result<Loaded> {
        let architecture = self.architecture()?;
        let state = StateDict::open(&weights)?;
        let model = architecture.load(&state).map_err(|error| CliError::Weights {
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
        Ok(Loaded { model, weights })
    }
}

/// A network with the weights of a file.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) model: FloatModel,
    pub(crate) weights: PathBuf,
}
