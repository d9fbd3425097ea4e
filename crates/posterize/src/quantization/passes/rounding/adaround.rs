//! AdaRound: the rounding of weights is learned by gradient descent on soft integers; Nagel et al. 2020, [Up
//! or Down? Adaptive Rounding for Post-Training Quantization](https://arxiv.org/abs/2004.10568).
//!
//! A weight is `floor + h(V)` steps, where `h` is between 0 and 1 and `V` is learned. A regularizer, which
//! is off at first, moves every `h` to 0 or 1. The error and its gradient come from the quadratic form of a
//! layer's error, so every step sees all samples.

use posterize_kernels::f32::{Clamp, Linear};
use posterize_kernels::{Isa, Pool};

use super::grid::Grid;
use super::quadratic::Quadratic;

/// `ζ` and `γ` of the rectified sigmoid (equation 23).
const STRETCH: [f32; 2] = [1.1, -0.1];

/// `λ`, the weight of the regularizer (equation 21), in the units of [`learn`]. The paper's 0.01 is for errors
/// that are not normalized: with 8 bits it would be far larger than they are.
const LAMBDA: f32 = 1.0;

/// `β` of the regularizer at the beginning and at the end (equation 24).
const BETA: [f32; 2] = [20.0, 2.0];

/// The part of the steps without a regularizer.
const WARM_START: f32 = 0.2;

/// The number of steps.
const STEPS: usize = 400;

/// The step size of Adam.
const LEARNING_RATE: f32 = 0.03;

/// Adam's decay of the means of gradients and of their squares, and its epsilon.
const DECAY: [f32; 2] = [0.9, 0.999];
const EPSILON: f32 = 1e-8;

/// The rectified sigmoid, `clip(sigmoid(v) · (ζ − γ) + γ, 0, 1)`.
fn rectified_sigmoid(v: f32) -> f32 {
    let [zeta, gamma] = STRETCH;
    (sigmoid(v) * (zeta - gamma) + gamma).clamp(0.0, 1.0)
}

/// The derivative of [`rectified_sigmoid`], 0 where it is clipped.
fn rectified_sigmoid_gradient(v: f32) -> f32 {
    let [zeta, gamma] = STRETCH;
    let s = sigmoid(v);
    let stretched = s * (zeta - gamma) + gamma;
    if stretched > 0.0 && stretched < 1.0 { s * (1.0 - s) * (zeta - gamma) } else { 0.0 }
}

