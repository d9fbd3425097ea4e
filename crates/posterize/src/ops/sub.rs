//! Subtraction of two tensors.

use posterize_kernels::f32::{Binary, Clamp};
use posterize_kernels::int8;
use serde::{Deserialize, Serialize};

use super::answers::{
    fuses_nothing, no_hyper_parameters, prints_as_a_functional, takes_two_broadcast,
};
use super::binary;
use super::kernel::{Compute, FloatContext, Int8Context, Made, Shapes};
use super::training::{Train, Training};
use super::{Int8Rule, Operator, Saved};

/// `torch.sub`: the difference `x - y` of two tensors, which are broadcast as in NumPy.
///
/// Int8 inputs are dequantized, subtracted in f32 and quantized with the scale of the output. PyTorch
/// has no quantized subtraction; this one rounds as its addition.
///
/// ```
/// use posterize::ops::{Op, Sub};
///
/// // Subtracts the mean of each channel.
/// let shape = Op::from(Sub).infer(&[&[1, 8, 7, 7], &[1, 8, 1, 1]])?;
/// assert_eq!(shape, [1, 8, 7, 7]);
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Sub;

impl Operator for Sub {
    fn kind(&self) -> String {
        "Sub".into()
    }

    no_hyper_parameters!();
    prints_as_a_functional!();
    takes_two_broadcast!();
    fuses_nothing!();

    fn int8_rule(&self) -> Int8Rule {
        Int8Rule::OwnScale
    }
}

impl Saved for Sub {
    const VERSION: u32 = 1;
}

impl Compute for Sub {
    fn float(&self, _: &FloatContext<'_>, shapes: &Shapes) -> Made<f32> {
        binary::float(shapes, "sub", Binary::Sub, Clamp::NONE)
    }

    fn int8(&self, cx: &Int8Context<'_>, shapes: &Shapes) -> Made<u8> {
        let ([a, b], [min, max]) = (cx.pair()?, cx.range);
        let kernel = int8::Sub::new(cx.isa, a, b, cx.output, min, max);
        binary::int8(shapes, "sub", move |pool, plan, a, b, output| {
            kernel.run_broadcast(pool, plan, a, b, output);
        })
    }
}

impl Train for Sub {
    fn training(&self) -> Training {
        Training::Function(binary::sum_gradient([1.0, -1.0]))
    }
}
