//! Subtraction of two quantized activations.

use super::binary;
use super::formula::{AddFormula, Target};
use crate::int8::QParams8;
use crate::isa::Isa;
use crate::pool::Pool;

/// Subtraction of two quantized activations.
///
/// PyTorch has no quantized subtraction; this rounds as [`Add`](super::Add). In f32, both sides are
/// dequantized with one fused multiply-add, `x = fma(q, scale, −zero_point · scale)`; their
/// difference is multiplied by the inverse of the output's scale and rounded half to even: `q =
/// clamp(round_half_even((a − b) · (1 / scale)) + zero_point, min, max)`.
///
/// ```
/// use posterize_kernels::int8::{QParams8, Sub};
/// use posterize_kernels::{Isa, Pool};
///
/// let a = QParams8 { scale: 0.5, zero_point: 0 };
/// let b = QParams8 { scale: 0.25, zero_point: 128 };
/// let out = QParams8 { scale: 1.0, zero_point: 3 };
/// let sub = Sub::new(Isa::detect(), a, b, out, 0, 255);
/// let mut difference = [0; 2];
/// sub.run(&Pool::new(1), &[10, 20], &[132, 0], &mut difference); // 5 − 1, 10 + 32
/// assert_eq!(difference, [7, 45]);
/// ```
#[derive(Clone, Debug)]
pub struct Sub {
    pub(super) isa: Isa,
    pub(super) formula: AddFormula,
}

impl Sub {
    /// Prepares `output = a − b` with outputs in `min..=max`.
    ///
    /// # Panics
    /// If `min > max`, or a scale is not positive and finite.
    pub fn new(isa: Isa, a: QParams8, b: QParams8, output: QParams8, min: u8, max: u8) -> Self {
        for qparams in [a, b, output] {
            qparams.assert_valid();
        }
        let zero_point = |side: QParams8| f32::from(side.zero_point);
        // Dequantizing b with a negative scale gives exactly −b, because rounding is symmetric
        // about 0, and a + (−b) has the bits of a − b.
        let formula = AddFormula {
            scale: [a.scale, -b.scale],
            offset: [a.scale * -zero_point(a), b.scale * zero_point(b)],
            inverse_scale: 1.0 / output.scale,
            target: Target::new(output.zero_point, min, max),
        };
        Self { isa, formula }
    }

    /// Subtracts `b` from `a` element by element.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn run(&self, pool: &Pool, a: &[u8], b: &[u8], output: &mut [u8]) {
        binary::run(self.isa, pool, self.formula, a, b, output);
    }
}
