//! The activation after a convolution: an affine map of each channel, clamping, fake quantization.

use crate::f32::Clamp;
use crate::f32::simd::{Bounds, Simd};
use crate::lengths::check_same_len;

/// Fake quantization to 8-bit integers, as `torch.fake_quantize_per_tensor_affine`:
/// `(clamp(round_half_even(x * (1 / scale)) + zero_point) - zero_point) * scale`.
///
/// Its gradient is that of the straight-through estimator: the gradient of the result, and 0 where
/// the integer is out of range.
///
/// ```
/// use posterize_kernels::f32::training::{FakeQuant, fake_quantize};
/// use posterize_kernels::{Isa, Pool};
///
/// let fq = FakeQuant { scale: 0.5, zero_point: 10, quant_min: 0, quant_max: 15 };
/// assert_eq!([fq.quantize(1.1), fq.quantize(100.0)], [12, 15]);
/// let mut x = [1.1, 100.0];
/// fake_quantize(Isa::detect(), &Pool::new(1), fq, &mut x);
/// assert_eq!(x, [1.0, 2.5]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FakeQuant {
    /// The distance between neighbouring values; positive.
    pub scale: f32,
    /// The integer that represents 0.
    pub zero_point: i32,
    /// The minimum integer.
    pub quant_min: i32,
    /// The maximum integer.
    pub quant_max: i32,
}

impl FakeQuant {
    /// Returns the integer for `x` before it is clamped, as an f32: `round_half_even(x * (1 /
    /// scale)) + zero_point`.
    ///
    /// This and [`FakeQuant::quantize`] define the rounding; the vector kernels give the same
    /// values.
    #[inline]
    pub fn unclamped(self, x: f32) -> f32 {
        (x * (1.0 / self.scale)).round_ties_even() + self.zero_point as f32
    }

    /// Returns the integer for `x`, clamped to the range; for a NaN, the zero point.
    #[inline]
    pub fn quantize(self, x: f32) -> i32 {
        let q = self.unclamped(x);
        if q.is_nan() {
            self.zero_point
        } else {
            q.clamp(self.quant_min as f32, self.quant_max as f32) as i32
        }
    }
}

/// The activation after a convolution: `x = fake_quant(clamp(y * scale[c] + shift[c]))` for the
/// output `y` in channel `c`.
///
/// The affine map is a batch normalization, the clamp a ReLU or ReLU6; each part may be absent.
///
/// ```
/// use posterize_kernels::f32::Clamp;
/// use posterize_kernels::f32::training::Activation;
/// use posterize_kernels::f32::training::activate;
/// use posterize_kernels::{Isa, Pool};
///
/// let (scale, shift) = ([2.0, 1.0], [0.0, -1.0]);
/// let act = Activation { scale: &scale, shift: &shift, clamp: Clamp::RELU6, fake_quant: None };
/// let mut x = [0.0; 4];
/// activate(Isa::detect(), &Pool::new(1), act, &[1.0, 4.5, 4.0, 0.5], &mut x);
/// assert_eq!(x, [2.0, 3.5, 6.0, 0.0]);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Activation<'a> {
    /// The factor for each channel.
    pub scale: &'a [f32],
    /// The addend for each channel.
    pub shift: &'a [f32],
    /// The bounds of the result. Gradients pass strictly inside of them only, as for
    /// `torch.nn.ReLU` and `torch.nn.ReLU6`.
    pub clamp: Clamp,
    /// The fake quantization of the clamped value.
    pub fake_quant: Option<FakeQuant>,
}

impl Activation<'_> {
    /// Number of channels.
    ///
    /// # Panics
    /// If the lengths of `scale` and `shift` differ.
    pub fn channels(&self) -> usize {
        check_same_len("the activation's shift", self.shift.len(), "its scale", self.scale.len());
        self.scale.len()
    }
}

