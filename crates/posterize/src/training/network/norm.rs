//! The forward and backward pass of one channel of a batch norm in training.
//!
//! The convolution without bias computes `y`, and the input of the batch norm is
//! `u = y / factor + bias`. `factor` is what the weights are multiplied by before fake quantization
//! (`_ConvBnNd._forward_approximate` of `torch.ao.nn.intrinsic.qat`), or 1. Neither `u` nor the output
//! is stored, since the output is an affine map of `y`.

/// The parameters of one channel of a batch norm, and the statistics of its batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Channel {
    pub(super) gamma: f64,
    pub(super) beta: f64,
    /// The bias of the convolution.
    pub(super) bias: f64,
    pub(super) eps: f64,
    pub(super) running_mean: f64,
    pub(super) running_var: f64,
    /// The factor of the weights: `gamma / sqrt(running_var + eps)` if `folded`, or 1.
    pub(super) factor: f64,
    /// Whether the batch norm is folded into the weights before their fake quantization.
    pub(super) folded: bool,
    /// The statistics of `y`; `None` to normalize with the running estimates.
    pub(super) batch: Option<Moments>,
}

/// The affine map `y · scale + shift`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Affine {
    pub(super) scale: f32,
    pub(super) shift: f32,
}

/// The mean and the biased variance of `y` over a batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moments {
    pub(super) mean: f64,
    pub(super) var: f64,
    pub(super) pixels: usize,
}

/// The gradients of the parameters, and the factors of the gradient of `y`, which is
/// `a · g + b · y + c`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Backward {
    pub(super) a: f32,
    pub(super) b: f32,
    pub(super) c: f32,
    pub(super) gamma: f64,
    pub(super) beta: f64,
    pub(super) bias: f64,
}

impl Channel {
    fn inverse_running_std(self) -> f64 {
        1.0 / (self.running_var + self.eps).sqrt()
    }

    /// Returns whether the channel is folded with a `gamma` of 0, so that its weights are 0 and its
    /// output is always `beta`.
    fn is_dead(self) -> bool {
        self.folded && self.factor == 0.0
    }

    fn inverse_std(self, batch: Moments) -> f64 {
        1.0 / (batch.var / (self.factor * self.factor) + self.eps).sqrt()
    }

    /// Returns the affine map from `y` to the output of the batch norm.
    pub(super) fn affine(self) -> Affine {
        let Some(batch) = self.batch else {
            let scale = self.gamma * self.inverse_running_std();
            let shift = self.beta + (self.bias - self.running_mean) * scale;
            // The weights of a folded batch norm already have the scale.
            let scale = if self.folded { 1.0 } else { scale as f32 };
            return Affine { scale, shift: shift as f32 };
        };
        if self.is_dead() {
            return Affine { scale: 0.0, shift: self.beta as f32 };
        }
        let scale = self.gamma * self.inverse_std(batch) / self.factor;
        Affine { scale: scale as f32, shift: (self.beta - batch.mean * scale) as f32 }
    }

    /// Returns the running mean and variance after the batch, whose unbiased variance is used.
    pub(super) fn updated(self, momentum: f64) -> (f64, f64) {
        let Some(batch) = self.batch.filter(|_| !self.is_dead()) else {
            return (self.running_mean, self.running_var);
        };
        let mean = batch.mean / self.factor + self.bias;
        let unbiased = batch.pixels as f64 / (batch.pixels as f64 - 1.0);
        let var = batch.var / (self.factor * self.factor) * unbiased;
        let moved = |estimate: f64, found: f64| (1.0 - momentum) * estimate + momentum * found;
        (moved(self.running_mean, mean), moved(self.running_var, var))
    }

    /// Returns the gradients from the sums `grad` of `g`, the gradient of the batch norm's output, and
    /// `grad_y` of `g · y`.
    ///
    /// With `x̂ = (u − mean) / std` of the batch, the gradient of `u` is
    /// `gamma / std · (g − mean(g) − x̂ · mean(g · x̂))`. It is orthogonal to 1 and, except for eps, to
    /// `x̂`, so that the gradient of `factor` has a closed form.
    pub(super) fn backward(self, grad: f64, grad_y: f64) -> Backward {
        let Some(batch) = self.batch else {
            let inverse_std = self.inverse_running_std();
            let offset = (self.bias - self.running_mean) * grad;
            // If it is folded, the gradient through `y` is part of that of the weights.
            let through_y = if self.folded { 0.0 } else { grad_y };
            return Backward {
                a: self.affine().scale,
                b: 0.0,
                c: 0.0,
                gamma: inverse_std * (through_y + offset),
                beta: grad,
                bias: self.gamma * inverse_std * grad,
            };
        };
        if self.is_dead() {
            return Backward { beta: grad, ..Backward::default() };
        }
        let n = batch.pixels as f64;
        let inverse_std = self.inverse_std(batch);
        let k = inverse_std / self.factor;
        let gamma = k * (grad_y - batch.mean * grad);
        let a = self.gamma * k;
        let b = -a * k * gamma / n;
        let c = -a * grad / n - b * batch.mean;
        let through_factor = if self.folded {
            let shrunk = self.eps * inverse_std * inverse_std;
            -self.gamma / self.factor * gamma * shrunk * self.inverse_running_std()
        } else {
            0.0
        };
        Backward {
            a: a as f32,
            b: b as f32,
            c: c as f32,
            gamma: gamma + through_factor,
            beta: grad,
            // The normalization subtracts the bias with the mean.
            bias: 0.0,
        }
    }

