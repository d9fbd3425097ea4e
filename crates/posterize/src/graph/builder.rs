//! Building graphs node by node.

use super::{Graph, ModuleEntry, Node, NodeId, Output};
use crate::error::Result;
use crate::ops::{Input, Op, Slice};

/// Builds a graph node by node, without a module tree.
///
/// ```
/// use posterize::graph::Builder;
/// use posterize::ops::{Add, Conv2d, Padding};
///
/// let mut builder = Builder::new("Residual");
/// let x = builder.input("picture");
/// let y = builder.add("conv", Conv2d::new(3, 3, 3).padding(Padding::all(1)), &[x]);
/// let sum = builder.add("sum", Add::new(), &[x, y]);
/// builder.output("features", y);
/// builder.output("result", sum);
/// let graph = builder.build()?;
/// assert_eq!(graph.outputs().len(), 2);
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Builder {
    nodes: Vec<Node>,
    outputs: Vec<Output>,
    modules: Vec<ModuleEntry>,
}

impl Builder {
    /// Creates an empty graph of a network with the class name `kind`.
    pub fn new(kind: impl Into<String>) -> Self {
        let root = ModuleEntry { path: String::new(), kind: kind.into() };
        Self { nodes: Vec::new(), outputs: Vec::new(), modules: vec![root] }
    }

    /// Adds an input. Inputs come before all other nodes.
    pub fn input(&mut self, name: impl Into<String>) -> NodeId {
        self.push(Node {
            name: name.into(),
            op: Input.into(),
            inputs: Vec::new(),
            is_module: false,
        })
    }

    /// Adds a call of an operator and returns its node.
    ///
    /// The name must be unique in the graph. The parts of a dotted name are modules in the printed
    /// tree.
    pub fn add(&mut self, name: impl Into<String>, op: impl Into<Op>, inputs: &[NodeId]) -> NodeId {
        let inputs = inputs.to_vec();
        self.push(Node { name: name.into(), op: op.into(), inputs, is_module: true })
    }

    /// Splits a value into parts of these sizes along an axis, each a [`Slice`] that is called
    /// `{name}.0`, `{name}.1` and so on; `torch.split(x, sizes, dim)`.
    ///
    /// ```
    /// use posterize::graph::Builder;
    ///
    /// let mut builder = Builder::new("Halves");
    /// let x = builder.input("x");
    /// let parts = builder.split("half", x, &[2, 4], 1);
    /// builder.output("first", parts[0]);
    /// builder.output("second", parts[1]);
    /// let layers = builder.build()?.infer(&[1, 6, 8, 8])?;
    /// assert_eq!(layers[2].shape, [1, 4, 8, 8]);
    /// # Ok::<(), posterize::Error>(())
    /// ```
    pub fn split(&mut self, name: &str, x: NodeId, sizes: &[usize], dim: usize) -> Vec<NodeId> {
        let parts = Slice::parts(sizes, dim).enumerate();
        parts.map(|(index, part)| self.add(format!("{name}.{index}"), part, &[x])).collect()
    }

    /// Adds an output of the network: the value of `node`, under a name.
    pub fn output(&mut self, name: impl Into<String>, node: NodeId) {
        self.outputs.push(Output::new(name, node));
    }

    /// Returns the graph.
    ///
    /// # Errors
    /// Returns the same errors as [`Graph::new`].
    pub fn build(self) -> Result<Graph> {
        Graph::new(self.nodes, self.outputs, self.modules)
    }

    fn push(&mut self, node: Node) -> NodeId {
        self.nodes.push(node);
        NodeId(self.nodes.len() - 1)
    }
}
