//! Linear layer with int8 weights whose input is quantized when it runs.

#![expect(
    clippy::inline_always,
    reason = "without inlining, the code would not be compiled for the caller's target features"
)]

use super::QParams8;
use super::elementwise::formula::Target;
use super::gemm::Gemm;
use super::requantize::Requantize;
use super::vectorize::{Loop, vectorize};
use crate::f32::Clamp;
use crate::geometry::Conv2dGeometry;
use crate::isa::Isa;
use crate::lengths::check_len;
use crate::pool::{Pool, SharedMut};
use crate::reference;

/// Number of f32 that a row has in the scratch memory besides its integers: scale and zero point.
const QPARAMS: usize = 2;

/// A dynamically quantized linear layer, as `torch.ao.nn.quantized.dynamic.Linear`, with weights packed for
/// one instruction set.
///
/// It computes what [`reference::DynamicLinear`] defines.
///
/// ```
/// use posterize_kernels::f32::Clamp;
/// use posterize_kernels::int8::DynamicLinear;
/// use posterize_kernels::{Isa, Pool, reference};
///
/// let linear = reference::DynamicLinear {
///     in_features: 2,
///     out_features: 1,
///     weight: &[1, 2],
///     scale: &[0.5],
///     bias: Some(&[10.0]),
///     clamp: Clamp::RELU,
/// };
/// let packed = DynamicLinear::new(Isa::detect(), &linear);
/// let (mut output, mut scratch) = ([0.0; 2], vec![0.0; packed.scratch_len(2)]);
/// packed.run(&Pool::new(1), 2, &[55.0, -200.0, 255.0, 0.0], &mut output, &mut scratch);
/// // Each row has its own scale, here 1. The first result, −162.5, is below the clamp.
/// assert_eq!(output, [0.0, 0.5 * 255.0 + 10.0]);
/// ```
#[derive(Debug)]
pub struct DynamicLinear {
    isa: Isa,
    in_features: usize,
    out_features: usize,
    gemm: Gemm,
    /// The sum of each output's weights, by which the input's zero point is multiplied.
    sums: Vec<i32>,
    scale: Vec<f32>,
    bias: Vec<f32>,
    clamp: Clamp,
}

impl DynamicLinear {
    /// Packs a layer.
    ///
    /// # Panics
    /// If [`reference::DynamicLinear::defect`] finds something wrong; call it first for numbers that come
    /// from outside the program.
    pub fn new(isa: Isa, linear: &reference::DynamicLinear<'_>) -> Self {
        if let Some(defect) = linear.defect() {
            panic!("invalid dynamic linear layer: {defect}");
        }
        let &reference::DynamicLinear { in_features, out_features, weight, scale, bias, clamp } =
            linear;
        // Only accumulators are taken from the product, so that any multiplier will do.
        let multiplier = vec![f32::MIN_POSITIVE; out_features];
        let requantize = Requantize { multiplier, zero_point: 0, min: 0, max: u8::MAX };
        let product = reference::Conv2d {
            geometry: Conv2dGeometry::pointwise(in_features, out_features),
            weight,
            bias: &vec![0; out_features],
            input_zero_point: 0,
            requantize: &requantize,
        };
        let sum = |weight: &[i8]| weight.iter().map(|&w| i32::from(w)).sum();
        Self {
            isa,
            in_features,
            out_features,
            gemm: Gemm::new(isa, &product),
            sums: weight.chunks_exact(in_features).map(sum).collect(),
            scale: scale.to_vec(),
            bias: bias.map_or_else(|| vec![0.0; out_features], <[f32]>::to_vec),
            clamp,
        }
    }

    /// Returns the number of elements of scratch memory that [`Self::run`] needs.
    pub fn scratch_len(&self, batch: usize) -> usize {
        let integers = batch.saturating_mul(self.in_features).div_ceil(size_of::<f32>());
        integers.saturating_add(batch.saturating_mul(QPARAMS))
    }

