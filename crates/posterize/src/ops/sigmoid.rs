//! The sigmoid.

use std::ops::RangeInclusive;

use posterize_kernels::f32::Unary;
use serde::{Deserialize, Serialize};

use super::answers::{fuses_nothing, no_parameters, prints_as_a_layer};
use super::kernel::{Compute, FloatContext, Int8Context, Made, Shapes};
use super::training::{Train, Training};
use super::unary::{self, Derivative};
use super::{Int8Rule, Layer, Operator, Saved};

/// `torch.nn.Sigmoid`: `1 / (1 + exp(−x))`.
///
/// In int8 its output has the scale 1/256 and the zero point 0, as in PyTorch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Sigmoid;

impl Operator for Sigmoid {
    fn kind(&self) -> String {
        "Sigmoid".into()
    }

    fn python(&self) -> String {
        String::new()
    }

    prints_as_a_layer!();

    fn arity(&self) -> RangeInclusive<usize> {
        1..=1
    }

    no_parameters!();

    fn validate(&self) -> Result<(), String> {
        Ok(())
    }

    fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        Ok(inputs[0].to_vec())
    }

    fuses_nothing!();

    fn int8_rule(&self) -> Int8Rule {
        Int8Rule::FixedScale { scale: 1.0 / 256.0, zero_point: 0 }
    }
}

impl Layer for Sigmoid {
    fn class(&self) -> &'static str {
        "Sigmoid"
    }
}

impl Saved for Sigmoid {
    const VERSION: u32 = 1;
}

impl Compute for Sigmoid {
    fn float(&self, _: &FloatContext<'_>, _: &Shapes) -> Made<f32> {
        unary::float(Unary::Sigmoid, "sigmoid")
    }

    fn int8(&self, cx: &Int8Context<'_>, _: &Shapes) -> Made<u8> {
        unary::int8(cx, Unary::Sigmoid, "sigmoid")
    }
}

impl Train for Sigmoid {
    fn training(&self) -> Training {
        Training::Function(Box::new(DERIVATIVE))
    }
}

/// `y · (1 − y)`.
const DERIVATIVE: Derivative = Derivative(|x| {
    let y = Unary::Sigmoid.apply(x);
    y * (1.0 - y)
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_derivative_is_that_of_the_function() {
        unary::check_derivative(Unary::Sigmoid, &DERIVATIVE);
    }
}
