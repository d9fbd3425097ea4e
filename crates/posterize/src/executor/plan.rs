//! A plan: packed kernels in execution order, and a place in memory for every value between them.

use std::ops::Range;
use std::time::{Duration, Instant};

use posterize_kernels::int8::QParams8;
use posterize_kernels::{Isa, Pool};

use super::aligned::Aligned;
use super::float::FloatKernel;
use super::int8::Int8Kernel;
use super::memory::{self, Layout, Lifetime};
use crate::error::{Error, Result};
use crate::graph::{Graph, Node, NodeId};
use crate::tensor::Tensor;

/// Sees a node's output during a run: values as they lie in memory (channels last), dequantized
/// where they are int8.
pub type Observe<'a> = &'a mut dyn FnMut(NodeId, &[f32]) -> Result<()>;

/// Watches a run.
pub(super) enum Watch<'a> {
    /// Nobody does.
    Unwatched,
    /// Shows every output.
    Outputs(Observe<'a>),
    /// Adds up the time that each step takes, in the order of the steps.
    Times(&'a mut [Duration]),
}

/// What a step computes.
#[derive(Debug)]
pub(super) enum Kernel {
    Float(FloatKernel),
    Int8(Int8Kernel),
    Quantize(QParams8),
    Dequantize(QParams8),
}

impl Kernel {
    /// What ran, as a profile names it.
    fn name(&self) -> &'static str {
        match self {
            Self::Float(kernel) => kernel.name(),
            Self::Int8(kernel) => kernel.name(),
            Self::Quantize(_) => "quantize",
            Self::Dequantize(_) => "dequantize",
        }
    }
}

/// A model, as far as plans are concerned.
pub(super) trait Source {
    /// The graph to run.
    fn graph(&self) -> &Graph;

    /// The scale and zero point of a node's output, where that is u8.
    fn qparams(&self, id: NodeId) -> Option<QParams8>;

    /// The kernel of a node for inputs of such height, width and channels; `None` where it computes
    /// nothing, so that its output is its input.
    fn kernel(&self, isa: Isa, id: NodeId, node: &Node, shapes: &Shapes) -> Result<Option<Kernel>>;
}

/// The shapes a kernel is called with.
#[derive(Clone, Debug)]
pub(super) struct Shapes {
    pub batch: usize,
    /// Height and width of the first input; 1x1 for `[N, C]`.
    pub size: [usize; 2],
    /// Channels of each input.
    pub channels: Vec<usize>,
}

#[derive(Debug)]
struct Step {
    node: NodeId,
    kernel: Kernel,
    inputs: Vec<NodeId>,
    shapes: Shapes,
}

/// Where a value lies.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Slot {
    /// The caller's input.
    Input,
    Float(Range<usize>),
    Int8(Range<usize>),
}

/// The packed kernels for one picture size, and the memory for one batch size.
#[derive(Debug)]
pub(super) struct Plan {
    isa: Isa,
    graph: Graph,
    /// The scale of every node's output that is u8.
    qparams: Vec<Option<QParams8>>,
    /// `[C, H, W]` of the pictures it was made for.
    pub picture: [usize; 3],
    /// The batch size that memory is laid out for.
    batch: Option<usize>,
    steps: Vec<Step>,
    /// The place of every node's output.
    slots: Vec<Slot>,
    output_shape: Vec<usize>,
    float: Arena<f32>,
    int8: Arena<u8>,
}

/// The memory for values of one type, and the scratch memory of their kernels.
#[derive(Debug, Default)]
struct Arena<T> {
    values: Aligned<T>,
    scratch: Aligned<T>,
}

impl Plan {
    /// Packs the kernels for pictures `[C, H, W]`.
    pub(super) fn new(source: &dyn Source, isa: Isa, picture: [usize; 3]) -> Result<Self> {
        let graph = source.graph();
        let [c, h, w] = picture;
        let shapes = graph.infer(&[1, c, h, w])?;
        let mut steps = Vec::new();
        for (id, node) in graph.iter() {
            let inputs: Vec<&[usize]> =
                node.inputs.iter().map(|input| shapes[input.0].shape.as_slice()).collect();
            let size = match inputs.first() {
                Some(&&[_, _, h, w]) => [h, w],
                _ => [1, 1],
            };
            let channels = inputs.iter().map(|shape| shape[1]).collect();
            let shapes = Shapes { batch: 0, size, channels };
            if let Some(kernel) = source.kernel(isa, id, node, &shapes)? {
                steps.push(Step { node: id, kernel, inputs: node.inputs.clone(), shapes });
            }
        }
        let qparams = graph.iter().map(|(id, _)| source.qparams(id)).collect();
        Ok(Self {
            isa,
            graph: graph.clone(),
            qparams,
            picture,
            batch: None,
            steps,
            slots: Vec::new(),
            output_shape: Vec::new(),
            float: Arena::default(),
            int8: Arena::default(),
        })
    }

