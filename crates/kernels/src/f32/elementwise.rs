//! f32 operators of each element or each channel of one input.

use super::Clamp;
use super::simd::{Bounds, Kernel, Simd};
use super::split::part;
use crate::Isa;
use crate::arch::with_simd;
use crate::lengths::{check_len, check_same_len};
use crate::pool::{Pool, SharedMut};

/// Elements of one task.
const TASK: usize = 16 * 1024;

/// Clamps each element: a ReLU or ReLU6 that is not fused into another layer.
///
/// # Panics
/// If the lengths differ.
pub fn clamp(isa: Isa, pool: &Pool, input: &[f32], clamp: Clamp, output: &mut [f32]) {
    check_same_len("the output", output.len(), "the input", input.len());
    let output = SharedMut::new(output);
    let parts = parts(pool, input.len());
    pool.run(parts, &|task, _| {
        let range = part(input.len(), parts, task);
        // SAFETY: different tasks have ranges that do not overlap.
        let output = unsafe { output.slice(range.clone()) };
        let map = Copied(&input[range]);
        with_simd!(isa, simd => simd.run(Fill { map, clamp, output }));
    });
}

/// Computes `input · scale + shift`, clamped, with a scale and a shift for each channel: a batch
/// normalization in eval mode that is not fused into another layer.
///
/// `input` and `output` are `[…, channels]`, `scale` and `shift` are `[channels]`.
///
/// # Panics
/// If `channels` is 0, or the length of a slice differs from its shape.
///
/// ```
/// use posterize_kernels::f32::{Clamp, scale_shift};
/// use posterize_kernels::{Isa, Pool};
///
/// let (isa, pool) = (Isa::detect(), Pool::new(1));
/// let (scale, shift) = ([2.0, 10.0], [0.0, -5.0]);
/// let mut output = [0.0; 4];
/// scale_shift(isa, &pool, 2, &scale, &shift, Clamp::RELU, &[1.0, 2.0, 3.0, 0.0], &mut output);
/// assert_eq!(output, [2.0, 15.0, 6.0, 0.0]);
/// ```
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
    assert!(channels > 0, "channels is 0; it must be at least 1");
    check_len("the scale", scale.len(), &[channels]);
    check_len("the shift", shift.len(), &[channels]);
    check_same_len("the output", output.len(), "the input", input.len());
    assert_eq!(
        input.len() % channels,
        0,
        "the input has {} elements, not a multiple of {channels} channels",
        input.len()
    );
    let pixels = input.len() / channels;
    let output = SharedMut::new(output);
    let parts = parts(pool, input.len()).min(pixels.max(1));
    pool.run(parts, &|task, _| {
        for pixel in part(pixels, parts, task) {
            let range = pixel * channels..(pixel + 1) * channels;
            // SAFETY: different tasks have different pixels.
            let output = unsafe { output.slice(range.clone()) };
            let map = ScaleShift { input: &input[range], scale, shift };
            with_simd!(isa, simd => simd.run(Fill { map, clamp, output }));
        }
    });
}

fn parts(pool: &Pool, len: usize) -> usize {
    if pool.threads() == 1 { 1 } else { len.div_ceil(TASK).max(1) }
}

/// A function of the elements at one position of some inputs.
trait Map: Copy {
    /// Returns the results for the elements at `at`.
    fn apply<S: Simd>(self, simd: S, at: At) -> S::F;
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

/// The position of a whole vector, or of the remaining elements.
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
            // SAFETY: the slice has as many elements as a vector.
            unsafe { simd.store(to.as_mut_ptr(), bounds.apply(simd, y)) };
            element += S::LANES;
        }
        let rest = &mut output[whole..];
        if !rest.is_empty() {
            let y = self.map.apply(simd, At { element, lanes: rest.len() });
            let mask = simd.mask(rest.len());
            // SAFETY: as many lanes are written as there are elements left.
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
                fn values_are_clamped(
            len in prop_oneof![0_usize..100, 40_000_usize..50_000], bounds in clamps(),
            threads in 1_usize..5, seed in 0_u64..99,
        ) {
            let pool = Pool::new(threads);
            let input = numbers(len, seed);
            let expected: Vec<u32> =
                input.iter().map(|&x| bounded(bounds, x).to_bits()).collect();
            for isa in Isa::supported() {
                let mut output = vec![f32::NAN; len];
                clamp(isa, &pool, &input, bounds, &mut output);
                prop_assert_eq!(bits(&output), &expected[..]);
            }
        }

        #[test]
                fn scale_shift_is_close_to_its_formula(
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
