//! Where every value and every gradient of a step lies, for one size of batch.

use std::ops::Range;

use super::layers::{Core, Layer, Program};
use crate::error::{Error, Result};
use crate::runtime::memory::{Lifetime, place};
use crate::graph::Graph;

/// The shape of a layer's output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) batch: usize,
    /// Rows and columns; 1x1 for `[N, C]`.
    pub(super) size: [usize; 2],
    pub(super) channels: usize,
    /// Whether it is `[N, C]`.
    pub(super) flat: bool,
}

impl Shape {
    fn of(shape: &[usize]) -> Self {
        match *shape {
            [batch, channels, h, w] => Self { batch, size: [h, w], channels, flat: false },
            [batch, channels] => Self { batch, size: [1, 1], channels, flat: true },
            _ => unreachable!("values have two or four dimensions"),
        }
    }

    /// Pixels of the whole batch.
    pub(super) fn pixels(self) -> usize {
        self.batch * self.size[0] * self.size[1]
    }

    /// Values of the whole batch.
    pub(super) fn len(self) -> usize {
        self.pixels() * self.channels
    }
}

/// Where a value lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In the caller's pictures.
    Pictures,
    At(Range<usize>),
}

/// What the output of a layer can be read from.
#[derive(Clone, Debug)]
pub(super) enum Output {
    /// It lies in memory.
    Stored(Place),
    /// Whoever reads it computes it from what the epilogue is applied to, block by block in the
    /// cache.
    Computed,
}

/// What a layer's gradient adds to that of one of its inputs.
#[derive(Clone, Debug)]
pub(super) enum Contribution {
    /// The input does not depend on any parameter.
    Unwanted,
    /// The first one: written.
    First(Range<usize>),
    /// Added to what is there, by way of a buffer of its own.
    Further { into: Range<usize>, through: Range<usize> },
    /// The gradient of the layer's core is that of its input, in the same memory.
    Same,
}

/// How a layer's gradient is computed.
#[derive(Clone, Debug)]
pub(super) struct Backward {
    /// The gradient of the layer's output.
    pub(super) output: Range<usize>,
    /// The gradient of what its epilogue is applied to, where that is stored.
    pub(super) core: Range<usize>,
    /// What each input gets.
    pub(super) inputs: Vec<Contribution>,
}

/// A plan for batches of one shape.
#[derive(Debug)]
pub(super) struct Plan {
    /// `[N, C, H, W]` of the pictures.
    pub(super) pictures: [usize; 4],
    pub(super) shapes: Vec<Shape>,
    /// For every layer with an epilogue, what that is applied to.
    pub(super) raw: Vec<Option<Place>>,
    pub(super) output: Vec<Output>,
    /// For every layer, how its gradient is computed; none where no parameter depends on it.
    pub(super) backward: Vec<Option<Backward>>,
    /// Whether the one layer that reads this one's output sums up its gradient as well.
    pub(super) summed_by_consumer: Vec<bool>,
    /// Values of the whole arena.
    pub(super) total: usize,
}

/// A value's memory while it is being planned.
type Buffer = usize;

#[derive(Clone, Copy)]
enum Planned {
    Pictures,
    Buffer(Buffer),
}

#[derive(Clone, Copy)]
enum Gradient {
    Unwanted,
    First(Buffer),
    Further { into: Buffer, through: Buffer },
    Same,
}

struct Planner<'a> {
    layers: &'a [Layer],
    shapes: &'a [Shape],
    consumers: Vec<Vec<usize>>,
    buffers: Vec<Lifetime>,
    raw: Vec<Option<Planned>>,
    output: Vec<Option<Planned>>,
}

