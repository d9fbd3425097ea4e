//! Addition and multiplication of two quantized activations of the same shape.

use super::for_each_chunk;
use super::formula::{AddFormula, Target};
use crate::broadcast::Pairwise;
use crate::int8::QParams8;
use crate::int8::vectorize::{Loop, vectorize};
use crate::isa::Isa;
use crate::lengths::check_same_len;
use crate::pool::{Pool, SharedMut};

/// Addition of two quantized activations, `torch.ops.quantized.add` (`add_relu` where `min` is the
/// output's zero point).
///
/// As in PyTorch's vectorized loop, in f32: both sides are dequantized with one fused multiply-add,
/// `x = fma(q, scale, −zero_point · scale)`; their sum is multiplied by the inverse of the output's
/// scale and rounded half to even.
///
/// ```
/// use posterize_kernels::int8::{Add, QParams8};
/// use posterize_kernels::{Isa, Pool};
///
/// let a = QParams8 { scale: 0.5, zero_point: 0 };
/// let b = QParams8 { scale: 0.25, zero_point: 128 };
/// let out = QParams8 { scale: 1.0, zero_point: 3 };
/// let add = Add::new(Isa::detect(), a, b, out, 0, 255);
/// let mut sum = [0; 2];
/// add.run(&Pool::new(1), &[10, 20], &[132, 0], &mut sum); // 5 + 1, 10 − 32
/// assert_eq!(sum, [9, 0]);
/// ```
#[derive(Clone, Debug)]
pub struct Add {
    pub(super) isa: Isa,
    formula: AddFormula,
}

impl Add {
    /// Prepares `output = a + b` with outputs in `min..=max`.
    ///
    /// # Panics
    /// If `min > max`, or a scale is not positive and finite.
    pub fn new(isa: Isa, a: QParams8, b: QParams8, output: QParams8, min: u8, max: u8) -> Self {
        for qparams in [a, b, output] {
            qparams.assert_valid();
        }
        let offset = |q: QParams8| q.scale * -f32::from(q.zero_point);
        let formula = AddFormula {
            scale: [a.scale, b.scale],
            offset: [offset(a), offset(b)],
            inverse_scale: 1.0 / output.scale,
            target: Target::new(output.zero_point, min, max),
        };
        Self { isa, formula }
    }

    /// Returns the addition with the parameters of `a` and `b` exchanged, for exchanged inputs; its
    /// sums have the same bits.
    #[must_use]
    pub fn swapped(&self) -> Self {
        let AddFormula { scale: [a, b], offset: [of_a, of_b], .. } = self.formula;
        let formula = AddFormula { scale: [b, a], offset: [of_b, of_a], ..self.formula };
        Self { formula, ..self.clone() }
    }

    /// The formula, for the epilogues of other kernels.
    pub(crate) fn formula(&self) -> AddFormula {
        self.formula
    }

    /// As [`Self::run`], on the calling thread and for slices of equal lengths.
    pub(crate) fn run_here(&self, a: &[u8], b: &[u8], output: &mut [u8]) {
        vectorize(self.isa, Binary { formula: self.formula, a, b, output });
    }

    /// Adds `a` and `b` element by element.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn run(&self, pool: &Pool, a: &[u8], b: &[u8], output: &mut [u8]) {
        run(self.isa, pool, self.formula, a, b, output);
    }
}

impl Pairwise<u8> for AddFormula {
    #[inline(always)]
    fn apply(self, a: u8, b: u8) -> u8 {
        let a = f32::from(a).mul_add(self.scale[0], self.offset[0]);
        let b = f32::from(b).mul_add(self.scale[1], self.offset[1]);
        self.target.round((a + b) * self.inverse_scale)
    }
}

/// Multiplication of two quantized activations, `torch.ops.quantized.mul` (`mul_relu` where `min`
/// is the output's zero point).
///
/// `(qa − zero_point_a) · (qb − zero_point_b)` is exact; it is multiplied once, in f32, by `scale_a
/// · scale_b · (1 / scale_output)` and rounded half to even.
///
/// ```
/// use posterize_kernels::int8::{Mul, QParams8};
/// use posterize_kernels::{Isa, Pool};
///
/// let a = QParams8 { scale: 0.5, zero_point: 0 };
/// let b = QParams8 { scale: 0.25, zero_point: 128 };
/// let out = QParams8 { scale: 1.0, zero_point: 3 };
/// let mul = Mul::new(Isa::detect(), a, b, out, 0, 255);
/// let mut product = [0; 2];
/// mul.run(&Pool::new(1), &[10, 20], &[132, 120], &mut product); // 5 · 1, 10 · −2
/// assert_eq!(product, [8, 0]);
/// ```
#[derive(Clone, Debug)]
pub struct Mul {
    pub(super) isa: Isa,
    pub(super) formula: MulFormula,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct MulFormula {
    zero_point: [i32; 2],
    multiplier: f32,
    target: Target,
}

impl Mul {
    /// Prepares `output = a · b` with outputs in `min..=max`.
    ///
    /// # Panics
    /// If `min > max`, or a scale is not positive and finite.
    pub fn new(isa: Isa, a: QParams8, b: QParams8, output: QParams8, min: u8, max: u8) -> Self {
        for qparams in [a, b, output] {
            qparams.assert_valid();
        }
        let formula = MulFormula {
            zero_point: [i32::from(a.zero_point), i32::from(b.zero_point)],
            multiplier: a.scale * b.scale * (1.0 / output.scale),
            target: Target::new(output.zero_point, min, max),
        };
        Self { isa, formula }
    }

    /// Multiplies `a` and `b` element by element.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn run(&self, pool: &Pool, a: &[u8], b: &[u8], output: &mut [u8]) {
        run(self.isa, pool, self.formula, a, b, output);
    }
}

impl Pairwise<u8> for MulFormula {
    #[inline(always)]
    fn apply(self, a: u8, b: u8) -> u8 {
        let product = (i32::from(a) - self.zero_point[0]) * (i32::from(b) - self.zero_point[1]);
        self.target.round(product as f32 * self.multiplier)
    }
}

struct Binary<'a, F> {
    formula: F,
    a: &'a [u8],
    b: &'a [u8],
    output: &'a mut [u8],
}

impl<F: Pairwise<u8>> Loop for Binary<'_, F> {
    #[inline(always)]
    fn run(self) {
        for ((q, &a), &b) in self.output.iter_mut().zip(self.a).zip(self.b) {
            *q = self.formula.apply(a, b);
        }
    }
}

pub(super) fn run(
    isa: Isa,
    pool: &Pool,
    formula: impl Pairwise<u8>,
    a: &[u8],
    b: &[u8],
    output: &mut [u8],
) {
    check_same_len("b", b.len(), "a", a.len());
    check_same_len("the output", output.len(), "a", a.len());
    let output = SharedMut::new(output);
    for_each_chunk(pool, a.len(), |range| {
        // SAFETY: different chunks have ranges that do not overlap.
        let output = unsafe { output.slice(range.clone()) };
        let (a, b) = (&a[range.clone()], &b[range]);
        vectorize(isa, Binary { formula, a, b, output });
    });
}
