//! Operators: everything the library knows of one stands in one file.
//!
//! The file of an operator holds its hyper-parameters, its shapes and parameters, how PyTorch prints
//! it, how it is fused and quantized, its kernels and its gradient ([`Operator`]). The list at the
//! end of this file makes the closed enum [`Op`] of them, so that the compiler asks each question of
//! each operator. A new operator is a file beside this one and a line in that list.
//!
//! ```
//! use posterize::ops::{Conv2d, Op, Padding};
//!
//! let conv = Op::from(Conv2d::new(3, 32, 3).stride(2).padding(Padding::all(1)).bias(false));
//! assert_eq!(conv.kind(), "Conv2d");
//! assert_eq!(conv.infer(&[&[1, 3, 224, 224]])?, [1, 32, 112, 112]);
//! # Ok::<(), String>(())
//! ```

mod answers;
mod binary;
mod block_order;
mod broadcast;
mod clamp;
mod extremes;
#[cfg(test)]
mod gradient_tests;
mod group;
#[cfg(test)]
mod hyper_parameter_tests;
mod int8_rule;
#[cfg(test)]
mod int8_tests;
mod interpolation;
pub(crate) mod kernel;
mod largest;
mod leaf;
mod limits;
mod lines;
mod moves;
mod operator;
mod padding;
mod pairs;
mod parameter;
mod python;
mod saved;
mod select;
pub(crate) mod shapes;
#[cfg(test)]
mod testing;
pub(crate) mod training;
mod transposed_taps;
mod unary;
mod window;
mod work;

use std::ops::RangeInclusive;

use serde_json::value::RawValue;

pub use block_order::BlockOrder;
pub use int8_rule::Int8Rule;
pub use interpolation::{Coordinates, Interpolation, NearestRounding};
pub use leaf::{Leaf, QuantizedOutput};
use operator::Saved;
pub use operator::{Layer, Operator};
pub use padding::Padding;
pub use parameter::{Initializer, Parameter, Role};

/// Makes the enum [`Op`] of a list of operators, each a file of this folder and the type that it
/// defines.
macro_rules! operators {
    ($($file:ident::$name:ident,)+) => {
        $(
            mod $file;
            pub use $file::$name;
        )+

        /// An operator with its hyper-parameters.
        #[derive(Clone, Debug, PartialEq)]
        #[non_exhaustive]
        pub enum Op {
            $(#[doc = concat!("See [`type@", stringify!($name), "`].")] $name($name),)+
        }

        $(
            impl From<$name> for Op {
                fn from(op: $name) -> Self {
                    Self::$name(op)
                }
            }
        )+

        impl Op {
            fn operator(&self) -> &dyn Operator {
                match self { $(Self::$name(op) => op,)+ }
            }

            /// Its kernels.
            pub(crate) fn compute(&self) -> &dyn kernel::Compute {
                match self { $(Self::$name(op) => op,)+ }
            }

            /// How it is trained.
            pub(crate) fn training(&self) -> training::Training {
                match self { $(Self::$name(op) => training::Train::training(op),)+ }
            }

            /// The operator that also applies `activation` to its output; `None` where there is none.
            pub fn with_activation(&self, activation: Activation) -> Option<Self> {
                match self { $(Self::$name(op) => op.with_activation(activation).map(Self::$name),)+ }
            }

            /// The operator that also computes a batch norm over so many dimensions behind it, with
            /// the norm folded into its weight and bias; `None` where there is none.
            pub fn with_batch_norm(&self, dimensions: u8) -> Option<Self> {
                match self { $(Self::$name(op) => op.with_batch_norm(dimensions).map(Self::$name),)+ }
            }

            /// The name under which saved files know it.
            pub fn tag(&self) -> &'static str {
                match self { $(Self::$name(_) => stringify!($name),)+ }
            }

            /// The version of its hyper-parameters in saved files.
            pub(crate) fn version(&self) -> u32 {
                match self { $(Self::$name(_) => $name::VERSION,)+ }
            }

            /// Its hyper-parameters as JSON.
            pub(crate) fn attributes(&self) -> serde_json::Result<Box<RawValue>> {
                match self { $(Self::$name(op) => serde_json::value::to_raw_value(op),)+ }
            }

            /// The operator of a saved file.
            ///
            /// # Errors
            /// There is no such operator, it is of a newer version, or its hyper-parameters are not
            /// what they should be.
            pub(crate) fn from_saved(
                tag: &str,
                version: u32,
                attributes: &RawValue,
            ) -> Result<Self, String> {
                match tag {
                    $(stringify!($name) => {
                        if version != $name::VERSION {
                            return Err(format!(
                                "the operator {tag} has version {version}, and this posterize \
                                 knows version {}; a newer posterize may know it",
                                $name::VERSION
                            ));
                        }
                        serde_json::from_str(attributes.get())
                            .map(Self::$name)
                            .map_err(|error| format!("the operator {tag}: {error}"))
                    })+
                    unknown => Err(format!(
                        "there is no operator {unknown:?}; a newer posterize may know it"
                    )),
                }
            }
        }
    };
}

