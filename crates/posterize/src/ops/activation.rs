//! ReLU and ReLU6 as layers.

use posterize_kernels::{f32, int8};

use super::answers::{cannot_be_fused_into, keeps_the_shape, no_parameters, prints_as_a_layer};
pub use super::clamp::Activation;
use super::kernel::{Compute, FloatContext, Int8Context, Made, Shapes, function};
use super::training::{Train, Training};
use super::{Int8Rule, Layer, Operator, Saved};

impl Operator for Activation {
    fn kind(&self) -> String {
        self.name().into()
    }

    fn python(&self) -> String {
        "inplace=True".into()
    }

    prints_as_a_layer!();

    no_parameters!();

    fn validate(&self) -> Result<(), String> {
        Ok(())
    }

    keeps_the_shape!();

    fn activation(&self) -> Option<Activation> {
        Some(*self)
    }

    cannot_be_fused_into!();

    fn int8_rule(&self) -> Int8Rule {
        Int8Rule::InputScale { rounds: true }
    }
}

impl Layer for Activation {
    fn class(&self) -> &'static str {
        self.name()
    }
}

impl Saved for Activation {
    const VERSION: u32 = 1;
}

impl Compute for Activation {
    fn float(&self, _: &FloatContext<'_>, _: &Shapes) -> Made<f32> {
        let bounds = Self::clamp(Some(*self));
        function("clamp", move |call, input, output| {
            f32::clamp(call.isa, call.pool, input(0), bounds, output);
        })
    }

    fn int8(&self, cx: &Int8Context<'_>, _: &Shapes) -> Made<u8> {
        let [min, max] = cx.range;
        function("clamp", move |call, input, output| {
            int8::clamp(call.isa, call.pool, min, max, input(0), output);
        })
    }
}

impl Train for Activation {
    fn training(&self) -> Training {
        Training::Identity
    }
}
