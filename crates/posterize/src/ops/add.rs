//! Addition of two tensors.

use posterize_kernels::f32::Binary;
use posterize_kernels::int8;
use serde::{Deserialize, Serialize};

use super::answers::{prints_as_a_functional, takes_two_broadcast};
use super::binary;
use super::kernel::{Call, Compute, FloatContext, Inputs, Int8Context, Kernel, Made, Shapes, made};
use super::shapes::fused_kind;
use super::training::{Train, Training};
use super::{Activation, Int8Rule, Operator, Saved};

/// `torch.add`: the sum `x + y` of two tensors, which are broadcast as in NumPy.
///
/// Both tensors must have the same number of axes and the same batch size. Int8 inputs are
/// dequantized, added in f32 and quantized with the scale of the output, as in
/// `torch.ops.quantized.add`.
///
/// ```
/// use posterize::ops::{Activation, Add, Op};
///
/// let add = Op::from(Add::fused(Activation::ReLU));
/// assert_eq!(add.kind(), "AddReLU");
/// assert_eq!(add.infer(&[&[2, 8, 7, 7], &[2, 8, 1, 1]])?, [2, 8, 7, 7]);
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Add {
    /// The activation that is fused into it.
    pub activation: Option<Activation>,
}

impl Add {
    /// Creates an addition without an activation.
    pub const fn new() -> Self {
        Self { activation: None }
    }

    /// Creates an addition followed by `activation`.
    pub const fn fused(activation: Activation) -> Self {
        Self { activation: Some(activation) }
    }
}

impl Operator for Add {
    fn kind(&self) -> String {
        fused_kind("Add", self.activation)
    }

    fn python(&self) -> String {
        String::new()
    }

    fn validate(&self) -> Result<(), String> {
        Ok(())
    }

    prints_as_a_functional!();
    takes_two_broadcast!();

    fn activation(&self) -> Option<Activation> {
        self.activation
    }

    fn with_activation(&self, activation: Activation) -> Option<Self> {
        self.activation.is_none().then_some(Self { activation: Some(activation) })
    }

    fn with_batch_norm(&self, _: u8) -> Option<Self> {
        None
    }

    fn int8_rule(&self) -> Int8Rule {
        Int8Rule::OwnScale
    }
}

impl Saved for Add {
    const VERSION: u32 = 1;
}

impl Compute for Add {
    fn float(&self, _: &FloatContext<'_>, shapes: &Shapes) -> Made<f32> {
        binary::float(shapes, "add", Binary::Add, Activation::clamp(self.activation))
    }

    fn int8(&self, cx: &Int8Context<'_>, shapes: &Shapes) -> Made<u8> {
        let ([a, b], [min, max]) = (cx.pair()?, cx.range);
        let kernel = int8::Add::new(cx.isa, a, b, cx.output, min, max);
        if shapes.inputs[0] == shapes.inputs[1] {
            return made(Int8Add { kernel });
        }
        binary::int8(shapes, "add", move |pool, plan, a, b, output| {
            kernel.run_broadcast(pool, plan, a, b, output);
        })
    }
}

/// The int8 kernel of an addition. The planner may fuse it with the convolution before it.
#[derive(Debug)]
pub(crate) struct Int8Add {
    pub(crate) kernel: int8::Add,
}

impl Kernel<u8> for Int8Add {
    fn name(&self) -> &'static str {
        "add"
    }

    fn scratch_len(&self, _: usize, _: usize) -> usize {
        0
    }

    fn run(&self, call: Call<'_>, input: Inputs<'_, '_, u8>, output: &mut [u8], _: &mut [u8]) {
        self.kernel.run(call.pool, input(0), input(1), output);
    }
}

impl Train for Add {
    fn training(&self) -> Training {
        Training::Function(binary::sum_gradient([1.0, 1.0]))
    }
}
