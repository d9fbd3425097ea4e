//! Sums over the chunks of a batch to the gradient of the weights.

use crate::f32::outer::{Matrix, accumulate};
use crate::f32::simd::{Kernel, Simd};
use crate::f32::split::part;
use crate::geometry::Conv2dGeometry;
use crate::pool::workers::Workers;
use crate::pool::{Pool, SharedMut};

/// Approximate maximum number of floats of the sums of all chunks together.
const MAX_FLOATS: usize = 1024 * 1024;
/// Minimum number of chunks even so, for threads to share.
const MIN_CHUNKS: usize = 6;
/// Floats of one task.
const TASK: usize = 16 * 1024;

/// The layout of the sums of a chunk: for each group a matrix `[taps, outputs]` or `[outputs,
/// taps]`, so that vectors are along the longer side.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    groups: usize,
    outputs: usize,
    /// Number of positions of the window.
    area: usize,
    inputs: usize,
    taps_by_outputs: bool,
}

impl Layout {
    pub(super) fn new(geometry: &Conv2dGeometry) -> Self {
        let groups = geometry.groups;
        let (outputs, inputs) = (geometry.out_channels / groups, geometry.in_channels / groups);
        let area = geometry.kernel[0] * geometry.kernel[1];
        Self { groups, outputs, area, inputs, taps_by_outputs: outputs > inputs * area }
    }

    fn taps(self) -> usize {
        self.area * self.inputs
    }

    /// Number of floats of the sums of a chunk.
    pub(super) fn len(self) -> usize {
        self.groups * self.outputs * self.taps()
    }

    /// Maximum number of chunks.
    pub(super) fn max_chunks(self) -> usize {
        (MAX_FLOATS / self.len()).max(MIN_CHUNKS)
    }

    /// Adds the products of `rows` pixels of a group to the sums of a chunk. The taps of `x` are in
    /// the order (row of the window, column, channel).
    ///
    /// # Safety
    /// All rows of `x` and `grad` must be valid for reads.
    pub(super) unsafe fn add<S: Simd>(
        self,
        simd: S,
        group: usize,
        rows: usize,
        x: Matrix,
        grad: Matrix,
        sums: &mut [f32],
    ) {
        assert_eq!((x.columns, grad.columns), (self.taps(), self.outputs));
        let len = self.outputs * self.taps();
        let sums = sums[group * len..(group + 1) * len].as_mut_ptr();
        let (a, b) = if self.taps_by_outputs { (x, grad) } else { (grad, x) };
        // SAFETY: the caller guarantees that the rows are valid; `sums` has `a.columns * b.columns`
        // floats, which are mutably borrowed.
        unsafe { accumulate(simd, rows, a, b, sums) };
    }

    /// Sets `weight`, `[out_channels, in_channels / groups, kh, kw]`, to the sum over `chunks`
    /// chunks, added in their order. Overwrites `sums`.
    pub(super) fn finish<S: Simd>(
        self,
        simd: S,
        pool: &Pool,
        chunks: usize,
        sums: &mut [f32],
        weight: &mut [f32],
    ) {
        let len = self.len();
        let tasks = len.div_ceil(TASK);
        if !self.taps_by_outputs && self.area == 1 {
            let weight = SharedMut::new(weight);
            let sums: &[f32] = sums;
            pool.run(tasks, &|task, _| {
                let range = part(len, tasks, task);
                // SAFETY: different tasks have ranges that do not overlap.
                let to = unsafe { weight.slice(range.clone()) };
                to.copy_from_slice(&sums[range.clone()]);
                for chunk in 1..chunks {
                    let from = &sums[chunk * len..][range.clone()];
                    simd.run(AddTo { from, to });
                }
            });
            return;
        }
        let (first, others) = sums.split_at_mut(len);
        let shared = SharedMut::new(first);
        pool.run(tasks, &|task, _| {
            let range = part(len, tasks, task);
            // SAFETY: different tasks have ranges that do not overlap.
            let to = unsafe { shared.slice(range.clone()) };
            for chunk in 0..chunks - 1 {
                let from = &others[chunk * len..][range.clone()];
                simd.run(AddTo { from, to });
            }
        });
        self.arrange(pool, first, weight);
    }

    /// Copies the sums to the weights, in their order, some output channels at a time.
    fn arrange(self, pool: &Pool, sums: &[f32], weight: &mut [f32]) {
        const OUTPUTS: usize = 16;
        let (outputs, taps) = (self.outputs, self.taps());
        let parts = outputs.div_ceil(OUTPUTS);
        let weight = SharedMut::new(weight);
        pool.run(self.groups * parts, &|task, _| {
            let (group, part_index) = (task / parts, task % parts);
            let range = part(outputs, parts, part_index);
            let sums = &sums[group * outputs * taps..][..outputs * taps];
            let first = group * outputs + range.start;
            // SAFETY: different tasks have different output channels.
            let to = unsafe { weight.slice(first * taps..(first + range.len()) * taps) };
            for input in 0..self.inputs {
                for position in 0..self.area {
                    let tap = position * self.inputs + input;
                    for (i, output) in range.clone().enumerate() {
                        let from = if self.taps_by_outputs {
                            tap * outputs + output
                        } else {
                            output * taps + tap
                        };
                        to[i * taps + input * self.area + position] = sums[from];
                    }
                }
            }
        });
    }
}

/// Adds one slice to another of the same length.
pub(super) struct AddTo<'a> {
    pub(super) from: &'a [f32],
    pub(super) to: &'a mut [f32],
}

impl<S: Simd> Kernel<S> for AddTo<'_> {
    #[inline(always)]
    fn call(self, simd: S) {
        let len = self.to.len();
        assert_eq!(self.from.len(), len);
        let (from, to) = (self.from.as_ptr(), self.to.as_mut_ptr());
        let mut i = 0;
        // SAFETY: both slices have `len` floats; the last vector is masked.
        unsafe {
            while i + S::LANES <= len {
                simd.store(to.add(i), simd.add(simd.load(to.add(i)), simd.load(from.add(i))));
                i += S::LANES;
            }
            let mask = simd.mask(len - i);
            let sum =
                simd.add(simd.load_masked(to.add(i), mask), simd.load_masked(from.add(i), mask));
            simd.store_masked(to.add(i), sum, mask);
        }
    }
}

/// The scratch memory of a kernel: a shared part and a part for each thread, all aligned to cache
/// lines.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scratch {
    pub(super) shared: usize,
    pub(super) per_thread: usize,
}

/// Number of floats of a cache line.
const LINE: usize = 16;

/// Rounds `len` up to whole cache lines.
pub(super) fn lines(len: usize) -> usize {
    len.next_multiple_of(LINE)
}

impl Scratch {
    /// Number of floats of the scratch memory, with room for alignment.
    pub(super) fn len(self, threads: usize) -> usize {
        LINE + lines(self.shared) + threads * lines(self.per_thread)
    }

    /// Splits scratch memory into the shared part and those of the threads.
    pub(super) fn split(self, scratch: &mut [f32]) -> (&mut [f32], Workers<'_, f32>) {
        let skipped = scratch.as_ptr().align_offset(LINE * size_of::<f32>()).min(LINE);
        let (shared, rest) = scratch[skipped..].split_at_mut(lines(self.shared));
        let per_thread = lines(self.per_thread);
        (&mut shared[..self.shared], Workers::new(rest, per_thread))
    }
}
