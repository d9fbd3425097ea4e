//! Activation, addition and fake quantization as separate passes, where they cannot be fused into a
//! convolution.

use super::activation::{Activation, FakeQuant, Grid};
use super::block;
use super::chunks::{Chunks, STAT_PIXELS};
use super::operands::NormBackward;
use super::stats::ChannelSums;
use super::stats::{larger, smaller};
use crate::Isa;
use crate::arch::with_simd;
use crate::f32::simd::{Kernel, Simd};
use crate::f32::split::part;
use crate::lengths::check_same_len;
use crate::pool::{Pool, SharedMut};

/// Elements of one task.
const TASK: usize = 32 * 1024;

/// Computes `x = activation(y)`; both are `[…, channels]`.
///
/// # Panics
/// If the lengths differ or are not multiples of the number of channels.
pub fn activate(isa: Isa, pool: &Pool, activation: Activation<'_>, y: &[f32], x: &mut [f32]) {
    let channels = activation.channels();
    check_same_len("x", x.len(), "y", y.len());
    let (pixels, tasks) = tasks(y.len(), channels);
    let x = SharedMut::new(x);
    pool.run(tasks, &|task, _| {
        let pixels = part(pixels, tasks, task);
        let range = pixels.start * channels..pixels.end * channels;
        // SAFETY: different tasks have different pixels.
        let x = unsafe { x.slice(range.clone()) };
        with_simd!(isa, simd => block::apply(simd, &activation, &y[range], x));
    });
}

/// Computes the [`ChannelSums`] for `grad`, the gradient of the activation's result, and `y`; both
/// are `[…, channels]`.
///
/// # Panics
/// If the lengths differ or are not multiples of the number of channels.
pub fn activate_backward_sums(
    isa: Isa,
    pool: &Pool,
    activation: Activation<'_>,
    y: &[f32],
    grad: &[f32],
    sums: &mut ChannelSums,
) {
    let channels = activation.channels();
    check_same_len("grad", grad.len(), "y", y.len());
    let (pixels, _) = tasks(y.len(), channels);
    let chunks = Chunks::new(pixels, STAT_PIXELS);
    let mut parts = vec![ChannelSums::new(channels); chunks.count()];
    let shared = SharedMut::new(&mut parts);
    pool.run(chunks.count(), &|chunk, _| {
        // SAFETY: each chunk has its own element, and one task.
        let sums = &mut unsafe { shared.slice(chunk..chunk + 1) }[0];
        for block in chunks.blocks(chunk) {
            let range = block.start * channels..block.end * channels;
            let (y, grad) = (&y[range.clone()], &grad[range]);
            with_simd!(isa, simd => sums.add(simd, &activation, y, grad));
        }
    });
    sums.set_to_sum(&parts, channels);
}

/// Computes the gradient of a batch normalization with its activation, `grad_y = a[c] * g + b[c] *
/// y + c[c]`, where `g` is `grad` where the activation passes it, and otherwise 0.
/// [`Conv2d::backward`](super::Conv2d::backward) does this too.
///
/// # Panics
/// If the lengths differ or are not multiples of the number of channels.
pub fn activate_backward(
    isa: Isa,
    pool: &Pool,
    norm: NormBackward<'_>,
    grad: &[f32],
    grad_y: &mut [f32],
) {
    let channels = norm.activation.channels();
    norm.check(grad.len(), channels);
    check_same_len("grad_y", grad_y.len(), "grad", grad.len());
    let (pixels, tasks) = tasks(grad.len(), channels);
    let grad_y = SharedMut::new(grad_y);
    pool.run(tasks, &|task, _| {
        let pixels = part(pixels, tasks, task);
        let range = pixels.start * channels..pixels.end * channels;
        // SAFETY: different tasks have different pixels.
        let to = unsafe { grad_y.slice(range.clone()) };
        let (y, grad) = (&norm.y[range.clone()], &grad[range]);
        with_simd!(isa, simd => {
            block::backward(simd, &norm.activation, norm.factors(), y, grad, to);
        });
    });
}

/// Returns the number of pixels and the number of tasks for them.
fn tasks(len: usize, channels: usize) -> (usize, usize) {
    assert!(channels > 0, "the activation has no channels");
    assert_eq!(len % channels, 0, "{len} elements are not a multiple of {channels} channels");
    let pixels = len / channels;
    (pixels, len.div_ceil(TASK).min(pixels))
}

