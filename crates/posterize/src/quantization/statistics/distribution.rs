//! The distribution of a channel's values.

use std::f64::consts::PI;

/// Number of standard deviations between the mean of a channel and the end of its range; Nagel et al. 2019,
/// [Data-Free Quantization](https://arxiv.org/abs/1906.04721), section 5.
pub(crate) const RANGE_STDS: f64 = 6.0;

/// A normal distribution whose values are clamped to a range.
///
/// A batch norm makes the values of a channel almost normal, and ReLU and ReLU6 clamp them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Distribution {
    /// The mean before clamping.
    pub(crate) mean: f64,
    /// The standard deviation before clamping.
    pub(crate) std: f64,
    /// The smallest value.
    pub(crate) min: f64,
    /// The largest value.
    pub(crate) max: f64,
}

impl Distribution {
    /// Returns a normal distribution with a range of [`RANGE_STDS`] standard deviations around the mean.
    pub(crate) fn normal(mean: f64, std: f64) -> Self {
        let width = RANGE_STDS * std;
        Self { mean, std, min: mean - width, max: mean + width }
    }

    /// Returns the distribution of the values clamped to a range.
    pub(crate) fn clamped(self, [min, max]: [f64; 2]) -> Self {
        Self { min: self.min.clamp(min, max), max: self.max.clamp(min, max), ..self }
    }

    /// Returns a distribution with these moments that does not leave a range.
    pub(crate) fn of_moments(moments: Moments, [min, max]: [f64; 2]) -> Self {
        let normal = Self::normal(moments.mean, moments.variance.max(0.0).sqrt());
        // The range of moments is at most that of the values that they come from.
        Self { min: normal.min.max(min), max: normal.max.min(max), ..normal }
    }
}

/// The mean and variance of a channel's values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Moments {
    pub(crate) mean: f64,
    pub(crate) variance: f64,
}

/// Quantiles of the standard normal distribution, each with the same probability.
#[derive(Debug)]
pub(crate) struct Quantiles(Vec<f64>);

impl Quantiles {
    /// Computes the quantiles of the middles of `count` equal parts of the probability.
    pub(crate) fn new(count: usize) -> Self {
        const STEP: f64 = 1e-3;
        // The density is added up until each part's middle is reached.
        let mut below = 0.0;
        let mut quantiles = Vec::with_capacity(count);
        for step in 0.. {
            let z = f64::from(step) * STEP - RANGE_STDS;
            if quantiles.len() == count || z > RANGE_STDS {
                break;
            }
            let density = (-0.5 * z * z).exp() / (2.0 * PI).sqrt();
            below += density * STEP;
            while quantiles.len() < count && below >= (quantiles.len() as f64 + 0.5) / count as f64
            {
                quantiles.push(z);
            }
        }
        quantiles.resize(count, RANGE_STDS);
        Self(quantiles)
    }

    /// Returns values of a distribution that are equally probable.
    pub(crate) fn values(&self, of: Distribution) -> impl Iterator<Item = f64> + '_ {
        self.0.iter().map(move |z| (of.mean + of.std * z).clamp(of.min, of.max))
    }

    /// Returns the moments of a function of the values of a distribution.
    pub(crate) fn moments(&self, of: Distribution, function: impl Fn(f64) -> f64) -> Moments {
        let (mut sum, mut squares) = (0.0, 0.0);
        for value in self.values(of).map(function) {
            sum += value;
            squares += value * value;
        }
        let mean = sum / self.0.len() as f64;
        // The difference of two roundings may be below zero.
        Moments { mean, variance: (squares / self.0.len() as f64 - mean * mean).max(0.0) }
    }

    /// Returns the distribution of a function of the values of a distribution.
    pub(crate) fn map(&self, of: Distribution, function: impl Fn(f64) -> f64) -> Distribution {
        let ends = [of.min, of.max].into_iter();
        let range = ends
            .chain(self.values(of))
            .map(&function)
            .fold([f64::INFINITY, f64::NEG_INFINITY], |[min, max], value| {
                [min.min(value), max.max(value)]
            });
        Distribution::of_moments(self.moments(of, function), range)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_the_normal_distribution() {
        let quantiles = Quantiles::new(1000);
        // Φ(−1.95996) = 0.025, Φ(0) = 0.5 and Φ(1) = 0.84134.
        for (part, z) in [(24.5, -1.959_96), (499.5, 0.0), (840.84, 1.0)] {
            let found = quantiles.0[part as usize];
            assert!((found - z).abs() < 0.02, "{part}: {found}, {z}");
        }
        assert!(quantiles.0.is_sorted());
    }

    #[test]
    fn moments_are_those_of_the_clamped_distribution() {
        let quantiles = Quantiles::new(2048);
        let of = |distribution| quantiles.moments(distribution, |x| x);
        let normal = Distribution::normal(3.0, 2.0);
        let close = |found: Moments, mean: f64, variance: f64| {
            assert!((found.mean - mean).abs() < 5e-3, "{found:?}, {mean}");
            assert!((found.variance - variance).abs() < 2e-2, "{found:?}, {variance}");
        };
        close(of(normal), 3.0, 4.0);
        // The ReLU of a standard normal value has the mean 1 / √(2π) and the variance (1 − 1 / π) / 2.
        let relu = Distribution::normal(0.0, 1.0).clamped([0.0, f64::INFINITY]);
        assert_eq!([relu.min, relu.max], [0.0, 6.0]);
        close(of(relu), (2.0 * PI).sqrt().recip(), 0.5 - 0.5 / PI);
        assert_eq!(normal.clamped([0.0, 6.0]).max, 6.0);
        // A channel below zero is always 0.
        let dead = Distribution::normal(-9.0, 1.0).clamped([0.0, 6.0]);
        assert_eq!((of(dead).mean, dead.min, dead.max), (0.0, 0.0, 0.0));
    }

    #[test]
    fn functions_have_the_range_of_their_values() {
        let quantiles = Quantiles::new(512);
        let normal = Distribution::normal(0.5, 1.0);
        let doubled = quantiles.map(normal, |x| 2.0 * x);
        assert!((doubled.mean - 1.0).abs() < 0.01 && (doubled.std - 2.0).abs() < 0.02);
        let square = quantiles.map(normal, |x| x * x);
        assert_eq!(square.min.max(0.0), square.min);
        assert!((square.mean - 1.25).abs() < 0.03, "{square:?}");
        let sigmoid = quantiles.map(normal, |x| 1.0 / (1.0 + (-x).exp()));
        assert!(sigmoid.min >= 0.0 && sigmoid.max <= 1.0 && sigmoid.max > 0.95, "{sigmoid:?}");
    }
}
