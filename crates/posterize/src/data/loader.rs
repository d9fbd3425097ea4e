//! Loading of batches on several threads.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use super::batch::{Batch, BatchImages, PixelBatch};
use super::preprocessing::PixelTables;
use super::{ExifOrientation, ImageFolder, Sample, Sampler, SequentialSampler, Transform, decode};
use crate::error::{Error, Result};
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
/// let preprocessing = Preprocessing { resize: 8, crop: 8, ..Preprocessing::imagenet() };
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

    /// Returns an iterator over the epoch's batches as normalized tensors of shape `[N, 3, crop,
    /// crop]`, channels last.
    pub fn tensors(&self) -> Batches<Tensor> {
        Batches::start(self)
    }

    /// Returns an iterator over the epoch's batches as 8-bit pixels, which the engine normalizes
    /// itself.
    pub fn pixels(&self) -> Batches<PixelBatch> {
        Batches::start(self)
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

/// A picture that was skipped because it cannot be read or decoded.
///
/// ```
/// use posterize::data::{ImageFolder, Loader, Preprocessing};
///
/// let root = tempfile::tempdir().unwrap();
/// std::fs::create_dir(root.path().join("grey")).unwrap();
/// std::fs::write(root.path().join("grey/a.ppm"), b"P6 1 1 255 ddd").unwrap();
/// std::fs::write(root.path().join("grey/b.png"), b"text").unwrap();
/// let folder = ImageFolder::open(root.path(), None)?;
/// let mut batches = Loader::new(&folder, Preprocessing::imagenet()).tensors();
/// assert_eq!(batches.by_ref().count(), 1);
/// let skipped = &batches.skipped()[0];
/// assert_eq!(skipped.index, 1);
/// assert!(skipped.error.to_string().contains("b.png: expected JPEG, PNG, BMP, PNM or WebP"));
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Debug)]
pub struct Skipped {
    /// Its index in [`ImageFolder::samples`].
    pub index: usize,
    /// The file.
    pub path: PathBuf,
    /// The reason. The message names the file.
    pub error: Error,
}

/// An iterator over the batches of one epoch. Dropping it stops the worker threads.
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
/// let loader = Loader::new(&folder, Preprocessing::imagenet()).batch_size(2).threads(1);
/// let mut batches = loader.pixels();
/// assert_eq!(batches.next().unwrap()?.labels, [0, 0]);
/// assert_eq!(batches.place(), 2);
/// assert!(batches.skipped().is_empty());
/// # Ok::<(), posterize::Error>(())
/// ```
pub struct Batches<T: BatchImages> {
    shared: Arc<Shared<T::Value>>,
    workers: Vec<JoinHandle<()>>,
    crop: usize,
    batch_size: usize,
    strict: bool,
    drop_last: bool,
    /// The position in the sampler's order of the first sample.
    start: usize,
    /// The number of samples taken from the workers.
    taken: usize,
    /// The error that is returned instead of the first batch: the settings are not valid, or no
    /// thread could be started.
    failed: Option<Error>,
    skipped: Vec<Skipped>,
    finished: bool,
}

/// The state that the workers and the consumer share.
struct Shared<V> {
    samples: Arc<[Sample]>,
    order: Vec<usize>,
    transform: Transform,
    tables: Box<PixelTables>,
    epoch: u64,
    exif: ExifOrientation,
    /// How many samples the workers may be ahead of the consumer.
    window: usize,
    state: Mutex<State<V>>,
    /// Notified when a result is stored.
    stored: Condvar,
    /// Notified when a result is taken, or when the workers should stop.
    freed: Condvar,
}

struct State<V> {
    /// The position in `order` of the first of the `results`.
    first: usize,
    /// The next position that a worker takes.
    next: usize,
    /// The prepared pictures. A worker's panic is stored too, because the consumer would otherwise
    /// wait without end.
    results: VecDeque<Option<std::thread::Result<Result<Vec<V>>>>>,
    stop: bool,
}

impl<V> Shared<V> {
    fn lock(&self) -> MutexGuard<'_, State<V>> {
        // No code that may panic runs while the lock is held, so the state is valid even if
        // poisoned.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn work<T: BatchImages>(shared: &Shared<T::Value>) {
    loop {
        let place = {
            let mut state = shared.lock();
            while !state.stop
                && state.next < shared.order.len()
                && state.next >= state.first + shared.window
            {
                state = shared.freed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            if state.stop || state.next >= shared.order.len() {
                return;
            }
            state.next += 1;
            state.next - 1
        };
        let index = shared.order[place];
        let sample = &shared.samples[index];
        let result = catch_unwind(AssertUnwindSafe(|| {
            let (picture, _taken) = decode::open(&sample.path, shared.exif)?;
            let crop = shared.transform.apply(&picture, shared.epoch, index);
            Ok(T::prepare(crop, &shared.tables))
        }));
        let mut state = shared.lock();
        let at = place - state.first;
        if state.results.len() <= at {
            state.results.resize_with(at + 1, || None);
        }
        state.results[at] = Some(result);
        drop(state);
        shared.stored.notify_one();
    }
}

impl<T: BatchImages + 'static> Batches<T> {
    fn start(loader: &Loader) -> Self {
        let threads = match loader.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            some => some,
        };
        let order = loader.order();
        let threads = threads.min(order.len());
        let outside = order.iter().find(|index| **index >= loader.samples.len()).map(|index| {
            Error::Argument(format!(
                "the sampler returned index {index}; expected indices below {}, the number of \
                 samples",
                loader.samples.len()
            ))
        });
        let shared = Arc::new(Shared {
            samples: Arc::clone(&loader.samples),
            order,
            transform: loader.transform.clone(),
            tables: loader.transform.pixel_tables(),
            epoch: loader.epoch,
            exif: loader.exif,
            window: 2 * loader.batch_size + threads,
            state: Mutex::new(State { first: 0, next: 0, results: VecDeque::new(), stop: false }),
            stored: Condvar::new(),
            freed: Condvar::new(),
        });
        let mut batches = Self {
            shared: Arc::clone(&shared),
            workers: Vec::with_capacity(threads),
            crop: loader.transform.crop(),
            batch_size: loader.batch_size,
            strict: loader.strict,
            drop_last: loader.drop_last,
            start: loader.start,
            taken: 0,
            failed: loader.transform.validate().err().or(outside),
            skipped: Vec::new(),
            finished: false,
        };
        if batches.failed.is_some() {
            return batches;
        }
        for number in 0..threads {
            let shared = Arc::clone(&shared);
            let worker = std::thread::Builder::new()
                .name(format!("decode-{number}"))
                .spawn(move || work::<T>(&shared));
            match worker {
                Ok(worker) => batches.workers.push(worker),
                Err(_) if !batches.workers.is_empty() => break,
                Err(error) => {
                    batches.failed = Some(Error::Argument(format!(
                        "cannot start a thread to decode pictures: {error}"
                    )));
                }
            }
        }
        batches
    }
}

