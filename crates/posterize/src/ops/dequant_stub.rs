//! Where quantized computation ends.

use serde::{Deserialize, Serialize};

use super::answers::{
    fuses_nothing, is_the_identity, keeps_the_shape, no_hyper_parameters, no_parameters,
    prints_as_a_layer,
};
use super::kernel::Compute;
use super::training::{Train, Training};
use super::{Int8Rule, Layer, Operator, Saved};

/// `torch.ao.quantization.DeQuantStub`: where quantized computation ends; the identity in float.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct DeQuantStub;

impl Operator for DeQuantStub {
    fn kind(&self) -> String {
        "DeQuantStub".into()
    }

    no_hyper_parameters!();

    prints_as_a_layer!();

    no_parameters!();

    keeps_the_shape!();

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
    is_the_identity!(Err("its output must be float".into()));
}

impl Train for DeQuantStub {
    fn training(&self) -> Training {
        Training::Identity
    }
}
