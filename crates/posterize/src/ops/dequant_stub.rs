//! Where quantized computation ends.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use super::answers::{fuses_nothing, no_parameters, prints_as_a_layer};
use super::kernel::{Compute, FloatContext, Int8Context, Made, Shapes};
use super::training::{Train, Training};
use super::{Int8Rule, Layer, Operator, Saved};

/// `torch.ao.quantization.DeQuantStub`: where quantized computation ends; the identity in float.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct DeQuantStub;

impl Operator for DeQuantStub {
    fn kind(&self) -> String {
        "DeQuantStub".into()
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
        Int8Rule::Float { reason: "its output is float" }
    }
}

impl Layer for DeQuantStub {
    fn class(&self) -> &'static str {
        "DeQuantStub"
    }
}

impl Saved for DeQuantStub {
    const VERSION: u32 = 1;
}

impl Compute for DeQuantStub {
    fn float(&self, _: &FloatContext<'_>, _: &Shapes) -> Made<f32> {
        Ok(None)
    }

    fn int8(&self, _: &Int8Context<'_>, _: &Shapes) -> Made<u8> {
        Err("its output must be float".into())
    }
}

impl Train for DeQuantStub {
    fn training(&self) -> Training {
        Training::Identity
    }
}
