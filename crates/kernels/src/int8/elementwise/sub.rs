//! The difference of two activations.

use super::binary;
use super::formula::{AddFormula, Target};
use crate::int8::QParams8;
use crate::isa::Isa;
use crate::pool::Pool;

/// The difference of two quantized activations.
///
/// PyTorch has no quantized subtraction; this is [`Add`](super::Add) with a minus: in f32, both
/// sides are dequantized with one fused multiply-add, `x = fma(q, scale, −zero_point · scale)`,
/// subtracted, multiplied by the inverse of the output's scale, and rounded half to even:
/// `q = clamp(round((a − b) · (1 / scale)) + zero_point, min, max)`.
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
    /// When `min > max` or a scale is not positive and finite.
    pub fn new(isa: Isa, a: QParams8, b: QParams8, output: QParams8, min: u8, max: u8) -> Self {
        for qparams in [a, b, output] {
            qparams.assert_valid();
        }
        let zero_point = |side: QParams8| f32::from(side.zero_point);
        // Rounding is symmetric: the second side dequantized by a negative scale is the negative,
        // and adding that is subtracting, bit for bit.
        let formula = AddFormula {
            scale: [a.scale, -b.scale],
            offset: [a.scale * -zero_point(a), b.scale * zero_point(b)],
            inverse: 1.0 / output.scale,
            target: Target::new(output.zero_point, min, max),
        };
        Self { isa, formula }
    }

    /// Subtracts each element of `b` from that of `a`.
    ///
    /// # Panics
    /// When the lengths differ.
    pub fn run(&self, pool: &Pool, a: &[u8], b: &[u8], output: &mut [u8]) {
        binary::run(self.isa, pool, self.formula, a, b, output);
    }
}
