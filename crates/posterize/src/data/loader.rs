//! Pictures decoded on several threads, handed out in order as batches.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use super::preprocessing::Normalize;
use super::{ImageFolder, Picture, Sample, Sampler, SequentialSampler, Transform};
use crate::error::{Error, Result};
use crate::pixels::{PixelOrder, PixelView};
use crate::tensor::Tensor;

/// Draws batches from an [`ImageFolder`]; PyTorch's `DataLoader`.
///
/// Worker threads decode and transform; batches come in the sampler's order and with the same
/// content for any number of threads. At most about two batches of cropped pictures, and one
/// decoded picture a thread, are in memory at a time.
///
/// A picture that cannot be read or decoded is left out, the batch filled up with the next one, and
/// the picture listed in [`Batches::skipped`]; with [`strict`](Loader::strict) it ends the
/// iteration with an error.
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
}

impl Loader {
    /// Draws every picture of `folder` in order, one a batch, on as many threads as there are CPUs.
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
        }
    }

    /// The order of the samples; [`SequentialSampler`] without it.
    #[must_use]
    pub fn sampler(mut self, sampler: impl Sampler + 'static) -> Self {
        self.sampler = Arc::new(sampler);
        self
    }

    /// How many pictures a batch has; the last one may have fewer. At least 1.
    #[must_use]
    pub fn batch_size(mut self, batch_size: usize) -> Self {
        self.batch_size = batch_size.max(1);
        self
    }

    /// How many threads decode; 0 for as many as there are CPUs.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads;
        self
    }

    /// Draws only the first `limit` samples of the sampler's order (`None` or a great number: all).
    #[must_use]
    pub fn limit(mut self, limit: impl Into<Option<usize>>) -> Self {
        self.limit = limit.into();
        self
    }

    /// Leaves out the first `place` samples of the order: goes on where [`Batches::place`] was.
    #[must_use]
    pub fn start(mut self, place: usize) -> Self {
        self.start = place;
        self
    }

    /// Which epoch this is: random orders and augmentations differ between epochs.
    #[must_use]
    pub fn epoch(mut self, epoch: u64) -> Self {
        self.epoch = epoch;
        self
    }

    /// Whether a picture that cannot be read or decoded is an error.
    #[must_use]
    pub fn strict(mut self, strict: bool) -> Self {
        self.strict = strict;
        self
    }

    /// Whether a last batch with fewer pictures than the others is left out.
    #[must_use]
    pub fn drop_last(mut self, drop_last: bool) -> Self {
        self.drop_last = drop_last;
        self
    }

    /// The pictures that it draws from.
    pub fn samples(&self) -> &[Sample] {
        &self.samples
    }

    /// What they go through.
    pub fn transform(&self) -> &Transform {
        &self.transform
    }

    /// How many samples an epoch draws.
    pub fn len(&self) -> usize {
        self.end().saturating_sub(self.start)
    }

    /// The place of the order where the epoch ends.
    fn end(&self) -> usize {
        self.limit.map_or(self.samples.len(), |limit| limit.min(self.samples.len()))
    }

    /// Whether an epoch draws no sample.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The epoch as normalised tensors.
    pub fn tensors(&self) -> Batches<Tensor> {
        Batches::start(self)
    }

    /// The epoch as 8-bit pixels, which an int8 model takes.
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

/// Pictures of one size as 8-bit pixels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PixelBatch {
    /// `[N, H, W]`.
    shape: [usize; 3],
    /// Red, green and blue of each pixel.
    data: Vec<u8>,
}

impl PixelBatch {
    /// Pictures of shape `[N, H, W]`; `data` holds red, green and blue of each pixel.
    ///
    /// # Errors
    /// An axis is empty, or `data` is not `N * H * W * 3` bytes long.
    pub fn new(shape: [usize; 3], data: Vec<u8>) -> Result<Self> {
        PixelView::new(shape, PixelOrder::Rgb, &data)?;
        Ok(Self { shape, data })
    }

    /// `[N, H, W]`.
    pub fn shape(&self) -> [usize; 3] {
        self.shape
    }

    /// Red, green and blue of each pixel: `[N, H, W, 3]`.
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    /// The pixels without their shape.
    pub fn into_data(self) -> Vec<u8> {
        self.data
    }
}

impl<'a> From<&'a PixelBatch> for PixelView<'a> {
    fn from(images: &'a PixelBatch) -> Self {
        Self::new(images.shape, PixelOrder::Rgb, &images.data)
            .expect("a batch has as many bytes as its shape")
    }
}

