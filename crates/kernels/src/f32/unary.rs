//! f32 functions of one element: sigmoid, GELU, tanh, exp and others.

use super::erf::erf;
use super::exp::{ExpOfNegativeAbs, exp, exp_m1_of_negative, tanh};
use super::log::{ln, ln_1p};
use crate::Isa;
use crate::int8::vectorize::{Loop, vectorize};
use crate::lengths::check_same_len;
use crate::pool::{Pool, SharedMut, part};

/// Elements of one task.
const TASK: usize = 16 * 1024;

/// A function that is applied to each element.
///
/// [`Unary::apply`] defines the functions. [`unary`] gives the same bits on every instruction set:
/// it is the same code, which rounds each operation as IEEE 754 specifies and uses no fused
/// multiply-add.
///
/// A NaN gives a NaN, except that [`Unary::Pow`] with an exponent of 0 gives 1.
///
/// ```
/// use posterize_kernels::f32::Unary;
///
/// assert_eq!(Unary::Sigmoid.apply(0.0), 0.5);
/// assert_eq!(Unary::HardSigmoid.apply(1.5), 4.5 / 6.0);
/// assert_eq!(Unary::LeakyReLU { negative_slope: 0.5 }.apply(-3.0), -1.5);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
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
    /// ONNX's `HardSigmoid`: `max(0, min(1, alpha · x + beta))`.
    ClippedLinear {
        /// The slope.
        alpha: f32,
        /// The value at 0.
        beta: f32,
    },
    /// `torch.nn.LeakyReLU`: `x` where it is positive, `negative_slope · x` elsewhere.
    LeakyReLU {
        /// The slope below 0.
        negative_slope: f32,
    },
    /// `torch.nn.ELU`: `x` where it is positive, `alpha · (exp(x) − 1)` elsewhere.
    Elu {
        /// The limit far below 0, negated.
        alpha: f32,
    },
    /// `torch.nn.SELU`: an ELU with `alpha` 1.6732632423543772, times 1.0507009873554805.
    Selu,
    /// `torch.tanh`.
    Tanh,
    /// `torch.nn.GELU`: `x / 2 · (1 + erf(x / √2))`. `−inf` gives a NaN, as in PyTorch.
    Gelu,
    /// `torch.nn.GELU` with `approximate='tanh'`: `x / 2 · (1 + tanh(√(2/π) · (x + 0.044715 · x³)))`.
    GeluTanh,
    /// `torch.nn.Mish`: `x · tanh(ln(1 + exp(x)))`.
    Mish,
    /// `torch.nn.Softplus`: `ln(1 + exp(beta · x)) / beta`, and `x` where `beta · x > threshold`.
    Softplus {
        /// The factor of `x`.
        beta: f32,
        /// The value of `beta · x` above which the function is `x`.
        threshold: f32,
    },
    /// `torch.exp`.
    Exp,
    /// `torch.log`: the natural logarithm. 0 gives `−inf`, a negative number a NaN.
    Log,
    /// `torch.sqrt`. A negative number gives a NaN.
    Sqrt,
    /// `torch.abs`.
    Abs,
    /// `torch.neg`: `−x`.
    Neg,
    /// `torch.reciprocal`: `1 / x`.
    Reciprocal,
    /// `torch.erf`: the error function.
    Erf,
    /// `torch.clamp`: `min(max(x, min), max)`.
    Clamp {
        /// The lower bound; `−inf` for none.
        min: f32,
        /// The upper bound; `inf` for none.
        max: f32,
    },
    /// `torch.pow` by a constant. Exponents of 2, 3, −1 and 1/2 are products, quotients and square
    /// roots, as in PyTorch.
    Pow {
        /// The exponent.
        exponent: f32,
    },
}

