//! Passes that turn a graph into another one.

use super::{Graph, Node, NodeId, Output};
use crate::error::Result;

/// Rebuilds a graph node by node; the frame of every pass.
#[derive(Debug)]
pub struct Rewriter {
    nodes: Vec<Node>,
    moved: Vec<Option<NodeId>>,
}

impl Rewriter {
    /// A rewriter of `graph`.
    pub fn new(graph: &Graph) -> Self {
        Self { nodes: Vec::new(), moved: vec![None; graph.nodes().len()] }
    }

    /// Adds a node whose inputs are ids of the *new* graph.
    pub fn push(&mut self, node: Node) -> NodeId {
        self.nodes.push(node);
        NodeId(self.nodes.len() - 1)
    }

    /// Says that `old` of the old graph is `new` of the new one.
    pub fn replace(&mut self, old: NodeId, new: NodeId) {
        self.moved[old.0] = Some(new);
    }

    /// Where a node of the old graph went.
    ///
    /// # Panics
    /// The node was not carried over yet.
    pub fn moved(&self, old: NodeId) -> NodeId {
        self.moved[old.0].expect("passes carry nodes over in execution order")
    }

    /// Carries a node over as it is.
    pub fn keep(&mut self, old: NodeId, node: &Node) -> NodeId {
        let inputs = node.inputs.iter().map(|&input| self.moved(input)).collect();
        let new = self.push(Node { inputs, ..node.clone() });
        self.replace(old, new);
        new
    }

    /// The new graph, with the outputs of the old one and those of its modules that still have a
    /// node (or hold one that has).
    ///
    /// # Errors
    /// As [`Graph::new`].
    pub fn finish(self, old: &Graph) -> Result<Graph> {
        let outputs = old
            .outputs()
            .iter()
            .map(|Output { name, node }| Output::new(name.clone(), self.moved(*node)))
            .collect();
        let alive = |path: &str| {
            self.nodes.iter().any(|node| {
                node.is_module
                    && (node.name == path
                        || path.is_empty()
                        || node.name.strip_prefix(path).is_some_and(|rest| rest.starts_with('.')))
            })
        };
        let modules = old.modules().iter().filter(|module| alive(&module.path)).cloned().collect();
        Graph::new(self.nodes, outputs, modules)
    }
}
