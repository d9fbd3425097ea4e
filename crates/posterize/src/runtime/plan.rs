//! A plan: kernels in execution order for one size of input, and a place in memory for every value
//! between them.

use std::ops::Range;
use std::sync::OnceLock;

use posterize_kernels::f32::PixelTable as FloatPixelTable;
use posterize_kernels::int8::{PixelTable, QParams8};
use posterize_kernels::{Isa, Pool};

use super::blocks;
use super::input::{Given, Normalize};
use super::limits::{self, Limits, Memory};
use super::memory::{self, Lifetime};
use super::model::Model;
use super::step::{Step, StepKernel};
use crate::error::{Error, Result};
use crate::graph::{Graph, LayerShape, NodeId};
use crate::ops::kernel::{Packs, Shapes};

/// Whether steps may cover several nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Granularity {
    /// They may: values inside a step are never in memory as a whole.
    Blocks,
    /// Every node's output is in memory for a while, to be watched.
    Layers,
}

/// Where a value of one picture lies. In a batch of N it begins at N times the place and is N times
/// as long: sizes, and so whatever was said of overlaps, are the same multiples.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Slot {
    /// The caller's input of that number.
    Input(usize),
    /// The arena of f32 values.
    Float(Range<usize>),
    /// The arena of u8 values.
    Int8(Range<usize>),
    /// Nowhere: it is computed and used within one step.
    Inside,
}

/// A model with the packed weights that plans for all sizes share.
#[derive(Debug)]
pub(super) struct PackedModel {
    pub(super) model: Model,
    pub(super) isa: Isa,
    pub(super) normalize: Option<Normalize>,
    /// For every node what was packed of its weights.
    packs: Vec<Packs>,
}

impl PackedModel {
    pub(super) fn new(model: Model, isa: Isa, normalize: Option<Normalize>) -> Self {
        let packs = model.graph().nodes().iter().map(|_| Packs::default()).collect();
        Self { model, isa, normalize, packs }
    }
}

/// The kernels for one size of input, and the place of each value. Engines share it.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) isa: Isa,
    pub(super) granularity: Granularity,
    /// The shapes of the inputs that it was made for, each a batch of one.
    pub(super) inputs: Vec<Vec<usize>>,
    pub(super) steps: Vec<Step>,
    /// The place of every node's output.
    pub(super) slots: Vec<Slot>,
    /// Elements of each arena for one picture.
    pub(super) float_len: usize,
    pub(super) int8_len: usize,
    /// Every node's output for one picture.
    pub(super) shapes: Vec<LayerShape>,
    /// The scale of every node's output that is u8.
    pub(super) qparams: Vec<Option<QParams8>>,
    /// The nodes whose outputs are the network's.
    pub(super) outputs: Vec<NodeId>,
    limits: Limits,
    /// What makes f32 values of pixels.
    pub(super) pixels: Option<FloatPixelTable>,
    /// Whether the input is needed in f32, also where it is given as pixels.
    pub(super) reads_float_input: bool,
}

impl Plan {
    /// Makes the kernels for inputs of these shapes, each a batch of one, on all threads of `pool`.
    pub(super) fn new(
        packed: &PackedModel,
        granularity: Granularity,
        pool: &Pool,
        limits: Limits,
        inputs: Vec<Vec<usize>>,
    ) -> Result<Self> {
        let (model, isa) = (&packed.model, packed.isa);
        let graph = model.graph();
        let views: Vec<&[usize]> = inputs.iter().map(Vec::as_slice).collect();
        let shapes = graph.infer_all(&views)?;
        check_batch_axis(graph, &shapes)?;
        limits.check_work(1, graph, &shapes)?;
        let qparams: Vec<_> = graph.iter().map(|(id, _)| model.qparams(id)).collect();
        check_values(limits, graph, &shapes, &qparams)?;
        let mut steps = steps(packed, pool, &shapes)?;
        if granularity == Granularity::Blocks {
            steps = blocks::fuse(graph, steps);
        }
        let sizes: Vec<usize> = shapes.iter().map(|layer| layer.shape.iter().product()).collect();
        let (owner, lifetimes) = lifetimes(graph, &steps, &sizes);
        let (slots, [float_len, int8_len]) = place(&steps, &qparams, &owner, &lifetimes);

        let is_input = |id: NodeId| matches!(slots[id.0], Slot::Input(_));
        let mut reads_float_input = graph.outputs().iter().any(|output| is_input(output.node));
        let pixels = packed.normalize.filter(|normalize| takes_pixels(&inputs, *normalize));
        let pixels = pixels.map(|normalize| normalize.table());
        for step in &mut steps {
            if !step.inputs.iter().any(|&input| is_input(input)) {
                continue;
            }
            match (&mut step.kernel, &pixels) {
                (StepKernel::Quantize(quantize), Some(table)) => {
                    quantize.pixels = Some(PixelTable::new(table, quantize.to, 0, u8::MAX));
                }
                _ => reads_float_input = true,
            }
        }
        Ok(Self {
            isa,
            granularity,
            inputs,
            steps,
            slots,
            float_len,
            int8_len,
            limits,
            shapes,
            qparams,
            outputs: graph.outputs().iter().map(|output| output.node).collect(),
            pixels,
            reads_float_input,
        })
    }

