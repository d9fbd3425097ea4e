//! Nodes of a graph.

use serde::{Deserialize, Serialize};

use crate::ops::Op;

/// A node's place in [`Graph::nodes`](super::Graph::nodes).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeId(pub usize);

/// One operator call.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// The dotted path of the module that makes the call (`features.0.0`), or for a function call
    /// inside a module's `forward` the module's path and the function's name (`features.3.add`).
    /// Unique in its graph. It is what people see, and the name of parameters in a state dict.
    pub name: String,
    /// What is computed.
    pub op: Op,
    /// The nodes whose outputs it takes, all before it.
    pub inputs: Vec<NodeId>,
    /// Whether a module of that path makes the call, so that it shows in the module tree.
    pub is_module: bool,
}

/// A module in the tree: a container or a layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModuleEntry {
    /// The dotted path; empty for the root.
    pub path: String,
    /// The class name: `InvertedResidual`.
    pub kind: String,
}

/// A value that a network returns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Output {
    /// Its name: `output`, or what the network's author calls it.
    pub name: String,
    /// The node whose value it is.
    pub node: NodeId,
}

impl Output {
    /// The value of `node` under a name.
    pub fn new(name: impl Into<String>, node: NodeId) -> Self {
        Self { name: name.into(), node }
    }
}
