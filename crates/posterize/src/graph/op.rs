//! The operators, with their hyper-parameters, parameters and the text PyTorch prints for them.

use posterize_kernels as kernels;
use serde::{Deserialize, Serialize};

/// How a convolution pads its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Padding {
    /// Zeros on each of the four sides, in pixels.
    Explicit {
        /// Rows above.
        top: usize,
        /// Rows below.
        bottom: usize,
        /// Columns to the left.
        left: usize,
        /// Columns to the right.
        right: usize,
    },
    /// TensorFlow's SAME: the output has `ceil(size / stride)` rows and columns; an odd pixel of
    /// padding goes to the bottom and right.
    Same,
}

impl Padding {
    /// The same on all four sides.
    pub const fn all(pixels: usize) -> Self {
        Self::Explicit { top: pixels, bottom: pixels, left: pixels, right: pixels }
    }

    /// The pixels on each side for an input of `[h, w]`.
    pub fn resolve(
        self,
        kernel: [usize; 2],
        stride: [usize; 2],
        dilation: [usize; 2],
        size: [usize; 2],
    ) -> kernels::Padding {
        match self {
            Self::Explicit { top, bottom, left, right } => {
                kernels::Padding { top, bottom, left, right }
            }
            Self::Same => {
                let total = |axis: usize| {
                    let outputs = size[axis].div_ceil(stride[axis]);
                    let reach = outputs.saturating_sub(1) * stride[axis]
                        + dilation[axis] * (kernel[axis] - 1)
                        + 1;
                    reach.saturating_sub(size[axis])
                };
                let (rows, columns) = (total(0), total(1));
                kernels::Padding {
                    top: rows / 2,
                    bottom: rows - rows / 2,
                    left: columns / 2,
                    right: columns - columns / 2,
                }
            }
        }
    }

    fn python(self) -> Option<String> {
        match self {
            Self::Explicit { top: 0, bottom: 0, left: 0, right: 0 } => None,
            Self::Explicit { top, bottom, left, right } if top == bottom && left == right => {
                Some(format!("padding=({top}, {left})"))
            }
            // PyTorch's own order for four-sided padding is F.pad's.
            Self::Explicit { top, bottom, left, right } => {
                Some(format!("padding=({left}, {right}, {top}, {bottom})"))
            }
            Self::Same => Some("padding=same".into()),
        }
    }
}

/// `torch.nn.Conv2d`. Weight `[out_channels, in_channels / groups, kh, kw]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Conv2d {
    /// Input channels.
    pub in_channels: usize,
    /// Output channels.
    pub out_channels: usize,
    /// Window height and width.
    pub kernel_size: [usize; 2],
    /// Step of the window.
    pub stride: [usize; 2],
    /// Padding of the input.
    pub padding: Padding,
    /// Distance between taps.
    pub dilation: [usize; 2],
    /// Groups of channels.
    pub groups: usize,
    /// Whether there is a bias `[out_channels]`.
    pub bias: bool,
}

