//! Transposed two-dimensional convolution.

use std::sync::Arc;

use posterize_kernels::f32::Clamp;
use posterize_kernels::int8::Requantize;
use posterize_kernels::{Conv2dGeometry, Padding as Pixels};
use serde::{Deserialize, Serialize};

use super::answers::takes_one_input;
use super::kernel::{
    Compute, FloatContext, Inputs, Int8Context, Int8Weights, Made, Shapes, function,
};
use super::limits::{check_sizes, check_weight};
use super::select::for_each_row;
use super::shapes::{expect_channels, picture, values};
use super::training::{Train, Training};
use super::transposed_taps::{Packed, Taps};
use super::{
    Activation, Int8Rule, Layer, Leaf, Operator, Parameter, QuantizedOutput, Role, Saved, python,
    work,
};

/// `torch.nn.ConvTranspose2d`: a transposed convolution over `[N, C, H, W]`, which is the gradient of a
/// convolution by its input.
///
/// The weight has the shape `[out_channels, in_channels / groups, kh, kw]`, that of a
/// [`Conv2d`](super::Conv2d): PyTorch's and ONNX's, `[in_channels, out_channels / groups, kh, kw]`, with
/// the channels of each group exchanged. The output has
/// `(size − 1) · stride − padding + dilation · (kernel_size − 1) + output_padding + 1` rows and columns,
/// where `padding` is the sum of both sides.
///
/// ```
/// use posterize::ops::{ConvTranspose2d, Op};
///
/// let up = Op::from(ConvTranspose2d::new(8, 4, 2).stride([2, 2]));
/// assert_eq!(up.infer(&[&[1, 8, 7, 5]])?, [1, 4, 14, 10]);
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ConvTranspose2d {
    /// Number of channels of the input.
    pub in_channels: usize,
    /// Number of channels of the output.
    pub out_channels: usize,
    /// Height and width of the kernel.
    pub kernel_size: [usize; 2],
    /// Vertical and horizontal stride.
    pub stride: [usize; 2],
    /// Pixels that are cut off the output: `[left, right, top, bottom]`.
    pub padding: [usize; 4],
    /// Rows at the bottom and columns on the right that the output has more.
    pub output_padding: [usize; 2],
    /// Vertical and horizontal distance between the kernel's elements; 1 for adjacent pixels.
    pub dilation: [usize; 2],
    /// Number of groups, which divides both numbers of channels.
    pub groups: usize,
    /// Whether it has a bias `[out_channels]`.
    pub bias: bool,
    /// The activation that is fused into it.
    pub activation: Option<Activation>,
}

impl ConvTranspose2d {
    /// Creates a transposed convolution with a square kernel and PyTorch's defaults: a stride and a
    /// dilation of 1, no padding, one group, a bias.
    pub const fn new(in_channels: usize, out_channels: usize, kernel_size: usize) -> Self {
        Self {
            in_channels,
            out_channels,
            kernel_size: [kernel_size; 2],
            stride: [1; 2],
            padding: [0; 4],
            output_padding: [0; 2],
            dilation: [1; 2],
            groups: 1,
            bias: true,
            activation: None,
        }
    }

    /// Sets height and width of the kernel.
    #[must_use]
    pub const fn kernel_size(mut self, kernel_size: [usize; 2]) -> Self {
        self.kernel_size = kernel_size;
        self
    }

    /// Sets the vertical and the horizontal stride.
    #[must_use]
    pub const fn stride(mut self, stride: [usize; 2]) -> Self {
        self.stride = stride;
        self
    }

    /// Sets the pixels that are cut off the output: `[left, right, top, bottom]`.
    #[must_use]
    pub const fn padding(mut self, padding: [usize; 4]) -> Self {
        self.padding = padding;
        self
    }

    /// Sets the rows at the bottom and the columns on the right that the output has more.
    #[must_use]
    pub const fn output_padding(mut self, output_padding: [usize; 2]) -> Self {
        self.output_padding = output_padding;
        self
    }

