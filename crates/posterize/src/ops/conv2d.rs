//! Two-dimensional convolution.

use std::sync::Arc;

use posterize_kernels::{self as kernels, f32, int8};
use serde::{Deserialize, Serialize};

use super::answers::takes_one_input;
use super::kernel::{
    Call, Compute, FloatContext, Inputs, Int8Context, Int8Weights, Kernel, Made, Shapes, made,
};
use super::limits::{check_sizes, check_weight};
use super::shapes::{expect_channels, picture, values};
use super::training::{Product, Train, Training};
use super::{
    Activation, Int8Rule, Layer, Leaf, Operator, Padding, Parameter, QuantizedOutput, Role, Saved,
    python, work,
};

/// The largest number of values of an input with its padding. Products of its sizes with the number of
/// threads do not overflow.
const MAX_PADDED: u64 = 1 << 40;

/// `torch.nn.Conv2d`: a two-dimensional convolution over `[N, C, H, W]`.
///
/// The weight has the shape `[out_channels, in_channels / groups, kh, kw]`, the bias
/// `[out_channels]`. The output has `(size + padding − dilation · (kernel_size − 1) − 1) / stride + 1`
/// rows and columns, rounded down, where `padding` is the sum of both sides.
///
/// ```
/// use posterize::ops::{Conv2d, Op, Padding};
///
/// let depthwise = Conv2d::new(32, 32, 3).padding(Padding::all(1)).groups(32).bias(false);
/// assert_eq!(depthwise.weight_shape(), [32, 1, 3, 3]);
/// assert_eq!(Op::from(depthwise).infer(&[&[1, 32, 7, 5]])?, [1, 32, 7, 5]);
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Conv2d {
    /// Number of channels of the input.
    pub in_channels: usize,
    /// Number of channels of the output.
    pub out_channels: usize,
    /// Height and width of the kernel.
    pub kernel_size: [usize; 2],
    /// Vertical and horizontal stride.
    pub stride: [usize; 2],
    /// Padding of the input with zeros.
    pub padding: Padding,
    /// Vertical and horizontal distance between the kernel's elements; 1 for adjacent pixels.
    pub dilation: [usize; 2],
    /// Number of groups, which divides both numbers of channels.
    pub groups: usize,
    /// Whether it has a bias `[out_channels]`.
    pub bias: bool,
    /// The activation that is fused into it.
    pub activation: Option<Activation>,
}

impl Conv2d {
    /// Creates a convolution with a square kernel and PyTorch's defaults: a stride and a dilation of
    /// 1, no padding, one group, a bias.
    pub const fn new(in_channels: usize, out_channels: usize, kernel_size: usize) -> Self {
        Self {
            in_channels,
            out_channels,
            kernel_size: [kernel_size; 2],
            stride: [1; 2],
            padding: Padding::all(0),
            dilation: [1; 2],
            groups: 1,
            bias: true,
            activation: None,
        }
    }

    /// Sets the stride of both axes.
    #[must_use]
    pub const fn stride(mut self, stride: usize) -> Self {
        self.stride = [stride; 2];
        self
    }

    /// Sets the padding.
    #[must_use]
    pub const fn padding(mut self, padding: Padding) -> Self {
        self.padding = padding;
        self
    }

    /// Sets the dilation of both axes.
    #[must_use]
    pub const fn dilation(mut self, dilation: usize) -> Self {
        self.dilation = [dilation; 2];
        self
    }

    /// Sets the number of groups.
    #[must_use]
    pub const fn groups(mut self, groups: usize) -> Self {
        self.groups = groups;
        self
    }

    /// Sets whether it has a bias.
    #[must_use]
    pub const fn bias(mut self, bias: bool) -> Self {
        self.bias = bias;
        self
    }

    /// Returns the shape of the weight, `[out_channels, in_channels / groups, kh, kw]`.
    pub fn weight_shape(&self) -> Vec<usize> {
        let [kh, kw] = self.kernel_size;
        vec![self.out_channels, self.in_channels.checked_div(self.groups).unwrap_or(0), kh, kw]
    }

