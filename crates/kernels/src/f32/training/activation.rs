//! What follows a raw convolution: an affine map of each channel, bounds, fake quantization.

use crate::f32::Clamp;
use crate::f32::simd::{Bounds, Simd};

/// Rounding to what 8-bit integers will stand for, as `torch.fake_quantize_per_tensor_affine`:
/// `(clamp(round_half_even(x * (1 / scale)) + zero_point) - zero_point) * scale`.
///
/// Its gradient is the straight-through estimator's: that of the result, and 0 where the integer
/// was out of range.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FakeQuant {
    /// The distance between neighbouring values, positive.
    pub scale: f32,
    /// The integer that stands for 0.
    pub zero_point: i32,
    /// The least integer.
    pub quant_min: i32,
    /// The greatest integer.
    pub quant_max: i32,
}

impl FakeQuant {
    /// The integer that stands for `x` before it is held to the range, as an f32:
    /// `round_half_even(x * (1 / scale)) + zero_point`.
    ///
    /// This and [`FakeQuant::quantize`] are the definition; what rounds in vectors gives the same
    /// values.
    #[inline]
    pub fn unclamped(self, x: f32) -> f32 {
        (x * (1.0 / self.scale)).round_ties_even() + self.zero_point as f32
    }

    /// The integer of the range that stands for `x`; of a NaN, the zero point.
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

/// `x = fake_quant(clamp(y * scale[c] + shift[c]))` of what a raw convolution gave in channel `c`:
/// batch norm as an affine map, ReLU or ReLU6 as bounds, and the fake quantization, each of which
/// may be absent.
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
    /// A factor for each channel.
    pub scale: &'a [f32],
    /// An addend for each channel.
    pub shift: &'a [f32],
    /// The bounds of the result; gradients pass strictly inside of them, as through
    /// `torch.nn.ReLU` and `torch.nn.ReLU6`.
    pub clamp: Clamp,
    /// The rounding of the bounded value.
    pub fake_quant: Option<FakeQuant>,
}

impl Activation<'_> {
    /// How many channels it is for.
    ///
    /// # Panics
    /// When there are not as many scales as shifts.
    pub fn channels(&self) -> usize {
        assert_eq!(self.scale.len(), self.shift.len(), "scales and shifts of an activation");
        self.scale.len()
    }
}

/// At this magnitude neighbouring f32 are 1 apart, so that adding rounds half to even.
const ROUND: f32 = 1.5 * (1_u32 << 23) as f32;

/// [`FakeQuant`] in registers.
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

    /// Steps from the zero point; out of range, one more than the end of it.
    #[inline(always)]
    fn step(self, simd: S, x: S::F) -> S::F {
        let step = simd.mul(x, self.inverse);
        let step = simd.at_most(simd.at_least(step, self.below), self.above);
        simd.sub(simd.add(step, self.round), self.round)
    }

    #[inline(always)]
    pub(super) fn value(self, simd: S, x: S::F) -> S::F {
        let step = self.step(simd, x);
        simd.mul(simd.at_most(simd.at_least(step, self.lowest), self.highest), self.scale)
    }

    #[inline(always)]
    pub(super) fn keep(self, simd: S, x: S::F, gradient: S::F) -> S::F {
        simd.keep_within(self.step(simd, x), self.lowest, self.highest, gradient)
    }
}

/// An [`Activation`] in registers, but for its scale and shift; `FQ` where it rounds.
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

    /// The activation of `y`.
    #[inline(always)]
    pub(super) fn value(self, simd: S, y: S::F, scale: S::F, shift: S::F) -> S::F {
        let x = self.bounds.apply(simd, simd.mul_add(y, scale, shift));
        if FQ { self.grid.value(simd, x) } else { x }
    }

    /// `gradient` where it passes the activation of `y`, else 0.
    #[inline(always)]
    pub(super) fn keep(self, simd: S, y: S::F, scale: S::F, shift: S::F, gradient: S::F) -> S::F {
        let z = simd.mul_add(y, scale, shift);
        let kept = simd.keep_between(z, self.min, self.max, gradient);
        if FQ { self.grid.keep(simd, self.bounds.apply(simd, z), kept) } else { kept }
    }
}