    /// Sets the vertical and the horizontal distance between the kernel's elements.
    #[must_use]
    pub const fn dilation(mut self, dilation: [usize; 2]) -> Self {
        self.dilation = dilation;
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

    /// Returns the geometry of the convolution with the same weight, whose accumulators are sums of the
    /// same products.
    pub(crate) fn geometry(&self) -> Conv2dGeometry {
        Conv2dGeometry {
            in_channels: self.in_channels,
            out_channels: self.out_channels,
            groups: self.groups,
            kernel: self.kernel_size,
            stride: self.stride,
            dilation: self.dilation,
            padding: Pixels::default(),
        }
    }

    fn taps(&self, shapes: &Shapes) -> Taps {
        let [left, _, top, _] = self.padding;
        Taps {
            size: shapes.size(),
            new: [shapes.output[2], shapes.output[3]],
            channels: [self.in_channels, self.out_channels],
            groups: self.groups,
            kernel: self.kernel_size,
            stride: self.stride,
            dilation: self.dilation,
            before: [top, left],
        }
    }

    fn arguments(&self, extra: &str) -> String {
        let [left, right, top, bottom] = self.padding;
        let padding = if left == right && top == bottom {
            python::pair([top, left])
        } else {
            python::tuple(&self.padding)
        };
        let parts = [
            (self.padding != [0; 4]).then(|| format!("padding={padding}")),
            (self.dilation != [1; 2]).then(|| format!("dilation={}", python::pair(self.dilation))),
            (self.output_padding != [0; 2])
                .then(|| format!("output_padding={}", python::pair(self.output_padding))),
            (self.groups != 1).then(|| format!("groups={}", self.groups)),
        ];
        let mut text = format!(
            "{}, {}, kernel_size={}, stride={}{extra}",
            self.in_channels,
            self.out_channels,
            python::pair(self.kernel_size),
            python::pair(self.stride)
        );
        for part in parts.into_iter().flatten() {
            text += ", ";
            text += &part;
        }
        if !self.bias {
            text += ", bias=False";
        }
        text
    }
}

impl Operator for ConvTranspose2d {
    fn kind(&self) -> String {
        match self.activation {
            None => "ConvTranspose2d",
            Some(Activation::ReLU) => "ConvTransposeReLU2d",
            Some(Activation::ReLU6) => "ConvTransposeReLU6_2d",
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
                let conv = Leaf::new("ConvTranspose2d", self.python());
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
        check_sizes(&self.padding)?;
        for pair in [self.kernel_size, self.stride, self.dilation, self.output_padding] {
            check_sizes(&pair)?;
        }
        self.geometry().validate().map_err(|error| error.to_string())?;
        for axis in [0, 1] {
            if self.output_padding[axis] >= self.stride[axis].max(self.dilation[axis]) {
                return Err(format!(
                    "output_padding must be smaller than stride or dilation, found {:?}, {:?} and \
                     {:?}",
                    self.output_padding, self.stride, self.dilation
                ));
            }
        }
        check_weight(&self.weight_shape())
    }

    fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        let [n, c, h, w] = picture(inputs[0])?;
        expect_channels(self.in_channels, c, inputs[0])?;
        let [left, right, top, bottom] = self.padding;
        let along = |axis: usize, size: usize, cut: usize| {
            let strides = size.checked_sub(1)?.checked_mul(self.stride[axis])?;
            let reach = (self.kernel_size[axis] - 1).checked_mul(self.dilation[axis])?;
            let full = strides.checked_add(reach)?.checked_add(self.output_padding[axis] + 1)?;
            full.checked_sub(cut).filter(|&size| size > 0)
        };
        match (along(0, h, top + bottom), along(1, w, left + right)) {
            (Some(oh), Some(ow)) => Ok(vec![n, self.out_channels, oh, ow]),
            _ => Err(format!(
                "nothing is left of the output for an input of {:?} with padding {:?}",
                inputs[0], self.padding
            )),
        }
    }

    fn work(&self, inputs: &[&[usize]], output: &[usize]) -> u64 {
        let taps = self.geometry().taps_per_output() as u64;
        let products = work::of_products(output, self.groups, taps);
        work::of_values(inputs, output).saturating_add(products)
    }