    /// Returns the kernel's geometry for an input of `[h, w]`, with the padding in pixels.
    pub(crate) fn geometry(&self, size: [usize; 2]) -> kernels::Conv2dGeometry {
        kernels::Conv2dGeometry {
            padding: self.padding.resolve(self.kernel_size, self.stride, self.dilation, size),
            ..self.unpadded()
        }
    }

    /// Returns the kernel's geometry without padding. Unlike [`Self::geometry`] it does not divide by
    /// the stride, so it can be called before the hyper-parameters are validated.
    pub(crate) fn unpadded(&self) -> kernels::Conv2dGeometry {
        kernels::Conv2dGeometry {
            in_channels: self.in_channels,
            out_channels: self.out_channels,
            groups: self.groups,
            kernel: self.kernel_size,
            stride: self.stride,
            dilation: self.dilation,
            padding: kernels::Padding::default(),
        }
    }

    /// Returns the arguments as printed by PyTorch, with `extra` (a quantized module's scale and zero
    /// point) after the stride.
    fn arguments(&self, extra: &str) -> String {
        let mut text = format!(
            "{}, {}, kernel_size={}, stride={}{extra}",
            self.in_channels,
            self.out_channels,
            python::pair(self.kernel_size),
            python::pair(self.stride)
        );
        let padding = self.padding.python();
        let dilation =
            (self.dilation != [1, 1]).then(|| format!("dilation={}", python::pair(self.dilation)));
        let groups = (self.groups != 1).then(|| format!("groups={}", self.groups));
        for part in [padding, dilation, groups].into_iter().flatten() {
            text += ", ";
            text += &part;
        }
        if !self.bias {
            text += ", bias=False";
        }
        text
    }
}

impl Operator for Conv2d {
    fn kind(&self) -> String {
        match self.activation {
            None => "Conv2d",
            Some(Activation::ReLU) => "ConvReLU2d",
            Some(Activation::ReLU6) => "ConvReLU6_2d",
        }
        .into()
    }

    fn python(&self) -> String {
        self.arguments("")
    }

    fn leaf(&self) -> Leaf {
        match self.activation {
            None => Leaf::new(self.kind(), self.python()),
            Some(activation) => {
                let conv = Leaf::new("Conv2d", self.python());
                Leaf::fused(self.kind(), conv, activation.name())
            }
        }
    }

    fn quantized_leaf(&self, output: &QuantizedOutput) -> Option<Leaf> {
        let arguments = self.arguments(&format!(", {}", output.python()));
        Some(Leaf::new(format!("Quantized{}", self.kind()), arguments))
    }

    takes_one_input!();

    fn parameters(&self) -> Vec<Parameter> {
        Parameter::of_convolution(self.weight_shape(), self.bias)
    }

    fn validate(&self) -> Result<(), String> {
        check_sizes(&[self.in_channels, self.out_channels])?;
        check_sizes(&self.kernel_size)?;
        check_sizes(&self.stride)?;
        check_sizes(&self.dilation)?;
        if let Padding::Explicit { top, bottom, left, right } = self.padding {
            check_sizes(&[top, bottom, left, right])?;
        }
        // Without padding, because SAME padding divides by the stride, which may still be 0 here.
        self.unpadded().validate().map_err(|error| error.to_string())?;
        check_weight(&self.weight_shape())
    }

    fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        let [n, c, h, w] = picture(inputs[0])?;
        expect_channels(self.in_channels, c, inputs[0])?;
        let geometry = self.geometry([h, w]);
        let padded = geometry.padding.around([h, w]).unwrap_or([usize::MAX; 2]);
        if values(&[c, padded[0], padded[1]]) > MAX_PADDED {
            return Err(format!(
                "its input of {:?} with padding has {} x {} pixels, more values than the limit of \
                 {MAX_PADDED}; use less padding or dilation",
                inputs[0], padded[0], padded[1]
            ));
        }
        let [oh, ow] = geometry.output_size([h, w]).ok_or_else(|| {
            format!(
                "a kernel of {:?} with dilation {:?} does not fit into an input of {:?}",
                self.kernel_size, self.dilation, inputs[0]
            )
        })?;
        Ok(vec![n, self.out_channels, oh, ow])
    }

    fn work(&self, inputs: &[&[usize]], output: &[usize]) -> u64 {
        // Depthwise convolutions compute neighboring channels together.
        let groups = if self.unpadded().is_depthwise() { 1 } else { self.groups };
        let taps = self.unpadded().taps_per_output() as u64;
        let products = work::of_products(output, groups, taps);
        work::of_values(inputs, output).saturating_add(products)
    }

    fn multiply_adds(&self, output: &[usize]) -> u64 {
        values(output).saturating_mul(self.unpadded().taps_per_output() as u64)
    }

    fn activation(&self) -> Option<Activation> {
        self.activation
    }

    fn with_activation(&self, activation: Activation) -> Option<Self> {
        let free = self.activation.is_none();
        free.then(|| Self { activation: Some(activation), ..self.clone() })
    }

    fn with_batch_norm(&self, dimensions: u8) -> Option<Self> {
        let fits = self.activation.is_none() && dimensions == 2;
        fits.then(|| Self { bias: true, ..self.clone() })
    }

    fn int8_rule(&self) -> Int8Rule {
        Int8Rule::OwnScale
    }
}