    /// Multiplies `input`, `[N, in_features]` with N = `batch`, into `output`, `[N, out_features]`.
    ///
    /// Does not allocate memory. The result of a row depends neither on the other rows nor on the number of
    /// threads.
    ///
    /// # Panics
    /// If the length of a slice differs from its shape, or `scratch` has fewer than
    /// [`Self::scratch_len`] elements.
    pub fn run(
        &self,
        pool: &Pool,
        batch: usize,
        input: &[f32],
        output: &mut [f32],
        scratch: &mut [f32],
    ) {
        let &Self { isa, in_features, out_features, .. } = self;
        check_len("the input", input.len(), &[batch, in_features]);
        check_len("the output", output.len(), &[batch, out_features]);
        let needed = self.scratch_len(batch);
        assert!(scratch.len() >= needed, "scratch has {} elements of {needed}", scratch.len());
        if batch == 0 {
            return;
        }
        let (qparams, integers) = scratch.split_at_mut(batch * QPARAMS);
        // SAFETY: every bit pattern is a valid u8.
        let (_, integers, _) = unsafe { integers.align_to_mut::<u8>() };
        let integers = &mut integers[..batch * in_features];
        let (rows, all_qparams) = (SharedMut::new(integers), SharedMut::new(qparams));
        pool.run(batch, &|row, _| {
            // SAFETY: each task has a row of its own.
            let (output, qparams) = unsafe {
                let integers = rows.slice(row * in_features..(row + 1) * in_features);
                (integers, all_qparams.slice(row * QPARAMS..(row + 1) * QPARAMS))
            };
            let input = &input[row * in_features..][..in_features];
            vectorize(isa, QuantizeRow { input, output, qparams });
        });
        // SAFETY: f32 and i32 have the same size and alignment, and every bit pattern is valid for both.
        let (_, accumulators, _) = unsafe { output.align_to_mut::<i32>() };
        self.gemm.accumulate(pool, batch, integers, accumulators);
        let (output, qparams) = (SharedMut::new(output), &*qparams);
        pool.run(batch, &|row, _| {
            // SAFETY: each task has a row of its own.
            let output = unsafe { output.slice(row * out_features..(row + 1) * out_features) };
            let &[scale, zero_point] = &qparams[row * QPARAMS..][..QPARAMS] else { return };
            let zero_point = zero_point as i32;
            vectorize(isa, DequantizeRow { linear: self, scale, zero_point, output });
        });
    }
}

/// Quantizes a row with its own scale and zero point, which are written to `qparams`. If a value is not
/// finite, the scale is NaN and the integers are 0.
struct QuantizeRow<'a> {
    input: &'a [f32],
    output: &'a mut [u8],
    qparams: &'a mut [f32],
}

impl Loop for QuantizeRow<'_> {
    #[inline(always)]
    fn run(self) {
        let (min, max) = finite_range(self.input).unwrap_or((f32::NAN, f32::NAN));
        if min.is_nan() {
            self.output.fill(0);
            self.qparams.copy_from_slice(&[f32::NAN, 0.0]);
            return;
        }
        let QParams8 { scale, zero_point } = reference::qparams_of_range(min, max);
        self.qparams.copy_from_slice(&[scale, f32::from(zero_point)]);
        let (inverse, target) = (1.0 / scale, Target::new(zero_point, 0, u8::MAX));
        for (q, &x) in self.output.iter_mut().zip(self.input) {
            *q = target.round(x * inverse);
        }
    }
}

/// Returns the smallest and the largest value of a row and 0; `None` if a value is not finite.
#[inline(always)]
fn finite_range(row: &[f32]) -> Option<(f32, f32)> {
    const LANES: usize = 16;
    // Each lane for itself, so that the compiler vectorizes the loop.
    let (mut min, mut max, mut bits) = ([0.0f32; LANES], [0.0f32; LANES], [0u32; LANES]);
    let mut add = |lane: usize, x: f32| {
        min[lane] = if x < min[lane] { x } else { min[lane] };
        max[lane] = if x > max[lane] { x } else { max[lane] };
        bits[lane] = bits[lane].max(x.abs().to_bits());
    };
    let (chunks, rest) = row.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, &x) in chunk.iter().enumerate() {
            add(lane, x);
        }
    }
    for (lane, &x) in rest.iter().enumerate() {
        add(lane, x);
    }
    let largest = bits.into_iter().fold(0, u32::max);
    let least = min.into_iter().fold(0.0, |a, b| if b < a { b } else { a });
    let most = max.into_iter().fold(0.0, |a, b| if b > a { b } else { a });
    (largest < f32::INFINITY.to_bits()).then_some((least, most))
}

