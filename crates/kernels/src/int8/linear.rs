//! Linear layers.

use super::conv_kernel::ConvKernel;
use super::gemm::Gemm;
use super::requantize::Requantize;
use crate::geometry::Conv2dGeometry;
use crate::isa::Isa;
use crate::lengths::check_len;
use crate::pool::Pool;
use crate::reference;

/// An int8 linear layer with its weights packed for one instruction set.
///
/// [`reference::Linear`] defines what it computes.
///
/// ```
/// use posterize_kernels::int8::{Linear, Requantize};
/// use posterize_kernels::{Isa, Pool};
///
/// let requantize = Requantize { multiplier: vec![0.5, 0.25], zero_point: 0, min: 0, max: 255 };
/// let linear = Linear::new(Isa::detect(), 3, 2, &[1, 2, 3, 4, 5, 6], &[0, 10], 7, &requantize);
/// let mut output = [0; 2];
/// linear.run(&Pool::new(1), 1, &[17, 7, 27], &mut output);
/// assert_eq!(output, [35, 42]); // (10 · 1 + 20 · 3) / 2, (10 · 4 + 20 · 6 + 10) / 4 to even
/// ```
#[derive(Debug)]
pub struct Linear {
    in_features: usize,
    out_features: usize,
    gemm: Gemm,
}

impl Linear {
    /// Packs a linear layer: `weight` is `[out_features, in_features]`, `bias` has one value for
    /// each output, at the scale of the accumulators.
    ///
    /// # Panics
    /// When [`reference::Linear::defect`] finds something; callers with numbers from outside ask
    /// it first.
    pub fn new(
        isa: Isa,
        in_features: usize,
        out_features: usize,
        weight: &[i8],
        bias: &[i32],
        input_zero_point: u8,
        requantize: &Requantize,
    ) -> Self {
        let linear = reference::Linear {
            in_features,
            out_features,
            weight,
            bias,
            input_zero_point,
            requantize,
        };
        if let Some(defect) = linear.defect() {
            panic!("invalid linear layer: {defect}");
        }
        // A pointwise convolution over pixels that are rows.
        let geometry = Conv2dGeometry::pointwise(in_features, out_features);
        let conv = reference::Conv2d { geometry, weight, bias, input_zero_point, requantize };
        Self { in_features, out_features, gemm: Gemm::new(isa, &conv) }
    }

    /// Multiplies `input`, `[batch, in_features]`, into `output`, `[batch, out_features]`.
    /// Allocates nothing; the bits do not depend on the pool.
    ///
    /// # Panics
    /// When a slice has another length.
    pub fn run(&self, pool: &Pool, batch: usize, input: &[u8], output: &mut [u8]) {
        check_len("the input", input.len(), &[batch, self.in_features]);
        check_len("the output", output.len(), &[batch, self.out_features]);
        if batch > 0 {
            self.gemm.run(pool, (batch, [1, 1]), input.into(), output, &mut []);
        }
    }

    /// Which kernel computes it, for profiles: that of a pointwise convolution.
    pub fn kernel_name(&self) -> &'static str {
        self.gemm.name()
    }
}
