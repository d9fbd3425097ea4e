//! Activations, additions and fake quantization as passes of their own, for what no convolution
//! can take in.

use super::activation::{Activation, FakeQuant, Grid};
use super::block;
use super::chunks::{Chunks, STAT_PIXELS};
use super::operands::NormBackward;
use super::stats::ChannelSums;
use crate::Isa;
use crate::arch::with_simd;
use crate::f32::simd::{Kernel, Simd};
use crate::f32::split::part;
use crate::pool::{Pool, SharedMut};

/// Elements that are worth a task.
const TASK: usize = 32 * 1024;

/// `x = activation(y)`, `[pixels, channels]`.
///
/// # Panics
/// When the lengths differ or are not those of whole pixels.
pub fn activate(isa: Isa, pool: &Pool, activation: Activation<'_>, y: &[f32], x: &mut [f32]) {
    let channels = activation.channels();
    assert_eq!(y.len(), x.len(), "elements of the output");
    let (pixels, tasks) = tasks(y.len(), channels);
    let x = SharedMut::new(x);
    pool.run(tasks, &|task, _| {
        let pixels = part(pixels, tasks, task);
        let range = pixels.start * channels..pixels.end * channels;
        // SAFETY: each task has pixels of its own.
        let x = unsafe { x.slice(range.clone()) };
        with_simd!(isa, simd => block::apply(simd, &activation, &y[range], x));
    });
}

/// The sums over all pixels of `grad` where it passes the activation of `y`.
///
/// # Panics
/// When the lengths differ or are not those of whole pixels.
pub fn activate_backward_sums(
    isa: Isa,
    pool: &Pool,
    activation: Activation<'_>,
    y: &[f32],
    grad: &[f32],
    sums: &mut ChannelSums,
) {
    let channels = activation.channels();
    assert_eq!(y.len(), grad.len(), "elements of the gradient");
    let (pixels, _) = tasks(y.len(), channels);
    let chunks = Chunks::new(pixels, STAT_PIXELS);
    let mut parts = vec![ChannelSums::new(channels); chunks.count()];
    let shared = SharedMut::new(&mut parts);
    pool.run(chunks.count(), &|chunk, _| {
        // SAFETY: each chunk has sums of its own.
        let sums = &mut unsafe { shared.slice(chunk..chunk + 1) }[0];
        for block in chunks.blocks(chunk) {
            let range = block.start * channels..block.end * channels;
            let (y, grad) = (&y[range.clone()], &grad[range]);
            with_simd!(isa, simd => sums.add(simd, &activation, y, grad));
        }
    });
    sums.set_to_sum(&parts, channels);
}

/// The gradient behind a batch norm, `grad_y = a[c] * g + b[c] * y + c[c]`, where `g` is `grad`
/// where it passes the activation. What [`Conv2d::backward`](super::Conv2d::backward) does by
/// itself.
///
/// # Panics
/// When the lengths differ or are not those of whole pixels.
pub fn activate_backward(
    isa: Isa,
    pool: &Pool,
    norm: NormBackward<'_>,
    grad: &[f32],
    grad_y: &mut [f32],
) {
    let channels = norm.activation.channels();
    norm.check(grad.len(), channels);
    assert_eq!(grad.len(), grad_y.len(), "elements of the gradient");
    let (pixels, tasks) = tasks(grad.len(), channels);
    let grad_y = SharedMut::new(grad_y);
    pool.run(tasks, &|task, _| {
        let pixels = part(pixels, tasks, task);
        let range = pixels.start * channels..pixels.end * channels;
        // SAFETY: each task has pixels of its own.
        let to = unsafe { grad_y.slice(range.clone()) };
        let (y, grad) = (&norm.y[range.clone()], &grad[range]);
        with_simd!(isa, simd => {
            block::backward(simd, &norm.activation, norm.factors(), y, grad, to);
        });
    });
}

/// Whole pixels and how many tasks to make of them.
fn tasks(len: usize, channels: usize) -> (usize, usize) {
    assert!(channels > 0, "no channels");
    assert_eq!(len % channels, 0, "elements of the last pixel");
    let pixels = len / channels;
    (pixels, len.div_ceil(TASK).min(pixels))
}

/// `sum = a + b`, and its least and greatest element for an observer (infinity and minus infinity
/// where there is none).
///
/// # Panics
/// When the lengths differ.
pub fn add_with_range(isa: Isa, pool: &Pool, a: &[f32], b: &[f32], sum: &mut [f32]) -> (f32, f32) {
    assert_eq!((a.len(), b.len()), (sum.len(), sum.len()), "elements of the sum");
    let len = sum.len();
    let tasks = len.div_ceil(TASK);
    let mut ranges = vec![(f32::INFINITY, f32::NEG_INFINITY); tasks];
    let (sum, shared) = (SharedMut::new(sum), SharedMut::new(&mut ranges));
    pool.run(tasks, &|task, _| {
        let range = part(len, tasks, task);
        let (a, b) = (&a[range.clone()], &b[range.clone()]);
        // SAFETY: each task has elements and a range of its own.
        let (sum, found) = unsafe { (sum.slice(range), &mut shared.slice(task..task + 1)[0]) };
        with_simd!(isa, simd => simd.run(Add { a, b, sum, found }));
    });
    ranges.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(min, max), &(low, high)| {
        (min.min(low), max.max(high))
    })
}

