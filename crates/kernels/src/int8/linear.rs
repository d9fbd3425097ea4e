//! int8 linear layer.

use super::conv_kernel::ConvKernel;
use super::gemm::Gemm;
use super::requantize::Requantize;
use crate::geometry::Conv2dGeometry;
use crate::isa::Isa;
use crate::lengths::check_len;
use crate::pool::Pool;
use crate::reference;

/// An int8 linear layer, as `torch.ao.nn.quantized.Linear`, with weights packed for one instruction
/// set.
///
/// It computes what [`reference::Linear`] defines.
///
/// ```
/// use posterize_kernels::int8::{Linear, Requantize};
/// use posterize_kernels::{Isa, Pool};
///
/// let requantize = Requantize { multiplier: vec![0.5, 0.25], zero_point: 0, min: 0, max: 255 };
/// let linear = Linear::new(Isa::detect(), 3, 2, &[1, 2, 3, 4, 5, 6], &[0, 10], 7, &requantize);
/// let mut output = [0; 2];
/// linear.run(&Pool::new(1), 1, &[17, 7, 27], &mut output);
/// // (10 · 1 + 20 · 3) / 2, and (10 · 4 + 20 · 6 + 10) / 4 = 42.5, which rounds to the even 42.
/// assert_eq!(output, [35, 42]);
/// ```
#[derive(Debug)]
pub struct Linear {
    in_features: usize,
    out_features: usize,
    gemm: Gemm,
}

impl Linear {
    /// Packs a linear layer.
    ///
    /// `weight` is `[out_features, in_features]`; `bias` is `[out_features]` with scale
    /// `scale_input · scale_weight`.
    ///
    /// # Panics
    /// If [`reference::Linear::defect`] finds something wrong; call it first for numbers that come
    /// from outside the program.
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
        // A linear layer is a pointwise convolution with one pixel for each row of the input.
        let geometry = Conv2dGeometry::pointwise(in_features, out_features);
        let conv = reference::Conv2d { geometry, weight, bias, input_zero_point, requantize };
        Self { in_features, out_features, gemm: Gemm::new(isa, &conv) }
    }

    /// Multiplies `input`, `[N, in_features]` with N = `batch`, into `output`, `[N, out_features]`.
    ///
    /// Does not allocate memory. The result does not depend on the number of threads.
    ///
    /// # Panics
    /// If the length of a slice differs from its shape.
    pub fn run(&self, pool: &Pool, batch: usize, input: &[u8], output: &mut [u8]) {
        check_len("the input", input.len(), &[batch, self.in_features]);
        check_len("the output", output.len(), &[batch, self.out_features]);
        if batch > 0 {
            self.gemm.run(pool, (batch, [1, 1]), input.into(), output, &mut []);
        }
    }

    /// The name of the kernel, for profiles; it is a kernel for pointwise convolutions.
    pub fn kernel_name(&self) -> &'static str {
        self.gemm.name()
    }
}
