//! The values of a network whose channels can only be scaled together.
//!
//! If channel `c` of a layer's output is divided by `s[c]`, and all weights that read the channel are
//! multiplied by `s[c]`, the network computes the same, as long as everything between them is positively
//! homogeneous. An addition needs the same factors for both of its inputs, so all values along the residual
//! connections of a stage have the same ones.

use crate::graph::{Graph, LayerShape, NodeId};
use crate::ops::{Activation, Op};

/// Values with common factors, the layers that compute them and those that read them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ChannelGroup {
    /// The number of channels.
    pub(super) channels: usize,
    /// All nodes whose outputs they are.
    pub(super) values: Vec<NodeId>,
    /// The convolutions and linear layers among them.
    pub(super) producers: Vec<NodeId>,
    /// The convolutions and linear layers that read one of them.
    pub(super) consumers: Vec<NodeId>,
}

/// Returns the groups of a fused network whose channels can be scaled; `shapes` are those of its nodes.
pub(super) fn channel_groups(graph: &Graph, shapes: &[LayerShape]) -> Vec<ChannelGroup> {
    let mut sets = Sets { parent: (0..shapes.len()).collect(), fixed: vec![false; shapes.len()] };
    let channels = |id: NodeId| shapes[id.0].shape.get(1).copied();
    for (id, node) in graph.iter() {
        let known =
            matches!(node.op.activation(), None | Some(Activation::ReLU | Activation::ReLU6));
        let input = node.inputs.first().copied();
        let same_channels = input.is_some_and(|input| channels(input) == channels(id));
        let shape = |id: NodeId| shapes[id.0].shape.as_slice();
        let passes = match (&node.op, input) {
            (Op::Conv2d(_), Some(_)) => known,
            (Op::Linear(_), Some(input)) => known && shape(input).len() == 2,
            (Op::Add(_) | Op::Sub(_), Some(first)) => {
                known && node.inputs.iter().all(|&input| shape(input) == shape(first))
            }
            (Op::Flatten(_), Some(input)) => {
                same_channels && shape(input)[2..].iter().all(|&size| size == 1)
            }
            (Op::Mean(_), Some(input)) => {
                same_channels
                    && shape(input).len() == 4
                    && shape(id)[2..].iter().all(|&size| size == 1)
            }
            (
                Op::Activation(_) | Op::AdaptiveAvgPool2d(_) | Op::MaxPool2d(_) | Op::Dropout(_),
                Some(_),
            ) => known && same_channels,
            _ => false,
        };
        let is_layer = matches!(node.op, Op::Conv2d(_) | Op::Linear(_));
        if !passes {
            sets.fix(id);
            node.inputs.iter().for_each(|&input| sets.fix(input));
        } else if !is_layer {
            node.inputs.iter().for_each(|&input| sets.union(id, input));
        }
    }
    graph.outputs().iter().for_each(|output| sets.fix(output.node));
    let mut groups: Vec<Option<ChannelGroup>> = vec![None; shapes.len()];
    for (id, node) in graph.iter() {
        let root = sets.root(id);
        if let (false, Some(channels)) = (sets.fixed[root], channels(id)) {
            let group = groups[root].get_or_insert_with(|| ChannelGroup {
                channels,
                values: Vec::new(),
                producers: Vec::new(),
                consumers: Vec::new(),
            });
            group.values.push(id);
            if matches!(node.op, Op::Conv2d(_) | Op::Linear(_)) {
                group.producers.push(id);
            }
        }
    }
    for (id, node) in graph.iter() {
        if !matches!(node.op, Op::Conv2d(_) | Op::Linear(_)) {
            continue;
        }
        if let Some(group) = &mut groups[sets.root(node.inputs[0])] {
            group.consumers.push(id);
        }
    }
    groups.into_iter().flatten().filter(|group| !group.consumers.is_empty()).collect()
}

/// Disjoint sets of nodes.
struct Sets {
    parent: Vec<usize>,
    /// Whether the channels of a set, given by its root, cannot be scaled.
    fixed: Vec<bool>,
}

impl Sets {
    fn root(&self, id: NodeId) -> usize {
        let mut at = id.0;
        while self.parent[at] != at {
            at = self.parent[at];
        }
        at
    }

    fn union(&mut self, a: NodeId, b: NodeId) {
        let (a, b) = (self.root(a), self.root(b));
        self.fixed[a] |= self.fixed[b];
        self.parent[b] = a;
    }

    fn fix(&mut self, id: NodeId) {
        let root = self.root(id);
        self.fixed[root] = true;
    }
}
