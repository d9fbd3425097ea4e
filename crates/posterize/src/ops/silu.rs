//! SiLU, which is called Swish as well.

use std::ops::RangeInclusive;

use posterize_kernels::f32::Unary;
use serde::{Deserialize, Serialize};

use super::answers::{fuses_nothing, no_parameters, prints_as_a_layer};
use super::kernel::{Compute, FloatContext, Int8Context, Made, Shapes};
use super::training::{Train, Training};
use super::unary::{self, Derivative};
use super::{Int8Rule, Layer, Operator, Saved};

/// `torch.nn.SiLU`: `x · sigmoid(x)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SiLU;

impl Operator for SiLU {
    fn kind(&self) -> String {
        "SiLU".into()
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
        Int8Rule::OwnScale
    }
}

impl Layer for SiLU {
    fn class(&self) -> &'static str {
        "SiLU"
    }
}

impl Saved for SiLU {
    const VERSION: u32 = 1;
}

impl Compute for SiLU {
    fn float(&self, _: &FloatContext<'_>, _: &Shapes) -> Made<f32> {
        unary::float(Unary::SiLU, "silu")
    }

    fn int8(&self, cx: &Int8Context<'_>, _: &Shapes) -> Made<u8> {
        unary::int8(cx, Unary::SiLU, "silu")
    }
}

impl Train for SiLU {
    fn training(&self) -> Training {
        Training::Function(Box::new(DERIVATIVE))
    }
}

/// `s · (1 + x · (1 − s))`, where `s` is the sigmoid of `x`.
const DERIVATIVE: Derivative = Derivative(|x| {
    let sigmoid = Unary::Sigmoid.apply(x);
    sigmoid * (1.0 + x * (1.0 - sigmoid))
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_derivative_is_that_of_the_function() {
        unary::check_derivative(Unary::SiLU, &DERIVATIVE);
    }
}
