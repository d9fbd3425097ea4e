//! A thread pool that splits the work of a kernel.
//!
//! A layer of a small network takes some tens of microseconds, so handing over work must cost about
//! one. Workers therefore spin for a moment after a job before they park, and the caller only waits
//! for workers that have joined its job: one that wakes up too late finds the job closed, and on a
//! busy machine the caller has done the work itself by then.

mod job;
mod parts;
mod shared_mut;
mod slices;
pub(crate) mod workers;

use std::io;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

use self::job::Shared;
pub(crate) use self::parts::part;
pub use self::shared_mut::SharedMut;

/// A pool of threads that run the tasks of one kernel call at a time.
///
/// A pool may be shared between threads. A call that finds the pool in use (by another caller, or
/// because a task calls [`Pool::run`] itself) runs its tasks on the calling thread.
///
/// ```
/// use posterize_kernels::pool::{Pool, SharedMut};
///
/// let pool = Pool::new(2);
/// let mut squares = [0; 100];
/// let shared = SharedMut::new(&mut squares);
/// pool.run(10, &|task, _worker| {
///     // SAFETY: each task takes its own ten elements.
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
    /// Creates a pool of `threads` threads (at least 1), of which the caller's is one.
    ///
    /// If the system cannot start that many, the pool has fewer; see [`Pool::threads`].
    pub fn new(threads: usize) -> Self {
        let mut pool = Self::without_workers(threads);
        // The others do the work of those that the system does not start.
        let _ = pool.start(threads);
        pool
    }

    /// Creates a pool of `threads` threads (at least 1), of which the caller's is one.
    ///
    /// # Errors
    /// Returns the system's error if it cannot start that many.
    pub fn try_new(threads: usize) -> io::Result<Self> {
        let mut pool = Self::without_workers(threads);
        pool.start(threads)?;
        Ok(pool)
    }

    fn without_workers(threads: usize) -> Self {
        let threads = threads.clamp(1, usize::from(u16::MAX));
        Self { shared: Arc::new(Shared::new(threads)), workers: Vec::new() }
    }

    fn start(&mut self, threads: usize) -> io::Result<()> {
        for worker in 1..threads.min(usize::from(u16::MAX)) {
            let shared = Arc::clone(&self.shared);
            let name = format!("posterize-{worker}");
            let spawned = Builder::new().name(name).spawn(move || shared.work(worker))?;
            self.workers.push(spawned);
        }
        Ok(())
    }

    /// The number of threads, the caller's included.
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Calls `work(task, worker)` once for each `task < tasks` and returns when all are done.
    ///
    /// `worker < self.threads()` identifies the thread, for example to choose its scratch memory;
    /// the caller's thread is 0.
    ///
    /// Each thread starts with its own contiguous part of the tasks and takes over tasks of the
    /// others when it is done. Where task `i` of one call reads what task `i` of the call before
    /// wrote, the data are thus mostly still in that thread's cache.
    ///
    /// # Panics
    /// If a task panics: tasks that have not started are dropped, running ones are waited for, and
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
        self.shared.stop();
        for worker in self.workers.drain(..) {
            // Panics of tasks are caught and passed to the caller, so none is left to report.
            let _ = worker.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::time::Duration;

    use super::job::SPIN;
    use super::*;

    #[test]
    fn every_task_runs_once_and_on_an_existing_worker() {
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
    fn no_two_threads_are_the_same_worker_at_once() {
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
    fn many_short_jobs_with_pauses_run_all_tasks() {
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
    fn tasks_run_on_several_threads() {
        let pool = Pool::new(2);
        let both = std::sync::Barrier::new(2);
        // Each task waits for the other to start.
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
}
