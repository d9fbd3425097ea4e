//! f32 functions of one element: sigmoid, hard-swish, SiLU, hard-sigmoid.

use crate::Isa;
use crate::int8::vectorize::{Loop, vectorize};
use crate::lengths::check_same_len;
use crate::pool::{Pool, SharedMut, part};

/// Elements of one task.
const TASK: usize = 16 * 1024;

/// An activation function that is applied to each element.
///
/// [`Unary::apply`] defines the functions. [`unary`] gives the same bits on every instruction set:
/// it is the same code, which rounds each operation as IEEE 754 specifies and uses no fused
/// multiply-add.
///
/// A NaN gives a NaN.
///
/// ```
/// use posterize_kernels::f32::Unary;
///
/// assert_eq!(Unary::Sigmoid.apply(0.0), 0.5);
/// assert_eq!(Unary::HardSigmoid.apply(1.5), 4.5 / 6.0);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Unary {
    /// `torch.sigmoid`: `1 / (1 + exp(−x))`.
    ///
    /// The error is at most 2.5 units in the last place, also for subnormal results. Gives 0 below
    /// about −104 and 1 above about 17.4.
    Sigmoid,
    /// `torch.nn.Hardswish`: `x · relu6(x + 3) / 6`, evaluated in this order, as PyTorch's CPU
    /// kernel.
    ///
    /// As in PyTorch, `−inf` gives a NaN, and values above `f32::MAX / 6` overflow to infinity.
    HardSwish,
    /// `torch.nn.SiLU`: `x · sigmoid(x)`.
    ///
    /// The error is at most 3.25 units in the last place, also for subnormal results. `−inf` gives
    /// a NaN, as in PyTorch.
    SiLU,
    /// `torch.nn.Hardsigmoid`: `relu6(x + 3) / 6`, evaluated in this order, as PyTorch's CPU
    /// kernel.
    HardSigmoid,
}

impl Unary {
    /// Returns the value of the function at `x`.
    ///
    /// ```
    /// use posterize_kernels::f32::Unary;
    ///
    /// assert_eq!(Unary::Sigmoid.apply(0.0), 0.5);
    /// assert_eq!(Unary::HardSwish.apply(-3.5), 0.0);
    /// assert_eq!(Unary::HardSigmoid.apply(1.5), 0.75);
    /// assert_eq!(Unary::SiLU.apply(30.0), 30.0);
    /// ```
    #[must_use]
    pub fn apply(self, x: f32) -> f32 {
        match self {
            Self::Sigmoid => sigmoid(x),
            Self::HardSwish => hard_swish(x),
            Self::SiLU => silu(x),
            Self::HardSigmoid => hard_sigmoid(x),
        }
    }
}

/// Applies `function` to each element of `input`.
///
/// # Panics
/// If the lengths differ.
///
/// ```
/// use posterize_kernels::f32::{Unary, unary};
/// use posterize_kernels::{Isa, Pool};
///
/// let mut y = [0.0; 3];
/// unary(Isa::detect(), &Pool::new(1), Unary::HardSwish, &[-4.0, 1.0, 5.0], &mut y);
/// assert_eq!(y, [-0.0, 4.0 / 6.0, 5.0]);
/// ```
pub fn unary(isa: Isa, pool: &Pool, function: Unary, input: &[f32], output: &mut [f32]) {
    check_same_len("the output", output.len(), "the input", input.len());
    let len = input.len();
    let tasks = len.div_ceil(TASK);
    let output = SharedMut::new(output);
    pool.run(tasks, &|task, _| {
        let range = part(len, tasks, task);
        // SAFETY: different tasks have ranges that do not overlap.
        let output = unsafe { output.slice(range.clone()) };
        vectorize(isa, Apply { function, input: &input[range], output });
    });
}

struct Apply<'a> {
    function: Unary,
    input: &'a [f32],
    output: &'a mut [f32],
}

impl Loop for Apply<'_> {
    #[inline(always)]
    fn run(self) {
        match self.function {
            Unary::Sigmoid => map(self.input, self.output, sigmoid),
            Unary::HardSwish => map(self.input, self.output, hard_swish),
            Unary::SiLU => map(self.input, self.output, silu),
            Unary::HardSigmoid => map(self.input, self.output, hard_sigmoid),
        }
    }
}

#[inline(always)]
fn map(input: &[f32], output: &mut [f32], f: impl Fn(f32) -> f32) {
    for (y, &x) in output.iter_mut().zip(input) {
        *y = f(x);
    }
}

#[inline(always)]
pub(super) fn sigmoid(x: f32) -> f32 {
    let exp = ExpOfNegativeAbs::new(x);
    let z = exp.times(1.0);
    let numerator = if x >= 0.0 { 1.0 } else { z };
    numerator / (1.0 + z)
}

