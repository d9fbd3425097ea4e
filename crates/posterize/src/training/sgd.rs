//! Stochastic gradient descent.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{ParameterGroup, TrainedMut};
use crate::error::{Error, Result};

/// What weight decay pulls towards zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decay {
    /// Everything that is trained, as PyTorch's `SGD` does unless told otherwise.
    #[default]
    All,
    /// The weights of convolutions and linear layers; no bias and no batch norm.
    Weights,
}

/// The settings of [`Sgd`]; those of PyTorch's `torch.optim.SGD`, with `dampening` 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SgdOptions {
    /// 0 to below 1.
    pub momentum: f64,
    /// Not negative.
    pub weight_decay: f64,
    /// What it acts on.
    pub decay: Decay,
    /// Whether to look ahead along the momentum.
    pub nesterov: bool,
}

impl SgdOptions {
    /// Checks the ranges.
    ///
    /// # Errors
    /// The momentum is not in `[0, 1)`, the weight decay is negative, or Nesterov's method is asked
    /// for without momentum.
    pub fn validate(&self) -> Result<()> {
        let refuse = |problem: String| Err(Error::Argument(problem));
        if !(0.0..1.0).contains(&self.momentum) {
            return refuse(format!("momentum is {}; expected 0 to below 1", self.momentum));
        }
        if !(self.weight_decay >= 0.0 && self.weight_decay.is_finite()) {
            return refuse(format!("weight decay is {}; expected 0 or more", self.weight_decay));
        }
        if self.nesterov && self.momentum == 0.0 {
            return refuse("Nesterov's method needs a momentum above 0".into());
        }
        Ok(())
    }
}

/// Stochastic gradient descent with momentum; PyTorch's `torch.optim.SGD`:
///
/// `g ← g + weight_decay · w`, `v ← momentum · v + g`, `g ← g + momentum · v` (Nesterov) or
/// `g ← v`, `w ← w − lr · g`.
#[derive(Clone, Debug, PartialEq)]
pub struct Sgd {
    options: SgdOptions,
    /// `v` of each trained tensor, by its name.
    buffers: BTreeMap<String, Vec<f32>>,
}

impl Sgd {
    /// One at rest.
    ///
    /// # Errors
    /// As [`SgdOptions::validate`].
    pub fn new(options: SgdOptions) -> Result<Self> {
        options.validate()?;
        Ok(Self { options, buffers: BTreeMap::new() })
    }

    /// Changes every value by its gradient. The gradients hold other numbers afterwards.
    ///
    /// # Panics
    /// A gradient has another length than its value.
    pub fn step(&mut self, lr: f64, trained: &mut [TrainedMut<'_>]) {
        let momentum = self.options.momentum as f32;
        for tensor in trained {
            let TrainedMut { value, gradient, .. } = tensor;
            assert_eq!(value.len(), gradient.len(), "there is a gradient for each value");
            let decayed = match self.options.decay {
                Decay::All => true,
                Decay::Weights => tensor.group == ParameterGroup::Weight,
            };
            if decayed && self.options.weight_decay != 0.0 {
                let decay = self.options.weight_decay as f32;
                for (gradient, &value) in gradient.iter_mut().zip(&**value) {
                    *gradient += decay * value;
                }
            }
            if momentum != 0.0 {
                // Only a new tensor's name is copied.
                if !self.buffers.contains_key(tensor.name) {
                    self.buffers.insert(tensor.name.to_owned(), vec![0.0; value.len()]);
                }
                let buffer = self.buffers.get_mut(tensor.name).expect("it is there");
                for (buffer, gradient) in buffer.iter_mut().zip(&mut **gradient) {
                    *buffer = momentum * *buffer + *gradient;
                    *gradient = if self.options.nesterov {
                        *gradient + momentum * *buffer
                    } else {
                        *buffer
                    };
                }
            }
            let lr = lr as f32;
            for (value, &gradient) in value.iter_mut().zip(&**gradient) {
                *value -= lr * gradient;
            }
        }
    }

    /// The momentum of each tensor that has been trained, by its name; none without momentum.
    pub fn buffers(&self) -> &BTreeMap<String, Vec<f32>> {
        &self.buffers
    }

    /// Goes on with the momentum of another run.
    pub fn set_buffers(&mut self, buffers: BTreeMap<String, Vec<f32>>) {
        self.buffers = buffers;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_no_sense_is_refused() {
        let refused = |options| Sgd::new(options).unwrap_err().to_string();
        let default = SgdOptions::default;
        assert!(refused(SgdOptions { momentum: 1.0, ..default() }).contains("momentum is 1"));
        assert!(refused(SgdOptions { momentum: f64::NAN, ..default() }).contains("NaN"));
        assert!(refused(SgdOptions { weight_decay: -1e-4, ..default() }).contains("-0.0001"));
        assert!(refused(SgdOptions { nesterov: true, ..default() }).contains("above 0"));
    }
}
