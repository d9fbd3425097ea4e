//! Conversion between f32 and u8, and between two quantizations of u8.

use super::for_each_chunk;
use super::formula::Target;
use crate::int8::QParams8;
use crate::int8::vectorize::{Loop, vectorize};
use crate::isa::Isa;
use crate::lengths::check_same_len;
use crate::pool::{Pool, SharedMut};

/// Quantizes values as `torch.quantize_per_tensor`: `q = clamp(round_half_even(x · (1 / scale)) +
/// zero_point, qmin, qmax)`, with the f32 inverse of the scale.
///
/// Values outside the range saturate, infinities too; a NaN becomes `qmax`. (PyTorch does the same
/// up to `|x / scale| = 2^31 − 256`, beyond which its integers wrap.)
///
/// # Panics
/// If the lengths differ, `qmin > qmax`, or the scale is not positive and finite.
///
/// ```
/// use posterize_kernels::int8::{QParams8, quantize};
/// use posterize_kernels::{Isa, Pool};
///
/// let to = QParams8 { scale: 0.5, zero_point: 10 };
/// let mut q = [0; 4];
/// quantize(Isa::detect(), &Pool::new(1), to, 0, 255, &[0.0, 0.75, -3.0, 1e9], &mut q);
/// assert_eq!(q, [10, 12, 4, 255]); // 1.5 rounds to the even 2
/// ```
pub fn quantize(
    isa: Isa,
    pool: &Pool,
    to: QParams8,
    qmin: u8,
    qmax: u8,
    input: &[f32],
    output: &mut [u8],
) {
    to.assert_valid();
    check_same_len("the output", output.len(), "the input", input.len());
    let target = Target::new(to.zero_point, qmin, qmax);
    let inverse = 1.0 / to.scale;
    let output = SharedMut::new(output);
    for_each_chunk(pool, input.len(), |range| {
        // SAFETY: different chunks have ranges that do not overlap.
        let output = unsafe { output.slice(range.clone()) };
        vectorize(isa, Quantize { inverse, target, input: &input[range], output });
    });
}

struct Quantize<'a> {
    inverse: f32,
    target: Target,
    input: &'a [f32],
    output: &'a mut [u8],
}

impl Loop for Quantize<'_> {
    #[inline(always)]
    fn run(self) {
        for (q, &x) in self.output.iter_mut().zip(self.input) {
            *q = self.target.round(x * self.inverse);
        }
    }
}

/// Dequantizes values as `Tensor.dequantize`: `x = (q − zero_point) · scale`.
///
/// ```
/// use posterize_kernels::int8::{QParams8, dequantize};
/// use posterize_kernels::{Isa, Pool};
///
/// let from = QParams8 { scale: 0.5, zero_point: 10 };
/// let mut x = [0.0; 3];
/// dequantize(Isa::detect(), &Pool::new(1), from, &[10, 12, 0], &mut x);
/// assert_eq!(x, [0.0, 1.0, -5.0]);
/// ```
///
/// # Panics
/// If the lengths differ, or the scale is not positive and finite.
pub fn dequantize(isa: Isa, pool: &Pool, from: QParams8, input: &[u8], output: &mut [f32]) {
    from.assert_valid();
    check_same_len("the output", output.len(), "the input", input.len());
    let output = SharedMut::new(output);
    for_each_chunk(pool, input.len(), |range| {
        // SAFETY: different chunks have ranges that do not overlap.
        let output = unsafe { output.slice(range.clone()) };
        vectorize(isa, Dequantize { from, input: &input[range], output });
    });
}

struct Dequantize<'a> {
    from: QParams8,
    input: &'a [u8],
    output: &'a mut [f32],
}

impl Loop for Dequantize<'_> {
    #[inline(always)]
    fn run(self) {
        let zero_point = i32::from(self.from.zero_point);
        for (x, &q) in self.output.iter_mut().zip(self.input) {
            *x = (i32::from(q) - zero_point) as f32 * self.from.scale;
        }
    }
}

/// Returns the table that converts each of the 256 values to another quantization: what
/// [`quantize`] gives for the result of [`dequantize`].
///
/// ```
/// use posterize_kernels::int8::{QParams8, requantize_table};
///
/// let from = QParams8 { scale: 0.5, zero_point: 10 };
/// let to = QParams8 { scale: 1.0, zero_point: 3 };
/// let table = requantize_table(from, to, [0, 255]);
/// assert_eq!([table[10], table[14], table[0]], [3, 5, 0]); // 0.0, 2.0 and −5.0
/// ```
///
/// # Panics
/// If `min > max`, or a scale is not positive and finite.
pub fn requantize_table(from: QParams8, to: QParams8, [min, max]: [u8; 2]) -> [u8; 256] {
    from.assert_valid();
    to.assert_valid();
    let target = Target::new(to.zero_point, min, max);
    let inverse = 1.0 / to.scale;
    std::array::from_fn(|q| {
        let x = (q as i32 - i32::from(from.zero_point)) as f32 * from.scale;
        target.round(x * inverse)
    })
}

/// Converts values from one quantization to another with the table of [`requantize_table`].
///
/// # Panics
/// If the lengths differ, `min > max`, or a scale is not positive and finite.
pub fn requantize_u8(
    pool: &Pool,
    from: QParams8,
    to: QParams8,
    range: [u8; 2],
    input: &[u8],
    output: &mut [u8],
) {
    check_same_len("the output", output.len(), "the input", input.len());
    let table = requantize_table(from, to, range);
    let output = SharedMut::new(output);
    for_each_chunk(pool, input.len(), |range| {
        // SAFETY: different chunks have ranges that do not overlap.
        let output = unsafe { output.slice(range.clone()) };
        for (to, &from) in output.iter_mut().zip(&input[range]) {
            *to = table[usize::from(from)];
        }
    });
}

/// Clamps values to `min..=max`: a ReLU where `min` is the zero point, a ReLU6 where also `max` is
/// 6.0, quantized.
///
/// # Panics
/// If the lengths differ or `min > max`.
pub fn clamp(isa: Isa, pool: &Pool, min: u8, max: u8, input: &[u8], output: &mut [u8]) {
    assert!(min <= max, "min {min} exceeds max {max}");
    check_same_len("the output", output.len(), "the input", input.len());
    let output = SharedMut::new(output);
    for_each_chunk(pool, input.len(), |range| {
        // SAFETY: different chunks have ranges that do not overlap.
        let output = unsafe { output.slice(range.clone()) };
        vectorize(isa, Clamp { min, max, input: &input[range], output });
    });
}

struct Clamp<'a> {
    min: u8,
    max: u8,
    input: &'a [u8],
    output: &'a mut [u8],
}

impl Loop for Clamp<'_> {
    #[inline(always)]
    fn run(self) {
        for (to, &from) in self.output.iter_mut().zip(self.input) {
            *to = from.max(self.min).min(self.max);
        }
    }
}
