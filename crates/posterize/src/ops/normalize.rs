//! Division by a norm.

use serde::{Deserialize, Serialize};

use super::answers::{
    fuses_nothing, no_parameters, prints_as_a_layer, reads_each_value_once, takes_one_input,
};
use super::kernel::{Compute, FloatContext, Int8Context, Made, Shapes, function};
use super::lines::{Line, Lines};
use super::shapes::expect_axis;
use super::training::{Backward, Train, Training, nonlinear};
use super::{Int8Rule, Layer, Operator, Saved, python};

/// `torch.nn.functional.normalize`, ONNX's `LpNormalization`: divides each element by the norm of the
/// values along an axis, or by `eps` where that is larger.
///
/// ```
/// use posterize::ops::Normalize;
/// use posterize::{Architecture, Tensor};
///
/// let model = Architecture::trace(&Normalize::new(2, 1))?.init(0);
/// let y = model.forward(&Tensor::new([1, 2], vec![3.0, 4.0])?)?;
/// assert_eq!(y.data(), [0.6, 0.8]);
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Normalize {
    /// 1 for the sum of the magnitudes, 2 for the root of the sum of the squares.
    pub p: u8,
    /// The axis; 1 is that of the channels. It cannot be the batch (0).
    pub dim: usize,
    /// The smallest divisor, positive.
    pub eps: f32,
}

impl Normalize {
    /// Creates the division by a norm along `dim`, with PyTorch's `eps` of 1e-12.
    pub const fn new(p: u8, dim: usize) -> Self {
        Self { p, dim, eps: 1e-12 }
    }

    /// Sets the smallest divisor.
    #[must_use]
    pub const fn eps(mut self, eps: f32) -> Self {
        self.eps = eps;
        self
    }

    fn lines(self, shapes: &Shapes) -> Lines {
        Lines::of_axes(&shapes.inputs[0], |axis| axis == self.dim)
    }

    /// Returns the divisor of a line.
    fn divisor(self, line: Line<'_>) -> f32 {
        let mut sum = 0.0;
        if self.p == 1 {
            line.each(|_, _, x| sum += f64::from(x.abs()));
        } else {
            line.each(|_, _, x| sum += f64::from(x).powi(2));
            sum = sum.sqrt();
        }
        (sum as f32).max(self.eps)
    }
}

const NO_INT8: &str = "the norm of its values is computed in float";

impl Operator for Normalize {
    fn kind(&self) -> String {
        "Normalize".into()
    }

    fn python(&self) -> String {
        format!("p={}, dim={}, eps={}", self.p, self.dim, python::float(self.eps))
    }

    prints_as_a_layer!();
    takes_one_input!();
    no_parameters!();
    reads_each_value_once!();

    fn validate(&self) -> Result<(), String> {
        if self.dim == 0 {
            return Err("a norm over the batch; dim must be at least 1".into());
        }
        if !matches!(self.p, 1 | 2) {
            return Err(format!("p must be 1 or 2, found {}", self.p));
        }
        if !(self.eps > 0.0 && self.eps.is_finite()) {
            return Err(format!("eps must be finite and positive, found {}", self.eps));
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

impl Layer for Normalize {
    fn class(&self) -> &'static str {
        "Normalize"
    }
}

impl Saved for Normalize {
    const VERSION: u32 = 1;
}

impl Compute for Normalize {
    fn float(&self, _: &FloatContext<'_>, shapes: &Shapes) -> Made<f32> {
        let (norm, lines) = (*self, self.lines(shapes));
        function("normalize", move |call, input, output| {
            lines.run(call.pool, input(0), output, |_, line, output| {
                let divisor = norm.divisor(line);
                line.each(|_, at, x| output[at] = x / divisor);
            });
        })
    }

    fn int8(&self, _: &Int8Context<'_>, _: &Shapes) -> Made<u8> {
        Err(NO_INT8.into())
    }
}

impl Train for Normalize {
    /// The derivative of the norm at `x` is the sign of `x`, or `x` by the norm; 0 where the divisor is
    /// `eps`.
    fn training(&self) -> Training {
        let norm = *self;
        Training::Function(nonlinear(move |from, target| {
            let Backward { call, shapes, gradient, input, .. } = from;
            norm.lines(shapes).run(call.pool, input(0), target, |_, line, target| {
                let divisor = norm.divisor(line);
                let gradients = line.of(gradient);
                let mut total = 0.0;
                line.each(|_, at, x| target[at] = x);
                gradients.each(|_, at, g| total += f64::from(g) * f64::from(target[at]));
                let total = (total / f64::from(divisor)) as f32;
                let scale = if divisor > norm.eps { total } else { 0.0 };
                line.each(|_, at, x| {
                    let slope = match norm.p {
                        1 if x == 0.0 => 0.0,
                        1 => 1.0_f32.copysign(x),
                        _ => x / divisor,
                    };
                    target[at] = -slope * scale / divisor;
                });
                gradients.each(|_, at, g| target[at] += g / divisor);
            });
        }))
    }
}
