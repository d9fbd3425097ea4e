//! Stochastic gradient descent.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::super::TrainedMut;
use super::buffers::buffer;
use super::decay::check_weight_decay;
use super::{Decay, Optimizer, OptimizerBuffer, OptimizerState};
use crate::error::{Error, Result};

/// The options of [`Sgd`]: those of `torch.optim.SGD`, without `dampening`.
///
/// ```
/// use posterize::training::SgdOptions;
///
/// let options = SgdOptions { momentum: 0.9, weight_decay: 1e-4, ..SgdOptions::default() };
/// assert!(options.validate().is_ok());
/// assert!(SgdOptions { momentum: 1.0, ..options }.validate().is_err());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SgdOptions {
    /// The momentum, from 0 to less than 1.
    pub momentum: f64,
    /// The weight decay (L2 penalty), not negative.
    pub weight_decay: f64,
    /// The parameters that weight decay is applied to.
    pub decay: Decay,
    /// Whether to use Nesterov momentum.
    pub nesterov: bool,
}

impl SgdOptions {
    /// Checks all options.
    ///
    /// # Errors
    /// Returns an error if the momentum is not from 0 to less than 1, if the weight decay is negative
    /// or infinite, or if Nesterov momentum has a momentum of 0.
    pub fn validate(&self) -> Result<()> {
        let refuse = |problem: String| Err(Error::Argument(problem));
        if !(0.0..1.0).contains(&self.momentum) {
            return refuse(format!(
                "momentum must be from 0 to less than 1, found {}",
                self.momentum
            ));
        }
        check_weight_decay(self.weight_decay)?;
        if self.nesterov && self.momentum == 0.0 {
            return refuse("Nesterov momentum needs a momentum greater than 0, found 0".into());
        }
        Ok(())
    }
}

/// Stochastic gradient descent with momentum; `torch.optim.SGD`.
///
/// A step computes `g ← g + weight_decay · w`, `v ← momentum · v + g`, then `g ← g + momentum · v`
/// with Nesterov momentum or `g ← v` without, and `w ← w − lr · g`.
///
/// ```
/// use posterize::training::{Optimizer, ParameterGroup, Sgd, SgdOptions, TrainedMut};
///
/// let mut sgd = Sgd::new(SgdOptions { momentum: 0.5, ..SgdOptions::default() })?;
/// let mut value = [1.0];
/// for _ in 0..2 {
///     let weight = TrainedMut {
///         name: "fc.weight",
///         group: ParameterGroup::Weight,
///         lr_factor: 1.0,
///         value: &mut value,
///         gradient: &mut [2.0],
///     };
///     sgd.step(0.25, &mut [weight]);
/// }
/// // 1 − 0.25 · 2 − 0.25 · (0.5 · 2 + 2)
/// assert_eq!(value, [-0.25]);
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Sgd {
    options: SgdOptions,
    step: u64,
    /// The momentum buffer `v` of each parameter, by its name.
    buffers: BTreeMap<String, Vec<f32>>,
}

impl Sgd {
    /// Creates an optimizer without momentum buffers.
    ///
    /// # Errors
    /// Returns the error of [`SgdOptions::validate`].
    pub fn new(options: SgdOptions) -> Result<Self> {
        options.validate()?;
        Ok(Self { options, step: 0, buffers: BTreeMap::new() })
    }
}

impl Optimizer for Sgd {
    fn step(&mut self, lr: f64, trained: &mut [TrainedMut<'_>]) {
        let momentum = self.options.momentum as f32;
        for tensor in trained {
            let TrainedMut { name, group, lr_factor, value, gradient } = tensor;
            assert_eq!(value.len(), gradient.len(), "gradient must be as long as the value");
            let decay = self.options.decay.of(*group, self.options.weight_decay) as f32;
            if decay != 0.0 {
                for (gradient, &value) in gradient.iter_mut().zip(&**value) {
                    *gradient += decay * value;
                }
            }
            if momentum != 0.0 {
                let buffer = buffer(&mut self.buffers, name, value.len());
                assert_eq!(buffer.len(), value.len(), "buffer must be as long as the value");
                for (buffer, gradient) in buffer.iter_mut().zip(&mut **gradient) {
                    *buffer = momentum * *buffer + *gradient;
                    *gradient = if self.options.nesterov {
                        *gradient + momentum * *buffer
                    } else {
                        *buffer
                    };
                }
            }
            let lr = (lr * *lr_factor) as f32;
            for (value, &gradient) in value.iter_mut().zip(&**gradient) {
                *value -= lr * gradient;
            }
        }
        self.step += 1;
    }

    fn kept(&self) -> &'static [OptimizerBuffer] {
        if self.options.momentum == 0.0 { &[] } else { &[OptimizerBuffer::Momentum] }
    }

    fn state(&self) -> OptimizerState {
        OptimizerState::new(self.step, [(OptimizerBuffer::Momentum, self.buffers.clone())])
    }

    fn load_state(&mut self, state: OptimizerState) {
        let OptimizerState { step, mut buffers } = state;
        self.step = step;
        self.buffers = buffers.remove(&OptimizerBuffer::Momentum).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_options_are_errors() {
        let refused = |options| Sgd::new(options).unwrap_err().to_string();
        let default = SgdOptions::default;
        assert!(
            refused(SgdOptions { momentum: 1.0, ..default() }).contains("less than 1, found 1")
        );
        assert!(refused(SgdOptions { momentum: f64::NAN, ..default() }).contains("NaN"));
        assert!(refused(SgdOptions { weight_decay: -1e-4, ..default() }).contains("-0.0001"));
        assert!(refused(SgdOptions { nesterov: true, ..default() }).contains("greater than 0"));
    }
}
