//! The memory of one engine, and runs of a plan in it.

use std::borrow::Cow;
use std::ops::Range;
use std::time::{Duration, Instant};

use posterize_kernels::int8::QParams8;
use posterize_kernels::{Pool, int8};

use super::aligned::Aligned;
use super::arena::split;
use super::input::{Given, Values, refused_pixels};
use super::plan::{Plan, Slot};
use super::step::{Step, StepKernel};
use crate::error::{Error, Result};
use crate::graph::{Graph, NodeId};
use crate::ops::kernel::Call;

/// Sees a node's output during a run: values as they lie in memory (channels last), dequantized
/// where they are int8.
///
/// ```
/// use posterize::ops::Activation;
/// use posterize::runtime::{Options, compile};
/// use posterize::{Architecture, Tensor};
///
/// let model = Architecture::trace(&Activation::ReLU)?.init(0);
/// let mut engine = compile(&model, Options::new(1)?)?;
/// let mut values = Vec::new();
/// let x = Tensor::new([1, 2], vec![-1.0, 1.0])?;
/// engine.run_observed(&x, &mut |_, output| {
///     values.push(output.to_vec());
///     Ok(())
/// })?;
/// assert_eq!(values, [[-1.0, 1.0], [0.0, 1.0]]);
/// # Ok::<(), posterize::Error>(())
/// ```
pub type Observe<'a> = &'a mut dyn FnMut(NodeId, &[f32]) -> Result<()>;

/// A node's output during a run: values as they lie in memory, channels last.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shown<'a> {
    Float(&'a [f32]),
    Int8(&'a [u8], QParams8),
}

impl<'a> Shown<'a> {
    /// Returns the values in f32.
    ///
    /// # Errors
    /// Returns an error if the system does not give the memory for them.
    pub(crate) fn dequantized(self) -> Result<Cow<'a, [f32]>> {
        match self {
            Self::Float(values) => Ok(Cow::Borrowed(values)),
            Self::Int8(values, qparams) => {
                let table = qparams.values();
                let mut dequantized = room(values.len())?;
                dequantized.extend(values.iter().map(|&q| table[usize::from(q)]));
                Ok(Cow::Owned(dequantized))
            }
        }
    }
}

/// Sees a node's output during a run, without conversion.
pub(crate) type Show<'a> = &'a mut dyn FnMut(NodeId, Shown<'_>) -> Result<()>;

/// Returns the kernel to compute a node with in place of the plan's.
pub(super) type Replace<'a> = &'a mut dyn FnMut(NodeId) -> Result<Option<StepKernel>>;

/// Watches a run.
pub(super) enum Watch<'a> {
    /// Nobody does.
    Unwatched,
    /// Shows every output.
    Outputs(Show<'a>),
    /// Shows every output, and may replace the kernel of a step right before it runs, when all outputs
    /// before it have been shown.
    Replace(Show<'a>, Replace<'a>),
    /// Shows every output, after it was clamped to the bounds of its node, if that has any.
    Clamp(Show<'a>, &'a [Option<[f32; 2]>]),
    /// Adds up the times: of what the input needs before the first step, then of each step.
    Times(&'a mut [Duration]),
}

impl Watch<'_> {
    /// Returns what every output is shown to, if it is.
    pub(super) fn show(&mut self) -> Option<Show<'_>> {
        match self {
            Self::Outputs(show) | Self::Replace(show, _) | Self::Clamp(show, _) => Some(*show),
            Self::Unwatched | Self::Times(_) => None,
        }
    }
}

/// The memory for values of one type, and the scratch memory of their kernels.
#[derive(Debug, Default)]
struct Arena<T> {
    values: Aligned<T>,
    scratch: Aligned<T>,
}

/// Memory for the values of one run after another. It grows when a larger batch comes.
#[derive(Debug, Default)]
pub(super) struct Workspace {
    /// Each input, where it must be converted.
    inputs: Vec<Aligned<f32>>,
    float: Arena<f32>,
    int8: Arena<u8>,
}

impl Workspace {
    /// Makes room for batches of that many pictures.
    ///
    /// # Errors
    /// Returns an error if it is more than the limits of the plan, or than the system gives.
    pub(super) fn reserve(
        &mut self,
        plan: &Plan,
        graph: &Graph,
        batch: usize,
        threads: usize,
    ) -> Result<()> {
        let [float_len, int8_len] = [plan.float_len * batch, plan.int8_len * batch];
        let fits = float_len <= self.float.values.len() && int8_len <= self.int8.values.len();
        if !fits {
            plan.check_memory(graph, batch, threads)?;
        }
        let [float_scratch, int8_scratch] = plan.scratch_len(threads, batch);
        if float_scratch > self.float.scratch.len() || int8_scratch > self.int8.scratch.len() {
            plan.check_memory(graph, batch, threads)?;
        }
        self.float.values.reserve(float_len)?;
        self.int8.values.reserve(int8_len)?;
        self.float.scratch.reserve(float_scratch)?;
        self.int8.scratch.reserve(int8_scratch)?;
        if self.inputs.len() < plan.inputs.len() {
            self.inputs.resize_with(plan.inputs.len(), Aligned::default);
        }
        Ok(())
    }