impl Conv2d {
    /// A square window of `kernel_size`, stride 1, no padding, one group, with a bias.
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
        }
    }

    /// The same with a step of the window.
    #[must_use]
    pub const fn stride(mut self, stride: usize) -> Self {
        self.stride = [stride; 2];
        self
    }

    /// The same with padding.
    #[must_use]
    pub const fn padding(mut self, padding: Padding) -> Self {
        self.padding = padding;
        self
    }

    /// The same with a distance between taps.
    #[must_use]
    pub const fn dilation(mut self, dilation: usize) -> Self {
        self.dilation = [dilation; 2];
        self
    }

    /// The same in groups of channels.
    #[must_use]
    pub const fn groups(mut self, groups: usize) -> Self {
        self.groups = groups;
        self
    }

    /// The same with or without a bias.
    #[must_use]
    pub const fn bias(mut self, bias: bool) -> Self {
        self.bias = bias;
        self
    }

    /// `[out_channels, in_channels / groups, kh, kw]`.
    pub fn weight_shape(&self) -> Vec<usize> {
        let [kh, kw] = self.kernel_size;
        vec![self.out_channels, self.in_channels / self.groups, kh, kw]
    }

    /// The kernel's geometry for an input of `[h, w]`, with the padding resolved.
    pub fn geometry(&self, size: [usize; 2]) -> kernels::Conv2dGeometry {
        kernels::Conv2dGeometry {
            in_channels: self.in_channels,
            out_channels: self.out_channels,
            groups: self.groups,
            kernel: self.kernel_size,
            stride: self.stride,
            dilation: self.dilation,
            padding: self.padding.resolve(self.kernel_size, self.stride, self.dilation, size),
        }
    }

    /// What PyTorch prints between the brackets of `Conv2d(…)`, with `extra` (a quantized module's
    /// scale and zero point) after the stride as PyTorch has it.
    pub fn python(&self, extra: &str, bias: bool) -> String {
        let pair = |[a, b]: [usize; 2]| format!("({a}, {b})");
        let mut text = format!(
            "{}, {}, kernel_size={}, stride={}{extra}",
            self.in_channels,
            self.out_channels,
            pair(self.kernel_size),
            pair(self.stride)
        );
        let padding = self.padding.python();
        let dilation =
            (self.dilation != [1, 1]).then(|| format!("dilation={}", pair(self.dilation)));
        let groups = (self.groups != 1).then(|| format!("groups={}", self.groups));
        for part in [padding, dilation, groups].into_iter().flatten() {
            text += ", ";
            text += &part;
        }
        if !bias {
            text += ", bias=False";
        }
        text
    }
}

/// `torch.nn.BatchNorm2d` over `[N, C, H, W]`, or `BatchNorm1d` over `[N, C]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BatchNorm {
    /// Channels.
    pub num_features: usize,
    /// Added to the variance.
    pub eps: f32,
    /// Weight of a new batch in the running estimates.
    pub momentum: f32,
    /// 2 for `[N, C, H, W]`, 1 for `[N, C]`.
    pub dimensions: u8,
}

impl BatchNorm {
    /// `BatchNorm2d(num_features)`: eps 1e-5, momentum 0.1.
    pub const fn two_d(num_features: usize) -> Self {
        Self { num_features, eps: 1e-5, momentum: 0.1, dimensions: 2 }
    }

    /// `BatchNorm1d(num_features)`: eps 1e-5, momentum 0.1.
    pub const fn one_d(num_features: usize) -> Self {
        Self { dimensions: 1, ..Self::two_d(num_features) }
    }

    /// The same with another eps.
    #[must_use]
    pub const fn eps(mut self, eps: f32) -> Self {
        self.eps = eps;
        self
    }

    /// The same with another momentum.
    #[must_use]
    pub const fn momentum(mut self, momentum: f32) -> Self {
        self.momentum = momentum;
        self
    }
}

/// `torch.nn.Linear`. Weight `[out_features, in_features]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Linear {
    /// Input features.
    pub in_features: usize,
    /// Output features.
    pub out_features: usize,
    /// Whether there is a bias `[out_features]`.
    pub bias: bool,
}

impl Linear {
    /// With a bias.
    pub const fn new(in_features: usize, out_features: usize) -> Self {
        Self { in_features, out_features, bias: true }
    }
}

/// `torch.nn.MaxPool2d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MaxPool2d {
    /// Window height and width (PyTorch prints one number: windows are square).
    pub kernel_size: usize,
    /// Step of the window.
    pub stride: usize,
    /// Padding on all sides; never wins.
    pub padding: usize,
}

impl MaxPool2d {
    /// The kernel's geometry.
    pub fn geometry(self) -> kernels::Pool2dGeometry {
        kernels::Pool2dGeometry {
            kernel: [self.kernel_size; 2],
            stride: [self.stride; 2],
            dilation: [1; 2],
            padding: kernels::Padding::symmetric(self.padding, self.padding),
        }
    }
}

/// `torch.nn.AdaptiveAvgPool2d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct AdaptiveAvgPool2d {
    /// Rows and columns of the output.
    pub output_size: [usize; 2],
}

