//! Gradient clipping.

use super::TrainedMut;
use crate::error::{Error, Result};

/// Returns the Euclidean norm of all gradients together, summed in f64.
pub fn global_norm(trained: &[TrainedMut<'_>]) -> f64 {
    trained.iter().map(|tensor| square_sum(tensor.gradient)).sum::<f64>().sqrt()
}

/// Scales all gradients so that their [`global_norm`] is at most `max_norm`;
/// `torch.nn.utils.clip_grad_norm_`.
///
/// Each gradient is multiplied by `min(1, max_norm / (norm + 1e-6))`. Returns the norm before
/// clipping.
///
/// ```
/// use posterize::training::{ParameterGroup, TrainedMut, clip_grad_norm};
///
/// let (mut value, mut gradient) = ([0.0; 2], [30.0, 40.0]);
/// let weight = TrainedMut {
///     name: "fc.weight",
///     group: ParameterGroup::Weight,
///     lr_factor: 1.0,
///     value: &mut value,
///     gradient: &mut gradient,
/// };
/// assert_eq!(clip_grad_norm(&mut [weight], 5.0)?, 50.0);
/// assert!((gradient[0] - 3.0).abs() < 1e-6);
/// # Ok::<(), posterize::Error>(())
/// ```
///
/// # Errors
/// Returns an error if `max_norm` is not positive and finite.
pub fn clip_grad_norm(trained: &mut [TrainedMut<'_>], max_norm: f64) -> Result<f64> {
    check_max_norm(max_norm)?;
    let norm = global_norm(trained);
    let factor = max_norm / (norm + 1e-6);
    if factor < 1.0 {
        for tensor in trained {
            tensor.gradient.iter_mut().for_each(|gradient| *gradient *= factor as f32);
        }
    }
    Ok(norm)
}

/// Returns an error if a norm is not positive and finite.
pub(super) fn check_max_norm(max_norm: f64) -> Result<()> {
    if max_norm.is_finite() && max_norm > 0.0 {
        return Ok(());
    }
    Err(Error::Argument(format!(
        "the norm to clip gradients to must be greater than 0, found {max_norm}"
    )))
}

/// Returns the sum of squares. Its eight independent sums let the compiler use vector instructions.
fn square_sum(values: &[f32]) -> f64 {
    let (chunks, rest) = values.as_chunks::<8>();
    let mut sums = [0.0_f64; 8];
    for chunk in chunks {
        for (sum, &value) in sums.iter_mut().zip(chunk) {
            *sum += f64::from(value) * f64::from(value);
        }
    }
    let rest: f64 = rest.iter().map(|&value| f64::from(value) * f64::from(value)).sum();
    sums.iter().sum::<f64>() + rest
}
