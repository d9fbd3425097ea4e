//! Parameters and buffers of operators.

use serde::{Deserialize, Serialize};

/// What a parameter or buffer is to its operator.
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
    /// The last part of the parameter's name in PyTorch: `running_mean`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Weight => "weight",
            Self::Bias => "bias",
            Self::RunningMean => "running_mean",
            Self::RunningVar => "running_var",
        }
    }

    /// Whether it is trained; running estimates are not.
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

/// A parameter or buffer of an operator.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Parameter {
    /// What it is to the operator.
    pub role: Role,
    /// Its shape, as PyTorch has it.
    pub shape: Vec<usize>,
    /// How a new network fills it.
    pub init: Initializer,
}

impl Parameter {
    /// A parameter of that role and shape, filled with `init` in a new network.
    pub(super) fn new(role: Role, shape: impl Into<Vec<usize>>, init: Initializer) -> Self {
        Self { role, shape: shape.into(), init }
    }

    /// A weight and, where there is one, a bias of `outputs` zeros.
    pub(super) fn weight_and_bias(weight: Vec<usize>, init: Initializer, bias: bool) -> Vec<Self> {
        let outputs = weight[0];
        let mut all = vec![Self::new(Role::Weight, weight, init)];
        if bias {
            all.push(Self::new(Role::Bias, [outputs], Initializer::Constant(0.0)));
        }
        all
    }
}

/// How the values of a parameter are chosen in a new network.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Initializer {
    /// The same value everywhere.
    Constant(f32),
    /// Normally distributed around 0.
    Normal {
        /// The standard deviation.
        std: f32,
    },
}
