//! The kernels that operators create for a plan.
//!
//! A kernel is created for one size of input: everything that depends on the size, such as SAME
//! padding in pixels, is computed then. Packed weights are shared between all sizes ([`Packs`]).

use std::any::Any;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use posterize_kernels::int8::{QParams8, Requantize};
use posterize_kernels::{Isa, Padding, Pool};

use super::Role;

/// The shapes of a kernel's inputs and output, for a batch of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shapes {
    /// The shape of each input; the first axis is the batch, of size 1.
    pub(crate) inputs: Vec<Vec<usize>>,
    /// The shape of the output.
    pub(crate) output: Vec<usize>,
}

impl Shapes {
    /// Returns height and width of the first input; `[1, 1]` for `[N, C]`.
    pub(crate) fn size(&self) -> [usize; 2] {
        match self.inputs.first().map(Vec::as_slice) {
            Some(&[_, _, h, w]) => [h, w],
            _ => [1, 1],
        }
    }

    /// Returns the number of channels of the first input.
    pub(crate) fn channels(&self) -> usize {
        self.inputs.first().and_then(|shape| shape.get(1)).copied().unwrap_or(1)
    }
}

/// The arguments of every kernel call besides the values.
#[derive(Clone, Copy)]
pub(crate) struct Call<'a> {
    pub(crate) isa: Isa,
    pub(crate) pool: &'a Pool,
    pub(crate) batch: usize,
}

/// A kernel over values of type `T`: f32, or u8 for quantized values.
///
/// Values with four axes are channels last in memory, others in the order of their shape.
pub(crate) trait Kernel<T>: Any + fmt::Debug + Send + Sync {
    /// Returns the name of the kernel in profiles.
    fn name(&self) -> &'static str;

    /// Returns the number of elements of scratch memory that [`Self::run`] needs.
    fn scratch_len(&self, threads: usize, batch: usize) -> usize;

    /// Computes the output of a batch. `input` gives the values of each input.
    fn run(&self, call: Call<'_>, input: Inputs<'_, '_, T>, output: &mut [T], scratch: &mut [T]);
}

/// The packed weights of one node, shared by the kernels of all sizes.
///
/// They are stored by padding: the packed form of a convolution may depend on it, and SAME padding
/// depends on the size of the input.
#[derive(Debug, Default)]
pub(crate) struct Packs(Mutex<Vec<(Padding, Arc<dyn Any + Send + Sync>)>>);

impl Packs {
    /// Returns the weights packed for `padding`, calling `pack` if there are none yet.
    pub(crate) fn get<P: Any + Send + Sync>(
        &self,
        padding: Padding,
        pack: impl FnOnce() -> P,
    ) -> Arc<P> {
        let mut packs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = packs.iter().find(|(known, _)| *known == padding);
        if let Some(found) = known.and_then(|(_, pack)| Arc::clone(pack).downcast().ok()) {
            return found;
        }
        let packed = Arc::new(pack());
        packs.push((padding, Arc::clone(&packed) as Arc<dyn Any + Send + Sync>));
        packed
    }
}

/// The kernel of an operator over values of type `T`; `None` if the output is the memory of the
/// first input, unchanged.
pub(crate) type Made<T> = Result<Option<Box<dyn Kernel<T>>>, String>;

/// Wraps a kernel in the type that operators return.
#[allow(clippy::unnecessary_wraps, reason = "the return type of Compute's methods")]
pub(crate) fn made<T>(kernel: impl Kernel<T>) -> Made<T> {
    Ok(Some(Box::new(kernel)))
}

/// Returns the values of a kernel's input by its index.
pub(crate) type Inputs<'i, 'a, T> = &'i dyn Fn(usize) -> &'a [T];

/// A kernel that calls a function and needs no scratch memory.
struct Function<F> {
    name: &'static str,
    run: F,
}

impl<F> fmt::Debug for Function<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl<T, F> Kernel<T> for Function<F>
where
    F: for<'a> Fn(Call<'_>, Inputs<'_, 'a, T>, &mut [T]) + Send + Sync + 'static,
{
    fn name(&self) -> &'static str {
        self.name
    }

    fn scratch_len(&self, _: usize, _: usize) -> usize {
        0
    }

    fn run(&self, call: Call<'_>, input: Inputs<'_, '_, T>, output: &mut [T], _: &mut [T]) {
        (self.run)(call, input, output);
    }
}

