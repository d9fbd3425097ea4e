//! Accuracy of a model on labelled pictures.

use std::time::Instant;

use serde::Serialize;

use crate::data::{Batch, BatchImages};
use crate::error::{Error, Result};
use crate::runtime::{Engine, Input};
use crate::tensor::Tensor;
use crate::{logits, metrics};

/// The accuracy, loss and speed of a model over the pictures of an evaluation.
///
/// ```
/// use posterize::Evaluation;
///
/// let result = Evaluation {
///     images: 200,
///     correct1: 150,
///     correct5: 190,
///     loss_sum: 180.0,
///     model_seconds: 0.5,
/// };
/// assert_eq!((result.top1(), result.top5()), (75.0, 95.0));
/// assert_eq!((result.loss(), result.ms_per_image()), (0.9, 2.5));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Evaluation {
    /// Number of pictures.
    pub images: usize,
    /// Number of pictures whose label has the largest logit.
    pub correct1: usize,
    /// Number of pictures whose label is among the five largest logits.
    pub correct5: usize,
    /// Sum of the cross-entropies of all pictures.
    pub loss_sum: f64,
    /// Time spent in the model, without loading and preprocessing, in seconds.
    pub model_seconds: f64,
}

impl Evaluation {
    /// Returns the top-1 accuracy in percent; 0 before the first picture.
    pub fn top1(&self) -> f64 {
        self.percent(self.correct1)
    }

    /// Returns the top-5 accuracy in percent; 0 before the first picture.
    pub fn top5(&self) -> f64 {
        self.percent(self.correct5)
    }

    /// Returns the mean cross-entropy; 0 before the first picture.
    pub fn loss(&self) -> f64 {
        self.loss_sum / self.images.max(1) as f64
    }

    /// Returns the mean time in the model per picture, in milliseconds; 0 before the first picture.
    pub fn ms_per_image(&self) -> f64 {
        1e3 * self.model_seconds / self.images.max(1) as f64
    }

    fn percent(&self, correct: usize) -> f64 {
        100.0 * correct as f64 / self.images.max(1) as f64
    }

    /// Runs a batch through `engine` and adds its results. Returns the logits `[N, num_classes]`.
    ///
    /// # Errors
    /// As [`evaluate`].
    pub(crate) fn add<T: BatchImages>(
        &mut self,
        engine: &mut Engine,
        batch: &Batch<T>,
    ) -> Result<Tensor>
    where
        for<'a> Input<'a>: From<&'a T>,
    {
        let start = Instant::now();
        let logits = logits::run(engine, (&batch.images).into())?;
        self.model_seconds += start.elapsed().as_secs_f64();
        let classes = logits.shape()[1];
        let [first, fifth] = metrics::correct(&logits, &batch.labels, [1, classes.clamp(1, 5)])?;
        self.correct1 += first;
        self.correct5 += fifth;
        self.loss_sum +=
            metrics::cross_entropy(&logits, &batch.labels)? * batch.labels.len() as f64;
        self.images += batch.labels.len();
        Ok(logits)
    }
}

/// Runs every batch through `engine` and measures the accuracy.
///
/// `seen` is called after each batch with the results so far, the batch and its logits `[N,
/// num_classes]`, the logarithms of the probabilities for a network that ends in a softmax. Batches of [`Loader::pixels`] and of [`Loader::tensors`] give the same accuracy;
/// pixels are faster.
///
/// [`Loader::pixels`]: crate::data::Loader::pixels
/// [`Loader::tensors`]: crate::data::Loader::tensors
///
/// ```no_run
/// # #[cfg(feature = "data")]
/// # fn run(model: &posterize::FloatModel) -> posterize::Result<()> {
/// use posterize::data::{ImageFolder, Loader, Preprocessing};
/// use posterize::runtime::{Options, compile};
///
/// let folder = ImageFolder::open("val", None)?;
/// let preprocessing = Preprocessing::imagenet();
/// let mut engine = compile(model, Options::all_threads()?.pictures(&preprocessing))?;
/// let loader = Loader::new(&folder, preprocessing).batch_size(30);
/// let result = posterize::evaluate(&mut engine, loader.pixels(), &mut |_, _, _| ())?;
/// println!("{:.2} % of {} pictures", result.top1(), result.images);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// Returns an error if a batch cannot be read or run, if a logit is NaN or infinite, if a label is not a
/// class of the model, or if there is no picture.
pub fn evaluate<T: BatchImages>(
    engine: &mut Engine,
    batches: impl IntoIterator<Item = Result<Batch<T>>>,
    seen: &mut dyn FnMut(&Evaluation, &Batch<T>, &Tensor),
) -> Result<Evaluation>
where
    for<'a> Input<'a>: From<&'a T>,
{
    let mut sum = Evaluation::default();
    for batch in batches {
        let batch = batch?;
        let logits = sum.add(engine, &batch)?;
        seen(&sum, &batch, &logits);
    }
    if sum.images == 0 {
        return Err(Error::Argument(
            "found no picture to evaluate on; expected at least one".into(),
        ));
    }
    Ok(sum)
}
