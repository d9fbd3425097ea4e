//! The parametric rectified linear unit.

use serde::{Deserialize, Serialize};

use super::answers::{fuses_nothing, prints_as_a_layer, reads_each_value_once, takes_one_input};
use super::kernel::{Compute, FloatContext, Int8Context, Made, Shapes, function};
use super::limits::check_sizes;
use super::moves::strides;
use super::select::for_each_row;
use super::shapes::expect_channels;
use super::training::{Train, Training};
use super::{Initializer, Int8Rule, Layer, Operator, Parameter, Role, Saved};

/// `torch.nn.PReLU`: `x` of each positive element, `weight · x` of others, with one weight or one for
/// each channel of `[N, C, …]`.
///
/// It stays in float in an int8 network.
///
/// ```
/// use posterize::ops::PReLU;
/// use posterize::{Architecture, Tensor};
///
/// // The weight is 0.25 at first.
/// let model = Architecture::trace(&PReLU::new(2))?.init(0);
/// let y = model.forward(&Tensor::new([1, 2], vec![-4.0, 8.0])?)?;
/// assert_eq!(y.data(), [-1.0, 8.0]);
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct PReLU {
    /// Number of weights: 1, or the number of channels.
    pub num_parameters: usize,
}

impl PReLU {
    /// Creates the function with so many weights: 1, or the number of channels.
    pub const fn new(num_parameters: usize) -> Self {
        Self { num_parameters }
    }
}

const NO_INT8: &str = "its weights have no int8 form";

impl Operator for PReLU {
    fn kind(&self) -> String {
        "PReLU".into()
    }

    fn python(&self) -> String {
        format!("num_parameters={}", self.num_parameters)
    }

    prints_as_a_layer!();
    takes_one_input!();

    fn parameters(&self) -> Vec<Parameter> {
        let init = Initializer::Constant(0.25);
        vec![Parameter::new(Role::Weight, [self.num_parameters], init)]
    }

    fn multiply_adds(&self, _: &[usize]) -> u64 {
        0
    }

    reads_each_value_once!();

    fn validate(&self) -> Result<(), String> {
        if self.num_parameters == 0 {
            return Err("num_parameters must be at least 1".into());
        }
        check_sizes(&[self.num_parameters])
    }

    fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        if self.num_parameters > 1 {
            let channels = inputs[0].get(1).copied().unwrap_or(1);
            expect_channels(self.num_parameters, channels, inputs[0])?;
        }
        Ok(inputs[0].to_vec())
    }

    fuses_nothing!();

    fn int8_rule(&self) -> Int8Rule {
        Int8Rule::Float { reason: NO_INT8 }
    }
}

impl Layer for PReLU {
    fn class(&self) -> &'static str {
        "PReLU"
    }
}

impl Saved for PReLU {
    const VERSION: u32 = 1;
}

impl Compute for PReLU {
    fn float(&self, cx: &FloatContext<'_>, shapes: &Shapes) -> Made<f32> {
        let shape = &shapes.inputs[0];
        // A row of values with the same weight, or of one value of each channel.
        let inner = strides(shape).get(1).copied().unwrap_or(1);
        let (channels, weight) = (shapes.channels(), cx.required(Role::Weight)?.to_vec());
        let each = weight.len() > 1;
        let pattern: Vec<f32> = match inner {
            1 if each => weight.clone(),
            1 => vec![weight[0]; channels],
            _ => Vec::new(),
        };
        let of_row = move |row: usize| weight[if each { row % channels } else { 0 }];
        let width = if inner == 1 { channels } else { inner };
        function("prelu", move |call, input, output| {
            let input = input(0);
            for_each_row(call.pool, output, width, |row, output| {
                let input = &input[row * width..][..width];
                let slope = of_row(row);
                for (at, (y, &x)) in output.iter_mut().zip(input).enumerate() {
                    let slope = pattern.get(at).copied().unwrap_or(slope);
                    *y = if x > 0.0 { x } else { slope * x };
                }
            });
        })
    }

    fn int8(&self, _: &Int8Context<'_>, _: &Shapes) -> Made<u8> {
        Err(NO_INT8.into())
    }
}

impl Train for PReLU {
    fn training(&self) -> Training {
        Training::Untrainable("its weight has no gradient yet")
    }
}
