//! The batches of an epoch, whose pictures other threads decode.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use super::batch::{Batch, BatchImages};
use super::pixel_tables::PixelTables;
use super::{ExifOrientation, Sample, Transform, decode};
use crate::error::{Error, Result};
use crate::memory::{human, machine_memory};

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
/// assert!(skipped.error.to_string().contains("b.png: expected JPEG, PNG"));
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Debug)]
pub struct Skipped {
    /// Its index in [`ImageFolder::samples`](super::ImageFolder::samples).
    pub index: usize,
    /// The file.
    pub path: PathBuf,
    /// The reason. The message names the file.
    pub error: Error,
}

/// What the batches of an epoch are made of.
pub(super) struct Epoch {
    pub(super) samples: Arc<[Sample]>,
    /// The indices of the samples, in order.
    pub(super) order: Vec<usize>,
    pub(super) transform: Transform,
    /// The number of the epoch, by which random transforms differ.
    pub(super) number: u64,
    pub(super) exif: ExifOrientation,
    pub(super) batch_size: usize,
    /// The number of threads; 0 for one for each processor.
    pub(super) threads: usize,
    pub(super) strict: bool,
    pub(super) drop_last: bool,
    /// The position of the first sample in the sampler's order.
    pub(super) start: usize,
}

impl Epoch {
    /// Returns how many samples the workers may be ahead of the consumer.
    fn window(&self, threads: usize) -> usize {
        self.batch_size.saturating_mul(2).saturating_add(threads)
    }
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
    /// The height and width of pictures.
    crop: [usize; 2],
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
    tables: PixelTables,
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

/// Checks the memory of a batch and of the pictures that threads decode for the next ones.
///
/// # Errors
/// Returns an error if it is more than three quarters of the machine's memory.
fn check_memory<T: BatchImages>(planned: &Epoch, threads: usize) -> Result<()> {
    let ([height, width], pictures) = (planned.transform.crop(), planned.order.len());
    let batch = planned.batch_size.min(pictures);
    let ahead = planned.window(threads).min(pictures - batch);
    let bytes = [width, 3 * size_of::<T::Value>(), batch + ahead]
        .into_iter()
        .try_fold(height, usize::checked_mul);
    let max = machine_memory() / 4 * 3;
    if bytes.is_some_and(|bytes| bytes <= max) {
        return Ok(());
    }
    Err(Error::OutOfResources(format!(
        "a batch of {batch} pictures of {height} x {width} pixels, and {ahead} more that are decoded for \
         the next ones, take {} of memory, more than the limit of {} (three quarters of this machine's \
         memory); use a smaller batch",
        human(bytes),
        human(Some(max))
    )))
}

impl<T: BatchImages + 'static> Batches<T> {
    pub(super) fn start(planned: Epoch) -> Self {
        let threads = match planned.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            some => some,
        };
        let threads = threads.min(planned.order.len());
        let outside =
            planned.order.iter().find(|index| **index >= planned.samples.len()).map(|index| {
                Error::Argument(format!(
                    "the sampler returned index {index}; expected indices below {}, the number of \
                 samples",
                    planned.samples.len()
                ))
            });
        let failed = planned.transform.validate().err().or(outside);
        let crop = planned.transform.crop();
        let too_large = check_memory::<T>(&planned, threads).err();
        let window = planned.window(threads);
        let shared = Arc::new(Shared {
            tables: planned.transform.pixel_tables(),
            samples: planned.samples,
            order: planned.order,
            transform: planned.transform,
            epoch: planned.number,
            exif: planned.exif,
            window,
            state: Mutex::new(State { first: 0, next: 0, results: VecDeque::new(), stop: false }),
            stored: Condvar::new(),
            freed: Condvar::new(),
        });
        let mut batches = Self {
            shared: Arc::clone(&shared),
            workers: Vec::with_capacity(threads),
            crop,
            batch_size: planned.batch_size,
            strict: planned.strict,
            drop_last: planned.drop_last,
            start: planned.start,
            taken: 0,
            failed: failed.or(too_large),
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
                    batches.failed = Some(Error::OutOfResources(format!(
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
    /// [`Loader::start`](super::Loader::start) continues.
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
                        let rest = 1 + self.shared.order.len() - self.taken;
                        let values_of_batch = picture.len() * self.batch_size.min(rest);
                        values.try_reserve_exact(values_of_batch).map_err(|_| {
                            Error::no_memory(values_of_batch * size_of::<T::Value>())
                        })?;
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
    use crate::Tensor;
    use crate::data::{ImageFolder, Loader, Preprocessing};

    #[test]
    fn workers_are_at_most_the_window_ahead_of_the_consumer() {
        let root = tempfile::tempdir().unwrap();
        let class = root.path().join("class");
        std::fs::create_dir(&class).unwrap();
        for number in 0..60 {
            std::fs::write(class.join(format!("{number:02}.ppm")), b"P6 2 1 255 abcdef").unwrap();
        }
        let folder = ImageFolder::open(root.path(), None).unwrap();
        let small = Preprocessing::imagenet().with_sizes(2, 2);
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

    #[test]
    fn a_batch_takes_no_more_memory_than_its_pictures_and_is_limited() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("class")).unwrap();
        std::fs::write(root.path().join("class/0.ppm"), b"P6 2 1 255 abcdef").unwrap();
        let folder = ImageFolder::open(root.path(), None).unwrap();
        let crop = |crop| Preprocessing::imagenet().with_sizes(crop, crop);
        for batch_size in [65_535, usize::MAX] {
            let loader = Loader::new(&folder, crop(64)).batch_size(batch_size);
            let batch = loader.tensors().next().unwrap().unwrap();
            assert_eq!(batch.images.shape(), [1, 3, 64, 64]);
        }
        // 3 GB for each picture.
        let planned = Epoch {
            samples: folder.samples().into(),
            order: vec![0; 1 << 20],
            transform: (&crop(16_384)).into(),
            number: 0,
            exif: ExifOrientation::Ignored,
            batch_size: usize::MAX,
            threads: 1,
            strict: false,
            drop_last: false,
            start: 0,
        };
        let error = Batches::<Tensor>::start(planned).next().unwrap().unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::OutOfResources);
        assert!(error.to_string().contains("16384 x 16384 pixels"), "{error}");
    }
}