impl Plan {
    pub(super) fn new(net: &Program, graph: &Graph, pictures: [usize; 4]) -> Result<Self> {
        let inferred = graph.infer(&pictures)?;
        let layers = net.layers.as_slice();
        for layer in layers {
            let shape = &inferred[layer.node.0].shape;
            if !matches!(shape.len(), 2 | 4) {
                let problem =
                    format!("expected a value of two or four dimensions, found {shape:?}");
                return Err(Error::shape(&layer.name, problem));
            }
        }
        let shapes: Vec<Shape> =
            layers.iter().map(|layer| Shape::of(&inferred[layer.node.0].shape)).collect();
        let mut consumers = vec![Vec::new(); layers.len()];
        for (index, layer) in layers.iter().enumerate() {
            for &input in &layer.inputs {
                consumers[input].push(index);
            }
        }
        let planner = Planner {
            layers,
            shapes: &shapes,
            consumers,
            buffers: Vec::new(),
            raw: Vec::with_capacity(layers.len()),
            output: Vec::with_capacity(layers.len()),
        };
        let (raw, output, backward, summed_by_consumer, layout) = planner.plan(net.output);
        let at = |buffer: Buffer| layout.ranges[buffer].clone();
        let placed = |planned: Planned| match planned {
            Planned::Pictures => Place::Pictures,
            Planned::Buffer(buffer) => Place::At(at(buffer)),
        };
        let contribution = |gradient: Gradient| match gradient {
            Gradient::Unwanted => Contribution::Unwanted,
            Gradient::First(buffer) => Contribution::First(at(buffer)),
            Gradient::Further { into, through } => {
                Contribution::Further { into: at(into), through: at(through) }
            }
            Gradient::Same => Contribution::Same,
        };
        Ok(Self {
            pictures,
            raw: raw.into_iter().map(|raw| raw.map(placed)).collect(),
            output: output
                .into_iter()
                .map(|output| {
                    output.map_or(Output::Computed, |found| Output::Stored(placed(found)))
                })
                .collect(),
            backward: backward
                .into_iter()
                .map(|backward| {
                    backward.map(|(output, core, inputs)| Backward {
                        output: at(output),
                        core: at(core),
                        inputs: inputs.into_iter().map(contribution).collect(),
                    })
                })
                .collect(),
            summed_by_consumer,
            total: layout.total,
            shapes,
        })
    }
}

type Planning = (
    Vec<Option<Planned>>,
    Vec<Option<Planned>>,
    Vec<Option<(Buffer, Buffer, Vec<Gradient>)>>,
    Vec<bool>,
    crate::runtime::memory::Layout,
);

