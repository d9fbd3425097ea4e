//! The loss of knowledge distillation.

use serde::{Deserialize, Serialize};

use super::{Criterion, CrossEntropy, Loss};
use crate::error::{Error, Result};
use crate::metrics::LogSoftmax;
use crate::tensor::Tensor;

/// The weight and temperature of knowledge distillation (Hinton et al. 2015, "Distilling the
/// Knowledge in a Neural Network", <https://arxiv.org/abs/1503.02531>).
///
/// With `p = softmax(teacher / T)` and `q = softmax(logits / T)` the loss of a sample is
/// `(1 − α) · cross_entropy + α · T² · Σ p[c] · ln(p[c] / q[c])`, and that of a batch is the mean.
/// The second term is `T² · torch.nn.KLDivLoss(reduction="batchmean")(ln q, p)`. The factor `T²`
/// compensates for the gradient, which is proportional to `1 / T²`.
///
/// In quantization-aware training the teacher is the float network. Its output depends on the crop of
/// a picture and has a value for each class, so a few hundred pictures carry more information than
/// their labels.
///
/// ```
/// use posterize::training::Distillation;
///
/// let distillation = Distillation { alpha: 0.5, temperature: 2.0 };
/// assert!(distillation.validate().is_ok());
/// assert!(Distillation { alpha: 1.5, ..distillation }.validate().is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Distillation {
    /// The weight α of the teacher's part of the loss, from 0 to 1.
    pub alpha: f64,
    /// The temperature T, which logits are divided by before the softmax; greater than 0. A
    /// temperature greater than 1 increases the weight of unlikely classes.
    pub temperature: f64,
}

impl Default for Distillation {
    /// Returns a weight and a temperature of 1: the loss of the teacher's output only.
    fn default() -> Self {
        Self { alpha: 1.0, temperature: 1.0 }
    }
}

impl Distillation {
    /// Checks the weight and the temperature.
    ///
    /// # Errors
    /// Returns an error if `alpha` is not from 0 to 1, or if `temperature` is not positive and finite.
    pub fn validate(&self) -> Result<()> {
        let Self { alpha, temperature } = *self;
        if !(0.0..=1.0).contains(&alpha) {
            return Err(Error::Argument(format!(
                "alpha of the distillation must be from 0 to 1, found {alpha}"
            )));
        }
        if !(temperature.is_finite() && temperature > 0.0) {
            return Err(Error::Argument(format!(
                "temperature of the distillation must be greater than 0, found {temperature}"
            )));
        }
        Ok(())
    }
}

/// The loss of a batch with labels and the output of a teacher; see [`Distillation`].
///
/// ```
/// use posterize::Tensor;
/// use posterize::training::{Criterion, CrossEntropy, Distillation, DistillationLoss};
///
/// let teacher = Tensor::new([1, 2], vec![0.0, 3f32.ln()])?;
/// let loss = DistillationLoss {
///     labels: CrossEntropy::default(),
///     distillation: Distillation::default(),
///     teacher: &teacher,
/// };
/// let mut gradient = [0.0; 2];
/// loss.forward_backward(&Tensor::new([1, 2], vec![0.0, 0.0])?, &[0], &mut gradient)?;
/// // The difference of the student's and the teacher's probability.
/// assert!((gradient[0] - (0.5 - 0.25)).abs() < 1e-6);
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct DistillationLoss<'a> {
    /// The loss of the labels.
    pub labels: CrossEntropy,
    /// The weight and temperature of the teacher's part.
    pub distillation: Distillation,
    /// The teacher's logits `[N, C]` of the same pictures.
    pub teacher: &'a Tensor,
}

impl Criterion for DistillationLoss<'_> {
    fn forward_backward(
        &self,
        logits: &Tensor,
        labels: &[usize],
        gradient: &mut [f32],
    ) -> Result<Loss> {
        let Self { distillation: Distillation { alpha, temperature }, teacher, .. } = *self;
        if teacher.shape() != logits.shape() {
            return Err(Error::shape(
                "teacher's logits",
                format!("expected {:?}, found {:?}", logits.shape(), teacher.shape()),
            ));
        }
        let of_labels = self.labels.forward_backward(logits, labels, gradient)?;
        let samples = labels.len() as f64;
        let classes = logits.data().len() / labels.len();
        let rows = logits.data().chunks_exact(classes).zip(teacher.data().chunks_exact(classes));
        let mut divergence = 0.0;
        for ((row, teacher), gradient) in rows.zip(gradient.chunks_exact_mut(classes)) {
            let student = LogSoftmax::softened(row, temperature);
            let truth = LogSoftmax::softened(teacher, temperature);
            for ((gradient, &logit), &expected) in gradient.iter_mut().zip(row).zip(teacher) {
                let (found, expected) = (student.at(logit), truth.at(expected));
                let probability = expected.exp();
                // The limit for a probability of 0 is 0, but its logarithm may be infinite.
                if probability != 0.0 {
                    divergence += probability * (expected - found);
                }
                let towards = temperature * (found.exp() - probability) / samples;
                *gradient = ((1.0 - alpha) * f64::from(*gradient) + alpha * towards) as f32;
            }
        }
        let of_teacher = temperature * temperature * divergence / samples;
        let value = (1.0 - alpha) * f64::from(of_labels.value) + alpha * of_teacher;
        Ok(Loss { value: value as f32, correct: of_labels.correct })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loss(teacher: &Tensor, alpha: f64) -> DistillationLoss<'_> {
        DistillationLoss {
            labels: CrossEntropy::default(),
            distillation: Distillation { alpha, temperature: 2.0 },
            teacher,
        }
    }

    #[test]
    fn loss_and_gradient_are_zero_for_the_teachers_logits() {
        let logits = Tensor::new([2, 3], vec![1.0, -2.0, 0.5, 300.0, -300.0, 0.0]).unwrap();
        let mut gradient = [f32::NAN; 6];
        let found = loss(&logits, 1.0).forward_backward(&logits, &[0, 1], &mut gradient).unwrap();
        assert_eq!((found.value, gradient), (0.0, [0.0; 6]));
        assert_eq!(found.correct, 1);
    }

    #[test]
    fn the_loss_of_nan_and_infinite_logits_is_not_finite() {
        let finite = Tensor::new([1, 3], vec![0.0, 1.0, 2.0]).unwrap();
        for bad in [f32::NAN, f32::INFINITY] {
            let other = Tensor::new([1, 3], vec![0.0, bad, 1.0]).unwrap();
            for (logits, teacher) in [(&finite, &other), (&other, &finite)] {
                let found = loss(teacher, 0.5).forward_backward(logits, &[0], &mut [0.0; 3]);
                assert!(!found.unwrap().value.is_finite());
            }
        }
    }

    #[test]
    fn invalid_teachers_and_options_are_errors() {
        let logits = Tensor::zeros([1, 3]);
        let teacher = Tensor::zeros([1, 2]);
        let error = loss(&teacher, 0.5).forward_backward(&logits, &[0], &mut [0.0; 3]).unwrap_err();
        assert!(error.to_string().contains("teacher's logits"), "{error}");
        for (alpha, temperature) in
            [(-0.1, 1.0), (1.1, 1.0), (f64::NAN, 1.0), (0.5, 0.0), (0.5, -1.0), (0.5, f64::NAN)]
        {
            assert!(Distillation { alpha, temperature }.validate().is_err());
        }
        Distillation::default().validate().unwrap();
    }
}
