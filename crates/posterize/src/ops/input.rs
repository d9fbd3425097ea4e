//! The inputs of a network.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use super::answers::{fuses_nothing, no_parameters, prints_as_a_layer};
use super::kernel::{Compute, FloatContext, Int8Context, Made, Shapes};
use super::training::{Train, Training};
use super::{Int8Rule, Operator, Saved};

/// An input of a network: what its caller gives under the node's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Input;

impl Operator for Input {
    fn kind(&self) -> String {
        "Input".into()
    }

    fn python(&self) -> String {
        String::new()
    }

    prints_as_a_layer!();

    fn arity(&self) -> RangeInclusive<usize> {
        0..=0
    }

    no_parameters!();

    fn validate(&self) -> Result<(), String> {
        Ok(())
    }

    fn infer(&self, _: &[&[usize]]) -> Result<Vec<usize>, String> {
        Err("an input has the shape that its caller gives".into())
    }

    fuses_nothing!();

    fn int8_rule(&self) -> Int8Rule {
        Int8Rule::Float { reason: "an input is float" }
    }
}

impl Saved for Input {
    const VERSION: u32 = 1;
}

impl Compute for Input {
    fn float(&self, _: &FloatContext<'_>, _: &Shapes) -> Made<f32> {
        Ok(None)
    }

    fn int8(&self, _: &Int8Context<'_>, _: &Shapes) -> Made<u8> {
        Err("an input is float".into())
    }
}

impl Train for Input {
    fn training(&self) -> Training {
        Training::Input
    }
}
