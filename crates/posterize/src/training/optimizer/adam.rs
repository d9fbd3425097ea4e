//! Adam and AdamW.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::super::TrainedMut;
use super::buffers::buffer;
use super::decay::check_weight_decay;
use super::{Decay, Optimizer, OptimizerBuffer, OptimizerState};
use crate::error::{Error, Result};

/// The options of [`Adam`]: those of `torch.optim.Adam` and `torch.optim.AdamW`, without `amsgrad`.
///
/// The defaults are those of `torch.optim.Adam`. The default weight decay of `torch.optim.AdamW` is
/// 0.01, see [`Self::adamw`].
///
/// ```
/// use posterize::training::AdamOptions;
///
/// let options = AdamOptions { betas: [0.9, 0.99], ..AdamOptions::default() };
/// assert_eq!(options.eps, 1e-8);
/// assert!(options.validate().is_ok());
/// assert!(AdamOptions { betas: [1.0, 0.99], ..options }.validate().is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct AdamOptions {
    /// The factors of the moving averages of the gradients and of the squared gradients, each from 0 to
    /// less than 1.
    pub betas: [f64; 2],
    /// The value added to the denominator, not negative.
    pub eps: f64,
    /// The weight decay, not negative: an L2 penalty in Adam, decoupled in AdamW.
    pub weight_decay: f64,
    /// The parameters that weight decay is applied to.
    pub decay: Decay,
}

impl Default for AdamOptions {
    fn default() -> Self {
        Self { betas: [0.9, 0.999], eps: 1e-8, weight_decay: 0.0, decay: Decay::All }
    }
}

impl AdamOptions {
    /// Returns the defaults of `torch.optim.AdamW`: a weight decay of 0.01, the rest as in Adam.
    #[must_use]
    pub fn adamw() -> Self {
        Self { weight_decay: 0.01, ..Self::default() }
    }

    /// Checks all options.
    ///
    /// # Errors
    /// Returns an error if a beta is not from 0 to less than 1, or if `eps` or the weight decay is
    /// negative or infinite.
    pub fn validate(&self) -> Result<()> {
        for (index, beta) in self.betas.iter().enumerate() {
            if !(0.0..1.0).contains(beta) {
                return Err(Error::Argument(format!(
                    "beta {} of Adam must be from 0 to less than 1, found {beta}",
                    index + 1
                )));
            }
        }
        if !(self.eps >= 0.0 && self.eps.is_finite()) {
            return Err(Error::Argument(format!(
                "eps of Adam must be 0 or more, found {}",
                self.eps
            )));
        }
        check_weight_decay(self.weight_decay)
    }
}

/// Adam (Kingma and Ba 2015, <https://arxiv.org/abs/1412.6980>), or AdamW (Loshchilov and Hutter 2019,
/// <https://arxiv.org/abs/1711.05101>); `torch.optim.Adam` and `torch.optim.AdamW`.
///
/// Step `t`, counted from 1, computes for each parameter `w` with gradient `g`:
/// - weight decay: `g ← g + weight_decay · w` in Adam, `w ← w − lr · weight_decay · w` in AdamW;
/// - `m ← m + (1 − β₁) · (g − m)` and `v ← β₂ · v + (1 − β₂) · g²`;
/// - `w ← w − lr / (1 − β₁ᵗ) · m / (√v / √(1 − β₂ᵗ) + eps)`.
///
/// ```
/// use posterize::training::{Adam, AdamOptions, Optimizer, ParameterGroup, TrainedMut};
///
/// let mut adam = Adam::new(AdamOptions::default())?;
/// let mut value = [1.0, 1.0];
/// let weight = TrainedMut {
///     name: "fc.weight",
///     group: ParameterGroup::Weight,
///     lr_factor: 1.0,
///     value: &mut value,
///     gradient: &mut [2.0, -1e-3],
/// };
/// adam.step(0.25, &mut [weight]);
/// // The first step has the length of the learning rate, whatever the gradient.
/// assert!((value[0] - 0.75).abs() < 1e-5 && (value[1] - 1.25).abs() < 1e-5);
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Adam {
    options: AdamOptions,
    /// Whether weight decay is decoupled from the gradient, as in AdamW.
    decoupled: bool,
    step: u64,
    exp_avg: BTreeMap<String, Vec<f32>>,
    exp_avg_sq: BTreeMap<String, Vec<f32>>,
}

impl Adam {
    /// Creates an optimizer with the weight decay of Adam.
    ///
    /// # Errors
    /// Returns the error of [`AdamOptions::validate`].
    pub fn new(options: AdamOptions) -> Result<Self> {
        options.validate()?;
        let (exp_avg, exp_avg_sq) = (BTreeMap::new(), BTreeMap::new());
        Ok(Self { options, decoupled: false, step: 0, exp_avg, exp_avg_sq })
    }

