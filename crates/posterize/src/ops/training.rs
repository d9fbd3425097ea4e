//! How operators are trained.

use std::fmt;

use super::Conv2d;
use super::kernel::{Call, Shapes};

/// How an operator takes part in training.
#[derive(Debug)]
pub(crate) enum Training {
    /// It is the network's input.
    Input,
    /// Its output is its input, within the bounds of its activation where it has one.
    Identity,
    /// A batch norm over the last axis in memory.
    BatchNorm {
        /// Added to the variance.
        eps: f32,
        /// Weight of a new batch in the running estimates.
        momentum: f32,
    },
    /// A convolution, or a linear layer as a convolution over one pixel.
    Product(Conv2d),
    /// Zeros with this probability.
    Dropout(f32),
    /// A function without parameters: its kernel for inference goes forward, this back.
    Function(Box<dyn Differentiable>),
    /// It cannot be trained; the reason, as a sentence without a full stop.
    ///
    /// Every operator of today can be trained; an operator that is added may not.
    #[allow(dead_code, reason = "what an operator may answer")]
    Untrainable(&'static str),
}

/// An operator's answer to how it is trained.
///
/// There is no default: a new operator answers, or does not compile.
pub(crate) trait Train {
    /// How it takes part in training.
    fn training(&self) -> Training;
}

/// A function without parameters that has a gradient.
pub(crate) trait Differentiable: fmt::Debug + Send + Sync {
    /// Whether [`Self::backward`] reads the inputs of the forward pass.
    fn keeps_inputs(&self) -> bool;

    /// Whether the gradient of each input is that of the output as it lies in memory, so that both
    /// may share it.
    fn passes_gradient(&self, shapes: &Shapes) -> bool;

    /// Writes the gradient of the input at `position`, given that of the output. `input` gives the
    /// values of each input, where the function [keeps](Self::keeps_inputs) them.
    fn backward<'a>(
        &self,
        call: Call<'_>,
        shapes: &Shapes,
        position: usize,
        input: &dyn Fn(usize) -> &'a [f32],
        gradient: &[f32],
        target: &mut [f32],
    );
}