    /// Whether it was made for these inputs, the batch aside.
    pub(super) fn fits(&self, granularity: Granularity, given: &[Given<'_>]) -> bool {
        self.granularity == granularity
            && self.inputs.len() == given.len()
            && self.inputs.iter().zip(given).all(|(made, given)| made[1..] == given.shape[1..])
    }

    /// Elements of the scratch memory of f32 and of u8 kernels.
    pub(super) fn scratch_len(&self, threads: usize, batch: usize) -> [usize; 2] {
        let (mut float, mut int8) = (0, 0);
        for Step { kernel, .. } in &self.steps {
            match kernel {
                StepKernel::Float(kernel) => float = float.max(kernel.scratch_len(threads, batch)),
                StepKernel::Int8(kernel) => int8 = int8.max(kernel.scratch_len(threads, batch)),
                StepKernel::Quantize(_) | StepKernel::Dequantize(_) => {}
            }
        }
        [float, int8]
    }

    /// Checks the memory for a batch.
    ///
    /// # Errors
    /// Returns an error that names the layer with the largest output if it is more than the limit.
    pub(super) fn check_memory(&self, graph: &Graph, batch: usize, threads: usize) -> Result<()> {
        let float = |values| [values, batch, size_of::<f32>()];
        let arenas = [float(self.float_len), [self.int8_len, batch, 1]];
        let inputs = self.inputs.iter().map(|shape| float(shape.iter().product()));
        let outputs = self.outputs.iter().map(|&id| float(self.len(id)));
        // Whoever watches int8 values sees a copy in f32.
        let int8 = self.shapes.iter().zip(&self.qparams).filter(|(_, qparams)| qparams.is_some());
        let largest = int8.map(|(layer, _)| layer.shape.iter().product()).max();
        let watched = largest.filter(|_| self.granularity == Granularity::Layers).map(float);
        let mut memory = Memory {
            batch,
            threads,
            values: limits::bytes(arenas.into_iter().chain(inputs).chain(outputs).chain(watched)),
            scratch: Some(0),
            scratch_of: None,
        };
        // The scratch memory is asked for only where the sizes of the values are known to be sane.
        self.limits.check_memory(memory, graph, &self.shapes)?;
        let [float, int8] = self.scratch_len(threads, batch);
        memory.scratch_of = self
            .steps
            .iter()
            .max_by_key(|step| step.scratch_bytes(threads, batch))
            .map(Step::output);
        memory.scratch = limits::bytes([[float, size_of::<f32>(), 1], [int8, 1, 1]]);
        self.limits.check_memory(memory, graph, &self.shapes)
    }

    /// The shape of a node's output for a batch.
    pub(super) fn shape(&self, id: NodeId, batch: usize) -> Vec<usize> {
        let mut shape = self.shapes[id.0].shape.clone();
        shape[0] = batch;
        shape
    }

    /// How many values a node's output has for a picture.
    pub(super) fn len(&self, id: NodeId) -> usize {
        self.shapes[id.0].shape.iter().product()
    }

    /// An error where the batches of the inputs differ, or the values of so many pictures would not
    /// fit the address space.
    pub(super) fn check_batch(&self, batch: usize) -> Result<()> {
        let refused = |problem: &str| {
            let mut shape = self.inputs[0].clone();
            shape[0] = batch;
            Err(Error::shape("input", format!("{shape:?} {problem}")))
        };
        if batch == 0 {
            return refused("has an empty axis");
        }
        let sizes = self.shapes.iter().map(|layer| layer.shape.iter().product::<usize>());
        let largest = sizes.chain([self.float_len, self.int8_len]).max().unwrap_or(0);
        match largest.checked_mul(batch) {
            Some(values) if values <= isize::MAX as usize / 8 => Ok(()),
            _ => refused("is too large"),
        }
    }
}

/// Whether a network of these inputs can take pixels that are normalized so.
fn takes_pixels(inputs: &[Vec<usize>], normalize: Normalize) -> bool {
    let [input] = inputs else { return false };
    matches!(**input, [_, channels, _, _] if channels == normalize.channels())
}

/// Checks that every value has the batch as its first axis, of which plans take as many as come.
fn check_batch_axis(graph: &Graph, shapes: &[LayerShape]) -> Result<()> {
    let wrong = graph.nodes().iter().zip(shapes).find(|(_, layer)| layer.shape.first() != Some(&1));
    match wrong {
        None => Ok(()),
        Some((node, layer)) => Err(Error::shape(
            &node.name,
            format!("its output for one picture is {:?}: the batch must stay first", layer.shape),
        )),
    }
}

/// Checks the memory for one picture of each value alone, before kernels are made for it.
fn check_values(
    limits: Limits,
    graph: &Graph,
    shapes: &[LayerShape],
    qparams: &[Option<QParams8>],
) -> Result<()> {
    let bytes = shapes.iter().zip(qparams).map(|(layer, int8)| {
        let bytes = if int8.is_some() { 1 } else { size_of::<f32>() };
        limits::bytes([[layer.shape.iter().product(), bytes, 1]])
    });
    // `None` is more than any number.
    let largest = bytes.max_by_key(|bytes| bytes.unwrap_or(usize::MAX)).unwrap_or(Some(0));
    let memory =
        Memory { batch: 1, threads: 1, values: largest, scratch: Some(0), scratch_of: None };
    limits.check_memory(memory, graph, shapes)
}

/// The step of every node that computes something.
fn steps(packed: &PackedModel, pool: &Pool, layers: &[LayerShape]) -> Result<Vec<Step>> {
    let PackedModel { model, isa, packs, .. } = packed;
    let graph = model.graph();
    let made: Vec<OnceLock<Result<Option<StepKernel>>>> =
        layers.iter().map(|_| OnceLock::new()).collect();
    pool.run(made.len(), &|index, _| {
        let id = NodeId(index);
        let inputs = graph.node(id).inputs.iter();
        let shapes = Shapes {
            inputs: inputs.map(|input| layers[input.0].shape.clone()).collect(),
            output: layers[index].shape.clone(),
        };
        made[index].get_or_init(|| model.kernel(*isa, id, &shapes, &packs[index], None));
    });
    let mut steps = Vec::new();
    for ((id, node), made) in graph.iter().zip(made) {
        if let Some(kernel) = made.into_inner().transpose()?.flatten() {
            steps.push(Step { nodes: vec![id], kernel, inputs: node.inputs.clone() });
        }
    }
    Ok(steps)
}

/// For every node, the node whose memory its output lies in (another's where it computes nothing),
/// and for every node with memory of its own, when that is in use.
fn lifetimes(
    graph: &Graph,
    steps: &[Step],
    sizes: &[usize],
) -> (Vec<NodeId>, Vec<Option<Lifetime>>) {
    let mut lifetimes: Vec<Option<Lifetime>> = vec![None; sizes.len()];
    let mut computed = vec![false; sizes.len()];
    for (index, step) in steps.iter().enumerate() {
        let output = step.output().0;
        lifetimes[output] = Some(Lifetime { size: sizes[output], first: index, last: index });
        step.nodes.iter().for_each(|node| computed[node.0] = true);
    }
    let mut owner: Vec<NodeId> = Vec::with_capacity(sizes.len());
    for (id, node) in graph.iter() {
        let aliased = node.inputs.first().filter(|_| !computed[id.0]);
        owner.push(aliased.map_or(id, |input| owner[input.0]));
    }
    let mut read = |node: NodeId, step: usize| {
        if let Some(lifetime) = &mut lifetimes[owner[node.0].0] {
            lifetime.last = lifetime.last.max(step);
        }
    };
    for (index, step) in steps.iter().enumerate() {
        for &input in &step.inputs {
            read(input, index);
        }
    }
    for output in graph.outputs() {
        read(output.node, steps.len());
    }
    (owner, lifetimes)
}

/// A slot for every node's output, and the elements of the f32 and of the u8 arena.
fn place(
    steps: &[Step],
    qparams: &[Option<QParams8>],
    owner: &[NodeId],
    lifetimes: &[Option<Lifetime>],
) -> (Vec<Slot>, [usize; 2]) {
    // Inputs come first and own what nobody computes.
    let mut slots: Vec<Slot> = (0..owner.len()).map(Slot::Input).collect();
    for step in steps {
        step.nodes.iter().for_each(|node| slots[node.0] = Slot::Inside);
    }
    let totals = [false, true].map(|int8| {
        let (nodes, wanted): (Vec<usize>, Vec<Lifetime>) = lifetimes
            .iter()
            .enumerate()
            .filter(|&(node, _)| qparams[node].is_some() == int8)
            .filter_map(|(node, lifetime)| Some((node, lifetime.clone()?)))
            .unzip();
        let layout = memory::place(&wanted, if int8 { 64 } else { 16 });
        for (node, range) in nodes.into_iter().zip(layout.ranges) {
            slots[node] = if int8 { Slot::Int8(range) } else { Slot::Float(range) };
        }
        layout.total
    });
    // A node that computes nothing lies where its owner does, which comes before it.
    for node in 0..owner.len() {
        slots[node] = slots[owner[node].0].clone();
    }
    (slots, totals)
}
