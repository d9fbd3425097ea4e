//! The traits that every operator implements.

use std::fmt::Debug;
use std::ops::RangeInclusive;

use super::{Activation, Int8Rule, Leaf, Parameter, QuantizedOutput};

/// The properties of an operator: its shapes, parameters and printed form, and how it is fused and
/// quantized.
///
/// No method has a default implementation, so that none is forgotten for a new operator.
///
/// ```
/// use posterize::ops::{AdaptiveAvgPool2d, Operator};
///
/// let pool = AdaptiveAvgPool2d::new([1, 1]);
/// assert_eq!(pool.arity(), 1..=1);
/// assert_eq!(pool.infer(&[&[2, 8, 7, 7]])?, [2, 8, 1, 1]);
/// # Ok::<(), String>(())
/// ```
pub trait Operator: Debug {
    /// Returns PyTorch's class name: `Conv2d`, `ConvReLU2d`; `ConvReLU6_2d`, which PyTorch does not
    /// have.
    fn kind(&self) -> String;

    /// Returns its arguments as printed by PyTorch between the brackets.
    fn python(&self) -> String;

    /// Returns its printed form in a float network.
    fn leaf(&self) -> Leaf;

    /// Returns its printed form if its output is int8; `None` if it is printed as in float.
    fn quantized_leaf(&self, output: &QuantizedOutput) -> Option<Leaf>;

    /// Returns how many inputs it takes.
    fn arity(&self) -> RangeInclusive<usize>;

    /// Returns its parameters and buffers in PyTorch's order.
    fn parameters(&self) -> Vec<Parameter>;

    /// Checks the hyper-parameters, which may come from a file.
    ///
    /// # Errors
    /// Returns a message that names the hyper-parameter that is out of range.
    fn validate(&self) -> Result<(), String>;

    /// Returns the shape of the output for inputs of these shapes. The first axis is the batch.
    ///
    /// # Errors
    /// Returns a message with the expected and the found shape if an input does not fit.
    fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String>;

    /// Returns the number of multiply-adds for an output of this shape; 0 for operators other than
    /// convolutions and linear layers.
    fn multiply_adds(&self, output: &[usize]) -> u64;

    /// Returns the cost of computing an output of this shape from inputs of these shapes, which
    /// [`Options::max_work`](crate::runtime::Options::max_work) limits for a picture.
    ///
    /// A multiply-add of a convolution or linear layer counts 1. A value that is read, compared, added
    /// or written elsewhere counts 128: such loops have no matrix products to share their memory
    /// accesses with. Products of fewer than 16 channels, and windows over fewer, count as for 16, the
    /// width of a vector.
    fn work(&self, inputs: &[&[usize]], output: &[usize]) -> u64;

    /// Returns the activation that clamps its output: the operator itself, or the one fused into it.
    fn activation(&self) -> Option<Activation>;

    /// Returns the operator with `activation` fused into it; `None` if it cannot be fused.
    fn with_activation(&self, activation: Activation) -> Option<Self>
    where
        Self: Sized;

    /// Returns the operator with a `BatchNorm1d` or `BatchNorm2d` (`dimensions`) folded into its
    /// weight and bias; `None` if it cannot be folded.
    fn with_batch_norm(&self, dimensions: u8) -> Option<Self>
    where
        Self: Sized;

    /// Returns whether it can be computed in int8, and how its output gets its scale.
    fn int8_rule(&self) -> Int8Rule;
}

/// An operator that is a layer: a module with one input and one output.
///
/// ```
/// use posterize::ops::{BatchNorm, Layer};
///
/// assert_eq!(BatchNorm::one_d(8).class(), "BatchNorm1d");
/// ```
pub trait Layer: Operator {
    /// Returns PyTorch's class name of the layer before fusion.
    fn class(&self) -> &'static str;
}

/// The version of an operator in saved files.
pub(super) trait Saved {
    /// The version of its hyper-parameters, increased when their meaning changes.
    const VERSION: u32;
}