pub(crate) use add::Int8Add;
pub(crate) use conv2d::Int8Conv2d;
pub use pad::PadMode;
pub use reduce::Reduction;

operators! {
    abs::Abs,
    activation::Activation,
    adaptive_avg_pool2d::AdaptiveAvgPool2d,
    adaptive_max_pool2d::AdaptiveMaxPool2d,
    add::Add,
    arg_max::ArgMax,
    avg_pool2d::AvgPool2d,
    batch_norm::BatchNorm,
    cat::Cat,
    channel_shuffle::ChannelShuffle,
    conv2d::Conv2d,
    conv_transpose2d::ConvTranspose2d,
    depth_to_space::DepthToSpace,
    dequant_stub::DeQuantStub,
    div::Div,
    dropout::Dropout,
    dynamic_quantized_linear::DynamicQuantizedLinear,
    elu::ELU,
    erf::Erf,
    exp::Exp,
    flatten::Flatten,
    gather::Gather,
    gelu::GELU,
    group_norm::GroupNorm,
    hardsigmoid::Hardsigmoid,
    hardswish::Hardswish,
    hardtanh::Hardtanh,
    input::Input,
    instance_norm::InstanceNorm,
    layer_norm::LayerNorm,
    leaky_relu::LeakyReLU,
    linear::Linear,
    local_response_norm::LocalResponseNorm,
    log::Log,
    log_softmax::LogSoftmax,
    matmul::MatMul,
    max_pool2d::MaxPool2d,
    maximum::Maximum,
    mean::Mean,
    minimum::Minimum,
    mish::Mish,
    mul::Mul,
    neg::Neg,
    normalize::Normalize,
    pad::Pad,
    permute::Permute,
    pow::Pow,
    prelu::PReLU,
    quant_stub::QuantStub,
    reciprocal::Reciprocal,
    reduce::Reduce,
    reshape::Reshape,
    selu::SELU,
    sigmoid::Sigmoid,
    silu::SiLU,
    slice::Slice,
    softmax::Softmax,
    softplus::Softplus,
    space_to_depth::SpaceToDepth,
    sqrt::Sqrt,
    sub::Sub,
    tanh::Tanh,
    tile::Tile,
    upsample::Upsample,
    zero_pad2d::ZeroPad2d,
}

impl Op {
    /// PyTorch's class name: `Conv2d`, `ConvReLU2d`, `ConvReLU6_2d` (which PyTorch lacks).
    pub fn kind(&self) -> String {
        self.operator().kind()
    }

    /// What PyTorch prints between the brackets.
    pub fn python(&self) -> String {
        self.operator().python()
    }

    /// How it prints as a module of a float network.
    pub fn leaf(&self) -> Leaf {
        self.operator().leaf()
    }

    /// How it prints where its output is int8; `None` where that does not differ from float.
    pub fn quantized_leaf(&self, output: &QuantizedOutput) -> Option<Leaf> {
        self.operator().quantized_leaf(output)
    }

    /// How many inputs it takes.
    pub fn arity(&self) -> RangeInclusive<usize> {
        self.operator().arity()
    }

    /// Returns the float operator that it is the quantized form of, which is mostly itself.
    pub(crate) fn float_form(&self) -> Self {
        match self {
            Self::DynamicQuantizedLinear(quantized) => quantized.linear().clone().into(),
            op => op.clone(),
        }
    }

