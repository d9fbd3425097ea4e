//! In what a layer computes when it is evaluated: values, or integers.

use posterize_kernels::f32::training::FakeQuant;

use crate::quantization::QParams;

/// In what a layer computes when it is evaluated.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Units {
    /// The scales of input and output of a product over integers.
    pub(super) product: Option<(QParams, QParams)>,
    /// The output's grid, where the output is given to products as integers, less the zero point.
    pub(super) output: Option<QParams>,
}

/// What turns values of a grid into its integers, less the zero point.
pub(super) const TO_INTEGERS: FakeQuant =
    FakeQuant { scale: 1.0, zero_point: 0, quant_min: -255, quant_max: 255 };
