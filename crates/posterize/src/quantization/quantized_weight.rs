//! Int8 weights.

use posterize_kernels::f32::Clamp;
use posterize_kernels::reference;

use super::observer::ObserverSpec;
use super::qparams::{Dtype, QuantizationParams};
use crate::error::{Error, Result};
use crate::ops::{Leaf, Linear};
use crate::tensor::Tensor;

/// The int8 weight of a layer whose values are float.
///
/// A [`DynamicQuantizedLinear`](crate::ops::DynamicQuantizedLinear) multiplies its integers. Other layers
/// compute with its real values, `scale · q`, in float.
///
/// ```
/// use posterize::quantization::{QParams, QuantizationParams, QuantizedWeight};
///
/// let weight = QuantizedWeight {
///     shape: vec![1, 2],
///     weight: vec![100, -27],
///     qparams: QuantizationParams::PerTensor(QParams { scale: 0.5, zero_point: 0 }),
/// };
/// assert_eq!(weight.dequantize(), [50.0, -13.5]);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct QuantizedWeight {
    /// The shape of the weight: `[out_channels, in_channels / groups, kh, kw]` of a convolution,
    /// `[out_features, in_features]` of a linear layer.
    pub shape: Vec<usize>,
    /// The integers of the weight in the order of the shape. The zero point is 0.
    pub weight: Vec<i8>,
    /// The scale of the weight: one, or one for each output channel (axis 0).
    pub qparams: QuantizationParams,
}

impl QuantizedWeight {
    /// Quantizes the weight of the layer `name` with the scales of an observer that is built from `spec`.
    ///
    /// # Errors
    /// Returns an error if a value is NaN or infinite.
    pub(super) fn new(name: &str, weight: &Tensor, spec: &ObserverSpec) -> Result<Self> {
        let qparams = observe_weight(name, weight, spec)?;
        let weight_integers = integers(weight, &qparams, spec.target()?.quant_range())?;
        Ok(Self { shape: weight.shape().to_vec(), weight: weight_integers, qparams })
    }

    /// Returns the real values of the weight, in the order of its integers.
    pub fn dequantize(&self) -> Vec<f32> {
        dequantize(&self.weight, &self.qparams, self.shape.first().copied().unwrap_or(1))
    }

    /// Returns the scales: one, or one for each output channel.
    pub(crate) fn scales(&self) -> Vec<f32> {
        self.qparams.channels().iter().map(|qparams| qparams.scale).collect()
    }

    /// Returns its size with its scales in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.weight.len() + size_of::<f32>() * self.qparams.channels().len()
    }

    /// Returns the printed form of its layer, with the type of the weight.
    pub(super) fn in_leaf(&self, mut leaf: Leaf) -> Leaf {
        let scheme = if self.qparams.axis().is_some() { "per_channel" } else { "per_tensor" };
        let layer = match leaf.children.first_mut() {
            Some((_, first)) => first,
            None => &mut leaf,
        };
        if !layer.detail.contains("dtype=torch.qint8") {
            layer.detail += ", weight_dtype=torch.qint8";
        }
        layer.detail += ", qscheme=torch.";
        layer.detail += scheme;
        layer.detail += "_affine";
        leaf
    }

    /// Checks that it is a weight of this shape.
    pub(super) fn validate(&self, shape: &[usize]) -> Result<(), String> {
        check(&self.shape, shape, &self.qparams)?;
        let values: usize = shape.iter().product();
        if self.weight.len() != values {
            let found = self.weight.len();
            return Err(format!("expected {values} int8 values, found {found}"));
        }
        Ok(())
    }
}

impl QuantizedWeight {
    /// Returns why the kernels cannot compute the layer with dynamic quantization.
    pub(super) fn defect(&self, linear: &Linear) -> Option<String> {
        let Linear { in_features, out_features, .. } = *linear;
        let scale: Vec<f32> = self.scales().into_iter().cycle().take(out_features).collect();
        let (weight, scale) = (self.weight.as_slice(), scale.as_slice());
        let clamp = Clamp::NONE;
        reference::DynamicLinear { in_features, out_features, weight, scale, bias: None, clamp }
            .defect()
    }
}

/// Returns the scales of a weight from an observer built from `spec`.
pub(super) fn observe_weight(
    name: &str,
    weight: &Tensor,
    spec: &ObserverSpec,
) -> Result<QuantizationParams> {
    let in_weight = || format!("{name}.weight");
    let mut observer = spec.build()?;
    observer.observe(weight.data(), weight.shape()).map_err(|error| error.in_layer(in_weight()))?;
    observer.calculate_qparams().ok_or_else(|| Error::layer(in_weight(), "the weight is empty"))
}

/// Quantizes a weight `[out, …]` to the integers of a range.
pub(super) fn integers(
    weight: &Tensor,
    qparams: &QuantizationParams,
    (quant_min, quant_max): (i32, i32),
) -> Result<Vec<i8>> {
    let values = qparams.quantize(weight.data(), weight.shape(), Dtype::Qint8)?;
    Ok(values.into_iter().map(|q| q.clamp(quant_min, quant_max) as i8).collect())
}

/// Returns the real values of the integers of a weight with some output channels.
pub(super) fn dequantize(weight: &[i8], qparams: &QuantizationParams, channels: usize) -> Vec<f32> {
    let each = (weight.len() / channels.max(1)).max(1);
    let channels = weight.chunks(each).enumerate();
    let real = channels.flat_map(|(channel, integers)| {
        let qparams = qparams.channel(channel);
        integers.iter().map(move |&q| qparams.dequantize(i32::from(q)))
    });
    real.collect()
}

/// Checks the shape and the scales of a weight.
pub(super) fn check(
    found: &[usize],
    expected: &[usize],
    qparams: &QuantizationParams,
) -> Result<(), String> {
    if found != expected {
        return Err(format!("expected an int8 weight {expected:?}, found {found:?}"));
    }
    let (outputs, scales) = (expected[0], qparams.channels());
    let expected = if qparams.axis().is_some() { outputs } else { 1 };
    if scales.len() != expected || qparams.axis().is_some_and(|axis| axis != 0) {
        return Err(format!(
            "expected one scale, or one for each of {outputs} output channels along axis 0, found \
             {} along axis {}",
            scales.len(),
            qparams.axis().unwrap_or(0)
        ));
    }
    match scales.iter().find(|q| !(q.scale.is_finite() && q.scale > 0.0 && q.zero_point == 0)) {
        Some(bad) => Err(format!(
            "expected weight scales that are positive and finite with a zero point of 0, found {bad}"
        )),
        None => Ok(()),
    }
}
