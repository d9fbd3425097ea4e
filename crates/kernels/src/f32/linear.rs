//! f32 linear layer.

use super::Clamp;
use super::conv2d::multiply_rows;
use super::gemm::Panels;
use crate::arch::with_simd;
use crate::lengths::check_len;
use crate::{Isa, Pool};

/// An f32 linear layer with its weights packed, as `torch.nn.Linear`.
///
/// ```
/// use posterize_kernels::f32::{Clamp, Linear};
/// use posterize_kernels::{Isa, Pool};
///
/// let (weight, bias) = ([1.0, 2.0, 3.0, 4.0], [0.5, -50.0]);
/// let linear = Linear::new(Isa::detect(), 2, 2, &weight, Some(&bias), Clamp::RELU);
/// let mut output = [0.0; 2];
/// linear.run(&Pool::new(1), 1, &[1.0, 10.0], &mut output);
/// assert_eq!(output, [1.0 + 20.0 + 0.5, 0.0]); // 3 + 40 − 50 is negative
/// ```
#[derive(Clone, Debug)]
pub struct Linear {
    isa: Isa,
    panels: Panels,
    clamp: Clamp,
}

impl Linear {
    /// Packs a linear layer.
    ///
    /// `weight` is `[out_features, in_features]`, `bias` is `[out_features]`.
    ///
    /// # Panics
    /// If a size is 0, or the length of `weight` or `bias` differs from its shape.
    pub fn new(
        isa: Isa,
        in_features: usize,
        out_features: usize,
        weight: &[f32],
        bias: Option<&[f32]>,
        clamp: Clamp,
    ) -> Self {
        assert!(
            in_features > 0 && out_features > 0,
            "linear layer of {in_features} in_features and {out_features} out_features; both must \
                     be at least 1"
        );
        check_len("the weight", weight.len(), &[out_features, in_features]);
        if let Some(bias) = bias {
            check_len("the bias", bias.len(), &[out_features]);
        }
        let at = |k, n| weight[n * in_features + k];
        let panels =
            with_simd!(isa, simd => Panels::pack(simd, in_features, out_features, at, bias));
        Self { isa, panels, clamp }
    }

    /// Multiplies `input`, `[N, in_features]` with N = `batch`, into `output`, `[N, out_features]`.
    ///
    /// # Panics
    /// If the length of a slice differs from its shape.
    pub fn run(&self, pool: &Pool, batch: usize, input: &[f32], output: &mut [f32]) {
        check_len("the input", input.len(), &[batch, self.panels.k()]);
        check_len("the output", output.len(), &[batch, self.panels.n()]);
        with_simd!(self.isa, simd => {
            multiply_rows(simd, pool, &self.panels, batch, input, output, self.clamp);
        });
    }
}
