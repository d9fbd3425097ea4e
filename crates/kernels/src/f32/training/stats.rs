//! Sums and ranges of each channel over all pixels, which batch normalization and observers need.
//!
//! A block of pixels is summed in f32 after subtracting the mean of its first few pixels, and
//! blocks are added in f64. So the variance is as precise for a mean far from zero as for others.

use super::activation::{Activation, Mapped};
use super::chunks::{Chunks, STAT_PIXELS};
use crate::Isa;
use crate::arch::with_simd;
use crate::f32::simd::{Kernel, Simd};
use crate::lengths::check_len;
use crate::pool::{Pool, SharedMut};

/// The sums and the range of each channel over all pixels of a batch.
///
/// ```
/// use posterize_kernels::f32::training::{ChannelStats, channel_stats};
/// use posterize_kernels::{Isa, Pool};
///
/// let mut stats = ChannelStats::default();
/// let pixels = [1.0, 10.0, 3.0, 30.0]; // two pixels with two channels
/// channel_stats(Isa::detect(), &Pool::new(1), 2, 2, &pixels, &mut stats);
/// assert_eq!((&stats.sum[..], &stats.max[..]), (&[4.0, 40.0][..], &[3.0, 30.0][..]));
/// assert_eq!(stats.mean_variance(0, 2), (2.0, 1.0));
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ChannelStats {
    /// The sum of each channel.
    pub sum: Vec<f64>,
    /// The sum of the squares of each channel.
    pub sum_sq: Vec<f64>,
    /// The minimum of each channel; infinity if there are no pixels, NaN if one of them is NaN.
    pub min: Vec<f32>,
    /// The maximum of each channel; minus infinity if there are no pixels, NaN if one of them is NaN.
    pub max: Vec<f32>,
}

impl ChannelStats {
    /// The statistics of no pixels.
    pub fn new(channels: usize) -> Self {
        Self {
            sum: vec![0.0; channels],
            sum_sq: vec![0.0; channels],
            min: vec![f32::INFINITY; channels],
            max: vec![f32::NEG_INFINITY; channels],
        }
    }

    /// Number of channels.
    pub fn channels(&self) -> usize {
        self.sum.len()
    }

    /// Resets to the statistics of no pixels.
    pub fn reset(&mut self, channels: usize) {
        *self = Self::new(channels);
    }

    /// Returns the mean and the biased variance of channel `c` over `pixels` pixels, as
    /// `torch.nn.BatchNorm2d` uses them in training.
    pub fn mean_variance(&self, c: usize, pixels: usize) -> (f64, f64) {
        let mean = self.sum[c] / pixels as f64;
        (mean, (self.sum_sq[c] / pixels as f64 - mean * mean).max(0.0))
    }

    /// Adds the statistics of other pixels.
    fn merge(&mut self, other: &Self) {
        for (a, b) in self.sum.iter_mut().zip(&other.sum) {
            *a += b;
        }
        for (a, b) in self.sum_sq.iter_mut().zip(&other.sum_sq) {
            *a += b;
        }
        for (a, b) in self.min.iter_mut().zip(&other.min) {
            *a = smaller(*a, *b);
        }
        for (a, b) in self.max.iter_mut().zip(&other.max) {
            *a = larger(*a, *b);
        }
    }

    /// Adds the statistics of whole pixels.
    pub(super) fn add<S: Simd>(&mut self, simd: S, y: &[f32]) {
        let channels = self.channels();
        let pixels = y.len() / channels;
        if pixels > 0 {
            simd.run(Stats { y: &y[..pixels * channels], pixels, to: self });
        }
    }

    /// Sets the statistics to those of all chunks, added in their order.
    pub(super) fn set_to_sum(&mut self, chunks: &[Self], channels: usize) {
        self.reset(channels);
        for chunk in chunks {
            self.merge(chunk);
        }
    }
}