/// Creates a kernel that calls `run`, named `name` in profiles.
pub(crate) fn function<T: 'static>(
    name: &'static str,
    run: impl for<'a> Fn(Call<'_>, Inputs<'_, 'a, T>, &mut [T]) + Send + Sync + 'static,
) -> Made<T> {
    made(Function { name, run })
}

/// What an operator needs to create its float kernel.
#[derive(Clone, Copy)]
pub(crate) struct FloatContext<'a> {
    pub(crate) isa: Isa,
    /// Returns the values of one of the node's parameters. An int8 weight is dequantized.
    pub(crate) parameter: &'a dyn Fn(Role) -> Option<&'a [f32]>,
    /// The node's weight if it is int8.
    pub(crate) int8_weight: Option<Int8Weight<'a>>,
    /// The node's packed weights.
    pub(crate) packs: &'a Packs,
}

impl<'a> FloatContext<'a> {
    /// Returns the values of a parameter.
    ///
    /// # Errors
    /// Returns an error if the model has no such parameter for the node.
    pub(crate) fn required(&self, role: Role) -> Result<&'a [f32], String> {
        (self.parameter)(role).ok_or_else(|| format!("the model has no {role} for this layer"))
    }
}

/// An int8 weight of a layer whose values are float.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Int8Weight<'a> {
    /// The values of the weight in the order of its shape.
    pub(crate) weight: &'a [i8],
    /// One scale, or one for each output channel.
    pub(crate) scales: &'a [f32],
}

/// What an operator needs to create its int8 kernel.
#[derive(Clone, Debug)]
pub(crate) struct Int8Context<'a> {
    pub(crate) isa: Isa,
    /// The scale and zero point of each input.
    pub(crate) inputs: Vec<QParams8>,
    /// The scale and zero point of the output.
    pub(crate) output: QParams8,
    /// The smallest and the largest integer of the output, after its activation.
    pub(crate) range: [u8; 2],
    /// The weights of a convolution or linear layer.
    pub(crate) weights: Option<Int8Weights<'a>>,
    /// The node's packed weights.
    pub(crate) packs: &'a Packs,
}

impl<'a> Int8Context<'a> {
    /// Returns the weights of a convolution or linear layer.
    ///
    /// # Errors
    /// Returns an error if the model has no int8 weights for the node.
    pub(crate) fn required(&self) -> Result<&Int8Weights<'a>, String> {
        self.weights.as_ref().ok_or_else(|| "the model has no int8 weights for this layer".into())
    }

    /// Returns the scales and zero points of two inputs.
    ///
    /// # Errors
    /// Returns an error if there are not exactly two int8 inputs.
    pub(crate) fn pair(&self) -> Result<[QParams8; 2], String> {
        let found = self.inputs.as_slice().try_into();
        found.map_err(|_| format!("expected 2 int8 inputs, found {}", self.inputs.len()))
    }

    /// Returns the zero point of the first input and the requantization of the accumulators.
    pub(crate) fn requantize(&self) -> Result<(u8, Requantize), String> {
        let [min, max] = self.range;
        let multiplier = self.required()?.multiplier.clone();
        let requantize = Requantize { multiplier, zero_point: self.output.zero_point, min, max };
        Ok((self.inputs[0].zero_point, requantize))
    }
}

/// The int8 weights of a convolution or linear layer.
#[derive(Clone, Debug)]
pub(crate) struct Int8Weights<'a> {
    /// The values of the weight in the order of its shape.
    pub(crate) weight: &'a [i8],
    /// One bias for each output channel, at the scale of the accumulators.
    pub(crate) bias: &'a [i32],
    /// The multiplier of each output channel's accumulator: `scale_x · scale_w / scale_y`.
    pub(crate) multiplier: Vec<f32>,
}

/// Creates the kernels of an operator.
pub(crate) trait Compute {
    /// Creates the float kernel for inputs of these shapes.
    ///
    /// # Errors
    /// Returns an error if a parameter is missing.
    fn float(&self, cx: &FloatContext<'_>, shapes: &Shapes) -> Made<f32>;

    /// Creates the int8 kernel for inputs of these shapes.
    ///
    /// # Errors
    /// Returns an error if the weights are missing or the operator has no int8 kernel.
    fn int8(&self, cx: &Int8Context<'_>, shapes: &Shapes) -> Made<u8>;
}
