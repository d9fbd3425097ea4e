//! The squared error of a layer's outputs as a function of its weights.
//!
//! A layer is linear up to its activation, so the mean squared error of its output is a quadratic function
//! of the errors of its weights: `E ‖W x̂ − Ŵ x̂‖² = Σ (w − ŵ)ᵀ G (w − ŵ)` over the output channels, with the
//! Gram matrix `G = E[x̂ x̂ᵀ]` of the int8 network's inputs. It is made from samples once. The bias takes the
//! mean of the error, so inputs are taken without their means.

use posterize_kernels::f32::{Clamp, Linear};
use posterize_kernels::{Isa, Pool};

use super::grid::Grid;

/// The part of the mean of the Gram matrix's diagonal that is added to the diagonal.
///
/// It keeps weights near those of the float network where samples do not determine them: a linear layer at
/// the end of a network has one sample for each picture.
const RIDGE: f32 = 0.3;

/// The problem of the output channels that read the same inputs: those of a group.
#[derive(Clone, Debug)]
pub(super) struct Quadratic {
    /// The number of weights of an output channel.
    pub(super) weights: usize,
    /// `G`, `[weights, weights]`.
    pub(super) gram: Vec<f32>,
    /// `W`, `[outputs, weights]`.
    float: Vec<f32>,
}

impl Quadratic {
    /// Makes the problem from inputs `[samples, weights]` without their means and the float weights.
    pub(super) fn new(
        isa: Isa,
        pool: &Pool,
        inputs: &[f32],
        float: &[f32],
        weights: usize,
    ) -> Self {
        let samples = inputs.len() / weights;
        let mut transposed = vec![0.0; inputs.len()];
        for (sample, row) in inputs.chunks_exact(weights).enumerate() {
            for (weight, &x) in row.iter().enumerate() {
                transposed[weight * samples + sample] = x;
            }
        }
        let product = Linear::new(isa, samples, weights, &transposed, None, Clamp::NONE);
        let mut gram = vec![0.0; weights * weights];
        product.run(pool, weights, &transposed, &mut gram);
        for x in &mut gram {
            *x /= samples as f32;
        }
        let mut problem = Self { weights, gram, float: float.to_vec() };
        let mean = problem.mean_diagonal();
        // All roundings of a layer with constant inputs are equal, and the nearest is kept.
        let ridge = if mean > 0.0 { mean * RIDGE } else { 1.0 };
        for x in problem.gram.iter_mut().step_by(weights + 1) {
            *x += ridge;
        }
        problem
    }

    /// Returns the diagonal of `G`.
    pub(super) fn diagonal(&self, at: usize) -> f32 {
        self.gram[at * (self.weights + 1)]
    }

    /// Returns the mean of the diagonal of `G`.
    pub(super) fn mean_diagonal(&self) -> f32 {
        self.gram.iter().step_by(self.weights + 1).sum::<f32>() / self.weights as f32
    }

    /// Returns the float weights of all output channels.
    pub(super) fn float(&self) -> &[f32] {
        &self.float
    }

    /// Returns half the gradient, `G (ŵ − w)`, for the weights of an output channel.
    pub(super) fn half_gradient(&self, output: usize, rounded: &[f32]) -> Vec<f32> {
        let float = &self.float[output * self.weights..][..self.weights];
        let mut gradient = vec![0.0; self.weights];
        for (row, (rounded, w)) in
            self.gram.chunks_exact(self.weights).zip(rounded.iter().zip(float))
        {
            let error = rounded - w;
            gradient.iter_mut().zip(row).for_each(|(sum, g)| *sum += error * g);
        }
        gradient
    }

    /// Returns the squared error of an output channel, `(w − ŵ)ᵀ G (w − ŵ)`.
    pub(super) fn error(&self, output: usize, rounded: &[f32]) -> f64 {
        let gradient = self.half_gradient(output, rounded);
        let float = &self.float[output * self.weights..][..self.weights];
        let errors = rounded.iter().zip(float).map(|(rounded, w)| f64::from(rounded - w));
        errors.zip(gradient).map(|(error, g)| error * f64::from(g)).sum()
    }

    /// Returns for every output channel the rounding with the smaller error; `b` where both are equal.
    pub(super) fn better(&self, grid: &Grid, a: &[bool], b: &[bool]) -> Vec<bool> {
        let pairs = a.chunks_exact(self.weights).zip(b.chunks_exact(self.weights)).enumerate();
        let chosen = pairs.flat_map(|(output, (a, b))| {
            let error = |up| self.error(output, &grid.dequantized(output, up));
            if error(a) < error(b) { a } else { b }
        });
        chosen.copied().collect()
    }
}
