//! Division of two tensors, element by element.

use posterize_kernels::f32::{Binary, Clamp};
use serde::{Deserialize, Serialize};

use super::answers::{
    fuses_nothing, no_hyper_parameters, prints_as_a_functional, takes_two_broadcast,
};
use super::binary;
use super::broadcast::sum_to_input;
use super::kernel::{Compute, FloatContext, Int8Context, Made, Shapes};
use super::training::{Train, Training, nonlinear};
use super::{Int8Rule, Operator, Saved};

/// `torch.div`: the quotient `x / y` of two tensors, which are broadcast as in NumPy.
///
/// It stays in float in an int8 network: the quotients of divisors near 0 are so large that one scale
/// cannot represent them and all others.
///
/// ```
/// use posterize::ops::{Div, Int8Rule, Op};
///
/// let div = Op::from(Div);
/// assert_eq!(div.infer(&[&[1, 8, 7, 7], &[1, 1, 7, 7]])?, [1, 8, 7, 7]);
/// assert!(matches!(div.int8_rule(), Int8Rule::Float { .. }));
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Div;

impl Operator for Div {
    fn kind(&self) -> String {
        "Div".into()
    }

    no_hyper_parameters!();
    prints_as_a_functional!();
    takes_two_broadcast!();
    fuses_nothing!();

    fn int8_rule(&self) -> Int8Rule {
        Int8Rule::Float { reason: NO_INT8 }
    }
}

const NO_INT8: &str = "it has no int8 form; quotients are computed in float";

impl Saved for Div {
    const VERSION: u32 = 1;
}

impl Compute for Div {
    fn float(&self, _: &FloatContext<'_>, shapes: &Shapes) -> Made<f32> {
        binary::float(shapes, "div", Binary::Div, Clamp::NONE)
    }

    fn int8(&self, _: &Int8Context<'_>, _: &Shapes) -> Made<u8> {
        Err(NO_INT8.into())
    }
}

impl Train for Div {
    fn training(&self) -> Training {
        Training::Function(nonlinear(|from, target| {
            if from.position == 0 {
                return binary::backward_by_other(&from, Binary::Div, target);
            }
            // As PyTorch has it: `-gradient * ((x / y) / y)`.
            let [x, y] = [(from.input)(0), (from.input)(1)];
            let term =
                |gradient: f32, y_at: usize, x_at: usize| -gradient * (x[x_at] / y[y_at] / y[y_at]);
            sum_to_input(&from, term, target);
        }))
    }
}
