//! Loading of batches on several threads.

use std::sync::Arc;

use super::batch::PixelBatch;
use super::batches::{Batches, Epoch};
use super::{ExifOrientation, ImageFolder, Sample, Sampler, SequentialSampler, Transform};
use crate::tensor::Tensor;

/// Loads batches of pictures from an [`ImageFolder`]; `torch.utils.data.DataLoader`.
///
/// Worker threads decode and transform the pictures. The batches and their order are the same for
/// any number of threads. At most about two batches of cropped pictures, and one decoded picture
/// per thread, are in memory at a time; decoding takes at most
/// [`MAX_DECODING_BYTES`](super::MAX_DECODING_BYTES) for all threads.
///
/// A picture that cannot be read or decoded is skipped: the batch is filled with the next one, and
/// [`Batches::skipped`] lists it. With [`strict`](Loader::strict), it is an error that ends the
/// iteration.
///
/// ```
/// use posterize::data::{ImageFolder, Loader, Preprocessing};
///
/// let root = tempfile::tempdir().unwrap();
/// std::fs::create_dir(root.path().join("grey")).unwrap();
/// for name in ["a.ppm", "b.ppm", "c.ppm"] {
///     std::fs::write(root.path().join("grey").join(name), b"P6 1 1 255 ddd").unwrap();
/// }
/// let folder = ImageFolder::open(root.path(), None)?;
/// let preprocessing = Preprocessing::imagenet().with_sizes(8, 8);
/// let loader = Loader::new(&folder, preprocessing).batch_size(2).threads(1);
/// let batches: Vec<_> = loader.tensors().collect::<Result<_, _>>()?;
/// assert_eq!(batches[0].images.shape(), [2, 3, 8, 8]);
/// assert_eq!(batches[1].indices, [2]);
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone)]
pub struct Loader {
    samples: Arc<[Sample]>,
    transform: Transform,
    sampler: Arc<dyn Sampler>,
    batch_size: usize,
    threads: usize,
    limit: Option<usize>,
    start: usize,
    epoch: u64,
    strict: bool,
    drop_last: bool,
    exif: ExifOrientation,
}

impl Loader {
    /// Creates a loader of all pictures of `folder` in order, with a batch size of 1, on as many
    /// threads as there are CPUs.
    pub fn new(folder: &ImageFolder, transform: impl Into<Transform>) -> Self {
        Self {
            samples: folder.shared_samples(),
            transform: transform.into(),
            sampler: Arc::new(SequentialSampler),
            batch_size: 1,
            threads: 0,
            limit: None,
            start: 0,
            epoch: 0,
            strict: false,
            drop_last: false,
            exif: ExifOrientation::Ignored,
        }
    }

    /// Sets the order of the samples. The default is [`SequentialSampler`].
    #[must_use]
    pub fn sampler(mut self, sampler: impl Sampler + 'static) -> Self {
        self.sampler = Arc::new(sampler);
        self
    }

    /// Sets the number of pictures in a batch; 0 is taken as 1. The last batch may have fewer.
    #[must_use]
    pub fn batch_size(mut self, batch_size: usize) -> Self {
        self.batch_size = batch_size.max(1);
        self
    }

    /// Sets the number of worker threads; 0 for as many as there are CPUs.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads;
        self
    }

    /// Loads only the first `limit` samples of the sampler's order; `None` for all.
    #[must_use]
    pub fn limit(mut self, limit: impl Into<Option<usize>>) -> Self {
        self.limit = limit.into();
        self
    }

    /// Skips the first `place` samples of the sampler's order, to continue where [`Batches::place`]
    /// was.
    #[must_use]
    pub fn start(mut self, place: usize) -> Self {
        self.start = place;
        self
    }

    /// Sets the epoch. Random orders and augmentations are different in each epoch.
    #[must_use]
    pub fn epoch(mut self, epoch: u64) -> Self {
        self.epoch = epoch;
        self
    }

    /// Sets whether a picture that cannot be read or decoded is an error. The default is `false`.
    #[must_use]
    pub fn strict(mut self, strict: bool) -> Self {
        self.strict = strict;
        self
    }

    /// Sets whether the last batch is dropped if it has fewer pictures than the others. The default
    /// is `false`.
    #[must_use]
    pub fn drop_last(mut self, drop_last: bool) -> Self {
        self.drop_last = drop_last;
        self
    }

    /// Sets whether pictures are turned upright. The default is [`ExifOrientation::Ignored`], as in
    /// torchvision's `ImageFolder`.
    #[must_use]
    pub fn exif_orientation(mut self, exif: ExifOrientation) -> Self {
        self.exif = exif;
        self
    }

    /// Returns the samples of the data set, in its order.
    pub fn samples(&self) -> &[Sample] {
        &self.samples
    }

    /// Returns the transform that is applied to the pictures.
    pub fn transform(&self) -> &Transform {
        &self.transform
    }

    /// Returns the number of samples in an epoch.
    pub fn len(&self) -> usize {
        self.end().saturating_sub(self.start)
    }

    /// Returns the position in the sampler's order where the epoch ends.
    fn end(&self) -> usize {
        self.limit.map_or(self.samples.len(), |limit| limit.min(self.samples.len()))
    }

    /// Returns whether there are no samples in an epoch.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns an iterator over the epoch's batches as normalized tensors of shape `[N, 3, H, W]`,
    /// channels last in memory, where H and W are those of the crop.
    pub fn tensors(&self) -> Batches<Tensor> {
        Batches::start(self.planned())
    }

    /// Returns an iterator over the epoch's batches as 8-bit pixels, which the engine normalizes
    /// itself.
    pub fn pixels(&self) -> Batches<PixelBatch> {
        Batches::start(self.planned())
    }

    fn planned(&self) -> Epoch {
        Epoch {
            samples: Arc::clone(&self.samples),
            order: self.order(),
            transform: self.transform.clone(),
            number: self.epoch,
            exif: self.exif,
            batch_size: self.batch_size,
            threads: self.threads,
            strict: self.strict,
            drop_last: self.drop_last,
            start: self.start,
        }
    }

    fn order(&self) -> Vec<usize> {
        let mut order = self.sampler.indices(self.samples.len(), self.epoch);
        order.truncate(self.end());
        order.drain(..self.start.min(order.len()));
        order
    }
}

impl std::fmt::Debug for Loader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loader")
            .field("samples", &self.samples.len())
            .field("transform", &self.transform)
            .field("batch_size", &self.batch_size)
            .field("threads", &self.threads)
            .field("limit", &self.limit)
            .field("start", &self.start)
            .field("epoch", &self.epoch)
            .field("strict", &self.strict)
            .finish_non_exhaustive()
    }
}
