//! Operators that look at one position at a time.

use super::Clamp;
use super::simd::{Bounds, Kernel, Simd, with_simd};
use super::split::part;
use crate::Isa;
use crate::pool::{Pool, SharedMut};

/// Elements that are worth a task.
const TASK: usize = 16 * 1024;

/// `a + b`, clamped.
///
/// # Panics
/// When the lengths differ.
pub fn add(isa: Isa, pool: &Pool, a: &[f32], b: &[f32], clamp: Clamp, output: &mut [f32]) {
    binary::<Add>(isa, pool, a, b, clamp, output);
}

/// `a * b`, clamped.
///
/// # Panics
/// When the lengths differ.
pub fn mul(isa: Isa, pool: &Pool, a: &[f32], b: &[f32], clamp: Clamp, output: &mut [f32]) {
    binary::<Mul>(isa, pool, a, b, clamp, output);
}

/// `input`, clamped: ReLU and ReLU6 where they could not be fused.
///
/// # Panics
/// When the lengths differ.
pub fn clamp(isa: Isa, pool: &Pool, input: &[f32], clamp: Clamp, output: &mut [f32]) {
    assert_eq!(input.len(), output.len(), "elements of the output");
    let output = SharedMut::new(output);
    let parts = parts(pool, input.len());
    pool.run(parts, &|task, _| {
        let range = part(input.len(), parts, task);
        // SAFETY: each task has a range of its own.
        let output = unsafe { output.slice(range.clone()) };
        with_simd!(isa, simd => simd.run(ClampKernel { input: &input[range], clamp, output }));
    });
}

/// `input * scale + shift` with a scale and a shift for each of `channels` channels, clamped: a
/// batch norm in eval mode that was not fused.
///
/// # Panics
/// When `scale` or `shift` does not have `channels` elements, or `input` or `output` no whole
/// number of pixels or different ones.
pub fn scale_shift(
    isa: Isa,
    pool: &Pool,
    channels: usize,
    scale: &[f32],
    shift: &[f32],
    clamp: Clamp,
    input: &[f32],
    output: &mut [f32],
) {
    assert!(channels > 0, "no channels");
    assert_eq!((scale.len(), shift.len()), (channels, channels), "elements of scale and shift");
    assert_eq!(input.len(), output.len(), "elements of the output");
    assert_eq!(input.len() % channels, 0, "elements of the last pixel");
    let pixels = input.len() / channels;
    let output = SharedMut::new(output);
    let parts = parts(pool, input.len()).min(pixels.max(1));
    pool.run(parts, &|task, _| {
        let range = part(pixels, parts, task);
        let range = range.start * channels..range.end * channels;
        // SAFETY: each task has pixels of its own.
        let output = unsafe { output.slice(range.clone()) };
        let input = &input[range];
        with_simd!(isa, simd => simd.run(ScaleShift { scale, shift, input, clamp, output }));
    });
}

fn parts(pool: &Pool, len: usize) -> usize {
    if pool.threads() == 1 { 1 } else { len.div_ceil(TASK).max(1) }
}

trait Binary {
    fn apply<S: Simd>(simd: S, a: S::F, b: S::F) -> S::F;
}

struct Add;

impl Binary for Add {
    #[inline(always)]
    fn apply<S: Simd>(simd: S, a: S::F, b: S::F) -> S::F {
        simd.add(a, b)
    }
}

struct Mul;

impl Binary for Mul {
    #[inline(always)]
    fn apply<S: Simd>(simd: S, a: S::F, b: S::F) -> S::F {
        simd.mul(a, b)
    }
}

fn binary<B: Binary>(
    isa: Isa,
    pool: &Pool,
    a: &[f32],
    b: &[f32],
    clamp: Clamp,
    output: &mut [f32],
) {
    assert_eq!(a.len(), b.len(), "elements of the second input");
    assert_eq!(a.len(), output.len(), "elements of the output");
    let output = SharedMut::new(output);
    let parts = parts(pool, a.len());
    pool.run(parts, &|task, _| {
        let range = part(a.len(), parts, task);
        // SAFETY: each task has a range of its own.
        let output = unsafe { output.slice(range.clone()) };
        let (a, b) = (&a[range.clone()], &b[range]);
        let op = std::marker::PhantomData::<B>;
        with_simd!(isa, simd => simd.run(BinaryKernel { a, b, clamp, output, op }));
    });
}

struct BinaryKernel<'a, B> {
    a: &'a [f32],
    b: &'a [f32],
    clamp: Clamp,
    output: &'a mut [f32],
    op: std::marker::PhantomData<B>,
}

impl<S: Simd, B: Binary> Kernel<S> for BinaryKernel<'_, B> {
    #[inline(always)]
    fn call(self, simd: S) {
        let bounds = Bounds::new(simd, self.clamp);
        let (a, b) = (self.a, self.b);
        map(simd, self.output, |simd, i, load| {
            bounds.apply(simd, B::apply(simd, load.at(simd, a, i), load.at(simd, b, i)))
        });
    }
}