/// The sums over all pixels of a batch that the gradient of a batch normalization needs, for each
/// channel.
///
/// `g` is the gradient of the activation's result where the activation passes it, and otherwise 0;
/// `y` is the result of the convolution.
///
/// ```
/// use posterize_kernels::f32::Clamp;
/// use posterize_kernels::f32::training::{Activation, ChannelSums, activate_backward_sums};
/// use posterize_kernels::{Isa, Pool};
///
/// let (scale, shift) = ([1.0], [0.0]);
/// let relu = Activation { scale: &scale, shift: &shift, clamp: Clamp::RELU, fake_quant: None };
/// let (y, grad) = ([-1.0, 2.0], [5.0, 3.0]);
/// let mut sums = ChannelSums::default();
/// activate_backward_sums(Isa::detect(), &Pool::new(1), relu, &y, &grad, &mut sums);
/// assert_eq!(sums, ChannelSums { grad: vec![3.0], grad_y: vec![3.0 * 2.0] });
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ChannelSums {
    /// The sum of `g`.
    pub grad: Vec<f64>,
    /// The sum of `g * y`.
    pub grad_y: Vec<f64>,
}

impl ChannelSums {
    /// The sums of no pixels.
    pub fn new(channels: usize) -> Self {
        Self { grad: vec![0.0; channels], grad_y: vec![0.0; channels] }
    }

    /// Adds the sums of whole pixels.
    pub(super) fn add<S: Simd>(
        &mut self,
        simd: S,
        activation: &Activation<'_>,
        y: &[f32],
        grad: &[f32],
    ) {
        let channels = activation.channels();
        let pixels = y.len() / channels;
        assert_eq!((self.grad.len(), grad.len()), (channels, y.len()));
        if pixels == 0 {
            return;
        }
        if activation.fake_quant.is_some() {
            simd.run(Sums::<true> { activation, y, grad, pixels, to: self });
        } else {
            simd.run(Sums::<false> { activation, y, grad, pixels, to: self });
        }
    }

    /// Sets the sums to those of all chunks, added in their order.
    pub(super) fn set_to_sum(&mut self, chunks: &[Self], channels: usize) {
        *self = Self::new(channels);
        for chunk in chunks {
            for (a, b) in self.grad.iter_mut().zip(&chunk.grad) {
                *a += b;
            }
            for (a, b) in self.grad_y.iter_mut().zip(&chunk.grad_y) {
                *a += b;
            }
        }
    }
}

/// Computes the sums and ranges of `y`, `[pixels, channels]`, for each channel.
///
/// # Panics
/// If `channels` is 0, or the length of `y` differs from its shape.
pub fn channel_stats(
    isa: Isa,
    pool: &Pool,
    pixels: usize,
    channels: usize,
    y: &[f32],
    stats: &mut ChannelStats,
) {
    assert!(channels > 0, "channels is 0; it must be at least 1");
    check_len("y", y.len(), &[pixels, channels]);
    let chunks = Chunks::new(pixels, STAT_PIXELS);
    let mut parts = vec![ChannelStats::new(channels); chunks.count()];
    let shared = SharedMut::new(&mut parts);
    pool.run(chunks.count(), &|chunk, _| {
        // SAFETY: each chunk has its own element, and one task.
        let stats = &mut unsafe { shared.slice(chunk..chunk + 1) }[0];
        for block in chunks.blocks(chunk) {
            let y = &y[block.start * channels..block.end * channels];
            with_simd!(isa, simd => stats.add(simd, y));
        }
    });
    stats.set_to_sum(&parts, channels);
}

/// Number of pixels whose mean is subtracted from the pixels of a block.
const FEW: usize = 8;
/// Number of floats of the widest vector.
const MAX_LANES: usize = 16;

struct Stats<'a> {
    y: &'a [f32],
    pixels: usize,
    to: &'a mut ChannelStats,
}

impl<S: Simd> Kernel<S> for Stats<'_> {
    #[inline(always)]
    fn call(self, simd: S) {
        let Self { y, pixels, to: stats } = self;
        let channels = stats.channels();
        let mut c = 0;
        while c + 2 * S::LANES <= channels {
            // SAFETY: there are two more vectors of channels, and `y` has `pixels` pixels.
            unsafe { stats_vectors::<S, 2, false>(simd, y, pixels, c, stats) };
            c += 2 * S::LANES;
        }
        while c + S::LANES <= channels {
            // SAFETY: there is one more vector of channels, and `y` has `pixels` pixels.
            unsafe { stats_vectors::<S, 1, false>(simd, y, pixels, c, stats) };
            c += S::LANES;
        }
        if c < channels {
            // SAFETY: there is less than a vector of channels, which is masked.
            unsafe { stats_vectors::<S, 1, true>(simd, y, pixels, c, stats) };
        }
    }
}

