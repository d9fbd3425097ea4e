//! Parameters and buffers of operators.

use serde::{Deserialize, Serialize};

/// The role of a parameter or buffer in its operator.
///
/// ```
/// use posterize::ops::Role;
///
/// assert_eq!(Role::RunningMean.to_string(), "running_mean");
/// assert!(Role::Weight.is_trained() && !Role::RunningMean.is_trained());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Role {
    /// The weight of a convolution or linear layer, or the scale of a batch norm.
    Weight,
    /// The bias.
    Bias,
    /// The running estimate of the mean.
    RunningMean,
    /// The running estimate of the variance.
    RunningVar,
}

impl Role {
    /// Returns PyTorch's attribute name, such as `running_mean`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Weight => "weight",
            Self::Bias => "bias",
            Self::RunningMean => "running_mean",
            Self::RunningVar => "running_var",
        }
    }

    /// Returns whether it is trained, as weights and biases are, or a buffer.
    pub const fn is_trained(self) -> bool {
        match self {
            Self::Weight | Self::Bias => true,
            Self::RunningMean | Self::RunningVar => false,
        }
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// A parameter or buffer of an operator, without its values.
///
/// ```
/// use posterize::ops::{Initializer, Linear, Op, Role};
///
/// let parameters = Op::from(Linear::new(4, 2)).parameters();
/// let bias = &parameters[1];
/// assert_eq!((bias.role, bias.shape.as_slice()), (Role::Bias, &[2][..]));
/// assert_eq!(bias.init, Initializer::Constant(0.0));
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Parameter {
    /// Its role in the operator.
    pub role: Role,
    /// Its shape in PyTorch.
    pub shape: Vec<usize>,
    /// Its initial values.
    pub init: Initializer,
}

impl Parameter {
    /// Creates a parameter.
    pub(super) fn new(role: Role, shape: impl Into<Vec<usize>>, init: Initializer) -> Self {
        Self { role, shape: shape.into(), init }
    }

    /// Creates the weight `[outputs, …, kh, kw]` and the bias of a convolution. The weight is drawn as by
    /// `kaiming_normal_(mode="fan_out")` (He et al. 2015).
    pub(super) fn of_convolution(weight: Vec<usize>, bias: bool) -> Vec<Self> {
        let fan_out = weight[0] * weight[2] * weight[3];
        let init = Initializer::Normal { std: (2.0 / fan_out as f32).sqrt() };
        Self::weight_and_bias(weight, init, bias)
    }

    /// Creates a weight `[outputs, …]` and, if `bias`, a bias `[outputs]` of zeros.
    pub(super) fn weight_and_bias(weight: Vec<usize>, init: Initializer, bias: bool) -> Vec<Self> {
        let outputs = weight[0];
        let mut all = vec![Self::new(Role::Weight, weight, init)];
        if bias {
            all.push(Self::new(Role::Bias, [outputs], Initializer::Constant(0.0)));
        }
        all
    }
}

/// The initial values of a parameter; `torch.nn.init`.
///
/// ```
/// use posterize::ops::{BatchNorm, Initializer, Op};
///
/// let weight = &Op::from(BatchNorm::two_d(8)).parameters()[0];
/// assert_eq!(weight.init, Initializer::Constant(1.0));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Initializer {
    /// The same value everywhere; `torch.nn.init.constant_`.
    Constant(f32),
    /// Samples of a normal distribution with mean 0; `torch.nn.init.normal_`.
    Normal {
        /// The standard deviation.
        std: f32,
    },
}