    /// Places every value for a batch size.
    pub(super) fn lay_out(&mut self, batch: usize, threads: usize) -> Result<()> {
        if self.batch == Some(batch) {
            return Ok(());
        }
        let [c, h, w] = self.picture;
        let shapes = self.graph.infer(&[batch, c, h, w])?;
        for step in &mut self.steps {
            step.shapes.batch = batch;
        }
        let (owner, lifetimes) = self.lifetimes(
            &shapes.iter().map(|layer| layer.shape.iter().product()).collect::<Vec<_>>(),
        );

        let place = |int8: bool| {
            let nodes: Vec<usize> = (0..owner.len())
                .filter(|&node| lifetimes[node].is_some() && self.qparams[node].is_some() == int8)
                .collect();
            let wanted: Vec<Lifetime> =
                nodes.iter().filter_map(|&node| lifetimes[node].clone()).collect();
            (nodes, memory::place(&wanted, if int8 { 64 } else { 16 }))
        };
        let (float, int8): ((Vec<usize>, Layout), (Vec<usize>, Layout)) =
            (place(false), place(true));
        self.slots = owner
            .iter()
            .map(|owner| {
                if let Ok(found) = float.0.binary_search(&owner.0) {
                    Slot::Float(float.1.ranges[found].clone())
                } else if let Ok(found) = int8.0.binary_search(&owner.0) {
                    Slot::Int8(int8.1.ranges[found].clone())
                } else {
                    Slot::Input
                }
            })
            .collect();
        self.float.values.resize(float.1.total, 0.0);
        self.int8.values.resize(int8.1.total, 0);
        let (mut float_scratch, mut int8_scratch) = (0, 0);
        for step in &self.steps {
            match &step.kernel {
                Kernel::Float(kernel) => {
                    float_scratch = float_scratch.max(kernel.scratch_len(threads, &step.shapes));
                }
                Kernel::Int8(kernel) => {
                    int8_scratch = int8_scratch.max(kernel.scratch_len(threads, &step.shapes));
                }
                Kernel::Quantize(_) | Kernel::Dequantize(_) => {}
            }
        }
        self.float.scratch.resize(float_scratch, 0.0);
        self.int8.scratch.resize(int8_scratch, 0);
        self.output_shape.clone_from(&shapes[self.graph.output().0].shape);
        self.batch = Some(batch);
        Ok(())
    }

    /// For every node, the node whose memory its output lies in (another's where it computes
    /// nothing), and for every node with memory of its own, when that is in use.
    fn lifetimes(&self, sizes: &[usize]) -> (Vec<NodeId>, Vec<Option<Lifetime>>) {
        let mut lifetimes: Vec<Option<Lifetime>> = vec![None; sizes.len()];
        for (index, step) in self.steps.iter().enumerate() {
            let lifetime = Lifetime { size: sizes[step.node.0], first: index, last: index };
            lifetimes[step.node.0] = Some(lifetime);
        }
        let mut owner: Vec<NodeId> = Vec::with_capacity(sizes.len());
        for (id, node) in self.graph.iter() {
            let aliased = node.inputs.first().filter(|_| lifetimes[id.0].is_none());
            owner.push(aliased.map_or(id, |input| owner[input.0]));
        }
        let mut read = |node: NodeId, step: usize| {
            if let Some(lifetime) = &mut lifetimes[owner[node.0].0] {
                lifetime.last = lifetime.last.max(step);
            }
        };
        for (index, step) in self.steps.iter().enumerate() {
            for &input in &step.inputs {
                read(input, index);
            }
        }
        read(self.graph.output(), self.steps.len());
        (owner, lifetimes)
    }

    /// The node and the name of the kernel of every step, in order.
    pub(super) fn steps(&self) -> impl ExactSizeIterator<Item = (NodeId, &'static str)> {
        self.steps.iter().map(|step| (step.node, step.kernel.name()))
    }

    /// Bytes of all activations together, scratch memory included.
    pub(super) fn activation_bytes(&self) -> usize {
        4 * (self.float.values.len() + self.float.scratch.len())
            + self.int8.values.len()
            + self.int8.scratch.len()
    }

