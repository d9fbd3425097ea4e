//! The definition of an int8 linear layer.

use crate::int8::accumulator;
use crate::int8::requantize::Requantize;
use crate::lengths::check_len;

/// An int8 matrix product with bias:
/// `y[n, o] = requantize(Σ (x[n, i] − zero_point) · w[o, i] + bias[o])`.
#[derive(Clone, Copy, Debug)]
pub struct Linear<'a> {
    /// Values in a row of the input.
    pub in_features: usize,
    /// Values in a row of the output.
    pub out_features: usize,
    /// `[out_features, in_features]`, symmetric.
    pub weight: &'a [i8],
    /// `[out_features]`, at the scale of the accumulators.
    pub bias: &'a [i32],
    /// The zero point of the input.
    pub input_zero_point: u8,
    /// How accumulators become outputs.
    pub requantize: &'a Requantize,
}

impl Linear<'_> {
    /// What is wrong with its shapes and numbers, in words; `None` where nothing is. No input
    /// overflows an accumulator of a layer without defects.
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

    /// Multiplies `input`, `[batch, in_features]`, into `[batch, out_features]`.
    pub fn run(&self, batch: usize, input: &[u8]) -> Vec<u8> {
        check_len("the input", input.len(), &[batch, self.in_features]);
        check_len("the weight", self.weight.len(), &[self.out_features, self.in_features]);
        assert_eq!(self.bias.len(), self.out_features, "one bias an output");
        let mut output = Vec::with_capacity(batch * self.out_features);
        for row in 0..batch {
            let row = &input[row * self.in_features..][..self.in_features];
            for o in 0..self.out_features {
                let weight = &self.weight[o * self.in_features..][..self.in_features];
                let mut sum = i64::from(self.bias[o]);
                for (&x, &w) in row.iter().zip(weight) {
                    sum += (i64::from(x) - i64::from(self.input_zero_point)) * i64::from(w);
                }
                let sum = i32::try_from(sum).expect("the accumulator fits into an i32");
                output.push(self.requantize.apply(o, sum));
            }
        }
        output
    }
}
