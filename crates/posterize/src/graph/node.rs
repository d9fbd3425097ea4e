//! Nodes of a graph.

use serde::{Deserialize, Serialize};

use crate::ops::Op;

/// The index of a node in [`Graph::nodes`](super::Graph::nodes).
///
/// ```
/// use posterize::graph::NodeId;
/// use posterize::nn::{Sequential, trace};
/// use posterize::ops::Linear;
///
/// let graph = trace(&Sequential::new().then(Linear::new(4, 2)))?;
/// assert_eq!(graph.find("0"), Some(NodeId(1)));
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeId(pub usize);

/// A call of an operator in a graph.
///
/// ```
/// use posterize::graph::NodeId;
/// use posterize::nn::{Sequential, trace};
/// use posterize::ops::Linear;
///
/// let graph = trace(&Sequential::new().then(Linear::new(4, 2)))?;
/// let node = graph.node(graph.output());
/// assert_eq!((node.name.as_str(), node.op.kind().as_str()), ("0", "Linear"));
/// assert_eq!(node.inputs, [NodeId(0)]);
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// The dotted path of the layer (`features.0.0`), or for a function call in a module's
    /// `forward` the module's path and the function's name (`features.3.add`). It is unique in the
    /// graph and is the prefix of the names of the node's parameters in a state dict.
    pub name: String,
    /// The operator.
    pub op: Op,
    /// The nodes whose outputs are its inputs. All come before it.
    pub inputs: Vec<NodeId>,
    /// Whether it is a layer, which the module tree shows, and not a function call.
    pub is_module: bool,
}

/// A module of the module tree: a container or a layer.
///
/// ```
/// use posterize::nn::{Sequential, trace};
/// use posterize::ops::Linear;
///
/// let block = Sequential::of_kind("Block").then(Linear::new(4, 2));
/// let graph = trace(&Sequential::new().then(block))?;
/// let module = &graph.modules()[1];
/// assert_eq!((module.path.as_str(), module.kind.as_str()), ("0", "Block"));
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModuleEntry {
    /// The dotted path; empty for the root.
    pub path: String,
    /// The class name: `InvertedResidual`.
    pub kind: String,
}

/// An output of a network: a node's value with a name.
///
/// ```
/// use posterize::nn::{Sequential, trace};
/// use posterize::ops::Linear;
///
/// let graph = trace(&Sequential::new().then(Linear::new(4, 2)))?;
/// let output = &graph.outputs()[0];
/// assert_eq!(output.name, "output");
/// assert_eq!(graph.node(output.node).name, "0");
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Output {
    /// Its name; `output` for the only output of a traced module.
    pub name: String,
    /// The node whose value it is.
    pub node: NodeId,
}

impl Output {
    /// Creates an output: the value of `node`, under a name.
    pub fn new(name: impl Into<String>, node: NodeId) -> Self {
        Self { name: name.into(), node }
    }
}