    /// Runs every step over a batch that fits the plan, and shows `outputs` the values of each of the
    /// network's outputs by its number, as they lie in memory.
    pub(super) fn run(
        &mut self,
        (plan, graph): (&Plan, &Graph),
        pool: &Pool,
        given: &[Given<'_>],
        mut watch: Watch<'_>,
        outputs: &mut dyn FnMut(usize, &[f32]) -> Result<()>,
    ) -> Result<()> {
        let batch = given[0].shape.batch();
        plan.check_batch(batch)?;
        self.reserve(plan, graph, batch, pool.threads())?;
        let Self { inputs, float, int8 } = self;
        let start = Instant::now();
        let watched = watch.show().is_some();
        for (given, converted) in given.iter().zip(&mut *inputs) {
            convert(plan, pool, *given, watched, converted)?;
        }
        if let Watch::Times(times) = &mut watch {
            times[0] += start.elapsed();
        }
        let mut run = Run { plan, pool, batch, given, inputs, float, int8 };
        let mut shown = 0;
        for (index, step) in plan.steps.iter().enumerate() {
            if let Some(show) = watch.show() {
                // Before the memory of what was computed last may be taken again.
                let next = step.nodes[0].0;
                run.show(show, shown..next)?;
                shown = next;
            }
            let start = matches!(watch, Watch::Times(_)).then(Instant::now);
            let replaced = match &mut watch {
                Watch::Replace(_, replace) => replace(step.output())?,
                _ => None,
            };
            run.step(step, replaced.as_ref().unwrap_or(&step.kernel))?;
            if let Watch::Clamp(_, bounds) = &watch {
                run.clamp(step.output(), bounds[step.output().0]);
            }
            if let (Watch::Times(times), Some(start)) = (&mut watch, start) {
                times[index + 1] += start.elapsed();
            }
        }
        if let Some(show) = watch.show() {
            run.show(show, shown..plan.slots.len())?;
        }
        for (index, output) in plan.outputs.iter().enumerate() {
            outputs(index, run.float_value(*output)?)?;
        }
        Ok(())
    }
}

/// Returns an empty vector with room for that many values.
///
/// # Errors
/// Returns an error if the system does not give so much memory.
pub(super) fn room(values: usize) -> Result<Vec<f32>> {
    let mut empty = Vec::new();
    let reserved = empty.try_reserve_exact(values);
    reserved.map_err(|_| Error::no_memory(values.saturating_mul(size_of::<f32>())))?;
    Ok(empty)
}

/// Brings an input into the form in which kernels read it, where that is another one.
fn convert(
    plan: &Plan,
    pool: &Pool,
    given: Given<'_>,
    watched: bool,
    converted: &mut Aligned<f32>,
) -> Result<()> {
    let len: usize = given.shape.iter().product();
    match given.values {
        Values::InPlace(_) => {}
        Values::Contiguous(values) => {
            converted.reserve(len)?;
            let (channels, plane) = (given.shape[1], given.shape[2] * given.shape[3]);
            channels_last(values, channels, plane, &mut converted[..len]);
        }
        Values::Pixels(pixels) => {
            let table = plan.pixels.as_ref().ok_or_else(refused_pixels)?;
            if plan.reads_float_input || watched {
                converted.reserve(len)?;
                table.run(pool, pixels, &mut converted[..len]);
            }
        }
    }
    Ok(())
}

/// From `[N, C, pixels]` to `[N, pixels, C]`.
fn channels_last(from: &[f32], channels: usize, plane: usize, to: &mut [f32]) {
    let picture = channels * plane;
    for (from, to) in from.chunks_exact(picture).zip(to.chunks_exact_mut(picture)) {
        for (pixel, values) in to.chunks_exact_mut(channels).enumerate() {
            for (channel, value) in values.iter_mut().enumerate() {
                *value = from[channel * plane + pixel];
            }
        }
    }
}

/// The place of a value in a batch, from its place for one picture.
fn of_batch(range: &Range<usize>, batch: usize) -> Range<usize> {
    range.start * batch..range.end * batch
}

/// A run under way.
struct Run<'a, 'm> {
    plan: &'a Plan,
    pool: &'a Pool,
    batch: usize,
    given: &'a [Given<'a>],
    inputs: &'m [Aligned<f32>],
    float: &'m mut Arena<f32>,
    int8: &'m mut Arena<u8>,
}

