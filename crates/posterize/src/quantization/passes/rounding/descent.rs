//! Rounding by coordinate descent: a weight is rounded the other way as long as that makes the squared error
//! of its layer's output smaller.
//!
//! The objective is that of AdaRound and of [GPTQ](https://arxiv.org/abs/2210.17323), the minimum is a
//! local one: no single weight can be rounded the other way without a larger error. A step costs the weights
//! of one output channel, so that a layer takes less time than one gradient of AdaRound.

use posterize_kernels::Pool;

use super::grid::Grid;
use super::quadratic::Quadratic;

/// The largest number of times that all weights of a channel are visited.
const MAX_SWEEPS: usize = 100;

/// Returns for each weight, `[outputs, weights]`, whether it is rounded up, beginning with `up`.
pub(super) fn descend(pool: &Pool, problem: &Quadratic, grid: &Grid, up: &[bool]) -> Vec<bool> {
    let weights = problem.weights;
    let channels = pool.map(grid.scales.len(), &|output| {
        let mut up = up[output * weights..][..weights].to_vec();
        of_channel(problem, grid, output, &mut up);
        up
    });
    channels.concat()
}

fn of_channel(problem: &Quadratic, grid: &Grid, output: usize, up: &mut [bool]) {
    let scale = grid.scales[output];
    let mut gradient = problem.half_gradient(output, &grid.dequantized(output, up));
    for _ in 0..MAX_SWEEPS {
        let mut changed = false;
        for at in 0..up.len() {
            let step = if up[at] { -scale } else { scale };
            // The change of the error, which must be more than what the sums are rounded by.
            let curvature = step * step * problem.diagonal(at);
            if 2.0 * step * gradient[at] + curvature < -1e-4 * curvature {
                let row = &problem.gram[at * problem.weights..][..problem.weights];
                gradient.iter_mut().zip(row).for_each(|(sum, g)| *sum += step * g);
                up[at] = !up[at];
                changed = true;
            }
        }
        if !changed {
            break;
        }
    }
}