    /// Each value of the input is multiplied with each weight of its channel.
    fn multiply_adds(&self, output: &[usize]) -> u64 {
        let pixels = values(&self.stride).max(1);
        let taps = self.geometry().taps_per_output() as u64;
        values(output).saturating_mul(taps) / pixels
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

impl Layer for ConvTranspose2d {
    fn class(&self) -> &'static str {
        "ConvTranspose2d"
    }
}

impl Saved for ConvTranspose2d {
    const VERSION: u32 = 1;
}

impl Compute for ConvTranspose2d {
    fn float(&self, cx: &FloatContext<'_>, shapes: &Shapes) -> Made<f32> {
        let (weight, bias) = (cx.required(Role::Weight)?, (cx.parameter)(Role::Bias));
        let taps = self.taps(shapes);
        let packed: Arc<Packed<f32>> = cx.packs.get(Pixels::default(), || taps.pack(weight));
        let bias = bias.map_or_else(|| vec![0.0; self.out_channels], <[f32]>::to_vec);
        let Clamp { min, max } = Activation::clamp(self.activation);
        function("conv_transpose2d", move |call, input: Inputs<'_, '_, f32>, output| {
            let input = input(0);
            for_each_row(call.pool, output, taps.channels[1], |pixel, output| {
                output.copy_from_slice(&bias);
                taps.each(pixel, |at, tap| {
                    for group in 0..taps.groups {
                        let (x, weight, range) = packed.of(&taps, input, at, tap, group);
                        let output = &mut output[range];
                        for (&x, weight) in x.iter().zip(weight.chunks_exact(output.len())) {
                            let pairs = output.iter_mut().zip(weight);
                            pairs.for_each(|(sum, &w)| *sum += x * w);
                        }
                    }
                });
                // Comparisons that are false for a NaN, so that it stays.
                for y in output {
                    *y = if *y < min { min } else { *y };
                    *y = if *y > max { max } else { *y };
                }
            });
        })
    }

    fn int8(&self, cx: &Int8Context<'_>, shapes: &Shapes) -> Made<u8> {
        let Int8Weights { weight, bias, .. } = *cx.required()?;
        let (zero_point, requantize) = cx.requantize()?;
        let taps = self.taps(shapes);
        let packed: Arc<Packed<i8>> = cx.packs.get(Pixels::default(), || taps.pack(weight));
        let int8 = Int8 { taps, packed, bias: bias.to_vec(), zero_point, requantize };
        function("conv_transpose2d", move |call, input: Inputs<'_, '_, u8>, output| {
            let input = input(0);
            for_each_row(call.pool, output, int8.taps.channels[1], |pixel, output| {
                int8.pixel(input, pixel, output);
            });
        })
    }
}

/// The int8 kernel.
#[derive(Debug)]
struct Int8 {
    taps: Taps,
    packed: Arc<Packed<i8>>,
    bias: Vec<i32>,
    zero_point: u8,
    requantize: Requantize,
}

impl Int8 {
    /// Computes the channels of a pixel: `requantize(Σ (x − zero_point) · w + bias)`.
    fn pixel(&self, input: &[u8], pixel: usize, output: &mut [u8]) {
        /// Channels whose accumulators are on the stack.
        const BLOCK: usize = 64;
        let in_group = output.len() / self.taps.groups;
        for group in 0..self.taps.groups {
            for first in (0..in_group).step_by(BLOCK) {
                let block = first..in_group.min(first + BLOCK);
                let channel = group * in_group + first;
                let mut sums = [0_i32; BLOCK];
                sums[..block.len()].copy_from_slice(&self.bias[channel..][..block.len()]);
                self.taps.each(pixel, |at, tap| {
                    let (x, weight, _) = self.packed.of(&self.taps, input, at, tap, group);
                    for (&x, weight) in x.iter().zip(weight.chunks_exact(in_group)) {
                        let x = i32::from(x) - i32::from(self.zero_point);
                        let pairs = sums.iter_mut().zip(&weight[block.clone()]);
                        pairs.for_each(|(sum, &w)| *sum += x * i32::from(w));
                    }
                });
                let output = &mut output[channel..][..block.len()];
                for (at, (q, sum)) in output.iter_mut().zip(sums).enumerate() {
                    *q = self.requantize.apply(channel + at, sum);
                }
            }
        }
    }
}

impl Train for ConvTranspose2d {
    fn training(&self) -> Training {
        Training::Untrainable("the gradients of its weight and input are not implemented yet")
    }
}
