//! A pool of threads that split one kernel between them.
//!
//! A layer of a small network runs for some tens of microseconds, so handing
//! work over must cost about one. Workers therefore spin for a moment after a
//! job, park when none follows, and are never waited for unless they have
//! taken part: a worker that wakes too late finds the job closed, and on a busy
//! machine the caller has done the work itself by then.

mod job;
mod parts;
mod shared_mut;
mod slices;
pub(crate) mod workers;

use std::sync::Arc;
use std::thread::JoinHandle;

use self::job::Shared;
pub(crate) use self::parts::part;
pub use self::shared_mut::SharedMut;

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
        self.shared.stop();
        for worker in self.workers.drain(..) {
            // A worker's panics are caught and handed to the caller; there is none left here.
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
}
