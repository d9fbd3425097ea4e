//! The state of a network in training, from which it is resumed.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Named, Network};
use crate::error::{Error, Result};
use crate::quantization::QatState;
use crate::tensor::Tensor;

/// The state of a [`Network`] between two steps.
///
/// ```
/// use posterize::Architecture;
/// use posterize::ops::Linear;
/// use posterize::runtime::Options;
/// use posterize::training::Network;
///
/// let model = Architecture::trace(&Linear::new(4, 2))?.init(0);
/// let mut network = Network::float(&model, Options::new(1)?)?;
/// let saved = network.state();
/// network.trained().for_each(|tensor| tensor.value.fill(0.0));
/// network.load_state(saved)?;
/// assert_eq!(network.float_model()?.state_dict(), model.state_dict());
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct NetworkState {
    /// The parameters and running estimates by their names in a state dict.
    pub tensors: BTreeMap<String, Tensor>,
    /// The values that are not tensors.
    pub values: NetworkValues,
}

/// The values of a [`NetworkState`] that are not tensors. They are exact in JSON.
///
/// ```
/// use posterize::Architecture;
/// use posterize::ops::Linear;
/// use posterize::runtime::Options;
/// use posterize::training::Network;
///
/// let model = Architecture::trace(&Linear::new(4, 2))?.init(0);
/// let mut network = Network::float(&model, Options::new(1)?)?;
/// network.set_seed(7);
/// let values = network.state().values;
/// assert_eq!((values.seed, values.step), (7, 0));
/// assert!(values.quantization.is_none());
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkValues {
    /// The seed of dropout.
    pub seed: u64,
    /// Number of steps.
    pub step: u64,
    /// Whether batch norms normalize with their running estimates in training.
    pub bn_stats_frozen: bool,
    /// The state of the fake quantization in quantization-aware training.
    pub quantization: Option<QatState>,
}

impl Network {
    /// Returns the state, from which training is resumed with [`Self::load_state`].
    pub fn state(&self) -> NetworkState {
        NetworkState {
            tensors: self
                .tensors()
                .map(|Named { name, shape, values, .. }| {
                    let mut tensor = Tensor::zeros(shape);
                    tensor.data_mut().copy_from_slice(values);
                    (name.to_owned(), tensor)
                })
                .collect(),
            values: NetworkValues {
                seed: self.seed,
                step: self.step,
                bn_stats_frozen: self.bn_stats_frozen,
                quantization: self.qat.as_ref().map(crate::quantization::QatModel::state),
            },
        }
    }

    /// Restores a state returned by [`state`](Self::state).
    ///
    /// # Errors
    /// Returns an error, and changes nothing, if the state is of another network or qconfig.
    pub fn load_state(&mut self, state: NetworkState) -> Result<()> {
        let NetworkState { tensors, values } = state;
        let mut expected = 0;
        for Named { name, shape, .. } in self.tensors() {
            let found = tensors
                .get(name)
                .ok_or_else(|| Error::layer(name, "the saved state has no such tensor"))?;
            if found.shape() != shape {
                let problem =
                    format!("expected {shape:?}, found {:?} in the saved state", found.shape());
                return Err(Error::shape(name, problem));
            }
            expected += 1;
        }
        if tensors.len() != expected {
            let known: BTreeSet<&str> = self.tensors().map(|known| known.name).collect();
            let unexpected = tensors.into_keys().find(|name| !known.contains(name.as_str()));
            let name = unexpected.unwrap_or_default();
            return Err(Error::layer(name, "the network has no such tensor, the saved state has"));
        }
        match (&mut self.qat, values.quantization) {
            (Some(qat), Some(saved)) => qat.load_state(saved)?,
            (None, None) => {}
            (Some(_), None) => {
                return Err(Error::Argument(
                    "expected the state of a quantization-aware training, found that of a float \
                     training"
                        .into(),
                ));
            }
            (None, Some(_)) => {
                return Err(Error::Argument(
                    "expected the state of a float training, found that of a quantization-aware \
                     training"
                        .into(),
                ));
            }
        }
        for parameter in &mut self.net.parameters {
            parameter.value.copy_from_slice(tensors[&parameter.name].data());
        }
        for running in &mut self.net.running {
            for estimate in [&mut running.mean, &mut running.var] {
                estimate.value.copy_from_slice(tensors[&estimate.name].data());
            }
        }
        (self.seed, self.step) = (values.seed, values.step);
        self.set_bn_stats_frozen(values.bn_stats_frozen);
        Ok(())
    }
}
