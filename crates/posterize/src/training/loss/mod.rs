//! Losses.

mod cross_entropy;
mod distillation;

pub use cross_entropy::CrossEntropy;
pub use distillation::{Distillation, DistillationLoss};

use crate::error::Result;
use crate::tensor::Tensor;

/// The loss of a batch.
///
/// ```
/// use posterize::Tensor;
/// use posterize::training::{Criterion, CrossEntropy, Loss};
///
/// let logits = Tensor::new([2, 2], vec![9.0, -9.0, 9.0, -9.0])?;
/// let loss = CrossEntropy::default().forward_backward(&logits, &[0, 1], &mut [0.0; 4])?;
/// assert_eq!(loss, Loss { value: 9.0, correct: 1 });
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Loss {
    /// The mean loss of the samples. It is not finite if a logit is not.
    pub value: f32,
    /// Number of samples whose label has the largest logit.
    pub correct: usize,
}

/// A loss function of logits and labels; the `criterion` of PyTorch's training loops.
///
/// ```
/// use posterize::training::{Criterion, CrossEntropy, Loss};
/// use posterize::{Result, Tensor};
///
/// /// Half of another loss.
/// struct Half<C>(C);
///
/// impl<C: Criterion> Criterion for Half<C> {
///     fn forward_backward(&self, logits: &Tensor, labels: &[usize], gradient: &mut [f32]) -> Result<Loss> {
///         let loss = self.0.forward_backward(logits, labels, gradient)?;
///         gradient.iter_mut().for_each(|gradient| *gradient /= 2.0);
///         Ok(Loss { value: loss.value / 2.0, ..loss })
///     }
/// }
///
/// let logits = Tensor::zeros([1, 2]);
/// let mut gradient = [0.0; 2];
/// Half(CrossEntropy::default()).forward_backward(&logits, &[0], &mut gradient)?;
/// assert_eq!(gradient, [-0.25, 0.25]);
/// # Ok::<(), posterize::Error>(())
/// ```
pub trait Criterion {
    /// Returns the loss of `logits` `[N, C]` and writes its gradient with respect to the logits to
    /// `gradient`, in row-major order.
    ///
    /// # Errors
    /// Returns an error if `logits` is not `[N, C]` with a label for each row, or if a label is not
    /// less than C.
    ///
    /// # Panics
    /// Panics if `gradient` has another length than `logits`.
    fn forward_backward(
        &self,
        logits: &Tensor,
        labels: &[usize],
        gradient: &mut [f32],
    ) -> Result<Loss>;
}
