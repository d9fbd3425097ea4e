//! Multiplication of two tensors, element by element.

use posterize_kernels::f32::{Binary, Clamp};
use posterize_kernels::int8;
use serde::{Deserialize, Serialize};

use super::answers::{
    fuses_nothing, no_hyper_parameters, prints_as_a_functional, takes_two_broadcast,
};
use super::binary;
use super::kernel::{Compute, FloatContext, Int8Context, Made, Shapes};
use super::training::{Train, Training, nonlinear};
use super::{Int8Rule, Operator, Saved};

/// `torch.mul`: the product `x * y` of two tensors, which are broadcast as in NumPy.
///
/// Squeeze-and-excitation multiplies `[N, C, H, W]` by `[N, C, 1, 1]`.
///
/// ```
/// use posterize::graph::Builder;
/// use posterize::ops::Mul;
/// use posterize::runtime::{Options, compile};
/// use posterize::{Architecture, Tensor};
///
/// let mut builder = Builder::new("Example");
/// let (x, y) = (builder.input("x"), builder.input("y"));
/// let result = builder.add("result", Mul, &[x, y]);
/// builder.output("result", result);
/// let model = Architecture::from(builder.build()?).init(0);
///
/// let x = Tensor::new([1, 3], vec![1.0, 2.0, 3.0])?;
/// let y = Tensor::new([1, 1], vec![10.0])?;
/// let outputs = compile(&model, Options::new(1)?)?.run_all(&[(&x).into(), (&y).into()])?;
/// assert_eq!(outputs[0].data(), [10.0, 20.0, 30.0]);
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Mul;

impl Operator for Mul {
    fn kind(&self) -> String {
        "Mul".into()
    }

    no_hyper_parameters!();
    prints_as_a_functional!();
    takes_two_broadcast!();
    fuses_nothing!();

    fn int8_rule(&self) -> Int8Rule {
        Int8Rule::OwnScale
    }
}

impl Saved for Mul {
    const VERSION: u32 = 1;
}

impl Compute for Mul {
    fn float(&self, _: &FloatContext<'_>, shapes: &Shapes) -> Made<f32> {
        binary::float(shapes, "mul", Binary::Mul, Clamp::NONE)
    }

    fn int8(&self, cx: &Int8Context<'_>, shapes: &Shapes) -> Made<u8> {
        let ([a, b], [min, max]) = (cx.pair()?, cx.range);
        let kernel = int8::Mul::new(cx.isa, a, b, cx.output, min, max);
        binary::int8(shapes, "mul", move |pool, plan, a, b, output| {
            kernel.run_broadcast(pool, plan, a, b, output);
        })
    }
}

impl Train for Mul {
    fn training(&self) -> Training {
        Training::Function(nonlinear(|from, target| {
            binary::backward_by_other(&from, Binary::Mul, target);
        }))
    }
}