impl Layer for Conv2d {
    fn class(&self) -> &'static str {
        "Conv2d"
    }
}

impl Saved for Conv2d {
    const VERSION: u32 = 1;
}

impl Compute for Conv2d {
    fn float(&self, cx: &FloatContext<'_>, shapes: &Shapes) -> Made<f32> {
        let (weight, bias) = (cx.required(Role::Weight)?, (cx.parameter)(Role::Bias));
        let geometry = self.geometry(shapes.size());
        let clamp = Activation::clamp(self.activation);
        let packed = cx
            .packs
            .get(geometry.padding, || f32::Conv2d::new(cx.isa, geometry, weight, bias, clamp));
        made(FloatConv2d { packed, size: shapes.size() })
    }

    fn int8(&self, cx: &Int8Context<'_>, shapes: &Shapes) -> Made<u8> {
        let Int8Weights { weight, bias, .. } = *cx.required()?;
        let (zero_point, requantize) = cx.requantize()?;
        let geometry = self.geometry(shapes.size());
        let packed = cx.packs.get(geometry.padding, || {
            int8::Conv2d::new(cx.isa, geometry, weight, bias, zero_point, &requantize)
        });
        made(Int8Conv2d { packed, size: shapes.size() })
    }
}

#[derive(Debug)]
struct FloatConv2d {
    packed: Arc<f32::Conv2d>,
    /// Height and width of the input.
    size: [usize; 2],
}

impl Kernel<f32> for FloatConv2d {
    fn name(&self) -> &'static str {
        self.packed.kernel_name()
    }

    fn scratch_len(&self, threads: usize, batch: usize) -> usize {
        self.packed.scratch_len(threads, batch, self.size)
    }

    fn run(
        &self,
        call: Call<'_>,
        input: Inputs<'_, '_, f32>,
        output: &mut [f32],
        scratch: &mut [f32],
    ) {
        self.packed.run(call.pool, call.batch, self.size, input(0), output, scratch);
    }
}

/// The int8 kernel of a convolution. The planner may fuse it with the kernels beside it.
#[derive(Debug)]
pub(crate) struct Int8Conv2d {
    pub(crate) packed: Arc<int8::Conv2d>,
    /// Height and width of the input.
    pub(crate) size: [usize; 2],
}

impl Kernel<u8> for Int8Conv2d {
    fn name(&self) -> &'static str {
        self.packed.kernel_name()
    }

    fn scratch_len(&self, threads: usize, batch: usize) -> usize {
        self.packed.scratch_len(threads, batch, self.size)
    }

    fn run(
        &self,
        call: Call<'_>,
        input: Inputs<'_, '_, u8>,
        output: &mut [u8],
        scratch: &mut [u8],
    ) {
        self.packed.run(call.pool, call.batch, self.size, input(0), output, scratch);
    }
}

impl Train for Conv2d {
    fn training(&self) -> Training {
        let (unpadded, padding, bias) = (self.unpadded(), self.padding, self.bias);
        Training::Product(Product { unpadded, padding, bias })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_convolution_prints_as_in_pytorch() {
        let conv = Conv2d::new(32, 32, 3).padding(Padding::all(1)).groups(32).bias(false);
        assert_eq!(
            conv.python(),
            "32, 32, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1), groups=32, bias=False"
        );
    }
}