/// Makes outputs of accumulators in place, which have the bits of i32.
struct DequantizeRow<'a> {
    linear: &'a DynamicLinear,
    scale: f32,
    zero_point: i32,
    output: &'a mut [f32],
}

impl Loop for DequantizeRow<'_> {
    #[inline(always)]
    fn run(self) {
        let DynamicLinear { sums, scale, bias, clamp, .. } = self.linear;
        let constants = sums.iter().zip(scale).zip(bias);
        for (y, ((&sum, &scale), &bias)) in self.output.iter_mut().zip(constants) {
            // The sum wraps, because the zero point may be what brings it back into range.
            let sum = (y.to_bits() as i32).wrapping_sub(sum.wrapping_mul(self.zero_point));
            let x = (sum as f32).mul_add(self.scale * scale, bias);
            // Comparisons that are false for a NaN, which stays.
            let x = if x < clamp.min { clamp.min } else { x };
            *y = if x > clamp.max { clamp.max } else { x };
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::int8::testing::bytes;

    /// Runs the layer on every instruction set and compares the bits with the reference.
    fn check(linear: &reference::DynamicLinear<'_>, batch: usize, threads: usize, input: &[f32]) {
        assert_eq!(linear.defect(), None);
        let expected: Vec<u32> = linear.run(batch, input).into_iter().map(canonical).collect();
        let pool = Pool::new(threads);
        for isa in Isa::supported() {
            let packed = DynamicLinear::new(isa, linear);
            // One element more on both sides, which must not change.
            let mut output = vec![7.25; expected.len() + 2];
            let inside = &mut output[1..=expected.len()];
            let mut scratch = vec![f32::NAN; packed.scratch_len(batch)];
            packed.run(&pool, batch, input, inside, &mut scratch);
            let found: Vec<u32> = inside.iter().copied().map(canonical).collect();
            assert_eq!(found, expected, "{isa}");
            assert_eq!([output[0], output[expected.len() + 1]], [7.25; 2], "{isa}");
        }
    }

    /// The bits of a value; of a NaN, whose payload is not defined, always the same.
    fn canonical(x: f32) -> u32 {
        if x.is_nan() { f32::NAN.to_bits() } else { x.to_bits() }
    }

    fn weights(count: usize, seed: u64) -> Vec<i8> {
        bytes(count, seed).iter().map(|&b| (b ^ 0x80) as i8).collect()
    }

    fn floats(count: usize, seed: u64) -> Vec<f32> {
        let four = bytes(4 * count, seed);
        let value = |b: &[u8]| (f32::from(b[0]) - f32::from(b[1])) * (f32::from(b[2]) + 0.3) / 97.0;
        four.chunks_exact(4).map(value).collect()
    }

    fn clamp() -> impl Strategy<Value = Clamp> {
        prop_oneof![Just(Clamp::NONE), Just(Clamp::RELU), Just(Clamp::RELU6)]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(192))]

        #[test]
        fn layers_equal_the_reference(
            (batch, in_features, out_features) in (0..40usize, 1..200usize, 1..200usize),
            clamp in clamp(),
            (has_bias, exponent) in (any::<bool>(), -40i32..30),
            threads in 1..4usize,
            special in prop::option::of((any::<prop::sample::Index>(), prop_oneof![
                Just(f32::NAN), Just(f32::INFINITY), Just(f32::NEG_INFINITY), Just(f32::MAX),
                Just(f32::MIN), Just(1e-45), Just(-0.0),
            ])),
            seed: u64,
        ) {
            let weight = weights(out_features * in_features, seed);
            let scale: Vec<f32> =
                floats(out_features, seed ^ 1).iter().map(|x| x.abs() * 1e-3 + 1e-4).collect();
            let bias = floats(out_features, seed ^ 2);
            let linear = reference::DynamicLinear {
                in_features, out_features, weight: &weight, scale: &scale,
                bias: has_bias.then_some(&bias), clamp,
            };
            let mut input = floats(batch * in_features, seed ^ 3);
            for x in &mut input {
                *x *= 2f32.powi(exponent);
            }
            if let Some((at, value)) = special && !input.is_empty() {
                let at = at.index(input.len());
                input[at] = value;
            }
            check(&linear, batch, threads, &input);
        }
    }

    #[test]
    fn wide_and_extreme_layers_equal_the_reference() {
        // Products as in a classifier, weights that are read as i8 by AVX2, and rows beyond its buffer.
        for (in_features, out_features) in [(1280, 1000), (1039, 521), (40_000, 18), (1, 1)] {
            let weight = weights(in_features * out_features, 5);
            let scale = vec![0.01; out_features];
            let linear = reference::DynamicLinear {
                in_features,
                out_features,
                weight: &weight,
                scale: &scale,
                bias: None,
                clamp: Clamp::NONE,
            };
            for batch in [1, 2, 7] {
                check(&linear, batch, 2, &floats(batch * in_features, 6));
            }
        }
        for (weight, value) in [(-128, 1.0), (127, -1.0), (127, 1.0)] {
            let weight = vec![weight; 1280 * 20];
            let linear = reference::DynamicLinear {
                in_features: 1280,
                out_features: 20,
                weight: &weight,
                scale: &[1.0; 20],
                bias: None,
                clamp: Clamp::NONE,
            };
            check(&linear, 3, 1, &[value; 3 * 1280]);
        }
    }

    #[test]
    fn a_row_does_not_depend_on_the_others() {
        let weight = weights(33 * 65, 8);
        let linear = reference::DynamicLinear {
            in_features: 65,
            out_features: 33,
            weight: &weight,
            scale: &[0.02; 33],
            bias: None,
            clamp: Clamp::NONE,
        };
        let packed = DynamicLinear::new(Isa::detect(), &linear);
        let mut input = floats(4 * 65, 9);
        input[65..130].iter_mut().for_each(|x| *x *= 1e6);
        input[140] = f32::NAN;
        let run = |batch: usize, input: &[f32]| {
            let (mut output, mut scratch) =
                (vec![0.0; batch * 33], vec![0.0; packed.scratch_len(batch)]);
            packed.run(&Pool::new(2), batch, input, &mut output, &mut scratch);
            output
        };
        let together = run(4, &input);
        for (row, input) in input.chunks_exact(65).enumerate() {
            let (alone, found) = (run(1, input), &together[row * 33..][..33]);
            if row == 2 {
                assert!(found.iter().all(|y| y.is_nan()));
            } else {
                assert_eq!(alone, found, "row {row}");
            }
        }
    }

    #[test]
    fn defects_are_named() {
        let good = reference::DynamicLinear {
            in_features: 2,
            out_features: 2,
            weight: &[1, 2, 3, 4],
            scale: &[1.0, 2.0],
            bias: None,
            clamp: Clamp::NONE,
        };
        assert_eq!(good.defect(), None);
        let defect = |linear: reference::DynamicLinear<'_>| linear.defect().unwrap();
        let found = defect(reference::DynamicLinear { in_features: 0, ..good });
        assert_eq!(found, "in_features is zero; it must be at least 1");
        let found = defect(reference::DynamicLinear { weight: &[1], ..good });
        assert_eq!(found, "1 weights for 2 outputs of 2 inputs");
        let found = defect(reference::DynamicLinear { scale: &[1.0], ..good });
        assert_eq!(found, "1 scales for 2 outputs");
        let found = defect(reference::DynamicLinear { bias: Some(&[1.0]), ..good });
        assert_eq!(found, "1 biases for 2 outputs");
        let found = defect(reference::DynamicLinear { scale: &[1.0, 0.0], ..good });
        assert_eq!(found, "scale 0 of output 1 is not finite and positive");
        let found = defect(reference::DynamicLinear {
            in_features: 70_000,
            out_features: 1,
            weight: &vec![127; 70_000],
            scale: &[1.0],
            ..good
        });
        assert_eq!(found, "accumulators of output 0 may reach 2266950000, beyond 32 bits");
    }
}
