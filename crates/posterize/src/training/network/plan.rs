//! The memory plan of a training step: the places of all values and gradients, for one batch shape.

use std::ops::Range;

use super::layers::{Core, Layer, Program};
use crate::graph::LayerShape;
use crate::ops::kernel::Shapes;
use crate::ops::shapes::memory_order;
use crate::runtime::memory::{Layout, Lifetime, place};

/// The shape of a layer's output in memory order: channels last for four axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) batch: usize,
    /// Height and width of `[N, C, H, W]`; `[1, 1]` for other shapes.
    pub(super) size: [usize; 2],
    /// The size of the last axis in memory.
    pub(super) channels: usize,
    /// The product of the sizes of all other axes, with the batch.
    pub(super) pixels: usize,
}

impl Shape {
    fn of(shape: &[usize]) -> Self {
        let size = match *shape {
            [_, _, h, w] => [h, w],
            _ => [1, 1],
        };
        let batch = shape.first().copied().unwrap_or(1);
        // A shape `[N]` has one channel.
        let channels = match *memory_order(shape.len()).as_slice() {
            [_, .., last] => shape[last],
            _ => 1,
        };
        let pixels = shape.iter().product::<usize>() / channels;
        Self { batch, size, channels, pixels }
    }

    /// Returns the number of values of the batch.
    pub(super) fn len(self) -> usize {
        self.pixels * self.channels
    }
}

/// Returns the shapes of a layer's inputs and output for a batch of one.
fn shapes_of_one(layer: &Layer, layers: &[Layer], inferred: &[LayerShape]) -> Shapes {
    let of = |layer: &Layer| {
        let mut shape = inferred[layer.node.0].shape.clone();
        shape[0] = 1;
        shape
    };
    let inputs = layer.inputs.iter().map(|&input| of(&layers[input])).collect();
    Shapes { inputs, output: of(layer) }
}

/// The place of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The pictures given by the caller.
    Pictures,
    /// A range of the arena.
    At(Range<usize>),
}

/// How the output of a layer is read.
#[derive(Clone, Debug)]
pub(super) enum Output {
    /// It is stored.
    Stored(Place),
    /// The layers that read it compute it from the output of the core, block by block in the cache.
    Computed,
}

/// How the gradient of one of a layer's inputs is computed.
#[derive(Clone, Debug)]
pub(super) enum Contribution {
    /// It is not computed, since the input does not depend on a parameter that is trained.
    Unwanted,
    /// It is written, as the first contribution.
    First(Range<usize>),
    /// It is computed in the buffer `through` and added to `into`.
    Further { into: Range<usize>, through: Range<usize> },
    /// It equals the gradient of the core's output and shares its memory.
    Same,
}

/// The gradients of a layer.
#[derive(Clone, Debug)]
pub(super) struct Backward {
    /// The gradient of the layer's output.
    pub(super) output: Range<usize>,
    /// The gradient of the core's output; the same range as `output` if it is not stored.
    pub(super) core: Range<usize>,
    /// The gradient of each input.
    pub(super) inputs: Vec<Contribution>,
}

/// The memory plan of a step for one batch shape.
#[derive(Debug)]
pub(super) struct Plan {
    /// `[N, C, H, W]` of the pictures.
    pub(super) pictures: [usize; 4],
    pub(super) shapes: Vec<Shape>,
    /// The shapes of each layer's inputs and output for a batch of one.
    pub(super) shapes_of_one: Vec<Shapes>,
    /// The shape of the network's output.
    pub(super) output_shape: Vec<usize>,
    /// For each layer with an epilogue, the place of the core's output.
    pub(super) raw: Vec<Option<Place>>,
    pub(super) output: Vec<Output>,
    /// The gradients of each layer; `None` if they are not needed for that of a parameter.
    pub(super) backward: Vec<Option<Backward>>,
    /// For each layer, whether the only layer that reads its output also sums its gradient.
    pub(super) summed_by_consumer: Vec<bool>,
    /// Number of values in the arena.
    pub(super) total: usize,
}

