//! Hands jobs to the workers of a pool and waits for them.

use std::any::Any;
use std::cell::UnsafeCell;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::parts::part;

/// How long a thread spins for its next event before it parks: longer than the serial gaps between
/// the layers of a network, far shorter than a scheduler's time slice.
pub(super) const SPIN: Duration = Duration::from_micros(50);

/// Flag of [`Shared::state`]: the job is open, so workers may join it.
const OPEN: u64 = 1 << 31;
/// Flag of [`Shared::state`]: the caller is parked until the last worker leaves.
const WAITED: u64 = 1 << 30;
/// Mask of [`Shared::state`]: the number of workers that take part in the job.
const ACTIVE: u64 = 0xFFFF;
/// Unit of the job number in the upper half of [`Shared::state`], by which a worker joins each job
/// only once.
const GENERATION: u64 = 1 << 32;

/// The state that the threads of a pool share.
#[derive(Debug)]
pub(super) struct Shared {
    /// The job number, `OPEN`, `WAITED` and the number of `ACTIVE` workers.
    ///
    /// `job` may be read by the caller that holds `busy` and by the workers counted here. It may be
    /// written only by that caller, while the job is closed and the count is 0.
    state: Aligned<AtomicU64>,
    /// For each thread, the next task of its part that has not been started.
    next: Box<[Aligned<AtomicUsize>]>,
    job: UnsafeCell<Option<Job>>,
    /// Whether a caller is running a job.
    busy: AtomicBool,
    /// Number of workers that are parked or about to park.
    sleepers: AtomicUsize,
    shutdown: AtomicBool,
    /// The payload of the first task that panicked on a worker.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    parked: Mutex<()>,
    wake: Condvar,
    done: Condvar,
}

// SAFETY: `job` is the only field that is not `Sync`. By the rule at `state`, it is never written
// while another thread reads or writes it, and the closure it points to is `Sync`.
unsafe impl Sync for Shared {}
// SAFETY: the pointer in `job` points to a `Sync` closure, which any thread may call.
unsafe impl Send for Shared {}

/// A value in cache lines of its own, so that spinning on it does not slow down accesses to its
/// neighbours.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Aligned<T>(T);

#[derive(Clone, Copy, Debug)]
struct Job {
    work: *const (dyn Fn(usize, usize) + Sync + 'static),
    tasks: usize,
}

impl Shared {
    pub(super) fn new(threads: usize) -> Self {
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

    /// The tasks with which thread `worker` starts.
    fn part(&self, tasks: usize, worker: usize) -> Range<usize> {
        part(tasks, self.next.len(), worker)
    }

    /// Reserves the pool for a caller; whether it was free.
    pub(super) fn try_begin(&self) -> bool {
        self.busy.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    /// Runs a job on the calling thread and the workers, after [`Self::try_begin`].
    pub(super) fn run(&self, tasks: usize, work: &(dyn Fn(usize, usize) + Sync)) {
        // SAFETY: only the lifetime changes. The closure is used by this thread and by workers that
        // joined while the job was open. This function closes the job and waits for those workers
        // before it returns, also if a task panics.
        let work: &'static (dyn Fn(usize, usize) + Sync) = unsafe { std::mem::transmute(work) };
        let job = Job { work, tasks };
        // SAFETY: this caller holds `busy`, the job is closed and no worker is active, because the
        // last call waited for them; so no other thread accesses the job.
        unsafe { *self.job.get() = Some(job) };
        for (worker, next) in self.next.iter().enumerate() {
            next.0.store(self.part(tasks, worker).start, Ordering::Relaxed);
        }
        let generation = self.state.0.load(Ordering::Relaxed) & !(GENERATION - 1);
        self.state.0.store(generation.wrapping_add(GENERATION) | OPEN, Ordering::SeqCst);
        if self.sleepers.load(Ordering::SeqCst) > 0 {
            self.wake_workers();
        }

        // SAFETY: `job.work` is the argument of this call, which is alive.
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

    /// Runs tasks until none is left or one panics: first the thread's own part, then those of the
    /// others.
    ///
    /// # Safety
    /// `job.work` must point to a live closure.
    unsafe fn take_part(&self, job: Job, worker: usize) -> Result<(), Box<dyn Any + Send>> {
        // SAFETY: the caller guarantees that the closure is alive.
        let work = unsafe { &*job.work };
        let result = catch_unwind(AssertUnwindSafe(|| {
            for owner in (worker..self.next.len()).chain(0..worker) {
                let end = self.part(job.tasks, owner).end;
                let next = &self.next[owner].0;
                // Read before `fetch_add`, so that checking a finished part does not take its cache
                // line away from other threads.
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

    /// Waits until no worker is active in the closed job.
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

    /// The main loop of a worker: takes part in jobs until the pool is dropped.
    pub(super) fn work(&self, worker: usize) {
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
            // returns from `run`, and thus keeps the closure alive, until the count falls below.
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

    /// Waits for an open job with another number than `seen`: spins first, then parks. `None` if
    /// the pool is being dropped.
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
            // The job may have been closed in the meantime.
            if let Some(state) = open() {
                return Some(state);
            }
        }
    }

    /// Makes the workers return from [`Self::work`].
    pub(super) fn stop(&self) {
        self.shutdown.store(true, Ordering::SeqCst);
        self.wake_workers();
    }

    fn wake_workers(&self) {
        // A worker holds the lock from before it counts itself as a sleeper until it waits, so none
        // can miss the notification.
        drop(lock(&self.parked));
        self.wake.notify_all();
    }
}

/// Spins while `condition` holds, for at most [`SPIN`]; whether it still held at the end.
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
    // A poisoned lock is usable, because no code that holds one panics halfway through a change.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
