//! How a job is handed to the workers of a pool, and waited for.

use std::any::Any;
use std::cell::UnsafeCell;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::parts::part;

/// How long a thread spins for its next event before it parks. Longer than the serial gaps between
/// the layers of a network, far shorter than a scheduler's time slice.
pub(super) const SPIN: Duration = Duration::from_micros(50);

/// The job is open: workers may join.
const OPEN: u64 = 1 << 31;
/// The caller is parked until the last worker leaves.
const WAITED: u64 = 1 << 30;
/// How many workers take part.
const ACTIVE: u64 = 0xFFFF;
/// The number of the job, so that a worker joins each one once.
const GENERATION: u64 = 1 << 32;

/// What the threads of a pool share.
#[derive(Debug)]
pub(super) struct Shared {
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

    /// The tasks that thread `worker` starts with.
    fn part(&self, tasks: usize, worker: usize) -> Range<usize> {
        part(tasks, self.next.len(), worker)
    }

    pub(super) fn try_begin(&self) -> bool {
        self.busy.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    /// The caller's side of a job, after `try_begin`.
    pub(super) fn run(&self, tasks: usize, work: &(dyn Fn(usize, usize) + Sync)) {
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

    /// Ends the threads' lives.
    pub(super) fn stop(&self) {
        self.shutdown.store(true, Ordering::SeqCst);
        self.wake_workers();
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
