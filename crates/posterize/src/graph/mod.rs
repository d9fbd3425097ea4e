//! The graph that everything works on: operators in execution order.
//!
//! A [`Graph`] is recorded by tracing a [`Module`](crate::nn::Module), or built node by node with a
//! [`Builder`]. Passes turn a graph into another graph; executors run it. It holds no weights: those
//! belong to a node and a role in it ([`ParameterKey`]). Names are for people and for state dicts.

mod builder;
mod infer;
mod node;
mod rewriter;
mod tree;

pub use builder::Builder;
pub use infer::LayerShape;
pub use node::{ModuleEntry, Node, NodeId, Output};
pub use rewriter::Rewriter;
pub use tree::{ModuleTree, float_leaf};

use std::collections::HashSet;

use crate::error::{Error, Result};
use crate::ops::{Op, Parameter, Role};

/// Which parameter of which node.
pub type ParameterKey = (NodeId, Role);

/// A parameter or buffer of a graph.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct NamedParameter {
    /// The node that it belongs to, and its role there.
    pub key: ParameterKey,
    /// Its name in a state dict: `features.0.0.weight`.
    pub name: String,
    /// Its shape and how a new network fills it.
    pub parameter: Parameter,
}

/// Operators in execution order; the inputs come first.
#[derive(Clone, Debug, PartialEq)]
pub struct Graph {
    nodes: Vec<Node>,
    outputs: Vec<Output>,
    modules: Vec<ModuleEntry>,
}

/// The largest number of nodes or modules; some passes take time that grows with the square.
const MAX_NODES: usize = 1 << 14;

/// Checks that a name can be printed, and split at its dots in bounded time.
fn check_name(name: &str) -> Result<()> {
    const MAX_BYTES: usize = 256;
    if name.len() > MAX_BYTES {
        let start: String = name.chars().take(20).filter(|c| !c.is_control()).collect();
        let length = name.len();
        return Err(Error::layer(
            format!("{start}…"),
            format!("a name of {length} bytes; at most {MAX_BYTES} are allowed"),
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
    /// inputs, a hyper-parameter is out of range, or an output is no node. A file may hold anything.
    pub fn new(nodes: Vec<Node>, outputs: Vec<Output>, modules: Vec<ModuleEntry>) -> Result<Self> {
        let graph = Self { nodes, outputs, modules };
        graph.validate()?;
        Ok(graph)
    }

    fn validate(&self) -> Result<()> {
        let sizes = [self.nodes.len(), self.modules.len(), self.outputs.len()];
        if sizes.iter().any(|&size| size > MAX_NODES) {
            let [nodes, modules, outputs] = sizes;
            return Err(Error::layer(
                "graph",
                format!(
                    "{nodes} nodes, {modules} modules and {outputs} outputs are more than the limit \
                     of {MAX_NODES}"
                ),
            ));
        }
        for module in &self.modules {
            check_name(&module.path)?;
            check_name(&module.kind)?;
        }
        let mut names = HashSet::new();
        for (index, node) in self.nodes.iter().enumerate() {
            check_name(&node.name)?;
            if !names.insert(node.name.as_str()) {
                return Err(Error::layer(&node.name, "two nodes have this name"));
            }
            self.validate_node(index, node)
                .map_err(|problem| Error::layer(node.name.clone(), problem))?;
        }
        if self.inputs().next().is_none() {
            return Err(Error::layer("graph", "it has no input"));
        }
        self.validate_outputs()
    }

    fn validate_node(&self, index: usize, node: &Node) -> Result<(), String> {
        let after_others = index > 0 && !matches!(self.nodes[index - 1].op, Op::Input(_));
        if matches!(node.op, Op::Input(_)) && after_others {
            return Err("inputs must come before all other nodes".into());
        }
        if let Some(input) = node.inputs.iter().find(|input| input.0 >= index) {
            return Err(format!("node {index} takes node {}, which is not before it", input.0));
        }
        let (arity, found) = (node.op.arity(), node.inputs.len());
        if !arity.contains(&found) {
            let min = arity.start();
            return Err(format!("{} takes {min} inputs, found {found}", node.op.kind()));
        }
        node.op.validate()
    }

    fn validate_outputs(&self) -> Result<()> {
        let mut names = HashSet::new();
        if self.outputs.is_empty() {
            return Err(Error::layer("graph", "it has no output"));
        }
        for Output { name, node } in &self.outputs {
            check_name(name)?;
            if !names.insert(name.as_str()) {
                return Err(Error::layer(name, "two outputs have this name"));
            }
            if node.0 >= self.nodes.len() {
                return Err(Error::layer("graph", format!("its output {} is no node", node.0)));
            }
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

    /// The inputs, each a node whose name is the input's.
    pub fn inputs(&self) -> impl Iterator<Item = (NodeId, &Node)> {
        self.iter().take_while(|(_, node)| matches!(node.op, Op::Input(_)))
    }

    /// The values that the network returns.
    pub fn outputs(&self) -> &[Output] {
        &self.outputs
    }

    /// The node whose value the network returns first; of most networks, the only one.
    pub fn output(&self) -> NodeId {
        self.outputs[0].node
    }

    /// Whether the network returns the value of a node.
    pub fn is_output(&self, id: NodeId) -> bool {
        self.outputs.iter().any(|output| output.node == id)
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

    /// Every parameter and buffer, in PyTorch's order: that of the modules, then that of nodes which
    /// belong to no module.
    pub fn parameters(&self) -> Vec<NamedParameter> {
        let by_name: std::collections::HashMap<&str, NodeId> =
            self.iter().map(|(id, node)| (node.name.as_str(), id)).collect();
        let of_modules =
            self.modules.iter().filter_map(|module| by_name.get(module.path.as_str()).copied());
        let mut seen = HashSet::new();
        let mut all = Vec::new();
        for id in of_modules.chain(self.iter().map(|(id, _)| id)) {
            if seen.insert(id) {
                all.extend(self.parameters_of(id));
            }
        }
        all
    }

    /// The parameters and buffers of one node, in PyTorch's order.
    pub fn parameters_of(&self, id: NodeId) -> impl Iterator<Item = NamedParameter> + use<> {
        let node = &self.nodes[id.0];
        let name = node.name.clone();
        node.op.parameters().into_iter().map(move |parameter| NamedParameter {
            key: (id, parameter.role),
            name: format!("{name}.{}", parameter.role),
            parameter,
        })
    }

    /// The name of a parameter in a state dict: `features.0.0.weight`.
    ///
    /// # Panics
    /// The key is of another graph.
    pub fn parameter_name(&self, (id, role): ParameterKey) -> String {
        format!("{}.{role}", self.node(id).name)
    }
}