struct ClampKernel<'a> {
    input: &'a [f32],
    clamp: Clamp,
    output: &'a mut [f32],
}

impl<S: Simd> Kernel<S> for ClampKernel<'_> {
    #[inline(always)]
    fn call(self, simd: S) {
        let bounds = Bounds::new(simd, self.clamp);
        let input = self.input;
        map(simd, self.output, |simd, i, load| bounds.apply(simd, load.at(simd, input, i)));
    }
}

struct ScaleShift<'a> {
    scale: &'a [f32],
    shift: &'a [f32],
    input: &'a [f32],
    clamp: Clamp,
    output: &'a mut [f32],
}

impl<S: Simd> Kernel<S> for ScaleShift<'_> {
    #[inline(always)]
    fn call(self, simd: S) {
        let bounds = Bounds::new(simd, self.clamp);
        let (scale, shift) = (self.scale, self.shift);
        let channels = scale.len();
        let pixels = self.input.chunks_exact(channels).zip(self.output.chunks_exact_mut(channels));
        for (input, output) in pixels {
            map(simd, output, |simd, i, load| {
                let (x, scale, shift) =
                    (load.at(simd, input, i), load.at(simd, scale, i), load.at(simd, shift, i));
                bounds.apply(simd, simd.mul_add(x, scale, shift))
            });
        }
    }
}

/// How many lanes to load.
#[derive(Clone, Copy)]
struct Load(usize);

impl Load {
    /// The lanes of `from` from element `i` on.
    #[inline(always)]
    fn at<S: Simd>(self, simd: S, from: &[f32], i: usize) -> S::F {
        let from = &from[i..i + self.0];
        // SAFETY: the slice has as many elements as lanes are read.
        unsafe {
            if self.0 == S::LANES {
                simd.load(from.as_ptr())
            } else {
                simd.load_masked(from.as_ptr(), simd.mask(self.0))
            }
        }
    }
}

/// Fills `output` vector by vector with `f(simd, first element, lanes)`.
#[inline(always)]
fn map<S: Simd>(simd: S, output: &mut [f32], f: impl Fn(S, usize, Load) -> S::F) {
    let whole = output.len() - output.len() % S::LANES;
    let mut i = 0;
    while i < whole {
        let y = f(simd, i, Load(S::LANES));
        // SAFETY: a whole vector is left.
        unsafe { simd.store(output[i..i + S::LANES].as_mut_ptr(), y) };
        i += S::LANES;
    }
    let rest = &mut output[whole..];
    if !rest.is_empty() {
        let y = f(simd, whole, Load(rest.len()));
        // SAFETY: as many lanes as are left.
        unsafe { simd.store_masked(rest.as_mut_ptr(), y, simd.mask(rest.len())) };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::f32::testing::{bits, clamps, numbers};

    fn bounded(clamp: Clamp, x: f32) -> f32 {
        x.max(clamp.min).min(clamp.max)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn sums_products_and_bounds(
            len in prop_oneof![0_usize..100, 40_000_usize..50_000], clamp in clamps(),
            threads in 1_usize..5, seed in 0_u64..99,
        ) {
            let pool = Pool::new(threads);
            let (a, b) = (numbers(len, seed), numbers(len, seed + 1));
            let expect = |f: &dyn Fn(f32, f32) -> f32| -> Vec<u32> {
                a.iter().zip(&b).map(|(&a, &b)| bounded(clamp, f(a, b)).to_bits()).collect()
            };
            for isa in Isa::supported() {
                let mut output = vec![f32::NAN; len];
                add(isa, &pool, &a, &b, clamp, &mut output);
                prop_assert_eq!(bits(&output), expect(&|a, b| a + b));
                mul(isa, &pool, &a, &b, clamp, &mut output);
                prop_assert_eq!(bits(&output), expect(&|a, b| a * b));
                super::clamp(isa, &pool, &a, clamp, &mut output);
                prop_assert_eq!(bits(&output), expect(&|a, _| a));
            }
        }

        #[test]
        fn scales_and_shifts(
            channels in 1_usize..70, pixels in prop_oneof![0_usize..20, Just(700)],
            clamp in clamps(), threads in 1_usize..5, seed in 0_u64..99,
        ) {
            let pool = Pool::new(threads);
            let (scale, shift) = (numbers(channels, seed), numbers(channels, seed + 1));
            let input = numbers(channels * pixels, seed + 2);
            for isa in Isa::supported() {
                let mut output = vec![f32::NAN; input.len()];
                scale_shift(isa, &pool, channels, &scale, &shift, clamp, &input, &mut output);
                for (i, (&x, &y)) in input.iter().zip(&output).enumerate() {
                    let c = i % channels;
                    let expected = bounded(clamp, x * scale[c] + shift[c]);
                    prop_assert!((expected - y).abs() <= 3e-7, "{i}: {expected} {y}");
                }
            }
        }
    }
}