/// `torch.nn.Dropout`; the identity in eval mode.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Dropout {
    /// Probability of a zero in training.
    pub p: f32,
}

/// `torch.nn.ZeroPad2d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ZeroPad2d {
    /// Columns to the left.
    pub left: usize,
    /// Columns to the right.
    pub right: usize,
    /// Rows above.
    pub top: usize,
    /// Rows below.
    pub bottom: usize,
}

impl ZeroPad2d {
    /// The kernel's padding.
    pub fn padding(self) -> kernels::Padding {
        let Self { left, right, top, bottom } = self;
        kernels::Padding { top, bottom, left, right }
    }
}

/// A clamp that can follow another operator inside one kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Activation {
    /// `max(x, 0)`.
    ReLU,
    /// `min(max(x, 0), 6)`.
    ReLU6,
}

impl Activation {
    /// PyTorch's class name.
    pub const fn kind(self) -> &'static str {
        match self {
            Self::ReLU => "ReLU",
            Self::ReLU6 => "ReLU6",
        }
    }

    /// What is added to the name of an operator fused with it.
    const fn suffix(activation: Option<Self>) -> &'static str {
        match activation {
            None => "",
            Some(activation) => activation.kind(),
        }
    }
}

/// An operator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Op {
    /// The model's input.
    Input,
    /// Convolution, with the activation that was fused into it.
    Conv2d(Conv2d, Option<Activation>),
    /// Batch normalization by running estimates.
    BatchNorm(BatchNorm),
    /// An activation of its own.
    Activation(Activation),
    /// Sum of two tensors, with the activation that was fused into it.
    Add(Option<Activation>),
    /// Product of two tensors.
    Mul,
    /// Concatenation along the channels.
    Cat,
    /// Largest value in a window.
    MaxPool2d(MaxPool2d),
    /// Averages over windows that cover the input.
    AdaptiveAvgPool2d(AdaptiveAvgPool2d),
    /// `x.mean([2, 3])`: the average over H and W.
    Mean,
    /// `torch.flatten(x, 1)`, in the order C, H, W.
    Flatten,
    /// The identity in eval mode.
    Dropout(Dropout),
    /// Matrix product, with the activation that was fused into it.
    Linear(Linear, Option<Activation>),
    /// Zeros around the input.
    ZeroPad2d(ZeroPad2d),
    /// Where quantized computation begins; the identity in float.
    QuantStub,
    /// Where quantized computation ends; the identity in float.
    DeQuantStub,
}

/// A parameter or buffer of an operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// The last part of its name: `weight`.
    pub name: &'static str,
    /// Its shape, as PyTorch has it.
    pub shape: Vec<usize>,
    /// Whether it is trained (a running estimate is not).
    pub trained: bool,
}

impl Op {
    /// PyTorch's class name: `Conv2d`, `ConvReLU2d`, `ConvReLU6_2d` (which PyTorch lacks).
    pub fn kind(&self) -> String {
        match self {
            Self::Input => "Input".into(),
            Self::Conv2d(_, None) => "Conv2d".into(),
            Self::Conv2d(_, Some(Activation::ReLU)) => "ConvReLU2d".into(),
            Self::Conv2d(_, Some(Activation::ReLU6)) => "ConvReLU6_2d".into(),
            Self::BatchNorm(bn) => format!("BatchNorm{}d", bn.dimensions),
            Self::Activation(activation) => activation.kind().into(),
            Self::Add(activation) => format!("Add{}", Activation::suffix(*activation)),
            Self::Mul => "Mul".into(),
            Self::Cat => "Cat".into(),
            Self::MaxPool2d(_) => "MaxPool2d".into(),
            Self::AdaptiveAvgPool2d(_) => "AdaptiveAvgPool2d".into(),
            Self::Mean => "Mean".into(),
            Self::Flatten => "Flatten".into(),
            Self::Dropout(_) => "Dropout".into(),
            Self::Linear(_, activation) => format!("Linear{}", Activation::suffix(*activation)),
            Self::ZeroPad2d(_) => "ZeroPad2d".into(),
            Self::QuantStub => "QuantStub".into(),
            Self::DeQuantStub => "DeQuantStub".into(),
        }
    }

