//! The softmax function.

use posterize_kernels::f32::Unary;
use serde::{Deserialize, Serialize};

use super::answers::{
    fuses_nothing, no_parameters, prints_as_a_layer, reads_each_value_once, takes_one_input,
};
use super::kernel::{Compute, FloatContext, Int8Context, Made, Shapes, function};
use super::lines::{Line, Lines};
use super::shapes::expect_axis;
use super::training::{Backward, Train, Training, nonlinear};
use super::{Int8Rule, Layer, Operator, Saved};

/// `torch.nn.Softmax`: `exp(x)` of each element, divided by the sum of those along an axis.
///
/// ```
/// use posterize::ops::Softmax;
/// use posterize::{Architecture, Tensor};
///
/// let model = Architecture::trace(&Softmax::new(1))?.init(0);
/// let y = model.forward(&Tensor::new([1, 2], vec![3.0, 3.0])?)?;
/// assert_eq!(y.data(), [0.5, 0.5]);
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Softmax {
    /// The axis whose values sum to 1; 1 is that of the channels. It cannot be the batch (0).
    pub dim: usize,
}

impl Softmax {
    /// Creates the function along `dim`.
    pub const fn new(dim: usize) -> Self {
        Self { dim }
    }

    fn lines(self, shapes: &Shapes) -> Lines {
        Lines::of_axes(&shapes.inputs[0], |axis| axis == self.dim)
    }
}

const NO_INT8: &str = "probabilities near 0 need more digits than int8 has";

impl Operator for Softmax {
    fn kind(&self) -> String {
        "Softmax".into()
    }

    fn python(&self) -> String {
        format!("dim={}", self.dim)
    }

    prints_as_a_layer!();
    takes_one_input!();
    no_parameters!();
    reads_each_value_once!();

    fn validate(&self) -> Result<(), String> {
        if self.dim == 0 {
            return Err("a softmax over the batch; dim must be at least 1".into());
        }
        Ok(())
    }

    fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        expect_axis(self.dim, inputs[0])?;
        Ok(inputs[0].to_vec())
    }

    fuses_nothing!();

    fn int8_rule(&self) -> Int8Rule {
        Int8Rule::Float { reason: NO_INT8 }
    }
}

impl Layer for Softmax {
    fn class(&self) -> &'static str {
        "Softmax"
    }
}

impl Saved for Softmax {
    const VERSION: u32 = 1;
}

/// Returns the largest value of a line and the sum of `exp(x − largest)`.
pub(super) fn largest_and_sum(line: Line<'_>) -> (f32, f32) {
    let mut largest = f32::NEG_INFINITY;
    line.each(|_, _, x| largest = largest.max(x));
    let mut sum = 0.0;
    line.each(|_, _, x| sum += f64::from(Unary::Exp.apply(x - largest)));
    (largest, sum as f32)
}

impl Compute for Softmax {
    fn float(&self, _: &FloatContext<'_>, shapes: &Shapes) -> Made<f32> {
        let lines = self.lines(shapes);
        function("softmax", move |call, input, output| {
            lines.run(call.pool, input(0), output, |_, line, output| {
                let (largest, sum) = largest_and_sum(line);
                line.each(|_, at, x| output[at] = Unary::Exp.apply(x - largest) / sum);
            });
        })
    }

    fn int8(&self, _: &Int8Context<'_>, _: &Shapes) -> Made<u8> {
        Err(NO_INT8.into())
    }
}

impl Train for Softmax {
    fn training(&self) -> Training {
        let op = *self;
        Training::Function(nonlinear(move |from, target| {
            let Backward { call, shapes, gradient, input, .. } = from;
            op.lines(shapes).run(call.pool, input(0), target, |_, line, target| {
                let (largest, sum) = largest_and_sum(line);
                let softmax = |x: f32| Unary::Exp.apply(x - largest) / sum;
                let gradients = line.of(gradient);
                let mut total = 0.0;
                // The output's gradient and the input lie at the same offsets.
                line.each(|_, at, x| target[at] = softmax(x));
                gradients.each(|_, at, g| total += f64::from(g) * f64::from(target[at]));
                gradients.each(|_, at, g| target[at] *= g - total as f32);
            });
        }))
    }
}