/// The index of a buffer of the arena in [`Planner::buffers`].
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
    net: &'a Program,
    layers: &'a [Layer],
    shapes: &'a [Shape],
    shapes_of_one: &'a [Shapes],
    consumers: Vec<Vec<usize>>,
    buffers: Vec<Lifetime>,
    raw: Vec<Option<Planned>>,
    output: Vec<Option<Planned>>,
}

impl Plan {
    /// Plans a step for pictures of that shape. `inferred` are the shapes of the fused graph's nodes
    /// for it.
    pub(super) fn new(net: &Program, inferred: &[LayerShape], pictures: [usize; 4]) -> Self {
        let layers = net.layers.as_slice();
        let shapes: Vec<Shape> =
            layers.iter().map(|layer| Shape::of(&inferred[layer.node.0].shape)).collect();
        let shapes_of_one: Vec<Shapes> =
            layers.iter().map(|layer| shapes_of_one(layer, layers, inferred)).collect();
        let mut consumers = vec![Vec::new(); layers.len()];
        for (index, layer) in layers.iter().enumerate() {
            for &input in &layer.inputs {
                consumers[input].push(index);
            }
        }
        let planner = Planner {
            net,
            layers,
            shapes: &shapes,
            shapes_of_one: &shapes_of_one,
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
        Self {
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
            output_shape: inferred[layers[net.output].node.0].shape.clone(),
            shapes,
            shapes_of_one,
        }
    }
}

type Planning = (
    Vec<Option<Planned>>,
    Vec<Option<Planned>>,
    Vec<Option<(Buffer, Buffer, Vec<Gradient>)>>,
    Vec<bool>,
    Layout,
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
        // Values are aligned to cache lines of 16 f32.
        let layout = place(&self.buffers, 16);
        (self.raw, self.output, backward, summed, layout)
    }

    /// Returns for each layer whether its output depends on a parameter that is trained.
    fn trained(&self) -> Vec<bool> {
        let mut trained = Vec::with_capacity(self.layers.len());
        for layer in self.layers {
            let own = self.net.trains(layer);
            trained.push(own || layer.inputs.iter().any(|&input| trained[input]));
        }
        trained
    }

    /// Returns for each layer whether the network's output depends on it.
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

    /// Returns the time at which a layer's backward pass runs.
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

    /// Extends the lifetimes of the values that a layer reads.
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

    /// Returns whether only one product reads a layer's output, and so computes all of its gradient.
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
            // Products compute the gradient of their epilogue block by block.
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

    /// Returns whether the gradient of `input` can share the memory of that of the core's output of
    /// layer `index`.
    fn may_share(
        &self,
        index: usize,
        input: usize,
        core: Buffer,
        gradients: &[Option<Buffer>],
    ) -> bool {
        let layer = &self.layers[index];
        let shares = match &layer.core {
            Core::Identity => true,
            Core::Function(function) => {
                let once = layer.inputs.iter().filter(|&&other| other == input).count() == 1;
                once && function.gradient.passes(&self.shapes_of_one[index])
            }
            Core::Input | Core::Product(_) | Core::Dropout(_) => false,
        };
        if !shares {
            return false;
        }
        // Of two values that share a gradient, none may be added to before the other was read.
        let adds_late = |added: usize, other: usize| {
            self.consumers[added].iter().all(|&consumer| consumer >= index || consumer < other)
        };
        (0..index)
            .filter(|&other| other != input && gradients[other] == Some(core))
            .all(|other| adds_late(input, other) && adds_late(other, input))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_axis_in_memory_is_the_channel_axis() {
        for (shape, size, channels, pixels) in [
            (&[2, 3, 5, 7][..], [5, 7], 3, 70),
            (&[2, 3], [1, 1], 3, 2),
            (&[2, 3, 5], [1, 1], 5, 6),
            (&[2, 3, 5, 7, 11], [1, 1], 11, 210),
            (&[2], [1, 1], 1, 2),
        ] {
            assert_eq!(Shape::of(shape), Shape { batch: 2, size, channels, pixels });
        }
    }
}
