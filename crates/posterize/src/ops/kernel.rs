//! Kernels as operators make them: their weights packed once, then placed for one size of input.
//!
//! What an operator packs ([`Packed`]) serves inputs of every size. For one size it gives a
//! [`Kernel`], a step of a plan: whatever depends on the size (a resolved padding, a table of copies)
//! is computed when the plan is made.

use std::any::Any;
use std::fmt;

use posterize_kernels::int8::QParams8;
use posterize_kernels::{Isa, Pool};

use super::Role;

/// The shapes that a kernel is called with, for a batch of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shapes {
    /// Of each input; the first axis is the batch, 1.
    pub(crate) inputs: Vec<Vec<usize>>,
    /// Of the output.
    pub(crate) output: Vec<usize>,
}

impl Shapes {
    /// Height and width of the first input; 1x1 for `[N, C]`.
    pub(crate) fn size(&self) -> [usize; 2] {
        match self.inputs.first().map(Vec::as_slice) {
            Some(&[_, _, h, w]) => [h, w],
            _ => [1, 1],
        }
    }

    /// Channels of the first input: the axis behind the batch.
    pub(crate) fn channels(&self) -> usize {
        self.inputs.first().and_then(|shape| shape.get(1)).copied().unwrap_or(1)
    }
}

/// What every kernel is called with besides its values.
#[derive(Clone, Copy)]
pub(crate) struct Call<'a> {
    pub(crate) isa: Isa,
    pub(crate) pool: &'a Pool,
    pub(crate) batch: usize,
}

/// One step of a plan, over values of type `T`: f32, or u8 that stand for numbers by a scale.
///
/// Values of four axes lie channels last, others in the order of their shape.
pub(crate) trait Kernel<T>: Any + fmt::Debug + Send + Sync {
    /// What runs, as a profile names it.
    fn name(&self) -> &'static str;

    /// Elements of scratch memory that a run needs.
    fn scratch_len(&self, threads: usize, batch: usize) -> usize;

    /// Computes the output of a batch. `input` gives the values of each input.
    fn run<'a>(
        &self,
        call: Call<'_>,
        input: &dyn Fn(usize) -> &'a [T],
        output: &mut [T],
        scratch: &mut [T],
    );
}

/// An operator with its weights packed, for inputs of every size.
pub(crate) trait Packed<T>: fmt::Debug + Send + Sync {
    /// The kernel for one size; `None` where nothing is computed, so that the output is the first
    /// input as it lies in memory.
    fn kernel(&self, shapes: &Shapes) -> Option<Box<dyn Kernel<T>>>;
}

/// An operator without weights: a kernel is made for each size.
pub(crate) struct Unpacked<F>(F);

impl<F> fmt::Debug for Unpacked<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Unpacked")
    }
}

impl<T, K, F> Packed<T> for Unpacked<F>
where
    K: Kernel<T>,
    F: Fn(&Shapes) -> Option<K> + Send + Sync,
{
    fn kernel(&self, shapes: &Shapes) -> Option<Box<dyn Kernel<T>>> {
        self.0(shapes).map(|kernel| Box::new(kernel) as Box<dyn Kernel<T>>)
    }
}

/// What an operator without weights packs: `make` gives its kernel for a size.
pub(crate) fn unpacked<T, K: Kernel<T>>(
    make: impl Fn(&Shapes) -> Option<K> + Send + Sync + 'static,
) -> Box<dyn Packed<T>> {
    Box::new(Unpacked(make))
}

/// An operator that computes nothing.
#[derive(Debug)]
struct Nothing;

impl<T> Packed<T> for Nothing {
    fn kernel(&self, _: &Shapes) -> Option<Box<dyn Kernel<T>>> {
        None
    }
}

/// What an operator packs whose output is its input.
pub(crate) fn nothing<T>() -> Box<dyn Packed<T>> {
    Box::new(Nothing)
}

/// What an operator is packed with for float.
#[derive(Clone, Copy)]
pub(crate) struct FloatContext<'a> {
    pub(crate) isa: Isa,
    /// The values of the node's parameters.
    pub(crate) parameter: &'a dyn Fn(Role) -> Option<&'a [f32]>,
}

impl<'a> FloatContext<'a> {
    /// A parameter that the operator has.
    pub(crate) fn required(&self, role: Role) -> Result<&'a [f32], String> {
        (self.parameter)(role).ok_or_else(|| format!("the model has no {role} for it"))
    }
}

/// What an operator is packed with for int8.
#[derive(Clone, Debug)]
pub(crate) struct Int8Context<'a> {
    pub(crate) isa: Isa,
    /// The scale of each input.
    pub(crate) inputs: Vec<QParams8>,
    /// The scale of the output.
    pub(crate) output: QParams8,
    /// The smallest and the largest integer of the output, as its activation leaves them.
    pub(crate) range: [u8; 2],
    /// The weights of an operator that has some.
    pub(crate) weights: Option<Int8Weights<'a>>,
}

/// The int8 weights of a convolution or linear layer.
#[derive(Clone, Debug)]
pub(crate) struct Int8Weights<'a> {
    /// In the order of the weight's shape.
    pub(crate) weight: &'a [i8],
    /// One for each output channel, at the scale of the accumulators.
    pub(crate) bias: &'a [i32],
    /// What each output channel's accumulator is multiplied by.
    pub(crate) multiplier: Vec<f32>,
}

/// The kernels of an operator.
pub(crate) trait Compute {
    /// Packs it for float.
    ///
    /// # Errors
    /// A parameter is missing.
    fn float(&self, cx: &FloatContext<'_>) -> Result<Box<dyn Packed<f32>>, String>;

    /// Packs it for int8.
    ///
    /// # Errors
    /// Weights are missing, or there is no int8 kernel.
    fn int8(&self, cx: &Int8Context<'_>) -> Result<Box<dyn Packed<u8>>, String>;
}
