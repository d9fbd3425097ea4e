//! The choice between real values and integers for each layer in eval mode.

use posterize_kernels::f32::training::FakeQuant;

use crate::quantization::QParams;

/// Whether a layer computes real values or integers in eval mode.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Units {
    /// The scales of input and output of a convolution or linear layer on integers; `None` on real
    /// values.
    pub(super) product: Option<(QParams, QParams)>,
    /// The scale of an output that is read as integers minus the zero point; `None` if it is read as
    /// real values.
    pub(super) output: Option<QParams>,
}

/// Rounds values that were divided by their scale to integers minus the zero point.
pub(super) const TO_INTEGERS: FakeQuant =
    FakeQuant { scale: 1.0, zero_point: 0, quant_min: -255, quant_max: 255 };
