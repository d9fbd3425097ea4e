//! What a resumed training needs of a network, bit for bit.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Named, Network};
use crate::error::{Error, Result};
use crate::quantization::QatState;
use crate::tensor::Tensor;

/// A network's state between two steps.
#[derive(Clone, Debug, PartialEq)]
pub struct NetworkState {
    /// Parameters and running estimates under PyTorch's names.
    pub tensors: BTreeMap<String, Tensor>,
    /// The rest.
    pub values: NetworkValues,
}

/// The part of a [`NetworkState`] that is no tensor. JSON keeps it bit for bit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkValues {
    /// The seed of dropout.
    pub seed: u64,
    /// How many steps were taken.
    pub step: u64,
    /// Whether batch norms use their running estimates in training.
    pub bn_stats_frozen: bool,
    /// The fake quantization, in quantization-aware training.
    pub quantization: Option<QatState>,
}

impl Network {
    /// Everything that a resume needs.
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

    /// Goes on where [`state`](Self::state) was taken.
    ///
    /// # Errors
    /// The state is of another network or of another qconfig; this one is then as it was.
    pub fn load_state(&mut self, state: NetworkState) -> Result<()> {
        let NetworkState { tensors, values } = state;
        let mut expected = 0;
        for Named { name, shape, .. } in self.tensors() {
            let found = tensors
                .get(name)
                .ok_or_else(|| Error::layer(name, "the saved state does not have it"))?;
            if found.shape() != shape {
                let problem =
                    format!("expected {shape:?}, the saved state has {:?}", found.shape());
                return Err(Error::shape(name, problem));
            }
            expected += 1;
        }
        if tensors.len() != expected {
            let known: BTreeSet<&str> = self.tensors().map(|known| known.name).collect();
            let stranger = tensors.into_keys().find(|name| !known.contains(name.as_str()));
            let name = stranger.unwrap_or_default();
            return Err(Error::layer(name, "the saved state has it, this network has not"));
        }
        match (&mut self.qat, values.quantization) {
            (Some(qat), Some(saved)) => qat.load_state(saved)?,
            (None, None) => {}
            (Some(_), None) => {
                return Err(Error::Argument(
                    "the saved state is of a float training, not of a quantization-aware one"
                        .into(),
                ));
            }
            (None, Some(_)) => {
                return Err(Error::Argument(
                    "the saved state is of a quantization-aware training, not of a float one"
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
