//! Reference implementation of an int8 linear layer.

use crate::int8::accumulator;
use crate::int8::requantize::Requantize;
use crate::lengths::check_len;

/// An int8 linear layer: `y[n, o] = requantize(Σ (x[n, i] − zero_point) · w[o, i] + bias[o])`.
///
/// ```
/// use posterize_kernels::int8::Requantize;
/// use posterize_kernels::reference::Linear;
///
/// let requantize = Requantize { multiplier: vec![0.5], zero_point: 0, min: 0, max: 255 };
/// let linear = Linear {
///     in_features: 3,
///     out_features: 1,
///     weight: &[1, 2, 3],
///     bias: &[0],
///     input_zero_point: 7,
///     requantize: &requantize,
/// };
/// assert_eq!(linear.run(1, &[17, 7, 27]), [(10 + 20 * 3) / 2]);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Linear<'a> {
    /// Number of input features.
    pub in_features: usize,
    /// Number of output features.
    pub out_features: usize,
    /// Weights, `[out_features, in_features]`, with zero point 0.
    pub weight: &'a [i8],
    /// Biases, `[out_features]`, with scale `scale_input · scale_weight`.
    pub bias: &'a [i32],
    /// The zero point of the input.
    pub input_zero_point: u8,
    /// How accumulators are converted to outputs.
    pub requantize: &'a Requantize,
}

impl Linear<'_> {
    /// Describes what is wrong with the shapes and numbers; `None` where nothing is.
    ///
    /// Without a defect no input overflows an i32 accumulator.
    pub fn defect(&self) -> Option<String> {
        for (name, features) in [("in", self.in_features), ("out", self.out_features)] {
            if features == 0 {
                return Some(format!("{name}_features is zero; it must be at least 1"));
            }
        }
        if self.bias.len() != self.out_features {
            let biases = self.bias.len();
            return Some(format!("{biases} biases for {} outputs", self.out_features));
        }
        let zero_point = self.input_zero_point;
        accumulator::defect(self.weight, self.bias, self.in_features, zero_point, self.requantize)
    }

    /// Multiplies `input`, `[N, in_features]` with N = `batch`, and returns `[N, out_features]`.
    ///
    /// # Panics
    /// If a slice has another length than its shape, or an accumulator overflows an i32.
    pub fn run(&self, batch: usize, input: &[u8]) -> Vec<u8> {
        check_len("the input", input.len(), &[batch, self.in_features]);
        check_len("the weight", self.weight.len(), &[self.out_features, self.in_features]);
        check_len("the bias", self.bias.len(), &[self.out_features]);
        let mut output = Vec::with_capacity(batch * self.out_features);
        for row in 0..batch {
            let row = &input[row * self.in_features..][..self.in_features];
            for o in 0..self.out_features {
                let weight = &self.weight[o * self.in_features..][..self.in_features];
                let mut sum = i64::from(self.bias[o]);
                for (&x, &w) in row.iter().zip(weight) {
                    sum += (i64::from(x) - i64::from(self.input_zero_point)) * i64::from(w);
                }
                let sum = i32::try_from(sum).expect("an accumulator overflows an i32");
                output.push(self.requantize.apply(o, sum));
            }
        }
        output
    }
}