/// Adds the statistics of `V` vectors of channels from `c` on.
///
/// # Safety
/// These channels must exist, or with `MASKED` at least one of the only vector; `y` must have
/// `pixels` pixels.
#[inline(always)]
#[expect(clippy::needless_range_loop, reason = "indices into both registers and memory")]
unsafe fn stats_vectors<S: Simd, const V: usize, const MASKED: bool>(
    simd: S,
    y: &[f32],
    pixels: usize,
    c: usize,
    stats: &mut ChannelStats,
) {
    let channels = stats.channels();
    let mask = simd.mask(channels - c);
    let zero = simd.splat(0.0);
    let (mut sum, mut sum_sq) = ([zero; V], [zero; V]);
    let mut shift = [zero; V];
    // SAFETY: the caller guarantees that these channels of `pixels` pixels exist; `load` is masked
    // to existing channels.
    unsafe {
        let first = y.as_ptr().add(c);
        // Differences from the mean of a few pixels have small sums, with small rounding errors.
        let few = pixels.min(FEW);
        let mut from = first;
        for _ in 0..few {
            for v in 0..V {
                let x = load::<S, MASKED>(simd, from.add(v * S::LANES), mask);
                shift[v] = simd.add(shift[v], x);
            }
            from = from.wrapping_add(channels);
        }
        let share = simd.splat(1.0 / few as f32);
        let (mut min, mut max) = ([zero; V], [zero; V]);
        for v in 0..V {
            shift[v] = simd.mul(shift[v], share);
            min[v] = simd.splat(f32::INFINITY);
            max[v] = simd.splat(f32::NEG_INFINITY);
        }
        let mut from = first;
        for _ in 0..pixels {
            for v in 0..V {
                let x = load::<S, MASKED>(simd, from.add(v * S::LANES), mask);
                let d = simd.sub(x, shift[v]);
                sum[v] = simd.add(sum[v], d);
                sum_sq[v] = simd.mul_add(d, d, sum_sq[v]);
                min[v] = simd.at_most(x, min[v]);
                max[v] = simd.at_least(x, max[v]);
            }
            from = from.wrapping_add(channels);
        }
        let n = pixels as f64;
        for v in 0..V {
            let s = to_array(simd, sum[v]);
            let q = to_array(simd, sum_sq[v]);
            let k = to_array(simd, shift[v]);
            let (low, high) = (to_array(simd, min[v]), to_array(simd, max[v]));
            let first = c + v * S::LANES;
            let lanes = S::LANES.min(channels - first);
            let to = &mut stats.sum[first..first + lanes];
            for i in 0..lanes {
                to[i] += f64::from(s[i]) + n * f64::from(k[i]);
            }
            let to = &mut stats.sum_sq[first..first + lanes];
            for i in 0..lanes {
                let (s, q, k) = (f64::from(s[i]), f64::from(q[i]), f64::from(k[i]));
                to[i] += q + k * (2.0 * s + n * k);
            }
            // The comparisons of the loop forget a NaN, which its sum keeps.
            let to = &mut stats.min[first..first + lanes];
            for i in 0..lanes {
                to[i] = smaller(to[i], if s[i].is_nan() { f32::NAN } else { low[i] });
            }
            let to = &mut stats.max[first..first + lanes];
            for i in 0..lanes {
                to[i] = larger(to[i], if s[i].is_nan() { f32::NAN } else { high[i] });
            }
        }
    }
}

/// The smaller of two numbers; NaN if one is NaN.
#[inline(always)]
pub(super) fn smaller(a: f32, b: f32) -> f32 {
    if b < a || b.is_nan() { b } else { a }
}

/// The larger of two numbers; NaN if one is NaN.
#[inline(always)]
pub(super) fn larger(a: f32, b: f32) -> f32 {
    if b > a || b.is_nan() { b } else { a }
}

#[inline(always)]
fn to_array<S: Simd>(simd: S, x: S::F) -> [f32; MAX_LANES] {
    const { assert!(S::LANES <= MAX_LANES) };
    let mut array = [0.0; MAX_LANES];
    // SAFETY: the array has at least as many elements as a vector.
    unsafe { simd.store(array.as_mut_ptr(), x) };
    array
}

