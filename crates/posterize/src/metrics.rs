//! Accuracy, loss and running averages.

use std::cmp::Ordering;

use crate::error::{Error, Result};
use crate::logits::shape;
use crate::tensor::Tensor;

/// A running average, weighted by the number of samples of each value; `AverageMeter` in PyTorch's
/// examples.
///
/// ```
/// use posterize::metrics::AverageMeter;
/// let mut loss = AverageMeter::default();
/// loss.update(2.0, 30);
/// loss.update(1.0, 10);
/// assert_eq!((loss.val(), loss.avg(), loss.count()), (1.0, 1.75, 40));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct AverageMeter {
    val: f64,
    sum: f64,
    count: usize,
}

impl AverageMeter {
    /// Adds a value that is a mean over `n` samples.
    pub fn update(&mut self, val: f64, n: usize) {
        self.val = val;
        self.sum += val * n as f64;
        self.count += n;
    }

    /// Returns the last value.
    pub fn val(&self) -> f64 {
        self.val
    }

    /// Returns the sum over all samples.
    pub fn sum(&self) -> f64 {
        self.sum
    }

    /// Returns the number of samples.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Returns the mean over all samples; 0 if there are none.
    pub fn avg(&self) -> f64 {
        if self.count == 0 { 0.0 } else { self.sum / self.count as f64 }
    }

    /// Resets everything to zero.
    pub fn reset(&mut self) {
        *self = Self::default();
    }
}

impl std::fmt::Display for AverageMeter {
    /// Writes the last value and the average: `1.0000 (1.7500)`. `{:.2}` sets the number of
    /// decimals.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let decimals = f.precision().unwrap_or(4);
        write!(f, "{:.decimals$} ({:.decimals$})", self.val, self.avg())
    }
}

/// Computes the top-k accuracy in percent for each `k`; `accuracy(output, target, topk)` in
/// PyTorch's examples.
///
/// A sample is correct if its label is among the `k` classes with the highest logits. `logits` has
/// the shape `[N, C]` or `[N, C, 1, 1]`. Of equal logits the class with the lower number ranks first. NaN ranks above
/// every number, as in `torch.topk`.
///
/// ```
/// use posterize::{Tensor, metrics::accuracy};
/// let logits = Tensor::new([2, 3], vec![0.1, 0.7, 0.2, 0.5, 0.3, 0.2])?;
/// assert_eq!(accuracy(&logits, &[1, 1], [1, 2])?, [50.0, 100.0]);
/// # Ok::<(), posterize::Error>(())
/// ```
///
/// # Errors
/// Returns an error if `logits` is not of shape `[N, C]`, if the number of labels is not `N`, if
/// `N` is zero, if a label is not below `C`, or if a `k` is not in `1..=C`.
pub fn accuracy<const K: usize>(
    logits: &Tensor,
    labels: &[usize],
    topk: [usize; K],
) -> Result<[f64; K]> {
    let correct = correct(logits, labels, topk)?;
    Ok(correct.map(|hits| 100.0 * hits as f64 / labels.len() as f64))
}

/// Counts the samples whose label is among the `k` highest logits, for each `k`.
///
/// [`accuracy`] gives the same as a percentage.
///
/// # Errors
/// As [`accuracy`].
pub fn correct<const K: usize>(
    logits: &Tensor,
    labels: &[usize],
    topk: [usize; K],
) -> Result<[usize; K]> {
    let classes = check(logits, labels)?;
    if let Some(k) = topk.iter().find(|k| !(1..=classes).contains(*k)) {
        return Err(Error::Argument(format!(
            "k is {k} for a top-k accuracy over {classes} classes; expected 1 to {classes}"
        )));
    }
    let mut hits = [0; K];
    for (row, &label) in rows(logits, classes).zip(labels) {
        let rank = rank(row, label);
        for (hit, k) in hits.iter_mut().zip(topk) {
            *hit += usize::from(rank < k);
        }
    }
    Ok(hits)
}

/// Returns the `k` classes with the highest logits of one sample and these logits, highest first.
///
/// This is `torch.topk` for one row of `[N, C]`. If there are fewer than `k` classes, all are
/// returned.
///
/// ```
/// use posterize::metrics::topk;
/// assert_eq!(topk(&[0.1, 0.7, 0.2], 2), [(1, 0.7), (2, 0.2)]);
/// ```
pub fn topk(row: &[f32], k: usize) -> Vec<(usize, f32)> {
    let mut order: Vec<usize> = (0..row.len()).collect();
    order.sort_unstable_by(|&a, &b| key(row[b]).total_cmp(&key(row[a])).then(a.cmp(&b)));
    order.truncate(k);
    order.into_iter().map(|class| (class, row[class])).collect()
}