#[inline(always)]
fn silu(x: f32) -> f32 {
    let exp = ExpOfNegativeAbs::new(x);
    // `x · z` is computed by `times`, since `z` alone may be a subnormal number with fewer bits.
    let numerator = if x >= 0.0 { x } else { exp.times(x) };
    numerator / (1.0 + exp.times(1.0))
}

#[inline(always)]
fn hard_swish(x: f32) -> f32 {
    x * relu6(x + 3.0) / 6.0
}

#[inline(always)]
fn hard_sigmoid(x: f32) -> f32 {
    relu6(x + 3.0) / 6.0
}

/// `min(max(x, 0), 6)`; a NaN stays.
#[inline(always)]
fn relu6(x: f32) -> f32 {
    let x = if x < 0.0 { 0.0 } else { x };
    if x > 6.0 { 6.0 } else { x }
}

/// `exp(−|x|)` as `fraction · scale[0] · scale[1]`, where `fraction` is between 0.7 and 1.42 and
/// the scales are powers of two, which are normal numbers even if the product is not.
#[derive(Clone, Copy)]
struct ExpOfNegativeAbs {
    fraction: f32,
    scale: [f32; 2],
}

impl ExpOfNegativeAbs {
    /// For `x` at most this, `x · exp(x)` rounds to zero.
    const LOWEST: f32 = -110.0;
    /// Adding this to a number of magnitude below 2^22 leaves the nearest integer in the low bits.
    const TO_INTEGER: f32 = 12_582_912.0; // 1.5 · 2^23
    /// ln 2 in two parts. The first has 15 bits, so its products with exponents are exact.
    const LN_2: [f32; 2] = [22_713.0 / 32_768.0, 1.428_606_8e-6];
    /// A near-minimax polynomial for `(exp(r) − 1 − r) / r²` with `|r| ≤ ln 2 / 2`, highest power
    /// first. Before the rounding of these steps, the relative error of exp is below 8e-9.
    const POLYNOMIAL: [f32; 5] = [0.001_392_625, 0.008_363_233, 0.041_666_552, 0.166_665_76, 0.5];

    #[inline(always)]
    fn new(x: f32) -> Self {
        let x = -x.abs();
        let tiny = x <= Self::LOWEST;
        // Written as a comparison that is false for a NaN, so that a NaN stays.
        let x = if x < Self::LOWEST { Self::LOWEST } else { x };
        let shifted = x * std::f32::consts::LOG2_E + Self::TO_INTEGER;
        let n = shifted - Self::TO_INTEGER;
        let (high, low) = (x - n * Self::LN_2[0], n * Self::LN_2[1]);
        let r = high - low;
        let mut q = Self::POLYNOMIAL[0];
        q = q * r + Self::POLYNOMIAL[1];
        q = q * r + Self::POLYNOMIAL[2];
        q = q * r + Self::POLYNOMIAL[3];
        q = q * r + Self::POLYNOMIAL[4];
        // `high` is exact, while `r` is rounded.
        let fraction = 1.0 + (high + (r * r * q - low));
        // For a NaN the integer is arbitrary, but `fraction` is NaN.
        let n = shifted.to_bits().wrapping_sub(Self::TO_INTEGER.to_bits()) as i32;
        let low = power_of_two(n.wrapping_sub(n >> 1));
        Self { fraction, scale: [power_of_two(n >> 1), if tiny { 0.0 } else { low }] }
    }

    /// Returns `factor · exp(−|x|)` for a factor of 1 or `x`, rounded only once if it is subnormal.
    #[inline(always)]
    fn times(self, factor: f32) -> f32 {
        factor * self.scale[0] * self.fraction * self.scale[1]
    }
}

