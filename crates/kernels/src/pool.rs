//! A pool of threads that split one kernel between them.
//!
//! A layer of a small network runs for some tens of microseconds, so handing
//! work over must cost about one. Workers therefore spin for a moment after a
//! job, park when none follows, and are never waited for unless they have
//! taken part: a worker that wakes too late finds the job closed, and on a busy
//! machine the caller has done the work itself by then.

mod slices;

use std::any::Any;
use std::cell::UnsafeCell;
use std::marker::PhantomData;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a thread spins for its next event before it parks. Longer than the serial gaps between
/// the layers of a network, far shorter than a scheduler's time slice.
const SPIN: Duration = Duration::from_micros(50);

/// Threads that run the parts of one kernel call.
///
/// A pool may be shared: a call that finds the pool at work (a second caller, or a task that calls
/// [`Pool::run`] itself) runs its tasks on its own thread.
///
/// ```
/// use posterize_kernels::pool::{Pool, SharedMut};
///
/// let pool = Pool::new(2);
/// let mut squares = [0; 100];
/// let shared = SharedMut::new(&mut squares);
/// pool.run(10, &|task, _worker| {
///     // SAFETY: each task takes ten elements of its own.
///     let part = unsafe { shared.slice(task * 10..task * 10 + 10) };
///     for (i, x) in part.iter_mut().enumerate() {
///         *x = (task * 10 + i).pow(2);
///     }
/// });
/// assert_eq!(squares[99], 9801);
/// ```
#[derive(Debug)]
pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

impl Pool {
    /// A pool of `threads` threads, the caller's own among them (at least 1).
    ///
    /// Where the system refuses to start that many, the pool has fewer: see [`Pool::threads`].
    pub fn new(threads: usize) -> Self {
        let threads = threads.clamp(1, usize::from(u16::MAX));
        let shared = Arc::new(Shared::new(threads));
        let workers = (1..threads)
            .map_while(|worker| {
                let shared = Arc::clone(&shared);
                std::thread::Builder::new()
                    .name(format!("posterize-{worker}"))
                    .spawn(move || shared.work(worker))
                    .ok()
            })
            .collect();
        Self { shared, workers }
    }

    /// How many threads share the work.
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Calls `work(task, worker)` once for each `task < tasks`, and returns when all are done.
    /// `worker < self.threads()` names the thread, for scratch memory of its own; the caller's
    /// is 0.
    ///
    /// Each thread starts with a part of the tasks that is its own, the first thread with the
    /// first ones and so on, and takes over others' when it is done: where neighbouring tasks
    /// write what neighbouring tasks of the next call read, it is still in that thread's cache.
    ///
    /// # Panics
    /// When a task panics: tasks not yet started are dropped, those under way are waited for, and
    /// the caller's thread panics with the first payload. The pool stays usable.
    pub fn run(&self, tasks: usize, work: &(dyn Fn(usize, usize) + Sync)) {
        if tasks > 1 && !self.workers.is_empty() && self.shared.try_begin() {
            self.shared.run(tasks, work);
        } else {
            for task in 0..tasks {
                work(task, 0);
            }
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.shutdown.store(true, Ordering::SeqCst);
        self.shared.wake_workers();
        for worker in self.workers.drain(..) {
            // A worker's panics are caught and handed to the caller; there is none left here.
            let _ = worker.join();
        }
    }
}

/// The job is open: workers may join.
const OPEN: u64 = 1 << 31;
/// The caller is parked until the last worker leaves.
const WAITED: u64 = 1 << 30;
/// How many workers take part.
const ACTIVE: u64 = 0xFFFF;
/// The number of the job, so that a worker joins each one once.
const GENERATION: u64 = 1 << 32;

#[derive(Debug)]
struct Shared {
    /// `GENERATION`s, `OPEN`, `WAITED` and the count of `ACTIVE` workers. The job may be read by
    /// the caller that holds `busy` and by workers counted here, and written only by that caller
    /// while the job is closed and the count is 0.
    state: Aligned<AtomicU64>,
    /// For each thread the next task to start of its part.
    next: Box<[Aligned<AtomicUsize>]>,
    job: UnsafeCell<Option<Job>>,
    /// A caller is running a job.
    busy: AtomicBool,
    /// Workers that are parked, or about to.
    sleepers: AtomicUsize,
    shutdown: AtomicBool,
    /// What the first task that panicked on a worker said.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    parked: Mutex<()>,
    wake: Condvar,
    done: Condvar,
}

// SAFETY: the job is the only part that is not `Sync` by itself; the rule at `state` makes its
// readers and its writer exclude each other, and what it points to is a `Sync` closure.
unsafe impl Sync for Shared {}
// SAFETY: as above; the job's pointer is not tied to a thread.
unsafe impl Send for Shared {}

/// A cache line of its own, so that spinning on it does not slow its neighbours.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Aligned<T>(T);

#[derive(Clone, Copy, Debug)]
struct Job {
    work: *const (dyn Fn(usize, usize) + Sync + 'static),
    tasks: usize,
}

impl Shared {
    fn new(threads: usize) -> Self {
        Self {
            state: Aligned::default(),
            next: (0..threads).map(|_| Aligned::default()).collect(),
            job: UnsafeCell::default(),
            busy: AtomicBool::default(),
            sleepers: AtomicUsize::default(),
            shutdown: AtomicBool::default(),
            panic: Mutex::default(),
            parked: Mutex::default(),
            wake: Condvar::default(),
            done: Condvar::default(),
        }
    }

