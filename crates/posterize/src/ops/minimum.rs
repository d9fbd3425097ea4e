//! The smaller of two tensors, element by element.

use posterize_kernels::int8::requantize_table;
use serde::{Deserialize, Serialize};

use super::answers::{
    fuses_nothing, no_hyper_parameters, prints_as_a_functional, takes_two_broadcast,
};
use super::broadcast::sum_to_input;
use super::extremes;
use super::kernel::{Compute, FloatContext, Int8Context, Made, Shapes};
use super::largest::Compare;
use super::training::{Train, Training, nonlinear};
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
        extremes::kernel("minimum", shapes, f32::smaller)
    }

    /// Both inputs are rounded to the scale of the output, which does not change which one is the
    /// smaller.
    fn int8(&self, cx: &Int8Context<'_>, shapes: &Shapes) -> Made<u8> {
        let tables = cx.pair()?.map(|from| requantize_table(from, cx.output, [0, u8::MAX]));
        extremes::kernel("minimum", shapes, move |a: u8, b: u8| {
            tables[0][usize::from(a)].smaller(tables[1][usize::from(b)])
        })
    }
}

impl Train for Minimum {
    /// The gradient goes to the smaller, and one half to each of two equal values, as in PyTorch.
    fn training(&self) -> Training {
        Training::Function(nonlinear(|from, target| {
            let [own, other] = [(from.input)(from.position), (from.input)(1 - from.position)];
            let term = |gradient: f32, at: usize, other_at: usize| {
                let (own, other) = (own[at], other[other_at]);
                if own < other {
                    gradient
                } else if own == other {
                    gradient / 2.0
                } else {
                    0.0
                }
            };
            sum_to_input(&from, term, target);
        }))
    }
}
