//! Fully connected layers.

use posterize_kernels::{Conv2dGeometry, Padding, f32, int8};
use serde::{Deserialize, Serialize};

use super::answers::takes_one_input;
use super::kernel::{Compute, FloatContext, Int8Context, Int8Weights, Made, Shapes, function};
use super::limits::{check_sizes, check_weight};
use super::shapes::{fused_kind, values};
use super::training::{Product, Train, Training};
use super::{
    Activation, Initializer, Int8Rule, Layer, Leaf, Operator, Parameter, QuantizedOutput, Role,
    Saved, python, work,
};

/// `torch.nn.Linear`: a fully connected layer, `x · weightᵀ + bias`.
///
/// It maps `[N, in_features]` to `[N, out_features]`. The weight has the shape
/// `[out_features, in_features]`, the bias `[out_features]`.
///
/// ```
/// use posterize::ops::{Linear, Op};
///
/// let linear = Op::from(Linear::new(1280, 10));
/// assert_eq!(linear.infer(&[&[4, 1280]])?, [4, 10]);
/// assert_eq!(linear.parameters()[0].shape, [10, 1280]);
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Linear {
    /// Number of input features, at least 1.
    pub in_features: usize,
    /// Number of output features, at least 1.
    pub out_features: usize,
    /// Whether it has a bias `[out_features]`.
    pub bias: bool,
    /// The activation that is fused into it.
    pub activation: Option<Activation>,
}

impl Linear {
    /// Creates a linear layer with a bias.
    pub const fn new(in_features: usize, out_features: usize) -> Self {
        Self { in_features, out_features, bias: true, activation: None }
    }

    /// Sets whether it has a bias.
    #[must_use]
    pub const fn bias(mut self, bias: bool) -> Self {
        self.bias = bias;
        self
    }
}

impl Operator for Linear {
    fn kind(&self) -> String {
        fused_kind("Linear", self.activation)
    }

    fn python(&self) -> String {
        format!(
            "in_features={}, out_features={}, bias={}",
            self.in_features,
            self.out_features,
            python::boolean(self.bias)
        )
    }

    fn leaf(&self) -> Leaf {
        match self.activation {
            None => Leaf::new("Linear", self.python()),
            Some(activation) => {
                let linear = Leaf::new("Linear", self.python());
                Leaf::fused(self.kind(), linear, activation.name())
            }
        }
    }

    fn quantized_leaf(&self, output: &QuantizedOutput) -> Option<Leaf> {
        let scheme = if output.per_channel { "per_channel" } else { "per_tensor" };
        Some(Leaf::new(
            format!("Quantized{}", self.kind()),
            format!(
                "in_features={}, out_features={}, {}, qscheme=torch.{scheme}_affine",
                self.in_features,
                self.out_features,
                output.python()
            ),
        ))
    }

    takes_one_input!();

    fn parameters(&self) -> Vec<Parameter> {
        let weight = vec![self.out_features, self.in_features];
        Parameter::weight_and_bias(weight, Initializer::Normal { std: 0.01 }, self.bias)
    }

    fn validate(&self) -> Result<(), String> {
        check_sizes(&[self.in_features, self.out_features])?;
        if self.in_features == 0 || self.out_features == 0 {
            return Err(format!(
                "in_features and out_features must be at least 1, found {} and {}",
                self.in_features, self.out_features
            ));
        }
        check_weight(&[self.out_features, self.in_features])
    }

    fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        match *inputs[0] {
            [n, features] if features == self.in_features => Ok(vec![n, self.out_features]),
            _ => Err(format!("expected an input [N, {}], found {:?}", self.in_features, inputs[0])),
        }
    }

    fn work(&self, inputs: &[&[usize]], output: &[usize]) -> u64 {
        let products = work::of_products(output, 1, self.in_features as u64);
        work::of_values(inputs, output).saturating_add(products)
    }

    fn multiply_adds(&self, output: &[usize]) -> u64 {
        values(output).saturating_mul(self.in_features as u64)
    }

    fn activation(&self) -> Option<Activation> {
        self.activation
    }

    fn with_activation(&self, activation: Activation) -> Option<Self> {
        let free = self.activation.is_none();
        free.then(|| Self { activation: Some(activation), ..self.clone() })
    }

    fn with_batch_norm(&self, dimensions: u8) -> Option<Self> {
        let fits = self.activation.is_none() && dimensions == 1;
        fits.then(|| Self { bias: true, ..self.clone() })
    }

    fn int8_rule(&self) -> Int8Rule {
        Int8Rule::OwnScale
    }
}

impl Layer for Linear {
    fn class(&self) -> &'static str {
        "Linear"
    }
}

impl Saved for Linear {
    const VERSION: u32 = 1;
}

impl Compute for Linear {
    fn float(&self, cx: &FloatContext<'_>, _: &Shapes) -> Made<f32> {
        let (weight, bias) = (cx.required(Role::Weight)?, (cx.parameter)(Role::Bias));
        let clamp = Activation::clamp(self.activation);
        let Self { in_features, out_features, .. } = *self;
        let pack = || f32::Linear::new(cx.isa, in_features, out_features, weight, bias, clamp);
        let packed = cx.packs.get(Padding::default(), pack);
        function("linear", move |call, input, output| {
            packed.run(call.pool, call.batch, input(0), output);
        })
    }

    fn int8(&self, cx: &Int8Context<'_>, _: &Shapes) -> Made<u8> {
        let Int8Weights { weight, bias, .. } = *cx.required()?;
        let (zero, requantize) = cx.requantize()?;
        let Self { in_features, out_features, .. } = *self;
        let pack = || {
            int8::Linear::new(cx.isa, in_features, out_features, weight, bias, zero, &requantize)
        };
        let packed = cx.packs.get(Padding::default(), pack);
        function(packed.kernel_name(), move |call, input, output| {
            packed.run(call.pool, call.batch, input(0), output);
        })
    }
}

impl Train for Linear {
    fn training(&self) -> Training {
        let unpadded = Conv2dGeometry {
            in_channels: self.in_features,
            out_channels: self.out_features,
            groups: 1,
            kernel: [1; 2],
            stride: [1; 2],
            dilation: [1; 2],
            padding: Padding::default(),
        };
        Training::Product(Product { unpadded, padding: super::Padding::all(0), bias: self.bias })
    }
}