    /// Its parameters and buffers in PyTorch's order.
    pub fn parameters(&self) -> Vec<Parameter> {
        self.operator().parameters()
    }

    /// Returns the size of its parameters and buffers in float, in bytes.
    pub(crate) fn float_bytes(&self) -> usize {
        let shapes = self.parameters().into_iter().map(|parameter| parameter.shape);
        4 * shapes.map(|shape| shape.iter().product::<usize>()).sum::<usize>()
    }

    /// Checks the hyper-parameters, which may come from a file.
    ///
    /// # Errors
    /// What is out of range, as a sentence.
    pub fn validate(&self) -> Result<(), String> {
        self.operator().validate()
    }

    /// The shape of the output for inputs of these shapes, each with the batch as its first axis.
    ///
    /// # Errors
    /// What is out of range or does not fit, as a sentence.
    pub fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        self.check_arity(inputs.len())?;
        self.validate()?;
        if let Some(shape) = inputs.iter().find(|shape| !shapes::fits_memory(shape)) {
            return Err(format!("its input of shape {shape:?} is too large for the memory"));
        }
        self.infer_valid(inputs)
    }

    /// Checks the number of inputs.
    pub(crate) fn check_arity(&self, found: usize) -> Result<(), String> {
        let arity = self.arity();
        if arity.contains(&found) {
            return Ok(());
        }
        Err(format!("{} takes {} inputs, found {found}", self.kind(), arity.start()))
    }

    /// Infers as [`Self::infer`] does for an operator of a valid graph, whose hyper-parameters,
    /// number of inputs and sizes have been checked.
    pub(crate) fn infer_valid(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        self.operator().infer(inputs)
    }

    /// Multiply-adds for an output of that shape; 0 for what is no product.
    pub fn multiply_adds(&self, output: &[usize]) -> u64 {
        self.operator().multiply_adds(output)
    }

    /// The cost of computing an output of that shape from inputs of those; see [`Operator::work`].
    pub fn work(&self, inputs: &[&[usize]], output: &[usize]) -> u64 {
        self.operator().work(inputs, output)
    }

    /// The activation that bounds its output: its own, or one that was fused into it.
    pub fn activation(&self) -> Option<Activation> {
        self.operator().activation()
    }

    /// How it is computed in int8.
    pub fn int8_rule(&self) -> Int8Rule {
        self.operator().int8_rule()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_have_the_class_names_of_pytorch() {
        fn check(layer: impl Layer + Into<Op>, expected: &str) {
            assert_eq!(layer.class(), expected);
            assert_eq!(layer.into().kind(), expected);
        }
        check(Activation::ReLU, "ReLU");
        check(Activation::ReLU6, "ReLU6");
        check(AdaptiveAvgPool2d::new([1, 1]), "AdaptiveAvgPool2d");
        check(BatchNorm::one_d(4), "BatchNorm1d");
        check(BatchNorm::two_d(4), "BatchNorm2d");
        check(ChannelShuffle::new(2), "ChannelShuffle");
        check(Conv2d::new(3, 4, 1), "Conv2d");
        check(DeQuantStub, "DeQuantStub");
        check(Dropout::new(0.5), "Dropout");
        check(DynamicQuantizedLinear::new(Linear::new(3, 4)), "DynamicQuantizedLinear");
        check(Flatten, "Flatten");
        check(Hardswish, "Hardswish");
        check(Linear::new(3, 4), "Linear");
        check(MaxPool2d::new(2), "MaxPool2d");
        check(QuantStub, "QuantStub");
        check(Sigmoid, "Sigmoid");
        check(SiLU, "SiLU");
        check(ZeroPad2d::new([1, 1, 1, 1]), "ZeroPad2d");
        check(AdaptiveMaxPool2d::new([1, 1]), "AdaptiveMaxPool2d");
        check(AvgPool2d::new(2), "AvgPool2d");
        check(ConvTranspose2d::new(2, 3, 2), "ConvTranspose2d");
        check(ELU::new(1.0), "ELU");
        check(GELU::new(false), "GELU");
        check(GroupNorm::new(2, 4), "GroupNorm");
        check(Hardsigmoid::new(), "Hardsigmoid");
        check(Hardtanh::new(-1.0, 1.0), "Hardtanh");
        check(InstanceNorm::new(4), "InstanceNorm2d");
        check(LayerNorm::new([4]), "LayerNorm");
        check(LeakyReLU::new(0.01), "LeakyReLU");
        check(LocalResponseNorm::new(5), "LocalResponseNorm");
        check(LogSoftmax::new(1), "LogSoftmax");
        check(Mish, "Mish");
        check(PReLU::new(1), "PReLU");
        check(SELU, "SELU");
        check(Softmax::new(1), "Softmax");
        check(Softplus::new(), "Softplus");
        check(Tanh, "Tanh");
        check(Upsample::scales([2.0, 2.0]), "Upsample");
    }

    #[test]
    fn new_layers_print_as_in_pytorch() {
        let python = |op: Op| op.python();
        assert_eq!(python(LeakyReLU::new(0.01).into()), "negative_slope=0.01");
        assert_eq!(python(ELU::new(1.0).into()), "alpha=1.0");
        assert_eq!(python(GELU::new(true).into()), "approximate='tanh'");
        assert_eq!(python(Hardtanh::new(-1.0, 1.0).into()), "min_val=-1.0, max_val=1.0");
        assert_eq!(python(Hardsigmoid::new().into()), "");
        assert_eq!(python(Softplus::new().into()), "beta=1.0, threshold=20.0");
        let pool = AvgPool2d::new(3).stride(2).padding(1);
        assert_eq!(python(pool.into()), "kernel_size=3, stride=2, padding=1");
        let pool = MaxPool2d::new(3).kernel_size([3, 2]).ceil_mode(true);
        let text = "kernel_size=(3, 2), stride=3, padding=0, dilation=1, ceil_mode=True";
        assert_eq!(python(pool.into()), text);
        let norm = LayerNorm::new([8, 4]).eps(1e-6);
        assert_eq!(python(norm.into()), "(8, 4), eps=1e-06, elementwise_affine=True");
        assert_eq!(python(LayerNorm::new([8]).into()), "(8,), eps=1e-05, elementwise_affine=True");
        assert_eq!(python(GroupNorm::new(2, 4).into()), "2, 4, eps=1e-05, affine=True");
        let text = "4, eps=1e-05, momentum=0.1, affine=False, track_running_stats=False";
        assert_eq!(python(InstanceNorm::new(4).into()), text);
        let norm = LocalResponseNorm::new(5);
        assert_eq!(python(norm.into()), "5, alpha=0.0001, beta=0.75, k=1.0");
        let up =
            ConvTranspose2d::new(8, 4, 3).stride([2, 2]).padding([1; 4]).output_padding([1; 2]);
        let text = "8, 4, kernel_size=(3, 3), stride=(2, 2), padding=(1, 1), output_padding=(1, 1)";
        assert_eq!(python(up.into()), text);
    }

    #[test]
    fn shapes_that_no_graph_may_have_are_errors() {
        let stride = Conv2d::new(3, 8, 3).stride(0).padding(Padding::Same);
        let cases: [(Op, &[&[usize]], &str); 10] = [
            (Slice::new(1, 5, 2).into(), &[&[1, 8]], "start 5 is not before end 2"),
            (Slice::new(1, 0, 8).step(0).into(), &[&[1, 8]], "step is 0"),
            (Slice::new(1, 0, 9).into(), &[&[1, 8]], "end 9 is behind the last position"),
            (ChannelShuffle::new(0).into(), &[&[1, 0, 2]], "groups is 0"),
            (ChannelShuffle::new(3).into(), &[&[1, 8, 2, 2]], "groups=3 divides C"),
            (Linear::new(0, 4).into(), &[&[1, 0]], "must be at least 1, found 0 and 4"),
            (stride.into(), &[&[1, 3, 9, 9]], "stride"),
            (MaxPool2d::new(2).stride(0).into(), &[&[1, 3, 9, 9]], "at least 1"),
            (Flatten.into(), &[], "takes 1 inputs, found 0"),
            (Flatten.into(), &[&[1, usize::MAX, 3]], "too large for the memory"),
        ];
        for (op, inputs, expected) in cases {
            let error = op.infer(inputs).unwrap_err();
            assert!(error.contains(expected), "{op:?}: {error}");
        }
    }
}