    /// Returns the gradient of `gamma` through the folded weights. `weight_sum` is the sum over the
    /// channel of the gradient of the folded weights times the weights.
    pub(super) fn gamma_of_weights(self, weight_sum: f64) -> f64 {
        weight_sum * self.inverse_running_std()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const Y: [f64; 5] = [0.5, -1.5, 2.25, 4.0, 0.1];

    /// Returns `Σ t · output` for the batch `y`.
    fn value(channel: Channel, y: &[f64], t: &[f64]) -> f64 {
        let u: Vec<f64> = y.iter().map(|y| y / channel.factor + channel.bias).collect();
        let n = y.len() as f64;
        let (mean, var) = if channel.batch.is_some() {
            let mean = u.iter().sum::<f64>() / n;
            (mean, u.iter().map(|u| (u - mean).powi(2)).sum::<f64>() / n)
        } else {
            (channel.running_mean, channel.running_var)
        };
        let std = (var + channel.eps).sqrt();
        u.iter().zip(t).map(|(u, t)| t * ((u - mean) / std * channel.gamma + channel.beta)).sum()
    }

    /// Channels folded or not, normalized with the batch or the running estimates.
    fn channels() -> Vec<Channel> {
        let (gamma, eps, running_var) = (0.7, 0.05, 2.5_f64);
        let (beta, bias, running_mean) = (0.3, -0.4, 0.9);
        let mean = Y.iter().sum::<f64>() / 5.0;
        let var = Y.iter().map(|y| (y - mean).powi(2)).sum::<f64>() / 5.0;
        let mut all = Vec::new();
        for folded in [false, true] {
            let factor = if folded { gamma / (running_var + eps).sqrt() } else { 1.0 };
            for batch in [None, Some(Moments { mean, var, pixels: 5 })] {
                all.push(Channel {
                    gamma,
                    beta,
                    bias,
                    eps,
                    running_mean,
                    running_var,
                    factor,
                    folded,
                    batch,
                });
            }
        }
        all
    }

    #[test]
    fn gradients_equal_finite_differences() {
        let t = [1.0, -0.5, 0.25, 2.0, -1.0];
        let (grad, grad_y) = (t.iter().sum(), t.iter().zip(Y).map(|(t, y)| t * y).sum());
        for channel in channels() {
            let found = channel.backward(grad, grad_y);
            let close = |found: f64, f: &dyn Fn(f64) -> f64| {
                let h = 1e-5;
                let expected = (f(h) - f(-h)) / (2.0 * h);
                let error = (found - expected).abs();
                assert!(
                    error <= 1e-6 * expected.abs().max(1.0),
                    "{channel:?}: {found}, {expected}"
                );
            };
            for i in 0..Y.len() {
                let dy = f64::from(found.a) * t[i] + f64::from(found.b) * Y[i] + f64::from(found.c);
                close(dy, &|h| {
                    let mut moved = Y;
                    moved[i] += h;
                    value(channel, &moved, &t)
                });
            }
            close(found.beta, &|h| value(Channel { beta: channel.beta + h, ..channel }, &Y, &t));
            close(found.bias, &|h| value(Channel { bias: channel.bias + h, ..channel }, &Y, &t));
            // For a fixed y, a folded gamma also changes the factor that y is divided by.
            close(found.gamma, &|h| {
                let gamma = channel.gamma + h;
                let ratio = if channel.folded { gamma / channel.gamma } else { 1.0 };
                value(Channel { gamma, factor: channel.factor * ratio, ..channel }, &Y, &t)
            });
        }
    }

    #[test]
    fn the_affine_map_equals_the_definition() {
        for channel in channels() {
            let affine = channel.affine();
            for (i, y) in Y.iter().enumerate() {
                let mut t = [0.0; 5];
                t[i] = 1.0;
                let expected = value(channel, &Y, &t);
                let found = y * f64::from(affine.scale) + f64::from(affine.shift);
                assert!((found - expected).abs() < 1e-6, "{channel:?}: {found} {expected}");
            }
        }
    }

    #[test]
    fn the_output_is_constant_if_a_folded_gamma_is_zero() {
        let batch = Some(Moments { mean: 0.0, var: 0.0, pixels: 5 });
        let dead = Channel { gamma: 0.0, factor: 0.0, folded: true, batch, ..channels()[0] };
        assert_eq!(dead.affine(), Affine { scale: 0.0, shift: 0.3 });
        assert_eq!(dead.updated(0.1), (0.9, 2.5));
        let back = dead.backward(2.0, 0.0);
        assert_eq!((back.a, back.b, back.c, back.gamma, back.beta), (0.0, 0.0, 0.0, 0.0, 2.0));
    }
}
