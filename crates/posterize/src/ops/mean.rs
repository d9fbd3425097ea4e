//! The average over height and width.

use serde::{Deserialize, Serialize};

use super::answers::{
    fuses_nothing, no_hyper_parameters, no_parameters, prints_as_a_layer, reads_each_value_once,
    takes_one_input,
};
use super::kernel::{Compute, FloatContext, Int8Context, Made, Shapes};
use super::shapes::picture;
use super::training::{Train, Training};
use super::{AdaptiveAvgPool2d, Int8Rule, Layer, Operator, Saved};

/// `x.mean([2, 3])`: the average over height and width, from `[N, C, H, W]` to `[N, C]`.
///
/// ```
/// use posterize::ops::Mean;
/// use posterize::{Architecture, Tensor};
///
/// let model = Architecture::trace(&Mean)?.init(0);
/// let y = model.forward(&Tensor::new([1, 1, 2, 2], vec![1.0, 2.0, 3.0, 6.0])?)?;
/// assert_eq!((y.shape(), y.data()), (&[1, 1][..], &[3.0][..]));
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Mean;

impl Operator for Mean {
    fn kind(&self) -> String {
        "Mean".into()
    }

    no_hyper_parameters!();

    prints_as_a_layer!();

    takes_one_input!();

    no_parameters!();

    reads_each_value_once!();

    fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        let [n, c, _, _] = picture(inputs[0])?;
        Ok(vec![n, c])
    }

    fuses_nothing!();

    fn int8_rule(&self) -> Int8Rule {
        Int8Rule::InputScale { rounds: true }
    }
}

impl Layer for Mean {
    fn class(&self) -> &'static str {
        "Mean"
    }
}

impl Saved for Mean {
    const VERSION: u32 = 1;
}

/// The pooling with the same kernel: one average for each channel.
const POOLING: AdaptiveAvgPool2d = AdaptiveAvgPool2d::new([1, 1]);

impl Compute for Mean {
    fn float(&self, cx: &FloatContext<'_>, shapes: &Shapes) -> Made<f32> {
        POOLING.float(cx, shapes)
    }

    fn int8(&self, cx: &Int8Context<'_>, shapes: &Shapes) -> Made<u8> {
        POOLING.int8(cx, shapes)
    }
}

impl Train for Mean {
    fn training(&self) -> Training {
        POOLING.training()
    }
}