/// Some samples, drawn together.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch<T> {
    /// The pictures: a [`Tensor`] of shape `[N, 3, H, W]`, channels last, or a [`PixelBatch`].
    pub images: T,
    /// The class numbers.
    pub labels: Vec<usize>,
    /// The numbers of the samples in [`ImageFolder::samples`].
    pub indices: Vec<usize>,
}

/// A picture that was left out.
#[derive(Debug)]
pub struct Skipped {
    /// The number of the sample in [`ImageFolder::samples`].
    pub index: usize,
    /// The file.
    pub path: PathBuf,
    /// Why; the message names the file.
    pub error: Error,
}

/// What a batch's pictures can be: [`Tensor`] or [`PixelBatch`].
pub trait BatchImages: sealed::Images {}

impl BatchImages for Tensor {}
impl BatchImages for PixelBatch {}

mod sealed {
    use super::{Normalize, Picture, PixelBatch, Tensor};

    pub trait Images: Sized {
        type Value: Send + 'static;
        fn prepare(crop: Picture, normalize: &Normalize) -> Vec<Self::Value>;
        fn stack(size: usize, count: usize, values: Vec<Self::Value>) -> Self;
    }

    impl Images for Tensor {
        type Value = f32;

        fn prepare(crop: Picture, normalize: &Normalize) -> Vec<f32> {
            let mut values = Vec::with_capacity(crop.data().len());
            normalize.extend(&mut values, crop.data());
            values
        }

        fn stack(size: usize, count: usize, values: Vec<f32>) -> Self {
            Self::channels_last([count, 3, size, size], values).expect("crops have one size")
        }
    }

    impl Images for PixelBatch {
        type Value = u8;

        fn prepare(crop: Picture, _: &Normalize) -> Vec<u8> {
            crop.into_data()
        }

        fn stack(size: usize, count: usize, data: Vec<u8>) -> Self {
            Self::new([count, size, size], data).expect("crops have one size")
        }
    }
}

/// The batches of one epoch. Dropping it stops the worker threads.
pub struct Batches<T: BatchImages> {
    shared: Arc<Shared<T::Value>>,
    workers: Vec<JoinHandle<()>>,
    crop: usize,
    batch_size: usize,
    strict: bool,
    drop_last: bool,
    /// The place of the order that the workers began with.
    start: usize,
    /// How many places have been taken since.
    taken: usize,
    /// Set when the settings are unusable or no thread could be started: the first batch.
    failed: Option<Error>,
    skipped: Vec<Skipped>,
    finished: bool,
}

/// What the workers and the consumer share.
struct Shared<V> {
    samples: Arc<[Sample]>,
    order: Vec<usize>,
    transform: Transform,
    normalize: Normalize,
    epoch: u64,
    /// How far workers may run ahead of the consumer.
    window: usize,
    state: Mutex<State<V>>,
    /// A result was stored.
    stored: Condvar,
    /// A result was taken, or all should stop.
    freed: Condvar,
}

struct State<V> {
    /// The place of the order that `results` begins with.
    first: usize,
    /// The next place that a worker takes.
    next: usize,
    /// A panic is handed on, or the consumer would wait for ever.
    results: VecDeque<Option<std::thread::Result<Result<Vec<V>>>>>,
    stop: bool,
}

impl<V> Shared<V> {
    fn lock(&self) -> MutexGuard<'_, State<V>> {
        // Nothing panics while it holds the lock; if something did, the state is still whole.
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
            let picture = Picture::open(&sample.path)?;
            let crop = shared.transform.apply(&picture, shared.epoch, index);
            Ok(T::prepare(crop, &shared.normalize))
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
                "the sampler drew sample {index} of {}, counted from 0",
                loader.samples.len()
            ))
        });
        let shared = Arc::new(Shared {
            samples: Arc::clone(&loader.samples),
            order,
            transform: loader.transform.clone(),
            normalize: loader.transform.normalize(),
            epoch: loader.epoch,
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
    /// The pictures left out so far because they could not be read or decoded.
    pub fn skipped(&self) -> &[Skipped] {
        &self.skipped
    }

    /// The place of the order behind the last batch: what [`Loader::start`] goes on from.
    pub fn place(&self) -> usize {
        self.start + self.taken
    }

    /// The pictures left out, at the end.
    pub fn into_skipped(mut self) -> Vec<Skipped> {
        std::mem::take(&mut self.skipped)
    }

    /// The next picture in order, waited for.
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
            // A worker that panics has handed the panic on.
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

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::data::Preprocessing;

    #[test]
    fn workers_run_no_further_ahead_than_the_window() {
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
