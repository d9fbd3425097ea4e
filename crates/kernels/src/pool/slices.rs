//! Safe variants of [`Pool::run`]: over the chunks of a slice, and with a result for each task.

use super::Pool;
use super::shared_mut::SharedMut;

impl Pool {
    /// Calls `work(index, chunk)` once for each chunk of `chunk_len` elements of `data`, on the
    /// threads of the pool. The last chunk may be shorter.
    ///
    /// ```
    /// use posterize_kernels::Pool;
    ///
    /// let mut data = [0; 10];
    /// Pool::new(2).for_each_chunk_mut(&mut data, 4, &|index, chunk| chunk.fill(index));
    /// assert_eq!(data, [0, 0, 0, 0, 1, 1, 1, 1, 2, 2]);
    /// ```
    ///
    /// # Panics
    /// If `chunk_len` is 0, and as [`Pool::run`] if `work` panics.
    pub fn for_each_chunk_mut<T: Send>(
        &self,
        data: &mut [T],
        chunk_len: usize,
        work: &(dyn Fn(usize, &mut [T]) + Sync),
    ) {
        assert!(chunk_len > 0, "chunk_len is 0; it must be at least 1");
        let len = data.len();
        let shared = SharedMut::new(data);
        self.run(len.div_ceil(chunk_len), &|index, _| {
            // No overflow: `index < len.div_ceil(chunk_len)`, so `start < len`.
            let start = index * chunk_len;
            let end = start.saturating_add(chunk_len).min(len);
            // SAFETY: `run` calls each index once, and chunks with different indices do not
            // overlap.
            work(index, unsafe { shared.slice(start..end) });
        });
    }

    /// Returns the results of `work(task)` for each `task < tasks`, in the order of the tasks.
    ///
    /// ```
    /// use posterize_kernels::Pool;
    ///
    /// assert_eq!(Pool::new(2).map(4, &|task| task * task), [0, 1, 4, 9]);
    /// ```
    ///
    /// # Panics
    /// As [`Pool::run`] if `work` panics.
    pub fn map<R: Send>(&self, tasks: usize, work: &(dyn Fn(usize) -> R + Sync)) -> Vec<R> {
        let mut results: Vec<Option<R>> = (0..tasks).map(|_| None).collect();
        self.for_each_chunk_mut(&mut results, 1, &|task, result| result[0] = Some(work(task)));
        results.into_iter().map(|result| result.expect("each task has run")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_chunk_is_visited_once_whatever_the_threads() {
        for threads in [1, 3] {
            let pool = Pool::new(threads);
            for (len, chunk_len) in [(0, 5), (1, 5), (5, 5), (1003, 10), (7, usize::MAX)] {
                let mut data = vec![0_usize; len];
                pool.for_each_chunk_mut(&mut data, chunk_len, &|index, chunk| {
                    assert_eq!(chunk.len(), chunk_len.min(len - index * chunk_len));
                    for x in chunk {
                        *x += index + 1;
                    }
                });
                assert!(data.iter().enumerate().all(|(i, &x)| x == i / chunk_len + 1));
            }
        }
    }

    #[test]
    fn results_come_in_the_order_of_the_tasks() {
        let pool = Pool::new(3);
        let texts = pool.map(100, &|task| task.to_string());
        assert!(texts.iter().enumerate().all(|(i, text)| *text == i.to_string()));
        assert_eq!(texts.len(), 100);
    }

    #[test]
    #[should_panic(expected = "chunk_len is 0; it must be at least 1")]
    fn chunks_without_elements_are_refused() {
        Pool::new(1).for_each_chunk_mut(&mut [0_u8], 0, &|_, _| {});
    }

    #[test]
    #[should_panic(expected = "task 2 is bad")]
    fn a_panic_reaches_the_caller() {
        Pool::new(2).map(4, &|task| assert_ne!(task, 2, "task {task} is bad"));
    }
}
