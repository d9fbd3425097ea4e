//! The logarithm of the softmax function.

use posterize_kernels::f32::Unary;
use serde::{Deserialize, Serialize};

use super::answers::{
    fuses_nothing, no_parameters, prints_as_a_layer, reads_each_value_once, takes_one_input,
};
use super::kernel::{Compute, FloatContext, Int8Context, Made, Shapes, function};
use super::lines::Lines;
use super::shapes::expect_axis;
use super::softmax::largest_and_sum;
use super::training::{Backward, Train, Training, nonlinear};
use super::{Int8Rule, Layer, Operator, Saved};

/// `torch.nn.LogSoftmax`: the logarithm of a [`Softmax`](super::Softmax) along an axis.
///
/// ```
/// use posterize::ops::LogSoftmax;
/// use posterize::{Architecture, Tensor};
///
/// let model = Architecture::trace(&LogSoftmax::new(1))?.init(0);
/// let y = model.forward(&Tensor::new([1, 2], vec![3.0, 3.0])?)?;
/// assert!((y.data()[0] + 0.6931472).abs() < 1e-6);
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct LogSoftmax {
    /// The axis whose values sum to 1; 1 is that of the channels. It cannot be the batch (0).
    pub dim: usize,
}

impl LogSoftmax {
    /// Creates the function along `dim`.
    pub const fn new(dim: usize) -> Self {
        Self { dim }
    }

    fn lines(self, shapes: &Shapes) -> Lines {
        Lines::of_axes(&shapes.inputs[0], |axis| axis == self.dim)
    }
}

const NO_INT8: &str = "its values reach far below 0, where one scale cannot represent them";

impl Operator for LogSoftmax {
    fn kind(&self) -> String {
        "LogSoftmax".into()
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

impl Layer for LogSoftmax {
    fn class(&self) -> &'static str {
        "LogSoftmax"
    }
}

impl Saved for LogSoftmax {
    const VERSION: u32 = 1;
}

impl Compute for LogSoftmax {
    fn float(&self, _: &FloatContext<'_>, shapes: &Shapes) -> Made<f32> {
        let lines = self.lines(shapes);
        function("log_softmax", move |call, input, output| {
            lines.run(call.pool, input(0), output, |_, line, output| {
                let (largest, sum) = largest_and_sum(line);
                let shift = largest + Unary::Log.apply(sum);
                line.each(|_, at, x| output[at] = x - shift);
            });
        })
    }

    fn int8(&self, _: &Int8Context<'_>, _: &Shapes) -> Made<u8> {
        Err(NO_INT8.into())
    }
}

impl Train for LogSoftmax {
    fn training(&self) -> Training {
        let op = *self;
        Training::Function(nonlinear(move |from, target| {
            let Backward { call, shapes, gradient, input, .. } = from;
            op.lines(shapes).run(call.pool, input(0), target, |_, line, target| {
                let (largest, sum) = largest_and_sum(line);
                let softmax = |x: f32| Unary::Exp.apply(x - largest) / sum;
                let gradients = line.of(gradient);
                let mut total = 0.0;
                gradients.each(|_, at, g| {
                    target[at] = g;
                    total += f64::from(g);
                });
                line.each(|_, at, x| target[at] -= softmax(x) * total as f32);
            });
        }))
    }
}
