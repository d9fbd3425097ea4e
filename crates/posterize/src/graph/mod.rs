//! The graph that everything works on: operators in execution order, under PyTorch's dotted names.
//!
//! A [`Graph`] is recorded once by tracing a [`Module`](crate::nn::Module). Passes turn a graph into
//! another graph; executors run it. It holds no weights: those are found by name
//! (`features.0.0.weight`) beside it.

mod op;
mod shape;
mod tree;

pub use op::{
    Activation, AdaptiveAvgPool2d, BatchNorm, Conv2d, Dropout, Linear, MaxPool2d, Op, Padding,
    Parameter, ZeroPad2d,
};
pub use shape::LayerShape;
pub use tree::{Leaf, ModuleTree, float_leaf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// A node's place in [`Graph::nodes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeId(pub usize);

/// One operator call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// The dotted path of the module that makes the call (`features.0.0`), or for a function call
    /// inside a module's `forward` the module's path and the function's name (`features.3.add`).
    /// Unique in its graph.
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
pub struct ModuleEntry {
    /// The dotted path; empty for the root.
    pub path: String,
    /// The class name: `InvertedResidual`.
    pub kind: String,
}

/// Operators in execution order; the first node is the input. Read with serde, it is validated as
/// by [`Graph::new`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Parts")]
pub struct Graph {
    nodes: Vec<Node>,
    output: NodeId,
    modules: Vec<ModuleEntry>,
}

/// A graph that may hold anything.
#[derive(Deserialize)]
struct Parts {
    nodes: Vec<Node>,
    output: NodeId,
    modules: Vec<ModuleEntry>,
}

impl TryFrom<Parts> for Graph {
    type Error = Error;

    fn try_from(Parts { nodes, output, modules }: Parts) -> Result<Self> {
        Self::new(nodes, output, modules)
    }
}

/// More nodes or modules than any classifier has; some passes take time that grows with the square.
const MOST_NODES: usize = 1 << 14;

/// A name that can be printed, and split at its dots without end.
fn check_name(name: &str) -> Result<()> {
    const LONGEST: usize = 256;
    if name.len() > LONGEST {
        let start: String = name.chars().take(20).filter(|c| !c.is_control()).collect();
        let length = name.len();
        return Err(Error::layer(
            format!("{start}…"),
            format!("a name of {length} bytes; at most {LONGEST} are allowed"),
        ));
    }
    if name.chars().any(char::is_control) {
        return Err(Error::layer(format!("{name:?}"), "a name with control characters"));
    }
    Ok(())
}

impl Graph {
    /// A graph from its parts.
    ///
    /// # Errors
    /// The nodes are not in execution order, names repeat, an operator has the wrong number of
    /// inputs, a hyper-parameter is out of range, or the output is no node. A file may hold anything.
    pub fn new(nodes: Vec<Node>, output: NodeId, modules: Vec<ModuleEntry>) -> Result<Self> {
        let graph = Self { nodes, output, modules };
        graph.validate()?;
        Ok(graph)
    }

    fn validate(&self) -> Result<()> {
        if self.nodes.len().max(self.modules.len()) > MOST_NODES {
            return Err(Error::layer(
                "graph",
                format!(
                    "{} nodes and {} modules are more than the limit of {MOST_NODES}",
                    self.nodes.len(),
                    self.modules.len()
                ),
            ));
        }
        for module in &self.modules {
            check_name(&module.path)?;
            check_name(&module.kind)?;
        }
        let mut names = std::collections::HashSet::new();
        for (index, node) in self.nodes.iter().enumerate() {
            check_name(&node.name)?;
            let error = |problem: String| Err(Error::layer(node.name.clone(), problem));
            if !names.insert(node.name.as_str()) {
                return error("two nodes have this name".into());
            }
            if matches!(node.op, Op::Input) != (index == 0) {
                return error("the input must be the first node, and only that".into());
            }
            if let Some(input) = node.inputs.iter().find(|input| input.0 >= index) {
                return error(format!(
                    "node {index} takes node {}, which is not before it",
                    input.0
                ));
            }
            let (least, most) = node.op.arity();
            if node.inputs.len() < least || node.inputs.len() > most {
                let found = node.inputs.len();
                return error(format!("{} takes {least} inputs, found {found}", node.op.kind()));
            }
            node.op.validate().map_err(|problem| Error::layer(node.name.clone(), problem))?;
            if !node.is_module && !node.op.parameters().is_empty() {
                return error("a layer with weights may be called only once".into());
            }
        }
        if self.output.0 >= self.nodes.len() {
            return Err(Error::layer("graph", format!("its output {} is no node", self.output.0)));
        }
        Ok(())
    }

    /// The nodes in execution order.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The nodes with their ids, in execution order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (NodeId, &Node)> {
        self.nodes.iter().enumerate().map(|(index, node)| (NodeId(index), node))
    }

    /// The node of that id.
    ///
    /// # Panics
    /// The id is of another graph.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0]
    }

    /// The node of that name.
    pub fn find(&self, name: &str) -> Option<NodeId> {
        self.nodes.iter().position(|node| node.name == name).map(NodeId)
    }

    /// The node whose value the model returns.
    pub fn output(&self) -> NodeId {
        self.output
    }

    /// The modules in the order in which they were first called; the root comes first.
    pub fn modules(&self) -> &[ModuleEntry] {
        &self.modules
    }

    /// The root's class name: `MobileNetV2`.
    pub fn kind(&self) -> &str {
        self.modules.first().map_or("Graph", |root| &root.kind)
    }

    /// For every node, the nodes that take its output.
    pub fn consumers(&self) -> Vec<Vec<NodeId>> {
        let mut consumers = vec![Vec::new(); self.nodes.len()];
        for (id, node) in self.iter() {
            for input in &node.inputs {
                consumers[input.0].push(id);
            }
        }
        consumers
    }

    /// Every parameter and buffer under its full name, in PyTorch's order.
    pub fn parameters(&self) -> Vec<(String, Parameter)> {
        let mut seen = std::collections::HashSet::new();
        let mut all = Vec::new();
        for module in &self.modules {
            let Some(id) = self.find(&module.path) else { continue };
            if seen.insert(id) {
                for parameter in self.node(id).op.parameters() {
                    all.push((format!("{}.{}", module.path, parameter.name), parameter));
                }
            }
        }
        all
    }
}

/// Rebuilds a graph node by node; the frame of every pass.
#[derive(Debug, Default)]
pub struct Rewriter {
    nodes: Vec<Node>,
    moved: Vec<Option<NodeId>>,
}

impl Rewriter {
    /// A rewriter of `graph`.
    pub fn new(graph: &Graph) -> Self {
        Self { nodes: Vec::new(), moved: vec![None; graph.nodes.len()] }
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

    /// The new graph, with the modules of the old one that still have a node (or hold one that has).
    ///
    /// # Errors
    /// As [`Graph::new`].
    pub fn finish(self, old: &Graph) -> Result<Graph> {
        let output = self.moved(old.output);
        let alive = |path: &str| {
            self.nodes.iter().any(|node| {
                node.is_module
                    && (node.name == path
                        || path.is_empty()
                        || node.name.strip_prefix(path).is_some_and(|rest| rest.starts_with('.')))
            })
        };
        let modules = old.modules.iter().filter(|module| alive(&module.path)).cloned().collect();
        Graph::new(self.nodes, output, modules)
    }
}