    /// The tasks that thread `worker` starts with.
    fn part(&self, tasks: usize, worker: usize) -> Range<usize> {
        part(tasks, self.next.len(), worker)
    }

    fn try_begin(&self) -> bool {
        self.busy.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    /// The caller's side of a job, after `try_begin`.
    fn run(&self, tasks: usize, work: &(dyn Fn(usize, usize) + Sync)) {
        // SAFETY: only the lifetime changes. The closure is used by this thread and by workers
        // that joined while the job was open; this function closes the job and waits for them
        // before it returns, also when a task panics.
        let work: &'static (dyn Fn(usize, usize) + Sync) = unsafe { std::mem::transmute(work) };
        let job = Job { work, tasks };
        // SAFETY: `busy` is held, the job is closed and no worker is active (the last run waited
        // for that), so nobody else reads or writes it.
        unsafe { *self.job.get() = Some(job) };
        for (worker, next) in self.next.iter().enumerate() {
            next.0.store(self.part(tasks, worker).start, Ordering::Relaxed);
        }
        let generation = self.state.0.load(Ordering::Relaxed) & !(GENERATION - 1);
        self.state.0.store(generation.wrapping_add(GENERATION) | OPEN, Ordering::SeqCst);
        if self.sleepers.load(Ordering::SeqCst) > 0 {
            self.wake_workers();
        }

        // SAFETY: the job is `work` of this very call.
        let own = unsafe { self.take_part(job, 0) };

        let state = self.state.0.fetch_and(!OPEN, Ordering::Acquire);
        if state & ACTIVE > 0 {
            self.wait_for_workers();
        }
        let others = lock(&self.panic).take();
        self.busy.store(false, Ordering::Release);
        if let Some(payload) = own.err().or(others) {
            resume_unwind(payload);
        }
    }

    /// Runs tasks until there are none left, or one panics.
    ///
    /// # Safety
    /// `job.work` must point to a live closure.
    unsafe fn take_part(&self, job: Job, worker: usize) -> Result<(), Box<dyn Any + Send>> {
        // SAFETY: the caller's promise.
        let work = unsafe { &*job.work };
        let result = catch_unwind(AssertUnwindSafe(|| {
            for owner in (worker..self.next.len()).chain(0..worker) {
                let end = self.part(job.tasks, owner).end;
                let next = &self.next[owner].0;
                // Looking first keeps the line of a finished part shared.
                while next.load(Ordering::Relaxed) < end {
                    let task = next.fetch_add(1, Ordering::Relaxed);
                    if task < end {
                        work(task, worker);
                    }
                }
            }
        }));
        if result.is_err() {
            for next in &self.next {
                next.0.store(job.tasks, Ordering::Relaxed);
            }
        }
        result
    }

    /// The caller waits until no worker is active in the closed job.
    fn wait_for_workers(&self) {
        let active = || self.state.0.load(Ordering::Acquire) & ACTIVE > 0;
        if spin_while(&active) {
            let mut parked = lock(&self.parked);
            if self.state.0.fetch_or(WAITED, Ordering::Acquire) & ACTIVE > 0 {
                while active() {
                    parked = self.done.wait(parked).unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }

    /// A worker's life.
    fn work(&self, worker: usize) {
        let mut seen = 0;
        while let Some(state) = self.next_job(seen) {
            let joined = self.state.0.compare_exchange_weak(
                state,
                state + 1,
                Ordering::Acquire,
                Ordering::Relaxed,
            );
            if joined.is_err() {
                continue;
            }
            seen = state / GENERATION;
            // SAFETY: this worker is counted as active, so the caller neither changes the job nor
            // returns from `run` until the worker leaves below.
            let result = unsafe {
                match *self.job.get() {
                    Some(job) => self.take_part(job, worker),
                    None => Ok(()),
                }
            };
            if let Err(payload) = result {
                lock(&self.panic).get_or_insert(payload);
            }
            let state = self.state.0.fetch_sub(1, Ordering::AcqRel);
            if state & ACTIVE == 1 && state & WAITED != 0 {
                drop(lock(&self.parked));
                self.done.notify_all();
            }
        }
    }

    /// Waits for an open job other than number `seen`, spinning first, then parked; `None` when
    /// the pool is dropped.
    fn next_job(&self, seen: u64) -> Option<u64> {
        let open = || {
            let state = self.state.0.load(Ordering::SeqCst);
            (state & OPEN != 0 && state / GENERATION != seen).then_some(state)
        };
        let stopped = || self.shutdown.load(Ordering::SeqCst);
        let idle = || open().is_none() && !stopped();
        loop {
            if spin_while(&idle) {
                let mut parked = lock(&self.parked);
                self.sleepers.fetch_add(1, Ordering::SeqCst);
                while idle() {
                    parked = self.wake.wait(parked).unwrap_or_else(PoisonError::into_inner);
                }
                self.sleepers.fetch_sub(1, Ordering::SeqCst);
            }
            if stopped() {
                return None;
            }
            // A job may have come and gone meanwhile.
            if let Some(state) = open() {
                return Some(state);
            }
        }
    }

    fn wake_workers(&self) {
        // A worker holds the lock from the moment it counts itself a sleeper until it sleeps, so
        // that none can miss this.
        drop(lock(&self.parked));
        self.wake.notify_all();
    }
}

/// Spins while `condition` holds; whether it still did when the time was up.
fn spin_while(condition: &dyn Fn() -> bool) -> bool {
    let mut start = None;
    loop {
        for _ in 0..32 {
            if !condition() {
                return false;
            }
            std::hint::spin_loop();
        }
        if start.get_or_insert_with(Instant::now).elapsed() > SPIN {
            return true;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that holds one of these locks can panic halfway through a change.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Part `index` of `0..len` cut into `count` nearly even parts.
pub(crate) fn part(len: usize, count: usize, index: usize) -> Range<usize> {
    len * index / count..len * (index + 1) / count
}

/// A mutable slice whose disjoint parts several tasks of a [`Pool::run`] write.
#[derive(Debug)]
pub struct SharedMut<'a, T> {
    data: *mut T,
    len: usize,
    lifetime: PhantomData<&'a mut [T]>,
}

// SAFETY: it stands for a `&mut [T]` of which each thread takes other elements (the promise that
// `slice` asks for), which is sending `&mut T`s to those threads.
unsafe impl<T: Send> Sync for SharedMut<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for SharedMut<'_, T> {}

impl<'a, T> SharedMut<'a, T> {
    /// Borrows `data` for as long as its parts are in use.
    pub fn new(data: &'a mut [T]) -> Self {
        Self { data: data.as_mut_ptr(), len: data.len(), lifetime: PhantomData }
    }

    /// Elements of the whole slice.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the whole slice is empty.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The elements of `range`.
    ///
    /// # Panics
    /// When `range` is not within the slice.
    ///
    /// # Safety
    /// No other part that is alive may overlap `range`, on any thread.
    pub unsafe fn slice(&self, range: Range<usize>) -> &'a mut [T] {
        assert!(
            range.start <= range.end && range.end <= self.len,
            "part {range:?} of a slice of {} elements",
            self.len
        );
        // SAFETY: within the borrowed slice, checked above; not aliased, by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.data.add(range.start), range.len()) }
    }

    /// The first element's address, for kernels that write a block of rows with gaps between them,
    /// which no slice can describe. Writing through it is bound by the rule of
    /// [`SharedMut::slice`]: elements that no other thread reads or writes meanwhile.
    pub fn as_mut_ptr(&self) -> *mut T {
        self.data
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_runs_once_on_a_known_worker() {
        for threads in 1..5 {
            let pool = Pool::new(threads);
            assert_eq!(pool.threads(), threads);
            for tasks in [0, 1, 2, 3, 64, 257] {
                let counts: Vec<_> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
                pool.run(tasks, &|task, worker| {
                    assert!(worker < threads);
                    counts[task].fetch_add(1, Ordering::Relaxed);
                });
                assert!(counts.iter().all(|c| c.load(Ordering::Relaxed) == 1));
            }
        }
    }

    #[test]
    fn no_worker_is_two_threads_at_once() {
        let pool = Pool::new(4);
        let in_use: Vec<_> = (0..4).map(|_| AtomicBool::new(false)).collect();
        for _ in 0..200 {
            pool.run(16, &|_, worker| {
                assert!(!in_use[worker].swap(true, Ordering::SeqCst));
                std::hint::spin_loop();
                in_use[worker].store(false, Ordering::SeqCst);
            });
        }
    }

    #[test]
    fn many_short_jobs_and_pauses_between_them() {
        let pool = Pool::new(4);
        let total = AtomicUsize::new(0);
        for round in 0..3000 {
            pool.run(7, &|task, _| {
                total.fetch_add(task, Ordering::Relaxed);
            });
            if round % 500 == 0 {
                // Long enough for the workers to park.
                std::thread::sleep(SPIN * 4);
            }
        }
        assert_eq!(total.into_inner(), 3000 * 21);
    }

    #[test]
    fn work_is_shared_between_threads() {
        let pool = Pool::new(2);
        let both = std::sync::Barrier::new(2);
        // Neither task can end before the other has started.
        pool.run(2, &|_, _| {
            both.wait();
        });
    }

    #[test]
    fn nested_and_concurrent_runs_do_all_their_tasks() {
        let pool = Pool::new(3);
        let total = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..100 {
                        pool.run(5, &|_, _| {
                            pool.run(3, &|_, _| {
                                total.fetch_add(1, Ordering::Relaxed);
                            });
                        });
                    }
                });
            }
        });
        assert_eq!(total.into_inner(), 4 * 100 * 15);
    }

    #[test]
    fn a_panic_reaches_the_caller_and_leaves_the_pool_usable() {
        let pool = Pool::new(3);
        for bad in 0..8 {
            let panicked = catch_unwind(AssertUnwindSafe(|| {
                pool.run(8, &|task, _| assert_ne!(task, bad, "task {bad} is bad"));
            }));
            let payload = panicked.expect_err("the panic was lost");
            let message = payload.downcast_ref::<String>().expect("assert's message");
            assert!(message.contains(&format!("task {bad} is bad")), "{message}");
            let done = AtomicUsize::new(0);
            pool.run(8, &|_, _| {
                done.fetch_add(1, Ordering::Relaxed);
            });
            assert_eq!(done.into_inner(), 8);
        }
    }

    #[test]
    fn a_panic_on_a_worker_waits_for_the_caller() {
        let pool = Pool::new(2);
        let both = std::sync::Barrier::new(2);
        let finished = AtomicBool::new(false);
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            pool.run(2, &|_, worker| {
                both.wait();
                assert_eq!(worker, 0, "on a worker");
                std::thread::sleep(Duration::from_millis(2));
                finished.store(true, Ordering::SeqCst);
            });
        }));
        assert!(panicked.is_err() && finished.into_inner());
    }

    #[test]
    fn parts_of_a_shared_slice() {
        let pool = Pool::new(4);
        let mut data = vec![0_u32; 1003];
        let shared = SharedMut::new(&mut data);
        assert_eq!((shared.len(), shared.is_empty()), (1003, false));
        pool.run(11, &|task, _| {
            let end = (task * 100 + 100).min(shared.len());
            // SAFETY: each task has its own hundred elements.
            let part = unsafe { shared.slice(task * 100..end) };
            part.fill(task as u32 + 1);
        });
        assert!(data.iter().enumerate().all(|(i, &x)| x == (i / 100) as u32 + 1));
    }

    #[test]
    #[should_panic(expected = "part 2..5 of a slice of 4 elements")]
    fn a_part_outside_the_slice_is_refused() {
        let mut data = [0_u8; 4];
        // SAFETY: the only part; it must be refused.
        let _ = unsafe { SharedMut::new(&mut data).slice(2..5) };
    }
}