/// Returns the number of classes that rank above `label`.
fn rank(row: &[f32], label: usize) -> usize {
    let own = key(row[label]);
    let before = |class: usize, value: f32| match key(value).total_cmp(&own) {
        Ordering::Greater => true,
        Ordering::Equal => class < label,
        Ordering::Less => false,
    };
    row.iter().enumerate().filter(|&(class, &value)| before(class, value)).count()
}

/// Maps -0 to 0 and every NaN to the same positive one, so that `total_cmp` orders by value, NaN
/// last.
fn key(value: f32) -> f32 {
    if value.is_nan() { f32::NAN } else { value + 0.0 }
}

/// Computes the probabilities of a row of logits, `exp(x) / Σ exp(x)`; PyTorch's `softmax`.
///
/// ```
/// let probabilities = posterize::metrics::softmax(&[0.0, f32::ln(3.0)]);
/// assert!((probabilities[1] - 0.75).abs() < 1e-6);
/// ```
pub fn softmax(row: &[f32]) -> Vec<f64> {
    let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f64> = row.iter().map(|&x| f64::from(x - largest).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.into_iter().map(|power| power / sum).collect()
}

/// Adds the squares of the expected values to `signal`, and those of the differences to `noise`.
pub(crate) fn add_noise(signal: &mut f64, noise: &mut f64, expected: &[f32], found: &[f32]) {
    for (&x, &y) in expected.iter().zip(found) {
        *signal += f64::from(x) * f64::from(x);
        *noise += f64::from(x - y).powi(2);
    }
}

/// Returns the signal-to-quantization-noise ratio in decibels from the sum of the squares of the expected
/// values and that of the differences; infinite if there is no difference.
pub(crate) fn sqnr(signal: f64, noise: f64) -> f64 {
    if noise == 0.0 { f64::INFINITY } else { 10.0 * (signal / noise).log10() }
}

/// The logarithm of the softmax of a row of logits, `x - max - ln Σ exp(x - max)`.
///
/// The maximum is subtracted before the exponential so that finite logits cannot overflow. The sum
/// is in f64.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogSoftmax {
    max: f64,
    log_sum: f64,
    temperature: f64,
}

impl LogSoftmax {
    pub(crate) fn of(row: &[f32]) -> Self {
        Self::softened(row, 1.0)
    }