    /// The activation fused into it.
    pub fn fused_activation(&self) -> Option<Activation> {
        match self {
            Self::Conv2d(_, activation) | Self::Linear(_, activation) | Self::Add(activation) => {
                *activation
            }
            _ => None,
        }
    }

    /// The identity in eval mode.
    pub fn is_identity(&self) -> bool {
        matches!(self, Self::Dropout(_) | Self::QuantStub | Self::DeQuantStub)
    }

    /// Least and largest number of inputs.
    pub(super) fn arity(&self) -> (usize, usize) {
        match self {
            Self::Input => (0, 0),
            Self::Add(_) | Self::Mul => (2, 2),
            Self::Cat => (1, usize::MAX),
            _ => (1, 1),
        }
    }

    /// What PyTorch prints between the brackets.
    pub fn python(&self) -> String {
        match self {
            Self::Conv2d(conv, _) => conv.python("", conv.bias),
            Self::BatchNorm(bn) => format!(
                "{}, eps={}, momentum={}, affine=True, track_running_stats=True",
                bn.num_features,
                python_float(bn.eps),
                python_float(bn.momentum)
            ),
            Self::MaxPool2d(pool) => format!(
                "kernel_size={}, stride={}, padding={}, dilation=1, ceil_mode=False",
                pool.kernel_size, pool.stride, pool.padding
            ),
            Self::AdaptiveAvgPool2d(pool) => {
                format!("output_size=({}, {})", pool.output_size[0], pool.output_size[1])
            }
            Self::Dropout(dropout) => format!("p={}, inplace=False", python_float(dropout.p)),
            Self::Linear(linear, _) => format!(
                "in_features={}, out_features={}, bias={}",
                linear.in_features,
                linear.out_features,
                if linear.bias { "True" } else { "False" }
            ),
            Self::ZeroPad2d(pad) => {
                format!("({}, {}, {}, {})", pad.left, pad.right, pad.top, pad.bottom)
            }
            Self::Activation(_) => "inplace=True".into(),
            _ => String::new(),
        }
    }

    /// Its parameters and buffers in PyTorch's order.
    pub fn parameters(&self) -> Vec<Parameter> {
        let parameter = |name, shape, trained| Parameter { name, shape, trained };
        let (weight, bias, out) = match self {
            Self::Conv2d(conv, _) => (conv.weight_shape(), conv.bias, conv.out_channels),
            Self::Linear(linear, _) => {
                let shape = vec![linear.out_features, linear.in_features];
                (shape, linear.bias, linear.out_features)
            }
            Self::BatchNorm(bn) => {
                let shape = vec![bn.num_features];
                return vec![
                    parameter("weight", shape.clone(), true),
                    parameter("bias", shape.clone(), true),
                    parameter("running_mean", shape.clone(), false),
                    parameter("running_var", shape, false),
                ];
            }
            _ => return Vec::new(),
        };
        let mut all = vec![parameter("weight", weight, true)];
        if bias {
            all.push(parameter("bias", vec![out], true));
        }
        all
    }