/// The values of an input in f32; empty where it is pixels that nothing reads in f32.
fn float_input<'a>(given: &[Given<'a>], converted: &'a [Aligned<f32>], index: usize) -> &'a [f32] {
    match given[index].values {
        Values::InPlace(values) => values,
        Values::Contiguous(_) | Values::Pixels(_) => {
            let len: usize = given[index].shape.iter().product();
            converted[index].get(..len).unwrap_or_default()
        }
    }
}

impl Run<'_, '_> {
    /// Computes a step with `kernel`, which is the step's or one of the same shapes.
    fn step(&mut self, step: &Step, kernel: &StepKernel) -> Result<()> {
        let &mut Run { plan, pool, batch, given, inputs, .. } = self;
        let (float, int8) = (&mut *self.float, &mut *self.int8);
        let isa = plan.isa;
        let call = Call { isa, pool, batch };
        let slot = |id: Option<&NodeId>| id.map(|id| &plan.slots[id.0]);
        match (kernel, &plan.slots[step.output().0]) {
            (StepKernel::Float(kernel), Slot::Float(output)) => {
                let (output, outside) = split(&mut float.values, &of_batch(output, batch));
                let view = |index: usize| match slot(step.inputs.get(index)) {
                    Some(Slot::Float(range)) => outside.get(&of_batch(range, batch)),
                    Some(Slot::Input(index)) => float_input(given, inputs, *index),
                    _ => &[],
                };
                kernel.run(call, &view, output, &mut float.scratch);
            }
            (StepKernel::Int8(kernel), Slot::Int8(output)) => {
                let (output, outside) = split(&mut int8.values, &of_batch(output, batch));
                let view = |index: usize| match slot(step.inputs.get(index)) {
                    Some(Slot::Int8(range)) => outside.get(&of_batch(range, batch)),
                    _ => &[],
                };
                kernel.run(call, &view, output, &mut int8.scratch);
            }
            (StepKernel::Quantize(quantize), Slot::Int8(output)) => {
                let output = &mut int8.values[of_batch(output, batch)];
                let place = slot(step.inputs.first());
                let source = match place {
                    Some(Slot::Input(index)) => Some(given[*index].values),
                    _ => None,
                };
                if let (Some(table), Some(Values::Pixels(pixels))) = (&quantize.pixels, source) {
                    table.run(pool, pixels, output);
                } else {
                    let x = match place {
                        Some(Slot::Float(range)) => &float.values[of_batch(range, batch)],
                        Some(Slot::Input(index)) => float_input(given, inputs, *index),
                        _ => &[],
                    };
                    int8::quantize(isa, pool, quantize.to, 0, u8::MAX, x, output);
                }
            }
            (StepKernel::Dequantize(qparams), Slot::Float(output)) => {
                let x = match slot(step.inputs.first()) {
                    Some(Slot::Int8(range)) => &int8.values[of_batch(range, batch)],
                    _ => &[],
                };
                let output = &mut float.values[of_batch(output, batch)];
                int8::dequantize(isa, pool, *qparams, x, output);
            }
            (kernel, place) => {
                return Err(Error::layer(
                    format!("node {}", step.output().0),
                    format!("a kernel of another type than its memory: {kernel:?} in {place:?}"),
                ));
            }
        }
        Ok(())
    }

    /// Clamps a node's output, if it is float.
    fn clamp(&mut self, id: NodeId, bounds: Option<[f32; 2]>) {
        if let (Slot::Float(range), Some([min, max])) = (&self.plan.slots[id.0], bounds) {
            for x in &mut self.float.values[of_batch(range, self.batch)] {
                *x = x.max(min).min(max);
            }
        }
    }

    /// The values of a node's output that is float.
    fn float_value(&self, id: NodeId) -> Result<&[f32]> {
        match &self.plan.slots[id.0] {
            Slot::Input(index) => Ok(float_input(self.given, self.inputs, *index)),
            Slot::Float(range) => Ok(&self.float.values[of_batch(range, self.batch)]),
            Slot::Int8(_) | Slot::Inside => Err(Error::layer("output", "it is int8, not float")),
        }
    }

    fn show(&self, show: Show<'_>, nodes: Range<usize>) -> Result<()> {
        for node in nodes {
            match (&self.plan.slots[node], self.plan.qparams[node]) {
                (Slot::Input(_) | Slot::Float(_), _) => {
                    show(NodeId(node), Shown::Float(self.float_value(NodeId(node))?))?;
                }
                (Slot::Int8(range), Some(qparams)) => {
                    let values = &self.int8.values[of_batch(range, self.batch)];
                    show(NodeId(node), Shown::Int8(values, qparams))?;
                }
                (Slot::Int8(_), None) | (Slot::Inside, _) => {}
            }
        }
        Ok(())
    }
}
