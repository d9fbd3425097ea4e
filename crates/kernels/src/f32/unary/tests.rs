//! Tests of functions of one element.

use proptest::prelude::*;

use super::*;

/// Functions whose errors are bounded in units in the last place.
const IN_ULPS: [Unary; 4] = [Unary::Sigmoid, Unary::HardSwish, Unary::SiLU, Unary::HardSigmoid];

/// The other functions, with the largest relative and the largest absolute error of their results; the
/// sum of both is allowed.
const OTHERS: [(Unary, f64, f64); 24] = [
    (Unary::ClippedLinear { alpha: 0.2, beta: 0.5 }, 2e-7, 1e-7),
    (Unary::LeakyReLU { negative_slope: 0.01 }, 2e-7, 0.0),
    (Unary::Elu { alpha: 1.5 }, 4e-7, 0.0),
    (Unary::Selu, 4e-7, 0.0),
    (Unary::Tanh, 4e-7, 0.0),
    (Unary::Gelu, 2e-7, 3e-7),
    (Unary::GeluTanh, 3e-7, 5e-7),
    (Unary::Mish, 5e-7, 1e-37),
    (Unary::Softplus { beta: 1.0, threshold: 20.0 }, 4e-7, 3e-9),
    (Unary::Softplus { beta: 2.5, threshold: 50.0 }, 4e-7, 1e-9),
    (Unary::Exp, 4e-7, 1e-37),
    (Unary::Log, 3e-7, 0.0),
    (Unary::Sqrt, 1e-7, 0.0),
    (Unary::Abs, 0.0, 0.0),
    (Unary::Neg, 0.0, 0.0),
    (Unary::Reciprocal, 1e-7, 1e-44),
    (Unary::Erf, 2e-7, 1e-44),
    (Unary::Clamp { min: -1.0, max: 2.5 }, 0.0, 0.0),
    (Unary::Clamp { min: f32::NEG_INFINITY, max: 0.5 }, 0.0, 0.0),
    (Unary::Pow { exponent: 2.0 }, 1e-7, 1e-44),
    (Unary::Pow { exponent: 3.0 }, 2e-7, 1e-40),
    (Unary::Pow { exponent: 0.5 }, 1e-7, 0.0),
    (Unary::Pow { exponent: -1.0 }, 1e-7, 1e-44),
    (Unary::Pow { exponent: 1.7 }, 2e-7, 1e-37),
];

fn all() -> impl Iterator<Item = Unary> {
    IN_ULPS.into_iter().chain(OTHERS.map(|(function, ..)| function))
}

fn exact(function: Unary, x: f32) -> f64 {
    let x = f64::from(x);
    let sigmoid = |x: f64| if x < -700.0 { 0.0 } else { 1.0 / (1.0 + (-x).exp()) };
    match function {
        Unary::Sigmoid => sigmoid(x),
        Unary::HardSwish => x * (x + 3.0).clamp(0.0, 6.0) / 6.0,
        Unary::SiLU => x * sigmoid(x),
        Unary::HardSigmoid => (x + 3.0).clamp(0.0, 6.0) / 6.0,
        Unary::ClippedLinear { alpha, beta } => {
            (f64::from(alpha) * x + f64::from(beta)).clamp(0.0, 1.0)
        }
        Unary::LeakyReLU { negative_slope } => {
            if x > 0.0 {
                x
            } else {
                f64::from(negative_slope) * x
            }
        }
        Unary::Elu { alpha } => {
            if x > 0.0 {
                x
            } else {
                f64::from(alpha) * x.exp_m1()
            }
        }
        Unary::Selu => {
            let elu = if x > 0.0 { x } else { 1.673_263_242_354_377_2 * x.exp_m1() };
            1.050_700_987_355_480_5 * elu
        }
        Unary::Tanh => x.tanh(),
        Unary::Gelu => 0.5 * x * (1.0 + exact_erf(x / 2_f64.sqrt())),
        Unary::GeluTanh => {
            let inner = std::f64::consts::FRAC_2_PI.sqrt() * (x + 0.044_715 * x.powi(3));
            0.5 * x * (1.0 + inner.tanh())
        }
        Unary::Mish => {
            if x > 40.0 {
                x
            } else {
                x * x.exp().ln_1p().tanh()
            }
        }
        Unary::Softplus { beta, threshold } => {
            let (beta, threshold) = (f64::from(beta), f64::from(threshold));
            if beta * x > threshold { x } else { (beta * x).exp().ln_1p() / beta }
        }
        Unary::Exp => x.exp(),
        Unary::Log => x.ln(),
        Unary::Sqrt => x.sqrt(),
        Unary::Abs => x.abs(),
        Unary::Neg => -x,
        Unary::Reciprocal => 1.0 / x,
        Unary::Erf => exact_erf(x),
        Unary::Clamp { min, max } => x.clamp(f64::from(min), f64::from(max)),
        Unary::Pow { exponent } => x.powf(f64::from(exponent)),
    }
}

/// The error function by its power series, and as its limit where that does not converge well; the
/// difference is below 1e-9 there.
fn exact_erf(x: f64) -> f64 {
    if x.abs() > 4.3 {
        return x.signum();
    }
    let (mut power, mut sum) = (x, x);
    for n in 1..120 {
        power *= -x * x / f64::from(n);
        sum += power / f64::from(2 * n + 1);
    }
    sum * std::f64::consts::FRAC_2_SQRT_PI
}

#[test]
fn other_results_are_within_their_errors() {
    for (function, relative, absolute) in OTHERS {
        for x in every(4001) {
            let (exact, found) = (exact(function, x), function.apply(x));
            if exact.is_nan() {
                assert!(found.is_nan(), "{function:?}({x}) is {found}");
            } else if exact.abs() > f64::from(f32::MAX) {
                let large = f64::from(found) / exact.signum();
                assert!(large > 0.999 * f64::from(f32::MAX), "{function:?}({x}) is {found}");
            } else {
                let error = (f64::from(found) - exact).abs();
                // Subnormal numbers have fewer bits.
                let bound = relative * exact.abs() + absolute + 1e-44;
                assert!(error <= bound, "{function:?}({x}) is {found}, expected {exact}");
            }
        }
    }
}

#[test]
fn other_results_at_the_ends() {
    let inf = f32::INFINITY;
    let cases = [
        (Unary::Exp, [0.0, 1.0, inf]),
        (Unary::Tanh, [-1.0, 0.0, 1.0]),
        (Unary::Erf, [-1.0, 0.0, 1.0]),
        (Unary::Selu, [-1.050_701 * 1.673_263_2, 0.0, inf]),
        (Unary::Softplus { beta: 1.0, threshold: 20.0 }, [0.0, 2_f32.ln(), inf]),
        (Unary::Clamp { min: -1.0, max: inf }, [-1.0, 0.0, inf]),
        (Unary::ClippedLinear { alpha: 0.2, beta: 0.5 }, [0.0, 0.5, 1.0]),
        (Unary::Abs, [inf, 0.0, inf]),
    ];
    for (function, expected) in cases {
        let found = [-inf, 0.0, inf].map(|x| function.apply(x));
        assert_eq!(found, expected, "{function:?}");
    }
    let log = [0.0, -0.0, 1.0, inf].map(|x| Unary::Log.apply(x));
    assert_eq!(log, [-inf, -inf, 0.0, inf]);
    assert!(Unary::Log.apply(-1.0).is_nan() && Unary::Sqrt.apply(-1.0).is_nan());
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
    for function in IN_ULPS {
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
    assert!(all().all(|function| function.apply(f32::NAN).is_nan()));
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
        for function in all() {
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
