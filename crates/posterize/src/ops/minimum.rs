//! The smaller of two tensors, element by element.

use serde::{Deserialize, Serialize};

use super::answers::{
    fuses_nothing, no_hyper_parameters, prints_as_a_functional, takes_two_broadcast,
};
use super::extremes;
use super::kernel::{Compute, FloatContext, Int8Context, Made, Shapes};
use super::largest::Compare;
use super::training::{Train, Training};
use super::{Int8Rule, Operator, Saved};

/// `torch.minimum`, ONNX's `Min`: the smaller of two tensors, which are broadcast as in NumPy.
///
/// ```
/// use posterize::ops::{Minimum, Op};
///
/// let op = Op::from(Minimum);
/// assert_eq!(op.infer(&[&[1, 8, 7, 7], &[1, 1, 7, 7]])?, [1, 8, 7, 7]);
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Minimum;

impl Operator for Minimum {
    fn kind(&self) -> String {
        "Minimum".into()
    }

    no_hyper_parameters!();
    prints_as_a_functional!();
    takes_two_broadcast!();
    fuses_nothing!();

    fn int8_rule(&self) -> Int8Rule {
        Int8Rule::OwnScale
    }
}

impl Saved for Minimum {
    const VERSION: u32 = 1;
}

impl Compute for Minimum {
    fn float(&self, _: &FloatContext<'_>, shapes: &Shapes) -> Made<f32> {
        extremes::float("minimum", shapes, f32::smaller)
    }

    fn int8(&self, cx: &Int8Context<'_>, shapes: &Shapes) -> Made<u8> {
        extremes::int8("minimum", cx, shapes, u8::smaller)
    }
}

impl Train for Minimum {
    fn training(&self) -> Training {
        Training::Function(extremes::gradient(f32::lt))
    }
}
