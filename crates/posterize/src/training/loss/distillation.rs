//! Knowledge distillation: learning from another network's answers.

use serde::{Deserialize, Serialize};

use super::{Criterion, CrossEntropy, Loss};
use crate::error::{Error, Result};
use crate::metrics::LogSoftmax;
use crate::tensor::Tensor;

/// How much a network learns from the answers of a teacher instead of from labels: knowledge
/// distillation (Hinton et al. 2015, "Distilling the Knowledge in a Neural Network").
///
/// With `p = softmax(teacher / T)` and `q = softmax(logits / T)` the loss of a sample is
/// `(1 − α) · cross_entropy + α · T² · Σ p[c] · ln(p[c] / q[c])`, and that of a batch the mean; the
/// second term is `T² · torch.nn.KLDivLoss(reduction="batchmean")(ln q, p)`. `T²` keeps the length of
/// its gradient, which softening divides by that.
///
/// In quantization-aware training the teacher is the float network before it is rounded. Its answers
/// are right for each picture as it was cropped, and say something of all classes, so a few hundred
/// pictures go on teaching after their labels are learnt.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Distillation {
    /// α: the teacher's part of the loss, 0 to 1.
    pub alpha: f64,
    /// T: what logits are divided by before softmax, above 0. More than 1 gives unlikely classes
    /// more weight.
    pub temperature: f64,
}

impl Default for Distillation {
    /// The teacher's answers alone, as they are.
    fn default() -> Self {
        Self { alpha: 1.0, temperature: 1.0 }
    }
}

impl Distillation {
    /// Checks the ranges.
    ///
    /// # Errors
    /// α is not in `[0, 1]`, or the temperature is not above 0.
    pub fn validate(&self) -> Result<()> {
        let Self { alpha, temperature } = *self;
        if !(0.0..=1.0).contains(&alpha) {
            return Err(Error::Argument(format!(
                "the teacher's part of the loss is {alpha}; expected 0 to 1"
            )));
        }
        if !(temperature.is_finite() && temperature > 0.0) {
            return Err(Error::Argument(format!(
                "the temperature of distillation is {temperature}; it must be above 0"
            )));
        }
        Ok(())
    }
}

/// The loss of a batch with the answers of its teacher.
///
/// ```
/// use posterize::{Tensor, training::{Criterion, CrossEntropy, Distillation, DistillationLoss}};
/// let teacher = Tensor::new([1, 2], vec![0.0, 3f32.ln()])?;
/// let loss = DistillationLoss {
///     labels: CrossEntropy::default(),
///     distillation: Distillation::default(),
///     teacher: &teacher,
/// };
/// let mut gradient = [0.0; 2];
/// loss.forward_backward(&Tensor::new([1, 2], vec![0.0, 0.0])?, &[0], &mut gradient)?;
/// assert!((gradient[0] - (0.5 - 0.25)).abs() < 1e-6, "whatever the label");
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct DistillationLoss<'a> {
    /// The loss of labels.
    pub labels: CrossEntropy,
    /// How the teacher's answers count.
    pub distillation: Distillation,
    /// The teacher's logits `[N, C]` for the same pictures.
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
                // A class that the teacher rules out adds nothing, however far both logarithms lie.
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
    fn who_answers_as_the_teacher_has_nothing_to_learn() {
        let logits = Tensor::new([2, 3], vec![1.0, -2.0, 0.5, 300.0, -300.0, 0.0]).unwrap();
        let mut gradient = [f32::NAN; 6];
        let found = loss(&logits, 1.0).forward_backward(&logits, &[0, 1], &mut gradient).unwrap();
        assert_eq!((found.value, gradient), (0.0, [0.0; 6]));
        assert_eq!(found.correct, 1);
    }

    #[test]
    fn a_logit_that_is_not_finite_shows_in_the_loss() {
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
    fn what_does_not_fit_is_an_error() {
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