    /// Runs every step over `input`, which lies channels last.
    pub(super) fn run(
        &mut self,
        pool: &Pool,
        input: &[f32],
        mut watch: Watch<'_>,
    ) -> Result<Tensor> {
        let mut shown = 0;
        for index in 0..self.steps.len() {
            let node = self.steps[index].node.0;
            if let Watch::Outputs(observe) = &mut watch {
                // Before the memory of what was computed last may be taken again.
                self.show(*observe, input, shown..node)?;
                shown = node;
            }
            let start = matches!(watch, Watch::Times(_)).then(Instant::now);
            let step = &self.steps[index];
            step.run(self.isa, pool, input, &self.slots, &mut self.float, &mut self.int8)?;
            if let (Watch::Times(times), Some(start)) = (&mut watch, start) {
                times[index] += start.elapsed();
            }
        }
        if let Watch::Outputs(observe) = watch {
            self.show(observe, input, shown..self.slots.len())?;
        }
        let data = match &self.slots[self.graph.output().0] {
            Slot::Input => input.to_vec(),
            Slot::Float(range) => self.float.values[range.clone()].to_vec(),
            Slot::Int8(_) => return Err(Error::layer("output", "it is int8, not float")),
        };
        match *self.output_shape {
            [n, c, h, w] => Tensor::channels_last([n, c, h, w], data),
            _ => Tensor::new(self.output_shape.clone(), data),
        }
    }

    fn show(&self, observe: Observe<'_>, input: &[f32], nodes: Range<usize>) -> Result<()> {
        for node in nodes {
            match (&self.slots[node], self.qparams[node]) {
                (Slot::Input, _) => observe(NodeId(node), input)?,
                (Slot::Float(range), _) => {
                    observe(NodeId(node), &self.float.values[range.clone()])?;
                }
                (Slot::Int8(range), Some(qparams)) => {
                    let table = qparams.values();
                    let values = self.int8.values[range.clone()].iter();
                    let values: Vec<f32> = values.map(|&q| table[usize::from(q)]).collect();
                    observe(NodeId(node), &values)?;
                }
                (Slot::Int8(_), None) => {}
            }
        }
        Ok(())
    }
}

impl Step {
    fn run(
        &self,
        isa: Isa,
        pool: &Pool,
        input: &[f32],
        slots: &[Slot],
        float: &mut Arena<f32>,
        int8: &mut Arena<u8>,
    ) -> Result<()> {
        let place = &slots[self.node.0];
        match (&self.kernel, place) {
            (Kernel::Float(kernel), Slot::Float(output)) => {
                let (outside, output) = Outside::split(&mut float.values, output);
                let view = |index: usize| match self.inputs.get(index).map(|id| &slots[id.0]) {
                    Some(Slot::Float(range)) => outside.get(range),
                    Some(Slot::Input) => input,
                    _ => &[],
                };
                kernel.run(isa, pool, &self.shapes, &view, output, &mut float.scratch);
            }
            (Kernel::Int8(kernel), Slot::Int8(output)) => {
                let (outside, output) = Outside::split(&mut int8.values, output);
                let view = |index: usize| match self.inputs.get(index).map(|id| &slots[id.0]) {
                    Some(Slot::Int8(range)) => outside.get(range),
                    _ => &[],
                };
                kernel.run(isa, pool, &self.shapes, &view, output, &mut int8.scratch);
            }
            (Kernel::Quantize(qparams), Slot::Int8(output)) => {
                let x = match &slots[self.inputs[0].0] {
                    Slot::Float(range) => &float.values[range.clone()],
                    _ => input,
                };
                let output = &mut int8.values[output.clone()];
                posterize_kernels::int8::quantize(isa, pool, *qparams, 0, u8::MAX, x, output);
            }
            (Kernel::Dequantize(qparams), Slot::Float(output)) => {
                let x = match &slots[self.inputs[0].0] {
                    Slot::Int8(range) => &int8.values[range.clone()],
                    _ => &[],
                };
                let output = &mut float.values[output.clone()];
                posterize_kernels::int8::dequantize(isa, pool, *qparams, x, output);
            }
            (kernel, place) => {
                return Err(Error::layer(
                    format!("node {}", self.node.0),
                    format!("a kernel of another type than its memory: {kernel:?} in {place:?}"),
                ));
            }
        }
        Ok(())
    }
}

/// An arena without one range of it.
struct Outside<'a, T> {
    before: &'a [T],
    after: &'a [T],
    gap: Range<usize>,
}

impl<'a, T> Outside<'a, T> {
    /// Borrows `gap` mutably, and what lies around it.
    fn split(values: &'a mut [T], gap: &Range<usize>) -> (Self, &'a mut [T]) {
        let (before, rest) = values.split_at_mut(gap.start);
        let (inside, after) = rest.split_at_mut(gap.len());
        (Self { before, after, gap: gap.clone() }, inside)
    }

    /// A range that does not touch the gap, as no input of a step touches its output.
    fn get(&self, range: &Range<usize>) -> &'a [T] {
        if range.end <= self.gap.start {
            &self.before[range.clone()]
        } else {
            &self.after[range.start - self.gap.end..range.end - self.gap.end]
        }
    }
}
