//! The cross-entropy loss.

use serde::{Deserialize, Serialize};

use super::{Criterion, Loss};
use crate::error::{Error, Result};
use crate::metrics::{self, LogSoftmax};
use crate::tensor::Tensor;

/// Cross-entropy of logits and labels, with label smoothing; `torch.nn.CrossEntropyLoss`.
///
/// With `p = softmax(logits)` and the label smoothing `ε`, the loss of a sample is
/// `−(1 − ε) · ln p[label] − ε / C · Σ ln p[c]` (Szegedy et al. 2016,
/// <https://arxiv.org/abs/1512.00567>). The loss of a batch is the mean.
///
/// ```
/// use posterize::Tensor;
/// use posterize::training::{Criterion, CrossEntropy};
///
/// let mut gradient = [0.0; 2];
/// let logits = Tensor::new([1, 2], vec![0.0, 0.0])?;
/// let loss = CrossEntropy::default().forward_backward(&logits, &[1], &mut gradient)?;
/// assert!((loss.value - 2f32.ln()).abs() < 1e-6);
/// assert_eq!(gradient, [0.5, -0.5]);
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CrossEntropy {
    /// The part of the target that is distributed equally over all classes, from 0 to 1; PyTorch's
    /// `label_smoothing`.
    pub label_smoothing: f64,
}

impl CrossEntropy {
    /// Checks the label smoothing.
    ///
    /// # Errors
    /// Returns an error if it is not from 0 to 1.
    pub fn validate(&self) -> Result<()> {
        if (0.0..=1.0).contains(&self.label_smoothing) {
            return Ok(());
        }
        let found = self.label_smoothing;
        Err(Error::Argument(format!("label_smoothing must be from 0 to 1, found {found}")))
    }
}

impl Criterion for CrossEntropy {
    fn forward_backward(
        &self,
        logits: &Tensor,
        labels: &[usize],
        gradient: &mut [f32],
    ) -> Result<Loss> {
        let [correct] = metrics::correct(logits, labels, [1])?;
        assert_eq!(gradient.len(), logits.data().len(), "gradient must be as long as the logits");
        let samples = labels.len() as f64;
        let classes = logits.data().len() / labels.len();
        let smoothed = self.label_smoothing / classes as f64;
        let mut total = 0.0;
        let rows = logits.data().chunks_exact(classes).zip(gradient.chunks_exact_mut(classes));
        for ((row, gradient), &label) in rows.zip(labels) {
            let log_softmax = LogSoftmax::of(row);
            let mut loss = -(1.0 - self.label_smoothing) * log_softmax.at(row[label]);
            let mut sum = 0.0;
            for (gradient, &logit) in gradient.iter_mut().zip(row) {
                let log_probability = log_softmax.at(logit);
                sum += log_probability;
                *gradient = ((log_probability.exp() - smoothed) / samples) as f32;
            }
            let target = (1.0 - self.label_smoothing) + smoothed;
            gradient[label] = ((log_softmax.at(row[label]).exp() - target) / samples) as f32;
            // Without smoothing the sum may be infinite, and 0 · ∞ is NaN.
            if smoothed != 0.0 {
                loss -= smoothed * sum;
            }
            total += loss;
        }
        Ok(Loss { value: (total / samples) as f32, correct })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loss_of_nan_and_infinite_logits_is_not_finite() {
        for bad in [f32::NAN, f32::INFINITY] {
            let logits = Tensor::new([1, 3], vec![0.0, bad, 1.0]).unwrap();
            let loss =
                CrossEntropy::default().forward_backward(&logits, &[0], &mut [0.0; 3]).unwrap();
            assert!(!loss.value.is_finite(), "{loss:?}");
        }
    }

    #[test]
    fn invalid_labels_and_label_smoothing_are_errors() {
        let loss = CrossEntropy::default();
        let logits = Tensor::zeros([2, 3]);
        let error = loss.forward_backward(&logits, &[0, 3], &mut [0.0; 6]).unwrap_err();
        assert!(error.to_string().contains("label 3"), "{error}");
        assert!(loss.forward_backward(&logits, &[0], &mut [0.0; 6]).is_err());
        for label_smoothing in [-0.1, 1.1, f64::NAN] {
            assert!(CrossEntropy { label_smoothing }.validate().is_err());
        }
    }
}
