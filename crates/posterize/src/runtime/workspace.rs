//! The memory of one engine, and runs of a plan in it.

use std::ops::Range;
use std::time::{Duration, Instant};

use posterize_kernels::{Pool, int8};

use super::aligned::Aligned;
use super::plan::{Call, Kernel, Plan, Slot, Step};
use crate::error::{Error, Result};
use crate::graph::NodeId;

/// Sees a node's output during a run: values as they lie in memory (channels last), dequantized
/// where they are int8.
pub type Observe<'a> = &'a mut dyn FnMut(NodeId, &[f32]) -> Result<()>;

/// Watches a run.
pub(super) enum Watch<'a> {
    /// Nobody does.
    Unwatched,
    /// Shows every output.
    Outputs(Observe<'a>),
    /// Adds up the times: of what the input needs before the first step, then of each step.
    Times(&'a mut [Duration]),
}

/// A batch as its caller has it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Given<'a> {
    /// `[N, H, W, C]`, used as it is.
    ChannelsLast(&'a [f32]),
    /// `[N, C, H, W]`.
    Contiguous(&'a [f32]),
    /// `[N, H, W, 3]`.
    Pixels(&'a [u8]),
}

/// The input of a run: in f32 (empty where nothing reads that), and as pixels, if that is what it is.
#[derive(Clone, Copy)]
struct Input<'a> {
    float: &'a [f32],
    pixels: Option<&'a [u8]>,
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
    /// The input, where it must be converted.
    input: Aligned<f32>,
    float: Arena<f32>,
    int8: Arena<u8>,
}

impl Workspace {
    /// Makes room for batches of that many pictures.
    pub(super) fn reserve(&mut self, plan: &Plan, batch: usize, threads: usize) {
        let [float_scratch, int8_scratch] = plan.scratch_len(threads, batch);
        self.float.values.reserve(plan.float_len * batch);
        self.int8.values.reserve(plan.int8_len * batch);
        self.float.scratch.reserve(float_scratch);
        self.int8.scratch.reserve(int8_scratch);
    }

    /// Runs every step over a batch that has the plan's picture size, and returns the output.
    pub(super) fn run<'a>(
        &'a mut self,
        plan: &Plan,
        pool: &Pool,
        batch: usize,
        given: Given<'a>,
        mut watch: Watch<'_>,
    ) -> Result<&'a [f32]> {
        plan.check_batch(batch)?;
        self.reserve(plan, batch, pool.threads());
        let Self { input: converted, float, int8 } = self;
        let start = Instant::now();
        let watched = matches!(watch, Watch::Outputs(_));
        let input = Input::prepare(plan, pool, batch, given, watched, converted)?;
        if let Watch::Times(times) = &mut watch {
            times[0] += start.elapsed();
        }
        let mut run = Run { plan, pool, batch, input, float, int8 };
        let mut shown = 0;
        for (index, step) in plan.steps.iter().enumerate() {
            if let Watch::Outputs(observe) = &mut watch {
                // Before the memory of what was computed last may be taken again.
                let next = step.nodes[0].0;
                run.show(*observe, shown..next)?;
                shown = next;
            }
            let start = matches!(watch, Watch::Times(_)).then(Instant::now);
            run.step(step)?;
            if let (Watch::Times(times), Some(start)) = (&mut watch, start) {
                times[index + 1] += start.elapsed();
            }
        }
        if let Watch::Outputs(observe) = watch {
            run.show(observe, shown..plan.slots.len())?;
        }
        let Run { input, float, .. } = run;
        match &plan.slots[plan.output.0] {
            Slot::Input => Ok(input.float),
            Slot::Float(range) => Ok(&float.values[of_batch(range, batch)]),
            Slot::Int8(_) | Slot::Inside => Err(Error::layer("output", "it is int8, not float")),
        }
    }
}

