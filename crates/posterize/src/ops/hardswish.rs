//! Hard-swish.

use std::ops::RangeInclusive;

use posterize_kernels::f32::Unary;
use serde::{Deserialize, Serialize};

use super::answers::{fuses_nothing, no_parameters, prints_as_a_layer};
use super::kernel::{Compute, FloatContext, Int8Context, Made, Shapes};
use super::training::{Train, Training};
use super::unary::{self, Derivative};
use super::{Int8Rule, Layer, Operator, Saved};

/// `torch.nn.Hardswish`: `x · relu6(x + 3) / 6`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Hardswish;

impl Operator for Hardswish {
    fn kind(&self) -> String {
        "Hardswish".into()
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

impl Layer for Hardswish {
    fn class(&self) -> &'static str {
        "Hardswish"
    }
}

impl Saved for Hardswish {
    const VERSION: u32 = 1;
}

impl Compute for Hardswish {
    fn float(&self, _: &FloatContext<'_>, _: &Shapes) -> Made<f32> {
        unary::float(Unary::HardSwish, "hardswish")
    }

    fn int8(&self, cx: &Int8Context<'_>, _: &Shapes) -> Made<u8> {
        unary::int8(cx, Unary::HardSwish, "hardswish")
    }
}

impl Train for Hardswish {
    fn training(&self) -> Training {
        Training::Function(Box::new(DERIVATIVE))
    }
}

/// `x / 3 + 1/2` between −3 and 3, 0 below and 1 above.
const DERIVATIVE: Derivative = Derivative(|x| {
    if x <= -3.0 {
        0.0
    } else if x < 3.0 {
        x / 3.0 + 0.5
    } else {
        1.0
    }
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_derivative_is_that_of_the_function() {
        unary::check_derivative(Unary::HardSwish, &DERIVATIVE);
    }
}
