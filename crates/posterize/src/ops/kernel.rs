//! Kernels as operators make them: a step of a plan, for one size of input.
//!
//! Whatever depends on the size (a resolved padding, a table of copies) is computed when a kernel is
//! made; packed weights are shared between the kernels of all sizes ([`Packs`]).

use std::any::Any;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use posterize_kernels::int8::{QParams8, Requantize};
use posterize_kernels::{Isa, Padding, Pool};

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
    fn run(&self, call: Call<'_>, input: Inputs<'_, '_, T>, output: &mut [T], scratch: &mut [T]);
}

/// The packed weights of one node, which the kernels of all sizes share.
///
/// A convolution's packed form may depend on its padding, which TensorFlow's SAME resolves by the
/// size of the input; hence the key.
#[derive(Debug, Default)]
pub(crate) struct Packs(Mutex<Vec<(Padding, Arc<dyn Any + Send + Sync>)>>);

impl Packs {
    /// The weights that were packed for a padding, packed now where they were not yet.
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

/// A kernel over values of type `T`; `None` where nothing is computed, so that the output is the
/// first input as it lies in memory.
pub(crate) type Made<T> = Result<Option<Box<dyn Kernel<T>>>, String>;

/// The kernel of an operator, ready to be given.
#[allow(clippy::unnecessary_wraps, reason = "what operators return")]
pub(crate) fn made<T>(kernel: impl Kernel<T>) -> Made<T> {
    Ok(Some(Box::new(kernel)))
}

/// What a kernel reads: the values of each of its inputs, by position.
pub(crate) type Inputs<'i, 'a, T> = &'i dyn Fn(usize) -> &'a [T];

/// A kernel that is a function and needs no scratch memory.
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

/// A kernel that calls `run`, and is called `name` in profiles.
pub(crate) fn function<T: 'static>(
    name: &'static str,
    run: impl for<'a> Fn(Call<'_>, Inputs<'_, 'a, T>, &mut [T]) + Send + Sync + 'static,
) -> Made<T> {
    made(Function { name, run })
}

/// What an operator is packed with for float.
#[derive(Clone, Copy)]
pub(crate) struct FloatContext<'a> {
    pub(crate) isa: Isa,
    /// The values of the node's parameters.
    pub(crate) parameter: &'a dyn Fn(Role) -> Option<&'a [f32]>,
    /// What was packed of them.
    pub(crate) packs: &'a Packs,
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
    /// What was packed of them.
    pub(crate) packs: &'a Packs,
}

impl<'a> Int8Context<'a> {
    /// The weights of an operator that needs some.
    pub(crate) fn required(&self) -> Result<&Int8Weights<'a>, String> {
        self.weights.as_ref().ok_or_else(|| "it has no int8 weights".to_owned())
    }

    /// The scales of two inputs.
    pub(crate) fn pair(&self) -> Result<[QParams8; 2], String> {
        let found = self.inputs.as_slice().try_into();
        found.map_err(|_| format!("it has {} inputs with a scale, not 2", self.inputs.len()))
    }

    /// The zero point of the first input, and how accumulators become integers of the output.
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
    /// In the order of the weight's shape.
    pub(crate) weight: &'a [i8],
    /// One for each output channel, at the scale of the accumulators.
    pub(crate) bias: &'a [i32],
    /// What each output channel's accumulator is multiplied by.
    pub(crate) multiplier: Vec<f32>,
}

/// The kernels of an operator.
pub(crate) trait Compute {
    /// The float kernel for inputs of such shapes.
    ///
    /// # Errors
    /// A parameter is missing.
    fn float(&self, cx: &FloatContext<'_>, shapes: &Shapes) -> Made<f32>;

    /// The int8 kernel for inputs of such shapes.
    ///
    /// # Errors
    /// Weights are missing, or there is no int8 kernel.
    fn int8(&self, cx: &Int8Context<'_>, shapes: &Shapes) -> Made<u8>;
}