/// A number at whose magnitude neighbouring f32 are 1 apart, so that adding it rounds half to even.
const ROUND: f32 = 1.5 * (1_u32 << 23) as f32;

/// A [`FakeQuant`] in registers.
#[derive(Clone, Copy)]
pub(super) struct Grid<S: Simd> {
    inverse: S::F,
    scale: S::F,
    lowest: S::F,
    highest: S::F,
    below: S::F,
    above: S::F,
    round: S::F,
}

impl<S: Simd> Grid<S> {
    #[inline(always)]
    pub(super) fn new(simd: S, fake_quant: FakeQuant) -> Self {
        let FakeQuant { scale, zero_point, quant_min, quant_max } = fake_quant;
        let (lowest, highest) = ((quant_min - zero_point) as f32, (quant_max - zero_point) as f32);
        Self {
            inverse: simd.splat(1.0 / scale),
            scale: simd.splat(scale),
            lowest: simd.splat(lowest),
            highest: simd.splat(highest),
            below: simd.splat(lowest - 1.0),
            above: simd.splat(highest + 1.0),
            round: simd.splat(ROUND),
        }
    }

    /// Returns the integer for `x` minus the zero point, clamped to one below and one above the
    /// range.
    #[inline(always)]
    fn step(self, simd: S, x: S::F) -> S::F {
        let step = simd.mul(x, self.inverse);
        let step = simd.at_most(simd.at_least(step, self.below), self.above);
        simd.sub(simd.add(step, self.round), self.round)
    }

    /// Returns the fake-quantized value of `x`.
    #[inline(always)]
    pub(super) fn value(self, simd: S, x: S::F) -> S::F {
        let step = self.step(simd, x);
        simd.mul(simd.at_most(simd.at_least(step, self.lowest), self.highest), self.scale)
    }

    /// Returns `gradient` where the integer for `x` is in the range, otherwise 0.
    #[inline(always)]
    pub(super) fn keep(self, simd: S, x: S::F, gradient: S::F) -> S::F {
        simd.keep_within(self.step(simd, x), self.lowest, self.highest, gradient)
    }
}

/// An [`Activation`] in registers, except for its scale and shift. `FQ` says whether it has a fake
/// quantization.
#[derive(Clone, Copy)]
pub(super) struct Mapped<S: Simd, const FQ: bool> {
    bounds: Bounds<S>,
    min: S::F,
    max: S::F,
    grid: Grid<S>,
}

impl<S: Simd, const FQ: bool> Mapped<S, FQ> {
    #[inline(always)]
    pub(super) fn new(simd: S, activation: &Activation<'_>) -> Self {
        const UNUSED: FakeQuant =
            FakeQuant { scale: 1.0, zero_point: 0, quant_min: 0, quant_max: 0 };
        let fake_quant = match activation.fake_quant {
            Some(fake_quant) => fake_quant,
            None => UNUSED,
        };
        Self {
            bounds: Bounds::new(simd, activation.clamp),
            min: simd.splat(activation.clamp.min),
            max: simd.splat(activation.clamp.max),
            grid: Grid::new(simd, fake_quant),
        }
    }

    /// Returns the activation of `y`.
    #[inline(always)]
    pub(super) fn value(self, simd: S, y: S::F, scale: S::F, shift: S::F) -> S::F {
        let x = self.bounds.apply(simd, simd.mul_add(y, scale, shift));
        if FQ { self.grid.value(simd, x) } else { x }
    }

    /// Returns `gradient` where the activation of `y` passes it, otherwise 0.
    #[inline(always)]
    pub(super) fn keep(self, simd: S, y: S::F, scale: S::F, shift: S::F, gradient: S::F) -> S::F {
        let z = simd.mul_add(y, scale, shift);
        let kept = simd.keep_between(z, self.min, self.max, gradient);
        if FQ { self.grid.keep(simd, self.bounds.apply(simd, z), kept) } else { kept }
    }
}