struct Add<'a> {
    a: &'a [f32],
    b: &'a [f32],
    sum: &'a mut [f32],
    found: &'a mut (f32, f32),
}

impl<S: Simd> Kernel<S> for Add<'_> {
    #[inline(always)]
    fn call(self, simd: S) {
        let len = self.sum.len();
        let whole = len - len % S::LANES;
        let (a, b, to) = (self.a.as_ptr(), self.b.as_ptr(), self.sum.as_mut_ptr());
        let (mut min, mut max) = (simd.splat(f32::INFINITY), simd.splat(f32::NEG_INFINITY));
        let mut i = 0;
        // SAFETY: all three have `len` floats.
        unsafe {
            while i < whole {
                let sum = simd.add(simd.load(a.add(i)), simd.load(b.add(i)));
                simd.store(to.add(i), sum);
                min = simd.at_most(sum, min);
                max = simd.at_least(sum, max);
                i += S::LANES;
            }
            let mut ends = [[0.0; 16]; 2];
            simd.store(ends[0].as_mut_ptr(), min);
            simd.store(ends[1].as_mut_ptr(), max);
            for (&low, &high) in ends[0][..S::LANES].iter().zip(&ends[1]) {
                self.found.0 = self.found.0.min(low);
                self.found.1 = self.found.1.max(high);
            }
            while i < len {
                let sum = *a.add(i) + *b.add(i);
                *to.add(i) = sum;
                self.found.0 = self.found.0.min(sum);
                self.found.1 = self.found.1.max(sum);
                i += 1;
            }
        }
    }
}

/// Rounds the elements of `x` in place.
pub fn fake_quantize(isa: Isa, pool: &Pool, fake_quant: FakeQuant, x: &mut [f32]) {
    let (len, tasks) = (x.len(), x.len().div_ceil(TASK));
    let x = SharedMut::new(x);
    pool.run(tasks, &|task, _| {
        // SAFETY: each task has elements of its own.
        let x = unsafe { x.slice(part(len, tasks, task)) };
        with_simd!(isa, simd => simd.run(Round { fake_quant, x }));
    });
}

/// Sets `grad` to 0 where `x`, before it was rounded, was out of range.
///
/// # Panics
/// When the lengths differ.
pub fn fake_quantize_backward(
    isa: Isa,
    pool: &Pool,
    fake_quant: FakeQuant,
    x: &[f32],
    grad: &mut [f32],
) {
    assert_eq!(x.len(), grad.len(), "elements of the gradient");
    let (len, tasks) = (x.len(), x.len().div_ceil(TASK));
    let grad = SharedMut::new(grad);
    pool.run(tasks, &|task, _| {
        let range = part(len, tasks, task);
        // SAFETY: each task has elements of its own.
        let grad = unsafe { grad.slice(range.clone()) };
        let x = &x[range];
        with_simd!(isa, simd => simd.run(Keep { fake_quant, x, grad }));
    });
}

struct Round<'a> {
    fake_quant: FakeQuant,
    x: &'a mut [f32],
}

impl<S: Simd> Kernel<S> for Round<'_> {
    #[inline(always)]
    fn call(self, simd: S) {
        let grid = Grid::new(simd, self.fake_quant);
        for x in self.x.chunks_mut(S::LANES) {
            let mask = simd.mask(x.len());
            // SAFETY: as many lanes as there are elements.
            unsafe {
                let value = grid.value(simd, simd.load_masked(x.as_ptr(), mask));
                simd.store_masked(x.as_mut_ptr(), value, mask);
            }
        }
    }
}

struct Keep<'a> {
    fake_quant: FakeQuant,
    x: &'a [f32],
    grad: &'a mut [f32],
}

impl<S: Simd> Kernel<S> for Keep<'_> {
    #[inline(always)]
    fn call(self, simd: S) {
        let grid = Grid::new(simd, self.fake_quant);
        for (x, grad) in self.x.chunks(S::LANES).zip(self.grad.chunks_mut(S::LANES)) {
            let mask = simd.mask(x.len());
            // SAFETY: as many lanes as there are elements of each.
            unsafe {
                let g = simd.load_masked(grad.as_ptr(), mask);
                let kept = grid.keep(simd, simd.load_masked(x.as_ptr(), mask), g);
                simd.store_masked(grad.as_mut_ptr(), kept, mask);
            }
        }
    }
}