/// Returns the `v` whose [`rectified_sigmoid`] is `h`, from 0 to 1.
fn inverse(h: f32) -> f32 {
    let [zeta, gamma] = STRETCH;
    let s = (h - gamma) / (zeta - gamma);
    (s / (1.0 - s)).ln()
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

/// The regularizer of a weight, `1 − |2 h − 1|^β`.
#[cfg(test)]
fn regularizer(h: f32, beta: f32) -> f32 {
    1.0 - (2.0 * h - 1.0).abs().powf(beta)
}

/// The derivative of [`regularizer`] with respect to `h`.
fn regularizer_gradient(h: f32, beta: f32) -> f32 {
    let centered = 2.0 * h - 1.0;
    -2.0 * beta * centered.abs().powf(beta - 1.0) * centered.signum()
}

/// Returns `β` at a step; `None` in the warm start. It falls along half a cosine.
fn beta(step: usize) -> Option<f32> {
    let at = step as f32 / STEPS as f32;
    let annealed = (at - WARM_START) / (1.0 - WARM_START);
    let [first, last] = BETA;
    let half = 0.5 * (1.0 + (annealed * std::f32::consts::PI).cos());
    (annealed >= 0.0).then_some(last + (first - last) * half)
}

/// A weight that is learned, and the state of Adam.
#[derive(Clone, Copy, Debug)]
struct Soft {
    v: f32,
    mean: f32,
    square: f32,
}

/// Learns the rounding of weights; returns for each of them, `[outputs, weights]`, whether it is rounded up.
///
/// Errors are in units of what one step of a channel's scale in one weight costs on average, so that `λ` and
/// the step size fit every layer.
pub(super) fn learn(isa: Isa, pool: &Pool, problem: &Quadratic, grid: &Grid) -> Vec<bool> {
    let weights = problem.weights;
    let gram = Linear::new(isa, weights, weights, &problem.gram, None, Clamp::NONE);
    let unit = problem.mean_diagonal();
    let start = |h: &f32| Soft { v: inverse(*h), mean: 0.0, square: 0.0 };
    let mut soft: Vec<Soft> = grid.fraction.iter().map(start).collect();
    let mut errors = vec![0.0; soft.len()];
    let mut product = vec![0.0; soft.len()];
    for step in 0..STEPS {
        pool.for_each_chunk_mut(&mut errors, weights, &|output, errors| {
            let at = output * weights..(output + 1) * weights;
            let float = problem.float()[at.clone()].iter();
            let known = soft[at.clone()].iter().zip(&grid.floor[at]).zip(float);
            for (error, ((soft, floor), w)) in errors.iter_mut().zip(known) {
                *error = (floor + rectified_sigmoid(soft.v)) * grid.scales[output] - w;
            }
        });
        gram.run(pool, grid.scales.len(), &errors, &mut product);
        let (beta, adam) = (beta(step), Adam::at(step));
        pool.for_each_chunk_mut(&mut soft, weights, &|output, soft| {
            let factor = 2.0 / (grid.scales[output] * unit);
            for (soft, product) in soft.iter_mut().zip(&product[output * weights..]) {
                let slope = rectified_sigmoid_gradient(soft.v);
                // A clipped weight is decided.
                if slope == 0.0 {
                    continue;
                }
                let h = rectified_sigmoid(soft.v);
                let regularizing = beta.map_or(0.0, |beta| LAMBDA * regularizer_gradient(h, beta));
                adam.step(soft, (product * factor + regularizing) * slope);
            }
        });
    }
    soft.iter().map(|soft| rectified_sigmoid(soft.v) >= 0.5).collect()
}

/// The corrections of Adam's means at a step (Kingma and Ba 2014, <https://arxiv.org/abs/1412.6980>).
#[derive(Clone, Copy)]
struct Adam {
    mean: f32,
    square: f32,
}

impl Adam {
    fn at(step: usize) -> Self {
        let [mean, square] = DECAY.map(|decay| 1.0 / (1.0 - decay.powi(step as i32 + 1)));
        Self { mean, square }
    }

    fn step(self, soft: &mut Soft, gradient: f32) {
        soft.mean = DECAY[0] * soft.mean + (1.0 - DECAY[0]) * gradient;
        soft.square = DECAY[1] * soft.square + (1.0 - DECAY[1]) * gradient * gradient;
        let root = (soft.square * self.square).sqrt();
        soft.v -= LEARNING_RATE * soft.mean * self.mean / (root + EPSILON);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the slope of a function at `x` by differences.
    fn slope(f: impl Fn(f32) -> f32, x: f32) -> f32 {
        let h = 1e-3;
        (f(x + h) - f(x - h)) / (2.0 * h)
    }

    #[test]
    fn the_gradients_are_those_of_differences() {
        for v in [-1.7, -0.9, -0.2, 0.0, 0.4, 1.3, 2.1] {
            let (found, expected) = (rectified_sigmoid_gradient(v), slope(rectified_sigmoid, v));
            assert!((found - expected).abs() < 1e-3, "at {v}: {found}, {expected}");
        }
        for beta in [2.0, 3.5, 8.0, 20.0] {
            for h in [0.05, 0.2, 0.45, 0.6, 0.8, 0.95] {
                let expected = slope(|h| regularizer(h, beta), h);
                let found = regularizer_gradient(h, beta);
                assert!((found - expected).abs() < 1e-2 * expected.abs().max(1.0), "{h}, {beta}");
            }
        }
    }

    #[test]
    fn the_rectified_sigmoid_reaches_its_ends_and_has_an_inverse() {
        assert_eq!([-3.0, 3.0].map(rectified_sigmoid), [0.0, 1.0]);
        assert_eq!([-3.0, 3.0].map(rectified_sigmoid_gradient), [0.0, 0.0]);
        for h in [0.0, 0.1, 0.5, 0.9, 1.0] {
            assert!((rectified_sigmoid(inverse(h)) - h).abs() < 1e-6, "{h}");
        }
        // 1 in the middle, 0 at both ends.
        assert_eq!([0.0, 0.5, 1.0].map(|h| regularizer(h, 7.0)), [0.0, 1.0, 0.0]);
    }

    #[test]
    fn the_regularizer_begins_after_the_warm_start_and_beta_falls_from_20_to_2() {
        let warm = (STEPS as f32 * WARM_START) as usize;
        assert_eq!((beta(0), beta(warm - 1)), (None, None));
        assert_eq!(beta(warm), Some(20.0));
        assert!((beta(STEPS - 1).unwrap() - 2.0).abs() < 0.01);
        let all: Vec<f32> = (warm..STEPS).filter_map(beta).collect();
        assert!(all.is_sorted_by(|a, b| a >= b));
    }
}
