//! What training makes small.

mod cross_entropy;
mod distillation;

pub use cross_entropy::CrossEntropy;
pub use distillation::{Distillation, DistillationLoss};

use crate::error::Result;
use crate::tensor::Tensor;

/// The loss of a batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Loss {
    /// The mean over the samples. Not finite where a logit is not.
    pub value: f32,
    /// How many samples have their label's logit as the highest.
    pub correct: usize,
}

/// A loss of logits and labels; what PyTorch's training loops call the criterion.
pub trait Criterion {
    /// The loss of `logits` `[N, C]`, and its gradient with respect to them, row by row. Sums are in
    /// f64; no finite logits overflow.
    ///
    /// # Errors
    /// `logits` is not `[N, C]` with a label for each row, or a label is not below `C`.
    ///
    /// # Panics
    /// `gradient` has another length than `logits`.
    fn forward_backward(
        &self,
        logits: &Tensor,
        labels: &[usize],
        gradient: &mut [f32],
    ) -> Result<Loss>;
}
