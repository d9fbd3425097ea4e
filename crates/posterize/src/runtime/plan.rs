//! A plan: packed kernels in execution order, and a place in memory for every value between them.

use std::ops::Range;
use std::sync::OnceLock;

use posterize_kernels::f32::PixelTable as FloatPixelTable;
use posterize_kernels::int8::{PixelTable, QParams8};
use posterize_kernels::{Isa, Pool};

use super::Normalize;
use super::blocks;
use super::float::FloatKernel;
use super::int8::Int8Kernel;
use super::memory::{self, Lifetime};
use crate::error::{Error, Result};
use crate::graph::{Graph, LayerShape, Node, NodeId};

/// A model, as far as plans are concerned.
pub trait Source: Send + Sync + std::fmt::Debug {
    /// The graph to run.
    fn graph(&self) -> &Graph;

    /// The scale and zero point of a node's output, where that is u8.
    fn qparams(&self, id: NodeId) -> Option<QParams8>;

    /// The kernel of a node for inputs of such height, width and channels; `None` where it computes
    /// nothing, so that its output is its input.
    fn kernel(&self, isa: Isa, id: NodeId, node: &Node, shapes: &Shapes) -> Result<Option<Kernel>>;
}

/// Whether steps may cover several nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Granularity {
    /// They may: values inside a step are never in memory as a whole.
    Blocks,
    /// Every node's output is in memory for a while, to be watched.
    Layers,
}

/// What a step computes.
#[derive(Debug)]
pub enum Kernel {
    /// From f32 to f32.
    Float(FloatKernel),
    /// From u8 to u8.
    Int8(Int8Kernel),
    /// From f32 to u8.
    Quantize(Quantize),
    /// From u8 to f32.
    Dequantize(QParams8),
}

/// Quantizes f32 values; where they are the network's input, pixels as well.
#[derive(Debug)]
pub struct Quantize {
    pub(super) to: QParams8,
    /// From pixels in one step, with the same bits.
    pub(super) pixels: Option<PixelTable>,
}

impl Kernel {
    /// What runs, as a profile names it.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Float(kernel) => kernel.name(),
            Self::Int8(kernel) => kernel.name(),
            Self::Quantize(_) => "quantize",
            Self::Dequantize(_) => "dequantize",
        }
    }
}

/// The shapes a kernel is called with, the batch aside.
#[derive(Clone, Debug)]
pub struct Shapes {
    /// Height and width of the first input; 1x1 for `[N, C]`.
    pub(super) size: [usize; 2],
    /// Channels of each input.
    pub(super) channels: Vec<usize>,
}

/// What every kernel is called with besides its values.
#[derive(Clone, Copy)]
pub(super) struct Call<'a> {
    pub(super) isa: Isa,
    pub(super) pool: &'a Pool,
    pub(super) batch: usize,
    pub(super) shapes: &'a Shapes,
}

/// A kernel's turn in a plan.
#[derive(Debug)]
pub(super) struct Step {
    /// The nodes it computes, in execution order; its output is the last one's, and those of the
    /// others exist nowhere.
    pub(super) nodes: Vec<NodeId>,
    pub(super) kernel: Kernel,
    /// The nodes whose outputs it takes.
    pub(super) inputs: Vec<NodeId>,
    pub(super) shapes: Shapes,
}

impl Step {
    /// The node whose output is the step's.
    pub(super) fn output(&self) -> NodeId {
        self.nodes[self.nodes.len() - 1]
    }
}

/// Where a value of one picture lies. In a batch of N it begins at N times the place and is N times
/// as long: sizes, and so whatever was said of overlaps, are the same multiples.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Slot {
    /// The caller's input.
    Input,
    /// The arena of f32 values.
    Float(Range<usize>),
    /// The arena of u8 values.
    Int8(Range<usize>),
    /// Nowhere: it is computed and used within one step.
    Inside,
}

/// The packed kernels for one picture size, and the place of each value. Engines share it.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) isa: Isa,
    /// `[C, H, W]` of the pictures it was made for.
    pub(super) picture: [usize; 3],
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
    /// The node whose output is the network's.
    pub(super) output: NodeId,
    /// What makes f32 values of pixels.
    pub(super) pixels: Option<FloatPixelTable>,
    /// Whether the input is needed in f32, also where it is given as pixels.
    pub(super) reads_float_input: bool,
}

