//! Fully connected layers.

use super::Clamp;
use super::conv2d::multiply_rows;
use super::gemm::Panels;
use crate::arch::with_simd;
use crate::lengths::check_len;
use crate::{Isa, Pool};

/// A fully connected layer with its weights packed, as `torch.nn.Linear`.
#[derive(Clone, Debug)]
pub struct Linear {
    isa: Isa,
    panels: Panels,
    clamp: Clamp,
}

impl Linear {
    /// Packs `weight`, `[out_features, in_features]`.
    ///
    /// # Panics
    /// When a size is zero, or `weight` or `bias` has another number of elements than the sizes
    /// ask for.
    pub fn new(
        isa: Isa,
        in_features: usize,
        out_features: usize,
        weight: &[f32],
        bias: Option<&[f32]>,
        clamp: Clamp,
    ) -> Self {
        assert!(in_features > 0 && out_features > 0, "a linear layer without features");
        check_len("the weight", weight.len(), &[out_features, in_features]);
        if let Some(bias) = bias {
            assert_eq!(bias.len(), out_features, "elements of the bias");
        }
        let at = |k, n| weight[n * in_features + k];
        let panels =
            with_simd!(isa, simd => Panels::pack(simd, in_features, out_features, at, bias));
        Self { isa, panels, clamp }
    }

    /// Computes `[batch, out_features]` from `[batch, in_features]`.
    ///
    /// # Panics
    /// When `input` or `output` has another number of elements.
    pub fn run(&self, pool: &Pool, batch: usize, input: &[f32], output: &mut [f32]) {
        check_len("the input", input.len(), &[batch, self.panels.k()]);
        check_len("the output", output.len(), &[batch, self.panels.n()]);
        with_simd!(self.isa, simd => {
            multiply_rows(simd, pool, &self.panels, batch, input, output, self.clamp);
        });
    }
}
