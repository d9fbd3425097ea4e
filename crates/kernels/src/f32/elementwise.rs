//! Operators that look at one position at a time.

use std::ops::Range;

use super::Clamp;
use super::simd::{Bounds, Kernel, Simd};
use super::split::part;
use crate::Isa;
use crate::arch::with_simd;
use crate::pool::{Pool, SharedMut};

/// Elements that are worth a task.
const TASK: usize = 16 * 1024;

/// `a + b`, clamped.
///
/// # Panics
/// When the lengths differ.
pub fn add(isa: Isa, pool: &Pool, a: &[f32], b: &[f32], clamp: Clamp, output: &mut [f32]) {
    assert_eq!(a.len(), b.len(), "elements of the second input");
    fill(isa, pool, a.len(), clamp, output, |range| Add(&a[range.clone()], &b[range]));
}

/// `a * b`, clamped.
///
/// # Panics
/// When the lengths differ.
pub fn mul(isa: Isa, pool: &Pool, a: &[f32], b: &[f32], clamp: Clamp, output: &mut [f32]) {
    assert_eq!(a.len(), b.len(), "elements of the second input");
    fill(isa, pool, a.len(), clamp, output, |range| Mul(&a[range.clone()], &b[range]));
}

/// `input`, clamped: ReLU and ReLU6 where they could not be fused.
///
/// # Panics
/// When the lengths differ.
pub fn clamp(isa: Isa, pool: &Pool, input: &[f32], clamp: Clamp, output: &mut [f32]) {
    fill(isa, pool, input.len(), clamp, output, |range| Copied(&input[range]));
}

/// Fills `output` part by part with what `map` makes of the elements of a part.
fn fill<M: Map>(
    isa: Isa,
    pool: &Pool,
    len: usize,
    clamp: Clamp,
    output: &mut [f32],
    map: impl Fn(Range<usize>) -> M + Sync,
) {
    assert_eq!(len, output.len(), "elements of the output");
    let output = SharedMut::new(output);
    let parts = parts(pool, len);
    pool.run(parts, &|task, _| {
        let range = part(len, parts, task);
        // SAFETY: each task has a range of its own.
        let output = unsafe { output.slice(range.clone()) };
        let map = map(range);
        with_simd!(isa, simd => simd.run(Fill { map, clamp, output }));
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
        for pixel in part(pixels, parts, task) {
            let range = pixel * channels..(pixel + 1) * channels;
            // SAFETY: each task has pixels of its own.
            let output = unsafe { output.slice(range.clone()) };
            let map = ScaleShift { input: &input[range], scale, shift };
            with_simd!(isa, simd => simd.run(Fill { map, clamp, output }));
        }
    });
}

fn parts(pool: &Pool, len: usize) -> usize {
    if pool.threads() == 1 { 1 } else { len.div_ceil(TASK).max(1) }
}

/// What to compute for a vector.
trait Map: Copy {
    /// The result for the elements at `at`.
    fn apply<S: Simd>(self, simd: S, at: At) -> S::F;
}

#[derive(Clone, Copy)]
struct Add<'a>(&'a [f32], &'a [f32]);

impl Map for Add<'_> {
    #[inline(always)]
    fn apply<S: Simd>(self, simd: S, at: At) -> S::F {
        simd.add(at.load(simd, self.0), at.load(simd, self.1))
    }
}

#[derive(Clone, Copy)]
struct Mul<'a>(&'a [f32], &'a [f32]);

impl Map for Mul<'_> {
    #[inline(always)]
    fn apply<S: Simd>(self, simd: S, at: At) -> S::F {
        simd.mul(at.load(simd, self.0), at.load(simd, self.1))
    }
}

#[derive(Clone, Copy)]
struct Copied<'a>(&'a [f32]);

impl Map for Copied<'_> {
    #[inline(always)]
    fn apply<S: Simd>(self, simd: S, at: At) -> S::F {
        at.load(simd, self.0)
    }
}

#[derive(Clone, Copy)]
struct ScaleShift<'a> {
    input: &'a [f32],
    scale: &'a [f32],
    shift: &'a [f32],
}

impl Map for ScaleShift<'_> {
    #[inline(always)]
    fn apply<S: Simd>(self, simd: S, at: At) -> S::F {
        let (scale, shift) = (at.load(simd, self.scale), at.load(simd, self.shift));
        simd.mul_add(at.load(simd, self.input), scale, shift)
    }
}

/// A whole vector, or the rest.
#[derive(Clone, Copy)]
struct At {
    element: usize,
    lanes: usize,
}

impl At {
    #[inline(always)]
    fn load<S: Simd>(self, simd: S, from: &[f32]) -> S::F {
        let from = &from[self.element..self.element + self.lanes];
        // SAFETY: the slice has as many elements as lanes are read.
        unsafe {
            if self.lanes == S::LANES {
                simd.load(from.as_ptr())
            } else {
                simd.load_masked(from.as_ptr(), simd.mask(self.lanes))
            }
        }
    }
}

/// Fills `output` with the clamped results of `map`.
struct Fill<'a, M> {
    map: M,
    clamp: Clamp,
    output: &'a mut [f32],
}

impl<S: Simd, M: Map> Kernel<S> for Fill<'_, M> {
    #[inline(always)]
    fn call(self, simd: S) {
        let bounds = Bounds::new(simd, self.clamp);
        let output = self.output;
        let whole = output.len() - output.len() % S::LANES;
        let mut element = 0;
        while element < whole {
            let y = self.map.apply(simd, At { element, lanes: S::LANES });
            let to = &mut output[element..element + S::LANES];
            // SAFETY: the slice is a vector long.
            unsafe { simd.store(to.as_mut_ptr(), bounds.apply(simd, y)) };
            element += S::LANES;
        }
        let rest = &mut output[whole..];
        if !rest.is_empty() {
            let y = self.map.apply(simd, At { element, lanes: rest.len() });
            let mask = simd.mask(rest.len());
            // SAFETY: as many lanes as are left.
            unsafe { simd.store_masked(rest.as_mut_ptr(), bounds.apply(simd, y), mask) };
        }
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
