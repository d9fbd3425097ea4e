//! The questions that every operator answers.

use std::fmt::Debug;
use std::ops::RangeInclusive;

use super::{Activation, Int8Rule, Leaf, Parameter, QuantizedOutput};

/// The questions about an operator that need no kernels: how it prints, what it takes and gives, how
/// it is fused and quantized.
///
/// No method has a default: a new operator answers each, or does not compile.
pub trait Operator: Debug {
    /// PyTorch's class name: `Conv2d`, `ConvReLU2d`, `ConvReLU6_2d` (which PyTorch lacks).
    fn kind(&self) -> String;

    /// What PyTorch prints between the brackets.
    fn python(&self) -> String;

    /// How it prints as a module of a float network.
    fn leaf(&self) -> Leaf;

    /// How it prints where its output is int8; `None` where that does not differ from float.
    fn quantized_leaf(&self, output: &QuantizedOutput) -> Option<Leaf>;

    /// How many inputs it takes.
    fn arity(&self) -> RangeInclusive<usize>;

    /// Its parameters and buffers in PyTorch's order.
    fn parameters(&self) -> Vec<Parameter>;

    /// Checks the hyper-parameters, which may come from a file.
    ///
    /// # Errors
    /// What is out of range, as a sentence.
    fn validate(&self) -> Result<(), String>;

    /// The shape of the output for inputs of these shapes, each with the batch as its first axis.
    ///
    /// # Errors
    /// What does not fit, as a sentence.
    fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String>;

    /// Multiply-adds for an output of that shape; 0 for what is no product.
    fn multiply_adds(&self, output: &[usize]) -> u64;

    /// The activation that bounds its output: its own, or one that was fused into it.
    fn activation(&self) -> Option<Activation>;

    /// The operator that also applies `activation` to its output; `None` where there is none.
    fn with_activation(&self, activation: Activation) -> Option<Self>
    where
        Self: Sized;

    /// The operator that also computes a batch norm over so many dimensions behind it, with the norm
    /// folded into its weight and bias; `None` where there is none.
    fn with_batch_norm(&self, dimensions: u8) -> Option<Self>
    where
        Self: Sized;

    /// How it is computed in int8.
    fn int8_rule(&self) -> Int8Rule;
}

/// An operator that is a layer: a module of one input and one output.
pub trait Layer: Operator {
    /// PyTorch's class name of the layer as its author writes it, with nothing fused into it.
    fn class(&self) -> &'static str;
}

/// An operator as saved files hold it.
pub(super) trait Saved {
    /// The version of its hyper-parameters; it grows when their meaning changes.
    const VERSION: u32;
}
