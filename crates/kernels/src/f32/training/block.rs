//! Computes an activation and its gradient for a block of pixels.

use super::activation::{Activation, Mapped};
use crate::f32::simd::{Kernel, Simd};

/// Sets `x = activation(y)` for whole pixels.
pub(super) fn apply<S: Simd>(simd: S, activation: &Activation<'_>, y: &[f32], x: &mut [f32]) {
    assert_eq!(y.len(), x.len());
    if activation.fake_quant.is_some() {
        simd.run(Apply::<true> { activation, y, x });
    } else {
        simd.run(Apply::<false> { activation, y, x });
    }
}

/// The factors of the gradient of a batch normalization, for each channel; see
/// [`NormBackward`](super::NormBackward).
#[derive(Clone, Copy, Debug)]
pub(super) struct Factors<'a> {
    pub(super) a: &'a [f32],
    pub(super) b: &'a [f32],
    pub(super) c: &'a [f32],
}

/// Sets `grad_y = a * g + b * y + c` for whole pixels, where `g` is `grad` where the activation
/// passes it, and otherwise 0.
pub(super) fn backward<S: Simd>(
    simd: S,
    activation: &Activation<'_>,
    factors: Factors<'_>,
    y: &[f32],
    grad: &[f32],
    grad_y: &mut [f32],
) {
    assert_eq!((y.len(), grad.len()), (grad_y.len(), grad_y.len()));
    if activation.fake_quant.is_some() {
        simd.run(Backward::<true> { activation, factors, y, grad, grad_y });
    } else {
        simd.run(Backward::<false> { activation, factors, y, grad, grad_y });
    }
}

struct Apply<'a, const FQ: bool> {
    activation: &'a Activation<'a>,
    y: &'a [f32],
    x: &'a mut [f32],
}

impl<S: Simd, const FQ: bool> Kernel<S> for Apply<'_, FQ> {
    #[inline(always)]
    fn call(self, simd: S) {
        let channels = self.activation.scale.len();
        let map = Mapped::<S, FQ>::new(simd, self.activation);
        let (scale, shift) = (self.activation.scale.as_ptr(), self.activation.shift.as_ptr());
        let whole = channels - channels % S::LANES;
        let mask = simd.mask(channels - whole);
        for (y, x) in self.y.chunks_exact(channels).zip(self.x.chunks_exact_mut(channels)) {
            let (y, x) = (y.as_ptr(), x.as_mut_ptr());
            let mut c = 0;
            // SAFETY: `y` and `x` are a pixel, and so have a value for each channel, as scale and
            // shift have; the last vector is masked.
            unsafe {
                while c < whole {
                    let (s, t) = (simd.load(scale.add(c)), simd.load(shift.add(c)));
                    simd.store(x.add(c), map.value(simd, simd.load(y.add(c)), s, t));
                    c += S::LANES;
                }
                if c < channels {
                    let s = simd.load_masked(scale.add(c), mask);
                    let t = simd.load_masked(shift.add(c), mask);
                    let value = map.value(simd, simd.load_masked(y.add(c), mask), s, t);
                    simd.store_masked(x.add(c), value, mask);
                }
            }
        }
    }
}

struct Backward<'a, const FQ: bool> {
    activation: &'a Activation<'a>,
    factors: Factors<'a>,
    y: &'a [f32],
    grad: &'a [f32],
    grad_y: &'a mut [f32],
}

impl<S: Simd, const FQ: bool> Kernel<S> for Backward<'_, FQ> {
    #[inline(always)]
    fn call(self, simd: S) {
        let channels = self.activation.scale.len();
        let map = Mapped::<S, FQ>::new(simd, self.activation);
        let (scale, shift) = (self.activation.scale.as_ptr(), self.activation.shift.as_ptr());
        let (a, b, k) = (self.factors.a.as_ptr(), self.factors.b.as_ptr(), self.factors.c.as_ptr());
        let whole = channels - channels % S::LANES;
        let mask = simd.mask(channels - whole);
        let pixels = self.grad_y.len() / channels;
        for pixel in 0..pixels {
            // SAFETY: `y`, `grad` and `grad_y` have `pixels` times `channels` values, the others
            // one for each channel; the last vector is masked.
            unsafe {
                let y = self.y.as_ptr().add(pixel * channels);
                let grad = self.grad.as_ptr().add(pixel * channels);
                let to = self.grad_y.as_mut_ptr().add(pixel * channels);
                let mut c = 0;
                while c < whole {
                    let (s, t) = (simd.load(scale.add(c)), simd.load(shift.add(c)));
                    let v = simd.load(y.add(c));
                    let g = map.keep(simd, v, s, t, simd.load(grad.add(c)));
                    let r = simd.mul_add(v, simd.load(b.add(c)), simd.load(k.add(c)));
                    simd.store(to.add(c), simd.mul_add(g, simd.load(a.add(c)), r));
                    c += S::LANES;
                }
                if c < channels {
                    let s = simd.load_masked(scale.add(c), mask);
                    let t = simd.load_masked(shift.add(c), mask);
                    let v = simd.load_masked(y.add(c), mask);
                    let g = map.keep(simd, v, s, t, simd.load_masked(grad.add(c), mask));
                    let r = simd.mul_add(
                        v,
                        simd.load_masked(b.add(c), mask),
                        simd.load_masked(k.add(c), mask),
                    );
                    let r = simd.mul_add(g, simd.load_masked(a.add(c), mask), r);
                    simd.store_masked(to.add(c), r, mask);
                }
            }
        }
    }
}