/// `2^n` for `−126 ≤ n ≤ 127`.
#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) as u32) << 23)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: [Unary; 4] = [Unary::Sigmoid, Unary::HardSwish, Unary::SiLU, Unary::HardSigmoid];

    fn exact(function: Unary, x: f32) -> f64 {
        let x = f64::from(x);
        let sigmoid = |x: f64| if x < -700.0 { 0.0 } else { 1.0 / (1.0 + (-x).exp()) };
        match function {
            Unary::Sigmoid => sigmoid(x),
            Unary::HardSwish => x * (x + 3.0).clamp(0.0, 6.0) / 6.0,
            Unary::SiLU => x * sigmoid(x),
            Unary::HardSigmoid => (x + 3.0).clamp(0.0, 6.0) / 6.0,
        }
    }

    /// Returns the error of `found` in units in the last place of an f32 of its magnitude.
    fn ulps(exact: f64, found: f32) -> f64 {
        let nearest = exact as f32;
        let size = nearest.abs().max(f32::MIN_POSITIVE);
        let ulp = f64::from(f32::from_bits(size.to_bits() + 1)) - f64::from(size);
        (f64::from(found) - exact).abs() / ulp
    }

    /// Numbers of every exponent and sign, and many in the range where the functions are curved.
    fn every(step: usize) -> impl Iterator<Item = f32> {
        let all = (0..=u32::MAX).step_by(step).map(f32::from_bits);
        let near = (-1_200_000..1_200_000).step_by(step.min(7)).map(|i| i as f32 * 1e-4);
        all.chain(near).filter(|x| x.is_finite())
    }

    #[test]
    fn results_are_close_to_the_exact_values() {
        for function in ALL {
            let mut worst = (0.0, 0.0);
            for x in every(1201) {
                if function == Unary::HardSwish && x > f32::MAX / 6.0 {
                    continue;
                }
                let error = ulps(exact(function, x), function.apply(x));
                if error > worst.0 {
                    worst = (error, x);
                }
            }
            let bound = match function {
                Unary::SiLU => 3.25,
                Unary::Sigmoid => 2.5,
                _ => 2.0,
            };
            assert!(worst.0 <= bound, "{function:?}: {} units at {}", worst.0, worst.1);
        }
    }

    #[test]
    fn results_are_exact_at_the_ends() {
        for (x, y) in [
            (f32::INFINITY, 1.0),
            (f32::MAX, 1.0),
            (18.0, 1.0),
            (0.0, 0.5),
            (-0.0, 0.5),
            (f32::MIN_POSITIVE / 4.0, 0.5),
            (-105.0, 0.0),
            (-110.0, 0.0),
            (f32::MIN, 0.0),
            (f32::NEG_INFINITY, 0.0),
        ] {
            assert_eq!(Unary::Sigmoid.apply(x).to_bits(), f32::to_bits(y), "sigmoid({x})");
        }
        let tiny = f32::from_bits(3);
        for (x, y) in [
            (f32::INFINITY, f32::INFINITY),
            (f32::MAX, f32::MAX),
            (0.0, 0.0),
            (-0.0, -0.0),
            (tiny, f32::from_bits(2)), // 1.5 units round to the even 2
            (-110.0, -0.0),
            (f32::MIN, -0.0),
        ] {
            assert_eq!(Unary::SiLU.apply(x).to_bits(), f32::to_bits(y), "silu({x})");
        }
        for (x, y) in [(-3.0, -0.0), (-0.0, -0.0), (0.0, 0.0), (3.0, 3.0), (7.5, 7.5)] {
            assert_eq!(Unary::HardSwish.apply(x).to_bits(), f32::to_bits(y), "hard_swish({x})");
        }
        for (x, y) in [(f32::NEG_INFINITY, 0.0), (-3.0, 0.0), (0.0, 0.5), (f32::INFINITY, 1.0)] {
            assert_eq!(Unary::HardSigmoid.apply(x).to_bits(), f32::to_bits(y), "at {x}");
        }
        assert!(ALL.iter().all(|function| function.apply(f32::NAN).is_nan()));
        for function in [Unary::SiLU, Unary::HardSwish] {
            assert!(function.apply(f32::NEG_INFINITY).is_nan());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
                fn every_isa_gives_the_bits_of_apply(
            len in prop_oneof![0_usize..100, 32_700_usize..32_900], threads in 1_usize..5,
            seed: u32,
        ) {
            let pool = Pool::new(threads);
            let input: Vec<f32> = (0..len as u32)
                .map(|i| {
                    let bits = (i ^ seed).wrapping_mul(0x9E37_79B1);
                    match i % 4 {
                        0 => f32::from_bits(bits),
                        1 => bits as i32 as f32 * 6e-8,
                        2 => bits as i32 as f32 * 4e-9,
                        _ => [f32::NAN, -0.0, f32::INFINITY, f32::NEG_INFINITY, -3.0, 3.0, 1e-40]
                            [(bits % 7) as usize],
                    }
                })
                .collect();
            for function in ALL {
                for isa in Isa::supported() {
                    let mut output = vec![0.25; len];
                    unary(isa, &pool, function, &input, &mut output);
                    for (&x, &y) in input.iter().zip(&output) {
                        let expected = function.apply(x);
                        prop_assert!(
                            expected.to_bits() == y.to_bits() || (expected.is_nan() && y.is_nan()),
                            "{function:?}({x}) on {isa}: {expected} {y}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "the output has 4 elements, but the input has 3")]
    fn slices_of_different_lengths_are_refused() {
        unary(Isa::SCALAR, &Pool::new(1), Unary::SiLU, &[0.0; 3], &mut [0.0; 4]);
    }
}
