//! Rewriting a graph node by node, for passes that turn a graph into another one.

use super::{Graph, Node, NodeId, Output};
use crate::error::Result;

/// Rewrites a graph node by node, keeping track of where each old node went.
///
/// This pass removes all dropout layers:
///
/// ```
/// use posterize::graph::Rewriter;
/// use posterize::nn::{Sequential, trace};
/// use posterize::ops::{Dropout, Linear, Op};
///
/// let graph = trace(&Sequential::new().then(Dropout::new(0.2)).then(Linear::new(4, 2)))?;
/// let mut rewriter = Rewriter::new(&graph);
/// for (id, node) in graph.iter() {
///     if let Op::Dropout(_) = node.op {
///         let input = rewriter.moved(node.inputs[0]);
///         rewriter.replace(id, input);
///     } else {
///         rewriter.keep(id, node);
///     }
/// }
/// let graph = rewriter.finish(&graph)?;
/// let names: Vec<&str> = graph.nodes().iter().map(|node| node.name.as_str()).collect();
/// assert_eq!(names, ["input", "1"]);
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Debug)]
pub struct Rewriter {
    nodes: Vec<Node>,
    moved: Vec<Option<NodeId>>,
}

impl Rewriter {
    /// Creates a rewriter of `graph`, with no nodes in the new graph.
    pub fn new(graph: &Graph) -> Self {
        Self { nodes: Vec::new(), moved: vec![None; graph.nodes().len()] }
    }

    /// Adds a node to the new graph. Its inputs are ids of the new graph.
    pub fn push(&mut self, node: Node) -> NodeId {
        self.nodes.push(node);
        NodeId(self.nodes.len() - 1)
    }

    /// Replaces node `old` of the old graph with node `new` of the new graph wherever it is an
    /// input.
    pub fn replace(&mut self, old: NodeId, new: NodeId) {
        self.moved[old.0] = Some(new);
    }

    /// Returns the node of the new graph that replaces a node of the old graph.
    ///
    /// # Panics
    /// Panics if no node replaces it yet.
    pub fn moved(&self, old: NodeId) -> NodeId {
        self.moved[old.0].expect("passes visit nodes in execution order")
    }

    /// Copies a node to the new graph.
    pub fn keep(&mut self, old: NodeId, node: &Node) -> NodeId {
        let inputs = node.inputs.iter().map(|&input| self.moved(input)).collect();
        let new = self.push(Node { inputs, ..node.clone() });
        self.replace(old, new);
        new
    }

    /// Returns the new graph, with the outputs of the old one.
    ///
    /// Modules that have no node any more are left out.
    ///
    /// # Errors
    /// Returns the same errors as [`Graph::new`].
    pub fn finish(self, old: &Graph) -> Result<Graph> {
        let outputs = old
            .outputs()
            .iter()
            .map(|Output { name, node }| Output::new(name.clone(), self.moved(*node)))
            .collect();
        let has_node = |path: &str| {
            self.nodes.iter().any(|node| {
                node.name == path
                    || path.is_empty()
                    || node.name.strip_prefix(path).is_some_and(|rest| rest.starts_with('.'))
            })
        };
        let modules = old.modules().iter().filter(|module| has_node(&module.path)).cloned();
        let modules = modules.collect();
        Graph::new(self.nodes, outputs, modules)
    }
}