    /// Creates an optimizer with the weight decay of AdamW.
    ///
    /// # Errors
    /// Returns the error of [`AdamOptions::validate`].
    pub fn decoupled(options: AdamOptions) -> Result<Self> {
        Ok(Self { decoupled: true, ..Self::new(options)? })
    }
}

impl Optimizer for Adam {
    fn step(&mut self, lr: f64, trained: &mut [TrainedMut<'_>]) {
        let AdamOptions { betas: [beta1, beta2], eps, weight_decay, decay } = self.options;
        self.step += 1;
        // Above this exponent the powers are 0 in f64 for any beta that f64 tells apart from 1.
        let power = |beta: f64| beta.powf(self.step as f64);
        let (correction1, correction2) = (1.0 - power(beta1), 1.0 - power(beta2));
        let root_correction2 = correction2.sqrt() as f32;
        let (new1, old2, new2) = ((1.0 - beta1) as f32, beta2 as f32, (1.0 - beta2) as f32);
        let eps = eps as f32;
        for tensor in trained {
            let TrainedMut { name, group, lr_factor, value, gradient } = tensor;
            assert_eq!(value.len(), gradient.len(), "gradient must be as long as the value");
            let lr = lr * *lr_factor;
            let weight_decay = decay.of(*group, weight_decay);
            if weight_decay != 0.0 && self.decoupled {
                let kept = (1.0 - lr * weight_decay) as f32;
                value.iter_mut().for_each(|value| *value *= kept);
            } else if weight_decay != 0.0 {
                for (gradient, &value) in gradient.iter_mut().zip(&**value) {
                    *gradient += weight_decay as f32 * value;
                }
            }
            let exp_avg = buffer(&mut self.exp_avg, name, value.len());
            let exp_avg_sq = buffer(&mut self.exp_avg_sq, name, value.len());
            let lengths = [exp_avg.len(), exp_avg_sq.len()];
            assert_eq!(lengths, [value.len(); 2], "buffers must be as long as the value");
            let step_size = (lr / correction1) as f32;
            let moments = exp_avg.iter_mut().zip(exp_avg_sq);
            for ((value, &gradient), (m, v)) in value.iter_mut().zip(&**gradient).zip(moments) {
                *m += new1 * (gradient - *m);
                *v = old2 * *v + new2 * (gradient * gradient);
                *value -= step_size * (*m / (v.sqrt() / root_correction2 + eps));
            }
        }
    }

    fn kept(&self) -> &'static [OptimizerBuffer] {
        &[OptimizerBuffer::ExpAvg, OptimizerBuffer::ExpAvgSq]
    }

    fn state(&self) -> OptimizerState {
        let buffers = [
            (OptimizerBuffer::ExpAvg, self.exp_avg.clone()),
            (OptimizerBuffer::ExpAvgSq, self.exp_avg_sq.clone()),
        ];
        OptimizerState::new(self.step, buffers)
    }

    fn load_state(&mut self, state: OptimizerState) {
        let OptimizerState { step, mut buffers } = state;
        self.step = step;
        self.exp_avg = buffers.remove(&OptimizerBuffer::ExpAvg).unwrap_or_default();
        self.exp_avg_sq = buffers.remove(&OptimizerBuffer::ExpAvgSq).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::ParameterGroup;
    use super::*;

    #[test]
    fn invalid_options_are_errors() {
        let refused = |options| Adam::new(options).unwrap_err().to_string();
        let default = AdamOptions::default;
        assert!(
            refused(AdamOptions { betas: [0.9, 1.0], ..default() })
                .contains("beta 2 of Adam must be from 0 to less than 1, found 1")
        );
        assert!(refused(AdamOptions { betas: [-0.1, 0.9], ..default() }).contains("found -0.1"));
        assert!(refused(AdamOptions { eps: f64::NAN, ..default() }).contains("eps of Adam"));
        assert!(refused(AdamOptions { weight_decay: -1.0, ..default() }).contains("found -1"));
    }

    #[test]
    fn a_parameter_has_its_own_learning_rate() {
        let mut adam = Adam::new(AdamOptions::default()).unwrap();
        let mut values = [[1.0], [1.0]];
        let mut gradients = [[1.0], [1.0]];
        let names = ["a", "b"];
        let factors = [1.0, 3.0];
        let mut trained: Vec<TrainedMut<'_>> = values
            .iter_mut()
            .zip(&mut gradients)
            .enumerate()
            .map(|(index, (value, gradient))| TrainedMut {
                name: names[index],
                group: ParameterGroup::Weight,
                lr_factor: factors[index],
                value,
                gradient,
            })
            .collect();
        adam.step(0.1, &mut trained);
        assert!((values[0][0] - 0.9).abs() < 1e-6 && (values[1][0] - 0.7).abs() < 1e-6);
    }
}