struct Sums<'a, const FQ: bool> {
    activation: &'a Activation<'a>,
    y: &'a [f32],
    grad: &'a [f32],
    pixels: usize,
    to: &'a mut ChannelSums,
}

impl<S: Simd, const FQ: bool> Kernel<S> for Sums<'_, FQ> {
    #[inline(always)]
    fn call(mut self, simd: S) {
        let channels = self.activation.scale.len();
        let mut c = 0;
        while c + 2 * S::LANES <= channels {
            // SAFETY: there are two more vectors of channels.
            unsafe { sums_vectors::<S, FQ, 2, false>(simd, &mut self, c) };
            c += 2 * S::LANES;
        }
        while c + S::LANES <= channels {
            // SAFETY: there is one more vector of channels.
            unsafe { sums_vectors::<S, FQ, 1, false>(simd, &mut self, c) };
            c += S::LANES;
        }
        if c < channels {
            // SAFETY: there is less than a vector of channels, which is masked.
            unsafe { sums_vectors::<S, FQ, 1, true>(simd, &mut self, c) };
        }
    }
}

/// Adds the sums of `V` vectors of channels from `c` on.
///
/// # Safety
/// These channels must exist, or with `MASKED` at least one of the only vector.
#[inline(always)]
unsafe fn sums_vectors<S: Simd, const FQ: bool, const V: usize, const MASKED: bool>(
    simd: S,
    work: &mut Sums<'_, FQ>,
    c: usize,
) {
    let channels = work.activation.scale.len();
    let map = Mapped::<S, FQ>::new(simd, work.activation);
    let mask = simd.mask(channels - c);
    let zero = simd.splat(0.0);
    let (mut sum, mut sum_y) = ([zero; V], [zero; V]);
    let (mut scale, mut shift, mut middle) = ([zero; V], [zero; V], [zero; V]);
    // SAFETY: the caller guarantees that these channels exist; `y` and `grad` have `pixels` pixels;
    // `load` is masked to existing channels.
    unsafe {
        let (mut y, mut grad) = (work.y.as_ptr().add(c), work.grad.as_ptr().add(c));
        for v in 0..V {
            let at = c + v * S::LANES;
            scale[v] = load::<S, MASKED>(simd, work.activation.scale.as_ptr().add(at), mask);
            shift[v] = load::<S, MASKED>(simd, work.activation.shift.as_ptr().add(at), mask);
            middle[v] = load::<S, MASKED>(simd, y.add(v * S::LANES), mask);
        }
        for _ in 0..work.pixels {
            for v in 0..V {
                let x = load::<S, MASKED>(simd, y.add(v * S::LANES), mask);
                let g = load::<S, MASKED>(simd, grad.add(v * S::LANES), mask);
                let g = map.keep(simd, x, scale[v], shift[v], g);
                sum[v] = simd.add(sum[v], g);
                sum_y[v] = simd.mul_add(g, simd.sub(x, middle[v]), sum_y[v]);
            }
            y = y.wrapping_add(channels);
            grad = grad.wrapping_add(channels);
        }
        for v in 0..V {
            let s = to_array(simd, sum[v]);
            let q = to_array(simd, sum_y[v]);
            let k = to_array(simd, middle[v]);
            let first = c + v * S::LANES;
            let lanes = S::LANES.min(channels - first);
            let to = &mut work.to.grad[first..first + lanes];
            for i in 0..lanes {
                to[i] += f64::from(s[i]);
            }
            let to = &mut work.to.grad_y[first..first + lanes];
            for i in 0..lanes {
                to[i] += f64::from(q[i]) + f64::from(k[i]) * f64::from(s[i]);
            }
        }
    }
}

/// Loads a vector, or with `MASKED` the lanes of the mask.
///
/// # Safety
/// The loaded lanes must be valid for reads.
#[inline(always)]
unsafe fn load<S: Simd, const MASKED: bool>(simd: S, from: *const f32, mask: S::M) -> S::F {
    // SAFETY: the caller guarantees that the lanes are valid.
    unsafe { if MASKED { simd.load_masked(from, mask) } else { simd.load(from) } }
}