    /// Computes the logarithm of `softmax(row / temperature)`.
    pub(crate) fn softened(row: &[f32], temperature: f64) -> Self {
        let max = f64::from(row.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        let power = |value: f32| ((f64::from(value) - max) / temperature).exp();
        let sum: f64 = row.iter().map(|&value| power(value)).sum();
        Self { max, log_sum: sum.ln(), temperature }
    }

    /// Returns `ln(softmax(row / temperature)[c])` for `value = row[c]`.
    pub(crate) fn at(self, value: f32) -> f64 {
        (f64::from(value) - self.max) / self.temperature - self.log_sum
    }
}

/// Computes the mean over all samples of `-ln(softmax(logits)[label])`; PyTorch's
/// `CrossEntropyLoss`.
///
/// `logits` has the shape `[N, C]`. Finite logits do not overflow.
///
/// ```
/// use posterize::{Tensor, metrics::cross_entropy};
/// let logits = Tensor::new([1, 2], vec![0.0, f32::ln(3.0)])?;
/// assert!((cross_entropy(&logits, &[1])? - (4.0_f64 / 3.0).ln()).abs() < 1e-6);
/// # Ok::<(), posterize::Error>(())
/// ```
///
/// # Errors
/// As [`accuracy`].
pub fn cross_entropy(logits: &Tensor, labels: &[usize]) -> Result<f64> {
    let classes = check(logits, labels)?;
    let total: f64 = rows(logits, classes)
        .zip(labels)
        .map(|(row, &label)| -LogSoftmax::of(row).at(row[label]))
        .sum();
    Ok(total / labels.len() as f64)
}

fn rows(logits: &Tensor, classes: usize) -> impl Iterator<Item = &[f32]> {
    logits.data().chunks_exact(classes)
}

/// Checks that logits `[N, C]` fit the labels and returns `C`.
fn check(logits: &Tensor, labels: &[usize]) -> Result<usize> {
    let Some([n, classes]) = shape(logits.shape()) else {
        return Err(Error::shape("logits", format!("expected [N, C], found {:?}", logits.shape())));
    };
    if n != labels.len() || n == 0 || classes == 0 {
        return Err(Error::shape(
            "logits",
            format!(
                "expected [N, C] with one row for each of the {} labels, found [{n}, {classes}]",
                labels.len()
            ),
        ));
    }
    if let Some(label) = labels.iter().find(|label| **label >= classes) {
        return Err(Error::Argument(format!(
            "found label {label}, but the model has {classes} classes (labels 0 to {}); use a \
             model and a data set with the same classes",
            classes - 1
        )));
    }
    Ok(classes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(rows: &[&[f32]]) -> Tensor {
        Tensor::new([rows.len(), rows[0].len()], rows.concat()).unwrap()
    }

    #[test]
    fn rank_and_topk_have_the_same_order() {
        let row = [0.5, f32::NAN, 2.0, 0.5, f32::NEG_INFINITY, -0.0, 0.0, f32::INFINITY];
        let order: Vec<usize> = topk(&row, 8).iter().map(|(class, _)| *class).collect();
        assert_eq!(order, [1, 7, 2, 0, 3, 5, 6, 4]);
        for (place, &class) in order.iter().enumerate() {
            assert_eq!(rank(&row, class), place, "class {class}");
        }
        assert_eq!(topk(&row, 2)[1], (7, f32::INFINITY));
        assert_eq!(topk(&row[..1], 5), [(0, 0.5)]);
    }

    #[test]
    fn accuracy_is_the_percentage_of_correct_samples() {
        let logits = tensor(&[&[3.0, 2.0, 1.0], &[1.0, 3.0, 2.0], &[1.0, 2.0, 3.0]]);
        let [top1, top2, top3] = accuracy(&logits, &[0, 2, 0], [1, 2, 3]).unwrap();
        assert!((top1 - 100.0 / 3.0).abs() < 1e-12);
        assert!((top2 - 200.0 / 3.0).abs() < 1e-12);
        assert_eq!(top3, 100.0);
        assert_eq!(correct(&logits, &[0, 2, 0], [1, 3]).unwrap(), [1, 3]);
    }

    #[test]
    fn cross_entropy_equals_pytorchs() {
        // torch.nn.functional.cross_entropy of the same numbers, in float64.
        let logits = tensor(&[&[1.0, 2.0, 0.5], &[-1.0, 0.0, 3.0]]);
        let loss = cross_entropy(&logits, &[1, 0]).unwrap();
        assert!((loss - CROSS_ENTROPY).abs() < 1e-12, "{loss}");
        // The exponentials of these logits overflow both f32 and f64.
        let large = tensor(&[&[1e4, 0.0], &[0.0, 1e4], &[-1e30, 1e30]]);
        assert_eq!(cross_entropy(&large, &[0, 1, 1]).unwrap(), 0.0);
        assert_eq!(cross_entropy(&tensor(&[&[0.0; 1000]]), &[3]).unwrap(), 1000f64.ln());
        assert!(cross_entropy(&tensor(&[&[f32::NAN, 0.0]]), &[1]).unwrap().is_nan());
    }

    const CROSS_ENTROPY: f64 = 2.265_126_343_932_687;

    #[test]
    fn labels_and_k_out_of_range_are_errors() {
        let logits = tensor(&[&[1.0, 2.0]]);
        for (labels, k) in [(&[0, 1][..], 1), (&[], 1), (&[2], 1), (&[0], 3), (&[0], 0)] {
            assert!(accuracy(&logits, labels, [k]).is_err(), "{labels:?} {k}");
        }
        let flat = Tensor::new([2], vec![1.0, 2.0]).unwrap();
        assert!(cross_entropy(&flat, &[0]).is_err());
        let message = accuracy(&logits, &[7], [1]).unwrap_err().to_string();
        assert!(
            message.contains("label 7, but the model has 2 classes (labels 0 to 1)"),
            "{message}"
        );
    }

    #[test]
    fn a_meter_shows_its_value_and_average() {
        let mut meter = AverageMeter::default();
        assert_eq!(meter.avg(), 0.0);
        meter.update(4.0, 1);
        meter.update(1.0, 2);
        assert_eq!(meter.to_string(), "1.0000 (2.0000)");
        assert_eq!(format!("{meter:.1}"), "1.0 (2.0)");
        meter.reset();
        assert_eq!(meter, AverageMeter::default());
    }
}
