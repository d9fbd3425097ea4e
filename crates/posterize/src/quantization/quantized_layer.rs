//! The int8 weights of a layer that computes in int8.

use posterize_kernels::int8::Requantize;
use posterize_kernels::reference;

use super::qparams::{QParams, QuantizationParams};
use super::quantized_weight::{self, dequantize};
use crate::ops::{Linear, Op};

/// The int8 weight and int32 bias of a convolution or linear layer.
///
/// ```
/// use posterize::quantization::{QParams, QuantizationParams, QuantizedLayer};
///
/// let layer = QuantizedLayer {
///     shape: vec![1, 2],
///     weight: vec![100, -27],
///     qparams: QuantizationParams::PerTensor(QParams { scale: 0.5, zero_point: 0 }),
///     bias: vec![40],
/// };
/// let input = QParams { scale: 0.25, zero_point: 128 };
/// let output = QParams { scale: 2.0, zero_point: 0 };
/// assert_eq!(layer.multipliers(input, output)?, [0.0625]);
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct QuantizedLayer {
    /// The shape of the weight: `[out_channels, in_channels / groups, kh, kw]` of a convolution,
    /// `[out_features, in_features]` of a linear layer.
    pub shape: Vec<usize>,
    /// The integers of the weight in the order of the shape. The zero point is 0.
    pub weight: Vec<i8>,
    /// The scale of the weight: one, or one for each output channel (axis 0).
    pub qparams: QuantizationParams,
    /// The bias of each output channel, with the scale `scale_x · scale_w`.
    pub bias: Vec<i32>,
}

impl QuantizedLayer {
    /// Returns the real values of the weight, in the order of its integers.
    pub(crate) fn dequantized_weight(&self) -> Vec<f32> {
        dequantize(&self.weight, &self.qparams, self.bias.len())
    }

    /// Returns the multiplier of each output channel's int32 accumulator:
    /// `scale_x · scale_w / scale_y`, in f32 as in FBGEMM.
    ///
    /// # Errors
    /// Returns a message with the three scales if a multiplier is not positive and finite.
    pub fn multipliers(&self, input: QParams, output: QParams) -> Result<Vec<f32>, String> {
        (0..self.bias.len())
            .map(|channel| {
                let weight = self.qparams.channel(channel).scale;
                let multiplier = Requantize::multiplier(input.scale, weight, output.scale);
                if multiplier.is_finite() && multiplier > 0.0 {
                    Ok(multiplier)
                } else {
                    Err(format!(
                        "input scale · weight scale / output scale must be positive and finite, found \
                         {} · {weight} / {} in channel {channel}",
                        input.scale, output.scale
                    ))
                }
            })
            .collect()
    }

    /// Returns why the kernels cannot compute the layer, such as an accumulator that may overflow.
    pub(super) fn defect(
        &self,
        op: &Op,
        input_zero_point: u8,
        requantize: &Requantize,
    ) -> Option<String> {
        let (weight, bias) = (self.weight.as_slice(), self.bias.as_slice());
        match op {
            Op::Conv2d(conv) => {
                // The check does not depend on the padding.
                let geometry = conv.unpadded();
                reference::Conv2d { geometry, weight, bias, input_zero_point, requantize }.defect()
            }
            Op::ConvTranspose2d(conv) => {
                // Its accumulators are sums of some products of the convolution's.
                let geometry = conv.geometry();
                reference::Conv2d { geometry, weight, bias, input_zero_point, requantize }.defect()
            }
            Op::Linear(linear) => {
                let Linear { in_features, out_features, .. } = *linear;
                reference::Linear {
                    in_features,
                    out_features,
                    weight,
                    bias,
                    input_zero_point,
                    requantize,
                }
                .defect()
            }
            _ => Some(format!("a {} with weights has no int8 kernel", op.kind())),
        }
    }

    /// Checks that it has the weight of this shape, and a bias and a scale for each output.
    pub(super) fn validate(&self, shape: &[usize]) -> Result<(), String> {
        quantized_weight::check(&self.shape, shape, &self.qparams)?;
        let outputs = shape[0];
        let found = (self.weight.len(), self.bias.len());
        if found != (shape.iter().product(), outputs) {
            return Err(format!(
                "expected as many int8 values as a weight {shape:?} has and {outputs} biases, found \
                 {} values and {} biases",
                found.0, found.1
            ));
        }
        Ok(())
    }
}
