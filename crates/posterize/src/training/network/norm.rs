//! Batch norm in training, channel by channel, forward and backward.
//!
//! A raw convolution gives `y`; the batch norm sees `u = y / factor + bias`, where `factor` is what
//! the weights were scaled by before they were rounded (`torch.ao.nn.intrinsic.qat`'s
//! `_ConvBnNd._forward_approximate`), or 1. Neither `u` nor the normalized value is ever stored: as
//! seen from `y`, all of it is one affine map.

/// What a channel's batch norm has before it sees a batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Channel {
    pub(super) gamma: f64,
    pub(super) beta: f64,
    /// The convolution's own bias.
    pub(super) bias: f64,
    pub(super) eps: f64,
    pub(super) running_mean: f64,
    pub(super) running_var: f64,
    /// What the weights were scaled by: `gamma / sqrt(running_var + eps)` where the norm is folded.
    pub(super) factor: f64,
    pub(super) folded: bool,
    /// The batch, where it is normalized by its own mean and variance instead of the estimates.
    pub(super) batch: Option<Moments>,
}

/// `y · scale + shift`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Affine {
    pub(super) scale: f32,
    pub(super) shift: f32,
}

/// Mean and biased variance of `y` over a batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moments {
    pub(super) mean: f64,
    pub(super) var: f64,
    pub(super) pixels: usize,
}

/// The gradient of `y` is `a · g + b · y + c`; those of the parameters.
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

    /// A folded channel with a gamma of 0 has no `u`: it is `beta` everywhere, and stays so.
    fn is_dead(self) -> bool {
        self.folded && self.factor == 0.0
    }

    fn inverse_std(self, batch: Moments) -> f64 {
        1.0 / (batch.var / (self.factor * self.factor) + self.eps).sqrt()
    }

    /// What the norm does to `y`.
    pub(super) fn affine(self) -> Affine {
        let Some(batch) = self.batch else {
            let scale = self.gamma * self.inverse_running_std();
            let shift = self.beta + (self.bias - self.running_mean) * scale;
            // Folded, the scale is in the weights.
            let scale = if self.folded { 1.0 } else { scale as f32 };
            return Affine { scale, shift: shift as f32 };
        };
        if self.is_dead() {
            return Affine { scale: 0.0, shift: self.beta as f32 };
        }
        let scale = self.gamma * self.inverse_std(batch) / self.factor;
        Affine { scale: scale as f32, shift: (self.beta - batch.mean * scale) as f32 }
    }

    /// The running mean and variance after the batch; the variance is the unbiased one.
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

    /// The gradients, from the sums of `g`, the gradient of the norm's output, and of `g · y`.
    ///
    /// With `x̂ = (u − mean) / std` over the batch, the gradient of `u` is
    /// `gamma / std · (g − mean(g) − x̂ · mean(g · x̂))`. That of `factor` follows in closed form,
    /// since such a gradient is orthogonal to 1 and, but for eps, to `x̂`.
    pub(super) fn backward(self, grad: f64, grad_y: f64) -> Backward {
        let Some(batch) = self.batch else {
            let inverse_std = self.inverse_running_std();
            let offset = (self.bias - self.running_mean) * grad;
            // Folded, the part of `y` comes by way of the weights.
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
            // A constant added before the norm changes nothing behind it.
            bias: 0.0,
        }
    }

    /// What a folded weight's gradient, summed with the weight over the channel, adds to that of
    /// gamma.
    pub(super) fn gamma_of_weights(self, weight_sum: f64) -> f64 {
        weight_sum * self.inverse_running_std()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const Y: [f64; 5] = [0.5, -1.5, 2.25, 4.0, 0.1];

    /// `Σ t · out` for the batch `y`, where `out` is what the norm makes of it.
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

    /// Every combination of folded or not, normalized by the batch or by estimates.
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
    fn gradients_are_those_of_finite_differences() {
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
            // With y held, a folded gamma also acts through the factor that y is divided by.
            close(found.gamma, &|h| {
                let gamma = channel.gamma + h;
                let ratio = if channel.folded { gamma / channel.gamma } else { 1.0 };
                value(Channel { gamma, factor: channel.factor * ratio, ..channel }, &Y, &t)
            });
        }
    }

    #[test]
    fn the_affine_map_is_the_norm() {
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
    fn a_folded_gamma_of_zero_is_a_constant() {
        let batch = Some(Moments { mean: 0.0, var: 0.0, pixels: 5 });
        let dead = Channel { gamma: 0.0, factor: 0.0, folded: true, batch, ..channels()[0] };
        assert_eq!(dead.affine(), Affine { scale: 0.0, shift: 0.3 });
        assert_eq!(dead.updated(0.1), (0.9, 2.5));
        let back = dead.backward(2.0, 0.0);
        assert_eq!((back.a, back.b, back.c, back.gamma, back.beta), (0.0, 0.0, 0.0, 0.0, 2.0));
    }
}