impl Plan {
    /// Packs the kernels for pictures `[C, H, W]`, on all threads of `pool`.
    pub(super) fn new(
        source: &dyn Source,
        isa: Isa,
        granularity: Granularity,
        pool: &Pool,
        picture: [usize; 3],
        normalize: Option<Normalize>,
    ) -> Result<Self> {
        let graph = source.graph();
        let [c, h, w] = picture;
        let shapes = graph.infer(&[1, c, h, w])?;
        let mut steps = pack(source, isa, pool, &shapes)?;
        if granularity == Granularity::Blocks {
            steps = blocks::fuse(graph, steps);
        }
        let qparams: Vec<_> = graph.iter().map(|(id, _)| source.qparams(id)).collect();

        let sizes: Vec<usize> = shapes.iter().map(|layer| layer.shape.iter().product()).collect();
        let (owner, lifetimes) = lifetimes(graph, &steps, &sizes);
        let (slots, [float_len, int8_len]) = place(&steps, &qparams, &owner, &lifetimes);

        let is_input = |id: NodeId| slots[id.0] == Slot::Input;
        let mut reads_float_input = is_input(graph.output());
        for step in &mut steps {
            if !step.inputs.iter().any(|&input| is_input(input)) {
                continue;
            }
            match (&mut step.kernel, normalize) {
                (Kernel::Quantize(quantize), Some(Normalize { mean, std })) if c == 3 => {
                    quantize.pixels = Some(PixelTable::new(mean, std, quantize.to, 0, u8::MAX));
                }
                _ => reads_float_input = true,
            }
        }
        Ok(Self {
            isa,
            picture,
            steps,
            slots,
            float_len,
            int8_len,
            shapes,
            qparams,
            output: graph.output(),
            pixels: normalize.map(|Normalize { mean, std }| FloatPixelTable::new(mean, std)),
            reads_float_input,
        })
    }

    /// Elements of the scratch memory of f32 and of u8 kernels.
    pub(super) fn scratch_len(&self, threads: usize, batch: usize) -> [usize; 2] {
        let (mut float, mut int8) = (0, 0);
        for Step { kernel, shapes, .. } in &self.steps {
            match kernel {
                Kernel::Float(kernel) => {
                    float = float.max(kernel.scratch_len(threads, batch, shapes));
                }
                Kernel::Int8(kernel) => int8 = int8.max(kernel.scratch_len(threads, batch, shapes)),
                Kernel::Quantize(_) | Kernel::Dequantize(_) => {}
            }
        }
        [float, int8]
    }

    /// The output's shape for a batch.
    pub(super) fn output_shape(&self, batch: usize) -> Vec<usize> {
        self.shape(self.output, batch)
    }

    /// The shape of a node's output for a batch.
    pub(super) fn shape(&self, id: NodeId, batch: usize) -> Vec<usize> {
        let mut shape = self.shapes[id.0].shape.clone();
        shape[0] = batch;
        shape
    }

    /// How many values the output has for a picture.
    pub(super) fn output_len(&self) -> usize {
        self.shapes[self.output.0].shape.iter().product()
    }
}

/// The kernel of every node that computes something.
fn pack(source: &dyn Source, isa: Isa, pool: &Pool, layers: &[LayerShape]) -> Result<Vec<Step>> {
    let graph = source.graph();
    let shapes: Vec<Shapes> = graph
        .nodes()
        .iter()
        .map(|node| {
            let inputs: Vec<&[usize]> =
                node.inputs.iter().map(|input| layers[input.0].shape.as_slice()).collect();
            let size = match inputs.first() {
                Some(&&[_, _, h, w]) => [h, w],
                _ => [1, 1],
            };
            Shapes { size, channels: inputs.iter().map(|shape| shape[1]).collect() }
        })
        .collect();
    let packed: Vec<OnceLock<Result<Option<Kernel>>>> =
        shapes.iter().map(|_| OnceLock::new()).collect();
    pool.run(packed.len(), &|index, _| {
        let id = NodeId(index);
        packed[index].get_or_init(|| source.kernel(isa, id, graph.node(id), &shapes[index]));
    });
    let mut steps = Vec::new();
    for (((id, node), shapes), packed) in graph.iter().zip(shapes).zip(packed) {
        if let Some(kernel) = packed.into_inner().transpose()?.flatten() {
            steps.push(Step { nodes: vec![id], kernel, inputs: node.inputs.clone(), shapes });
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
    read(graph.output(), steps.len());
    (owner, lifetimes)
}

/// A slot for every node's output, and the elements of the f32 and of the u8 arena.
fn place(
    steps: &[Step],
    qparams: &[Option<QParams8>],
    owner: &[NodeId],
    lifetimes: &[Option<Lifetime>],
) -> (Vec<Slot>, [usize; 2]) {
    let mut slots = vec![Slot::Input; owner.len()];
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

impl Plan {
    /// An error where the values of so many pictures would not fit the address space.
    pub(super) fn check_batch(&self, batch: usize) -> Result<()> {
        let [c, h, w] = self.picture;
        if batch == 0 {
            return Err(Error::shape("input", format!("[0, {c}, {h}, {w}] has an empty axis")));
        }
        let picture = (c * h * w).max(self.float_len).max(self.int8_len);
        match picture.checked_mul(batch) {
            Some(values) if values <= isize::MAX as usize / 8 => Ok(()),
            _ => Err(Error::shape("input", format!("[{batch}, {c}, {h}, {w}] is too large"))),
        }
    }
}