    /// Checks the hyper-parameters, which may come from a file.
    pub(super) fn validate(&self) -> Result<(), String> {
        // No layer of a classifier is near this; it keeps every later product within bounds.
        const LARGEST: usize = 1 << 24;
        const LARGEST_WEIGHT: usize = 1 << 30;
        let bounded = |sizes: &[usize]| match sizes.iter().find(|&&size| size > LARGEST) {
            Some(size) => Err(format!("a size of {size} is beyond the limit of {LARGEST}")),
            None => Ok(()),
        };
        let countable = |shape: &[usize]| {
            let values = shape.iter().try_fold(1usize, |product, &size| product.checked_mul(size));
            match values {
                Some(values) if values <= LARGEST_WEIGHT => Ok(()),
                _ => Err(format!(
                    "a weight of {shape:?} has more than the limit of {LARGEST_WEIGHT} values"
                )),
            }
        };
        match self {
            Self::Conv2d(conv, _) => {
                bounded(&[conv.in_channels, conv.out_channels])?;
                bounded(&conv.kernel_size)?;
                bounded(&conv.stride)?;
                bounded(&conv.dilation)?;
                if let Padding::Explicit { top, bottom, left, right } = conv.padding {
                    bounded(&[top, bottom, left, right])?;
                }
                // TensorFlow's padding divides by the stride: sizes of zero must be found without it.
                let explicit = Conv2d { padding: Padding::all(0), ..conv.clone() };
                explicit.geometry([1, 1]).validate().map_err(|error| error.to_string())?;
                countable(&conv.weight_shape())
            }
            Self::Linear(linear, _) => {
                bounded(&[linear.in_features, linear.out_features])?;
                if linear.in_features == 0 || linear.out_features == 0 {
                    return Err("a Linear needs at least one input and one output feature".into());
                }
                countable(&[linear.out_features, linear.in_features])
            }
            Self::BatchNorm(bn) => {
                bounded(&[bn.num_features])?;
                if !matches!(bn.dimensions, 1 | 2) {
                    return Err(format!("a batch norm over {} dimensions", bn.dimensions));
                }
                if !(bn.eps >= 0.0 && bn.eps.is_finite()) {
                    return Err(format!("eps is {}; it must be finite and not negative", bn.eps));
                }
                Ok(())
            }
            Self::MaxPool2d(pool) => {
                bounded(&[pool.kernel_size, pool.stride, pool.padding])?;
                if pool.kernel_size == 0 || pool.stride == 0 {
                    return Err("kernel_size and stride must be at least 1".into());
                }
                if pool.padding * 2 > pool.kernel_size {
                    return Err(format!(
                        "padding {} is more than half of kernel_size {}",
                        pool.padding, pool.kernel_size
                    ));
                }
                Ok(())
            }
            Self::AdaptiveAvgPool2d(pool) => {
                bounded(&pool.output_size)?;
                if pool.output_size.contains(&0) {
                    return Err("output_size must be at least 1".into());
                }
                Ok(())
            }
            Self::ZeroPad2d(pad) => bounded(&[pad.left, pad.right, pad.top, pad.bottom]),
            _ => Ok(()),
        }
    }
}

/// A float as Python prints it: `1e-05`, `0.1`, `0.2`.
fn python_float(value: f32) -> String {
    if value != 0.0 && value.abs() < 1e-4 {
        let text = format!("{value:e}");
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let exponent: i32 = exponent.parse().unwrap_or(0);
        let sign = if exponent < 0 { '-' } else { '+' };
        format!("{mantissa}e{sign}{:02}", exponent.abs())
    } else {
        format!("{value:?}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators_print_as_pytorch_prints_them() {
        let conv = Conv2d::new(32, 32, 3).padding(Padding::all(1)).groups(32).bias(false);
        assert_eq!(
            Op::Conv2d(conv, None).python(),
            "32, 32, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1), groups=32, bias=False"
        );
        assert_eq!(
            Op::BatchNorm(BatchNorm::two_d(32)).python(),
            "32, eps=1e-05, momentum=0.1, affine=True, track_running_stats=True"
        );
        assert_eq!(
            Op::BatchNorm(BatchNorm::two_d(8).eps(1e-3)).python().split(", ").nth(1),
            Some("eps=0.001")
        );
        assert_eq!(Op::Dropout(Dropout { p: 0.2 }).python(), "p=0.2, inplace=False");
    }

    #[test]
    fn same_padding_puts_the_odd_pixel_at_the_bottom_and_right() {
        let padding = Padding::Same.resolve([3, 3], [2, 2], [1, 1], [224, 225]);
        assert_eq!(padding, kernels::Padding { top: 0, bottom: 1, left: 1, right: 1 });
        let padding = Padding::Same.resolve([5, 5], [1, 1], [1, 1], [7, 7]);
        assert_eq!(padding, kernels::Padding::symmetric(2, 2));
        let padding = Padding::Same.resolve([1, 1], [2, 2], [1, 1], [7, 7]);
        assert_eq!(padding, kernels::Padding::default());
    }
}