/// Evaluates an expression in which a name is bound to the code of a function, once for each
/// function, so that its loop can be vectorized.
macro_rules! with_function {
    ($unary:expr, $f:ident => $body:expr) => {
        with_function!(
            @arms $unary, $f => $body;
            Unary::Sigmoid => sigmoid,
            Unary::HardSwish => hard_swish,
            Unary::SiLU => silu,
            Unary::HardSigmoid => hard_sigmoid,
            Unary::ClippedLinear { alpha, beta } => move |x| clamp(alpha * x + beta, 0.0, 1.0),
            Unary::LeakyReLU { negative_slope } => {
                move |x: f32| if x > 0.0 { x } else { negative_slope * x }
            },
            Unary::Elu { alpha } => move |x| elu(x, alpha, 1.0),
            Unary::Selu => |x| elu(x, SELU_ALPHA, SELU_SCALE),
            Unary::Tanh => tanh,
            Unary::Gelu => gelu,
            Unary::GeluTanh => gelu_tanh,
            Unary::Mish => mish,
            Unary::Softplus { beta, threshold } => move |x| softplus(x, beta, threshold),
            Unary::Exp => exp,
            Unary::Log => ln,
            Unary::Sqrt => f32::sqrt,
            Unary::Abs => f32::abs,
            Unary::Neg => |x: f32| -x,
            Unary::Reciprocal => f32::recip,
            Unary::Erf => erf,
            Unary::Clamp { min, max } => move |x| clamp(x, min, max),
            Unary::Pow { exponent } => move |x| pow(x, exponent),
        )
    };
    (@arms $unary:expr, $f:ident => $body:expr; $($pattern:pat => $code:expr,)+) => {
        match $unary {
            $($pattern => {
                let $f = $code;
                $body
            })+
        }
    };
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
    /// assert_eq!(Unary::Clamp { min: -1.0, max: f32::INFINITY }.apply(-2.0), -1.0);
    /// ```
    #[must_use]
    pub fn apply(self, x: f32) -> f32 {
        with_function!(self, f => f(x))
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
        with_function!(self.function, f => map(self.input, self.output, f));
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
    clamp(x, 0.0, 6.0)
}

/// `min(max(x, min), max)`; a NaN stays.
#[inline(always)]
fn clamp(x: f32, min: f32, max: f32) -> f32 {
    let x = if x < min { min } else { x };
    if x > max { max } else { x }
}

const SELU_ALPHA: f32 = 1.673_263_2;
const SELU_SCALE: f32 = 1.050_701;

#[inline(always)]
fn elu(x: f32, alpha: f32, scale: f32) -> f32 {
    let below = scale * alpha * exp_m1_of_negative(x);
    if x > 0.0 { scale * x } else { below }
}

#[inline(always)]
fn gelu(x: f32) -> f32 {
    0.5 * x * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2))
}

#[inline(always)]
fn gelu_tanh(x: f32) -> f32 {
    /// `√(2/π)`.
    const FACTOR: f32 = 0.797_884_6;
    0.5 * x * (1.0 + tanh(FACTOR * (x + 0.044_715 * (x * x * x))))
}

/// With `z = exp(−|x|)`, `tanh(ln(1 + exp(x)))` is `(1 + 2z) / (1 + 2z + 2z²)` for `x ≥ 0`, and
/// `z(z + 2) / (z(z + 2) + 2)` below.
#[inline(always)]
fn mish(x: f32) -> f32 {
    let z = ExpOfNegativeAbs::new(x).times(1.0);
    let positive = 1.0 + 2.0 * z;
    let negative = z * (z + 2.0);
    let (numerator, rest) = if x >= 0.0 { (positive, 2.0 * z * z) } else { (negative, 2.0) };
    x * (numerator / (numerator + rest))
}

#[inline(always)]
fn softplus(x: f32, beta: f32, threshold: f32) -> f32 {
    let scaled = beta * x;
    let soft = clamp(scaled, 0.0, f32::INFINITY) + ln_1p(ExpOfNegativeAbs::new(scaled).times(1.0));
    if scaled > threshold { x } else { soft / beta }
}

#[inline(always)]
fn pow(x: f32, exponent: f32) -> f32 {
    if exponent == 2.0 {
        x * x
    } else if exponent == 3.0 {
        x * x * x
    } else if exponent == -1.0 {
        1.0 / x
    } else if exponent == 0.5 {
        x.sqrt()
    } else {
        x.powf(exponent)
    }
}

#[cfg(test)]
mod tests;