impl<T: BatchImages> Batches<T> {
    /// Returns the pictures skipped so far because they could not be read or decoded.
    pub fn skipped(&self) -> &[Skipped] {
        &self.skipped
    }

    /// Returns the position in the sampler's order after the last batch, from which
    /// [`Loader::start`] continues.
    pub fn place(&self) -> usize {
        self.start + self.taken
    }

    /// Returns the skipped pictures and stops the worker threads.
    pub fn into_skipped(mut self) -> Vec<Skipped> {
        std::mem::take(&mut self.skipped)
    }

    /// Waits for the next picture in order and returns its index and values.
    fn take(&mut self) -> Option<(usize, Result<Vec<T::Value>>)> {
        let index = *self.shared.order.get(self.taken)?;
        self.taken += 1;
        let mut state = self.shared.lock();
        let result = loop {
            if let Some(result) = state.results.front_mut().and_then(Option::take) {
                break result;
            }
            state = self.shared.stored.wait(state).unwrap_or_else(PoisonError::into_inner);
        };
        state.results.pop_front();
        state.first += 1;
        drop(state);
        self.shared.freed.notify_all();
        Some((index, result.unwrap_or_else(|panic| resume_unwind(panic))))
    }

    fn next_batch(&mut self) -> Result<Option<Batch<T>>> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        let mut values = Vec::new();
        let (mut labels, mut indices) = (Vec::new(), Vec::new());
        while indices.len() < self.batch_size {
            let Some((index, result)) = self.take() else { break };
            match result {
                Ok(picture) => {
                    if values.capacity() == 0 {
                        values.reserve_exact(picture.len() * self.batch_size);
                    }
                    values.extend(picture);
                    labels.push(self.shared.samples[index].label);
                    indices.push(index);
                }
                Err(error) if self.strict => return Err(error),
                Err(error) => {
                    let path = self.shared.samples[index].path.clone();
                    self.skipped.push(Skipped { index, path, error });
                }
            }
        }
        if indices.is_empty() || (self.drop_last && indices.len() < self.batch_size) {
            return Ok(None);
        }
        let images = T::stack(self.crop, indices.len(), values);
        Ok(Some(Batch { images, labels, indices }))
    }

    fn stop(&mut self) {
        self.finished = true;
        self.shared.lock().stop = true;
        self.shared.freed.notify_all();
        for worker in self.workers.drain(..) {
            // A panic of a worker is in `results` and is resumed by `take`.
            let _ = worker.join();
        }
    }
}

impl<T: BatchImages> Iterator for Batches<T> {
    type Item = Result<Batch<T>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.finished {
            return None;
        }
        let next = self.next_batch().transpose();
        if !matches!(next, Some(Ok(_))) {
            self.stop();
        }
        next
    }
}

impl<T: BatchImages> std::iter::FusedIterator for Batches<T> {}

impl<T: BatchImages> Drop for Batches<T> {
    fn drop(&mut self) {
        self.stop();
    }
}

#[cfg(all(test, feature = "pnm"))]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::data::Preprocessing;

    #[test]
    fn workers_are_at_most_the_window_ahead_of_the_consumer() {
        let root = tempfile::tempdir().unwrap();
        let class = root.path().join("class");
        std::fs::create_dir(&class).unwrap();
        for number in 0..60 {
            std::fs::write(class.join(format!("{number:02}.ppm")), b"P6 2 1 255 abcdef").unwrap();
        }
        let folder = ImageFolder::open(root.path(), None).unwrap();
        let small = Preprocessing { resize: 2, crop: 2, ..Preprocessing::imagenet() };
        let mut batches = Loader::new(&folder, small).batch_size(5).threads(3).pixels();
        for round in 0..3 {
            let ahead = round * 5 + 2 * 5 + 3;
            let deadline = Instant::now() + Duration::from_secs(20);
            while batches.shared.lock().next < ahead && Instant::now() < deadline {
                std::thread::yield_now();
            }
            std::thread::sleep(Duration::from_millis(20));
            assert_eq!(batches.shared.lock().next, ahead, "taken by the workers");
            assert_eq!(batches.next().unwrap().unwrap().indices[0], round * 5);
        }
    }
}
