//! Linear layers whose input is quantized when they run.

use std::sync::Arc;

use posterize_kernels::{Padding, int8, reference};
use serde::{Deserialize, Serialize};

use super::answers::takes_one_input;
use super::kernel::{
    Call, Compute, FloatContext, Inputs, Int8Context, Int8Weight, Kernel, Made, Shapes, made,
};
use super::training::{Train, Training};
use super::{
    Activation, Int8Rule, Layer, Leaf, Linear, Operator, Parameter, QuantizedOutput, Role, Saved,
};

/// `torch.ao.nn.quantized.dynamic.Linear`: a linear layer with an int8 weight whose float input is quantized
/// when it runs.
///
/// It maps `[N, in_features]` to `[N, out_features]`. Each row of the input gets the scale and zero point of
/// its own smallest and largest value, so that the result of a picture does not depend on the others of its
/// batch; PyTorch uses one scale for the whole batch. The products are added as integers, and the bias is
/// float.
///
/// ```
/// use posterize::ops::{DynamicQuantizedLinear, Linear, Op};
///
/// let linear = Op::from(DynamicQuantizedLinear::new(Linear::new(1280, 10)));
/// assert_eq!(linear.infer(&[&[4, 1280]])?, [4, 10]);
/// assert_eq!(linear.kind(), "DynamicQuantizedLinear");
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DynamicQuantizedLinear {
    linear: Linear,
}

impl DynamicQuantizedLinear {
    /// Creates the quantized form of a linear layer.
    pub const fn new(linear: Linear) -> Self {
        Self { linear }
    }

    /// Returns the float layer that it is the quantized form of.
    pub const fn linear(&self) -> &Linear {
        &self.linear
    }
}

impl Operator for DynamicQuantizedLinear {
    fn kind(&self) -> String {
        format!("DynamicQuantized{}", self.linear.kind())
    }

    fn python(&self) -> String {
        let Linear { in_features, out_features, .. } = self.linear;
        format!("in_features={in_features}, out_features={out_features}, dtype=torch.qint8")
    }

    fn leaf(&self) -> Leaf {
        Leaf::new(self.kind(), self.python())
    }

    fn quantized_leaf(&self, _: &QuantizedOutput) -> Option<Leaf> {
        None
    }

    takes_one_input!();

    fn parameters(&self) -> Vec<Parameter> {
        self.linear.parameters()
    }

    fn validate(&self) -> Result<(), String> {
        self.linear.validate()
    }

    fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        self.linear.infer(inputs)
    }

    fn work(&self, inputs: &[&[usize]], output: &[usize]) -> u64 {
        self.linear.work(inputs, output)
    }

    fn multiply_adds(&self, output: &[usize]) -> u64 {
        self.linear.multiply_adds(output)
    }

    fn activation(&self) -> Option<Activation> {
        self.linear.activation()
    }

    fn with_activation(&self, activation: Activation) -> Option<Self> {
        self.linear.with_activation(activation).map(Self::new)
    }

    fn with_batch_norm(&self, _: u8) -> Option<Self> {
        None
    }

    fn int8_rule(&self) -> Int8Rule {
        Int8Rule::Float { reason: "its input is quantized when it runs" }
    }
}

impl Layer for DynamicQuantizedLinear {
    fn class(&self) -> &'static str {
        "DynamicQuantizedLinear"
    }
}

impl Saved for DynamicQuantizedLinear {
    const VERSION: u32 = 1;
}

impl Compute for DynamicQuantizedLinear {
    fn float(&self, cx: &FloatContext<'_>, _: &Shapes) -> Made<f32> {
        let Int8Weight { weight, scales } =
            cx.int8_weight.ok_or("its weight must be int8, and the model has none")?;
        let Linear { in_features, out_features, activation, .. } = self.linear;
        let scale: Vec<f32> = scales.iter().copied().cycle().take(out_features).collect();
        let linear = reference::DynamicLinear {
            in_features,
            out_features,
            weight,
            scale: &scale,
            bias: (cx.parameter)(Role::Bias),
            clamp: Activation::clamp(activation),
        };
        let pack = || int8::DynamicLinear::new(cx.isa, &linear);
        made(DynamicLinear { packed: cx.packs.get(Padding::default(), pack) })
    }

    fn int8(&self, _: &Int8Context<'_>, _: &Shapes) -> Made<u8> {
        Err("its input and output are float".into())
    }
}

#[derive(Debug)]
struct DynamicLinear {
    packed: Arc<int8::DynamicLinear>,
}

impl Kernel<f32> for DynamicLinear {
    fn name(&self) -> &'static str {
        "int8_dynamic_linear"
    }

    fn scratch_len(&self, _: usize, batch: usize) -> usize {
        self.packed.scratch_len(batch)
    }

    fn run(
        &self,
        call: Call<'_>,
        input: Inputs<'_, '_, f32>,
        output: &mut [f32],
        scratch: &mut [f32],
    ) {
        self.packed.run(call.pool, call.batch, input(0), output, scratch);
    }
}

impl Train for DynamicQuantizedLinear {
    fn training(&self) -> Training {
        Training::Untrainable("its weight is int8; train the float network that it was made from")
    }
}