impl Planner<'_> {
    fn plan(mut self, output: usize) -> Planning {
        let (trained, reached) = (self.trained(), self.reached(output));
        let goes_back: Vec<bool> =
            trained.iter().zip(&reached).map(|(&trained, &reached)| trained && reached).collect();
        for index in 0..self.layers.len() {
            self.place_values(index, index == output);
        }
        for (index, &goes_back) in goes_back.iter().enumerate() {
            self.extend_values(index, goes_back);
        }
        let end = self.layers.len();
        self.use_output(output, end);
        let backward = self.place_gradients(output, &goes_back);
        let summed = (0..self.layers.len()).map(|index| self.summed_by_consumer(index)).collect();
        // Values begin on cache lines.
        let layout = place(&self.buffers, 16);
        (self.raw, self.output, backward, summed, layout)
    }

    /// Which values depend on a parameter.
    fn trained(&self) -> Vec<bool> {
        let mut trained = Vec::with_capacity(self.layers.len());
        for layer in self.layers {
            let epilogue = &layer.epilogue;
            let own = matches!(layer.core, Core::Product(_))
                || epilogue.norm.is_some()
                || epilogue.bias.is_some();
            trained.push(own || layer.inputs.iter().any(|&input| trained[input]));
        }
        trained
    }

    /// Which values the output depends on.
    fn reached(&self, output: usize) -> Vec<bool> {
        let mut reached = vec![false; self.layers.len()];
        reached[output] = true;
        for index in (0..self.layers.len()).rev() {
            if reached[index] {
                self.layers[index].inputs.iter().for_each(|&input| reached[input] = true);
            }
        }
        reached
    }

    /// When a layer's gradient is computed.
    fn back(&self, index: usize) -> usize {
        2 * self.layers.len() - index
    }

    fn buffer(&mut self, index: usize, time: usize) -> Buffer {
        let size = self.shapes[index].len();
        self.buffers.push(Lifetime { size, first: time, last: time });
        self.buffers.len() - 1
    }

    fn extend(&mut self, planned: Option<Planned>, time: usize) {
        if let Some(Planned::Buffer(buffer)) = planned {
            let lifetime = &mut self.buffers[buffer];
            lifetime.last = lifetime.last.max(time);
        }
    }

    fn place_values(&mut self, index: usize, is_output: bool) {
        let layer = &self.layers[index];
        let products_only = self.consumers[index]
            .iter()
            .all(|&consumer| matches!(self.layers[consumer].core, Core::Product(_)));
        let has_epilogue = !layer.epilogue.is_identity();
        let raw = match layer.core {
            _ if !has_epilogue => None,
            Core::Identity => self.output[layer.inputs[0]],
            _ => Some(Planned::Buffer(self.buffer(index, index))),
        };
        let output = match layer.core {
            Core::Input => Some(Planned::Pictures),
            _ if has_epilogue && products_only && !is_output => None,
            _ => Some(Planned::Buffer(self.buffer(index, index))),
        };
        self.raw.push(raw);
        self.output.push(output);
    }

    /// Keeps what a layer reads until it was read the last time.
    fn extend_values(&mut self, index: usize, goes_back: bool) {
        let layer = &self.layers[index];
        let back = self.back(index);
        for &input in &layer.inputs {
            self.use_output(input, index);
            if goes_back && layer.core.keeps_inputs() {
                self.use_output(input, back);
            }
        }
        if goes_back && layer.epilogue.needs_input() {
            self.extend(self.raw[index], back);
        }
    }

    fn use_output(&mut self, index: usize, time: usize) {
        let from = self.output[index].or(self.raw[index]);
        self.extend(from, time);
    }

    /// Whether the gradient of a layer's output comes whole from the one product that reads it.
    fn summed_by_consumer(&self, index: usize) -> bool {
        self.output[index].is_none() && self.consumers[index].len() == 1
    }

    fn place_gradients(
        &mut self,
        output: usize,
        goes_back: &[bool],
    ) -> Vec<Option<(Buffer, Buffer, Vec<Gradient>)>> {
        let count = self.layers.len();
        let mut steps = vec![None; count];
        let mut gradients: Vec<Option<Buffer>> = vec![None; count];
        if goes_back[output] {
            gradients[output] = Some(self.buffer(output, count));
        }
        for index in (0..count).rev() {
            let Some(gradient) = gradients[index].filter(|_| goes_back[index]) else { continue };
            let layer = &self.layers[index];
            let time = self.back(index);
            self.extend(Some(Planned::Buffer(gradient)), time);
            // Products go through their epilogue on the fly.
            let stored = layer.epilogue.needs_input() && !matches!(layer.core, Core::Product(_));
            let core = if stored { self.buffer(index, time) } else { gradient };
            let mut inputs = Vec::with_capacity(layer.inputs.len());
            for &input in &layer.inputs {
                inputs.push(if !goes_back[input] {
                    Gradient::Unwanted
                } else if let Some(into) = gradients[input] {
                    self.extend(Some(Planned::Buffer(into)), time);
                    Gradient::Further { into, through: self.buffer(input, time) }
                } else if self.may_share(index, input, core, &gradients) {
                    gradients[input] = Some(core);
                    Gradient::Same
                } else {
                    let first = self.buffer(input, time);
                    gradients[input] = Some(first);
                    Gradient::First(first)
                });
            }
            steps[index] = Some((gradient, core, inputs));
        }
        steps
    }

    /// Whether the gradient of `input` may lie where that of the core of layer `index` does.
    fn may_share(
        &self,
        index: usize,
        input: usize,
        core: Buffer,
        gradients: &[Option<Buffer>],
    ) -> bool {
        let layer = &self.layers[index];
        match layer.core {
            Core::Identity => {}
            Core::Add if layer.inputs[0] != layer.inputs[1] => {}
            _ => return false,
        }
        // Nobody may add to the gradient of one value before that of another was read.
        let adds_late = |added: usize, other: usize| {
            self.consumers[added].iter().all(|&consumer| consumer >= index || consumer < other)
        };
        (0..index)
            .filter(|&other| other != input && gradients[other] == Some(core))
            .all(|other| adds_late(input, other) && adds_late(other, input))
    }
}
