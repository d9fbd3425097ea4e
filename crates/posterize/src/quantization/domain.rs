//! The choice of the nodes that are computed in int8.

use super::qconfig::QConfig;
use crate::graph::{Graph, NodeId};
use crate::ops::{Int8Rule, Op};

/// Whether a node is computed in float or int8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Domain {
    /// The node is computed in float.
    Float,
    /// The node is a linear layer with an int8 weight whose input is quantized when it runs. Its input and
    /// output are float.
    Dynamic,
    /// The node is computed in int8, and its output has the scale of this node's observer: its own,
    /// or for pooling and other operators that keep the scale of their input, that of an earlier node.
    Int8(NodeId),
}

/// Returns for each node whether it may be quantized: all, or if the graph has stubs those between a
/// `QuantStub` and a `DeQuantStub`.
pub(super) fn quantized_region(graph: &Graph) -> Vec<bool> {
    let stubs =
        graph.nodes().iter().any(|node| matches!(node.op, Op::QuantStub(_) | Op::DeQuantStub(_)));
    let mut region = vec![!stubs; graph.nodes().len()];
    if stubs {
        for (id, node) in graph.iter() {
            region[id.0] = match node.op {
                Op::QuantStub(_) => true,
                Op::DeQuantStub(_) => false,
                _ => node.inputs.iter().any(|input| region[input.0]),
            };
        }
    }
    region
}

/// Chooses for each node of a fused graph whether it is computed in float or int8. With `float_outputs`,
/// linear layers that only the outputs of the graph are made from are quantized dynamically.
pub(super) fn choose_domains(
    graph: &Graph,
    qconfigs: &[Option<QConfig>],
    float_outputs: bool,
) -> Vec<Domain> {
    let region = quantized_region(graph);
    let consumers = graph.consumers();
    let is_output = |id: NodeId| graph.is_output(id) && consumers[id.0].is_empty();
    let mut domains: Vec<Domain> = Vec::with_capacity(graph.nodes().len());
    for (id, node) in graph.iter() {
        let wanted = region[id.0] && qconfigs[id.0].is_some();
        if wanted && float_outputs && matches!(node.op, Op::Linear(_)) && is_output(id) {
            domains.push(Domain::Dynamic);
            continue;
        }
        domains.push(match node.op.int8_rule() {
            Int8Rule::OwnScale | Int8Rule::FixedScale { .. } if wanted => Domain::Int8(id),
            Int8Rule::InputScale { .. } if wanted => domains[node.inputs[0].0],
            Int8Rule::OwnScale
            | Int8Rule::FixedScale { .. }
            | Int8Rule::InputScale { .. }
            | Int8Rule::Float { .. } => Domain::Float,
        });
    }
    domains
}