impl<'a> Input<'a> {
    fn prepare(
        plan: &Plan,
        pool: &Pool,
        batch: usize,
        given: Given<'a>,
        watched: bool,
        converted: &'a mut Aligned<f32>,
    ) -> Result<Self> {
        let [c, h, w] = plan.picture;
        let len = batch * c * h * w;
        match given {
            Given::ChannelsLast(float) => Ok(Self { float, pixels: None }),
            Given::Contiguous(values) => {
                converted.reserve(len);
                let converted = &mut converted[..len];
                channels_last(values, c, h * w, converted);
                Ok(Self { float: converted, pixels: None })
            }
            Given::Pixels(pixels) => {
                let table = plan.pixels.as_ref().ok_or_else(|| {
                    Error::Argument(
                        "an engine that takes pixels must know their mean and standard deviation: \
                         compile it with Options::pictures"
                            .into(),
                    )
                })?;
                if !plan.reads_float_input && !watched {
                    return Ok(Self { float: &[], pixels: Some(pixels) });
                }
                converted.reserve(len);
                let converted = &mut converted[..len];
                table.run(pool, pixels, converted);
                Ok(Self { float: converted, pixels: Some(pixels) })
            }
        }
    }
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
    input: Input<'m>,
    float: &'m mut Arena<f32>,
    int8: &'m mut Arena<u8>,
}

impl Run<'_, '_> {
    fn step(&mut self, step: &Step) -> Result<()> {
        let &mut Run { plan, pool, batch, input, .. } = self;
        let (float, int8) = (&mut *self.float, &mut *self.int8);
        let isa = plan.isa;
        let call = Call { isa, pool, batch, shapes: &step.shapes };
        let slot = |id: Option<&NodeId>| id.map(|id| &plan.slots[id.0]);
        match (&step.kernel, &plan.slots[step.output().0]) {
            (Kernel::Float(kernel), Slot::Float(output)) => {
                let (outside, output) = Outside::split(&mut float.values, batch, output);
                let view = |index: usize| match slot(step.inputs.get(index)) {
                    Some(Slot::Float(range)) => outside.get(range),
                    Some(Slot::Input) => input.float,
                    _ => &[],
                };
                kernel.run(call, &view, output, &mut float.scratch);
            }
            (Kernel::Int8(kernel), Slot::Int8(output)) => {
                let (outside, output) = Outside::split(&mut int8.values, batch, output);
                let view = |index: usize| match slot(step.inputs.get(index)) {
                    Some(Slot::Int8(range)) => outside.get(range),
                    _ => &[],
                };
                kernel.run(call, &view, output, &mut int8.scratch);
            }
            (Kernel::Quantize(quantize), Slot::Int8(output)) => {
                let output = &mut int8.values[of_batch(output, batch)];
                match (slot(step.inputs.first()), &quantize.pixels, input.pixels) {
                    (Some(Slot::Input), Some(table), Some(pixels)) => {
                        table.run(pool, pixels, output);
                    }
                    (place, ..) => {
                        let x = match place {
                            Some(Slot::Float(range)) => &float.values[of_batch(range, batch)],
                            _ => input.float,
                        };
                        int8::quantize(isa, pool, quantize.to, 0, u8::MAX, x, output);
                    }
                }
            }
            (Kernel::Dequantize(qparams), Slot::Float(output)) => {
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

    fn show(&self, observe: Observe<'_>, nodes: Range<usize>) -> Result<()> {
        for node in nodes {
            match (&self.plan.slots[node], self.plan.qparams[node]) {
                (Slot::Input, _) => observe(NodeId(node), self.input.float)?,
                (Slot::Float(range), _) => {
                    observe(NodeId(node), &self.float.values[of_batch(range, self.batch)])?;
                }
                (Slot::Int8(range), Some(qparams)) => {
                    let table = qparams.values();
                    let values = self.int8.values[of_batch(range, self.batch)].iter();
                    let values: Vec<f32> = values.map(|&q| table[usize::from(q)]).collect();
                    observe(NodeId(node), &values)?;
                }
                (Slot::Int8(_), None) | (Slot::Inside, _) => {}
            }
        }
        Ok(())
    }
}

/// An arena without one range of it.
struct Outside<'a, T> {
    batch: usize,
    before: &'a [T],
    after: &'a [T],
    gap: Range<usize>,
}

impl<'a, T> Outside<'a, T> {
    /// Borrows the place of one value mutably, and what lies around it.
    fn split(values: &'a mut [T], batch: usize, place: &Range<usize>) -> (Self, &'a mut [T]) {
        let gap = of_batch(place, batch);
        let (before, rest) = values.split_at_mut(gap.start);
        let (inside, after) = rest.split_at_mut(gap.len());
        (Self { batch, before, after, gap }, inside)
    }

    /// Another value, which does not touch the first, as no input of a step touches its output.
    fn get(&self, place: &Range<usize>) -> &'a [T] {
        let range = of_batch(place, self.batch);
        if range.end <= self.gap.start {
            &self.before[range]
        } else {
            &self.after[range.start - self.gap.end..range.end - self.gap.end]
        }
    }
}