/// Computes `sum = a + b` and returns the minimum and maximum of the sums, for an observer;
/// infinity and minus infinity if there are none, NaN if one of them is NaN.
///
/// # Panics
/// If the lengths differ.
///
/// ```
/// use posterize_kernels::f32::training::add_with_range;
/// use posterize_kernels::{Isa, Pool};
///
/// let mut sum = [0.0; 2];
/// let pool = Pool::new(1);
/// let range = add_with_range(Isa::detect(), &pool, &[1.0, -2.0], &[0.5, 0.5], &mut sum);
/// assert_eq!((sum, range), ([1.5, -1.5], (-1.5, 1.5)));
/// ```
pub fn add_with_range(isa: Isa, pool: &Pool, a: &[f32], b: &[f32], sum: &mut [f32]) -> (f32, f32) {
    check_same_len("a", a.len(), "sum", sum.len());
    check_same_len("b", b.len(), "sum", sum.len());
    let len = sum.len();
    let tasks = len.div_ceil(TASK);
    let mut ranges = vec![(f32::INFINITY, f32::NEG_INFINITY); tasks];
    let (sum, shared) = (SharedMut::new(sum), SharedMut::new(&mut ranges));
    pool.run(tasks, &|task, _| {
        let range = part(len, tasks, task);
        let (a, b) = (&a[range.clone()], &b[range.clone()]);
        // SAFETY: different tasks have ranges that do not overlap, and each its own element of
        // `ranges`.
        let (sum, found) = unsafe { (sum.slice(range), &mut shared.slice(task..task + 1)[0]) };
        with_simd!(isa, simd => simd.run(Add { a, b, sum, found }));
    });
    ranges.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(min, max), &(low, high)| {
        (smaller(min, low), larger(max, high))
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
        // SAFETY: `a`, `b` and `sum` have `len` floats, and each array of `ends` at least as many
        // as a vector.
        unsafe {
            while i < whole {
                let sum = simd.add(simd.load(a.add(i)), simd.load(b.add(i)));
                simd.store(to.add(i), sum);
                min = simd.at_most(sum, min);
                max = simd.max(sum, max);
                i += S::LANES;
            }
            let mut ends = [[0.0; 16]; 2];
            simd.store(ends[0].as_mut_ptr(), min);
            simd.store(ends[1].as_mut_ptr(), max);
            for (&low, &high) in ends[0][..S::LANES].iter().zip(&ends[1]) {
                // The comparisons of the minimum forget a NaN, which the maximum keeps.
                let low = if high.is_nan() { high } else { low };
                self.found.0 = smaller(self.found.0, low);
                self.found.1 = larger(self.found.1, high);
            }
            while i < len {
                let sum = *a.add(i) + *b.add(i);
                *to.add(i) = sum;
                self.found.0 = smaller(self.found.0, sum);
                self.found.1 = larger(self.found.1, sum);
                i += 1;
            }
        }
    }
}

/// Fake-quantizes the elements of `x` in place.
pub fn fake_quantize(isa: Isa, pool: &Pool, fake_quant: FakeQuant, x: &mut [f32]) {
    let (len, tasks) = (x.len(), x.len().div_ceil(TASK));
    let x = SharedMut::new(x);
    pool.run(tasks, &|task, _| {
        // SAFETY: different tasks have ranges that do not overlap.
        let x = unsafe { x.slice(part(len, tasks, task)) };
        with_simd!(isa, simd => simd.run(Round { fake_quant, x }));
    });
}

/// Computes the gradient of [`fake_quantize`] in place: sets `grad` to 0 where the integer for `x`,
/// its input, is out of range.
///
/// # Panics
/// If the lengths differ.
pub fn fake_quantize_backward(
    isa: Isa,
    pool: &Pool,
    fake_quant: FakeQuant,
    x: &[f32],
    grad: &mut [f32],
) {
    check_same_len("grad", grad.len(), "x", x.len());
    let (len, tasks) = (x.len(), x.len().div_ceil(TASK));
    let grad = SharedMut::new(grad);
    pool.run(tasks, &|task, _| {
        let range = part(len, tasks, task);
        // SAFETY: different tasks have ranges that do not overlap.
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
            // SAFETY: as many lanes are accessed as `x` has elements.
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
            // SAFETY: as many lanes are accessed as `x` and `grad` have elements.
            unsafe {
                let g = simd.load_masked(grad.as_ptr(), mask);
                let kept = grid.keep(simd, simd.load_masked(x.as_ptr(), mask), g);
                simd.store_masked(grad.as_mut_ptr(), kept, mask);
            }
        }
    }
}
