//! Graphs: a network's operators in execution order.
//!
//! A [`Graph`] is recorded by tracing a [`Module`](crate::nn::Module), or built node by node with a
//! [`Builder`]. Passes turn a graph into another graph; the runtime executes it. A graph has no
//! weights: those are stored by node and role ([`ParameterKey`]). Names are for printing and for
//! state dicts.

mod builder;
mod infer;
mod module_glob;
mod node;
mod rewriter;
mod tree;

pub use builder::Builder;
pub use infer::LayerShape;
pub use module_glob::ModuleGlob;
pub(crate) use module_glob::enclosing;
pub use node::{ModuleEntry, Node, NodeId, Output};
pub use rewriter::Rewriter;
pub use tree::{ModuleTree, float_leaf};

use std::collections::HashSet;

use crate::error::{Error, Result};
use crate::ops::{Op, Parameter, Role};

/// The key of a parameter or buffer: its node and its role there.
///
/// ```
/// use posterize::graph::ParameterKey;
/// use posterize::nn::{Sequential, trace};
/// use posterize::ops::{Linear, Role};
///
/// let graph = trace(&Sequential::new().then(Linear::new(4, 2)))?;
/// let key: ParameterKey = (graph.find("0").unwrap(), Role::Weight);
/// assert_eq!(graph.parameter_name(key), "0.weight");
/// # Ok::<(), posterize::Error>(())
/// ```
pub type ParameterKey = (NodeId, Role);

/// A parameter or buffer of a graph, with its name in a state dict.
///
/// ```
/// use posterize::nn::{Sequential, trace};
/// use posterize::ops::Conv2d;
///
/// let graph = trace(&Sequential::new().then(Conv2d::new(3, 8, 5)))?;
/// let found = &graph.parameters()[0];
/// assert_eq!(found.name, "0.weight");
/// assert_eq!(found.parameter.shape, [8, 3, 5, 5]);
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct NamedParameter {
    /// Its node, and its role there.
    pub key: ParameterKey,
    /// Its name in a state dict: `features.0.0.weight`.
    pub name: String,
    /// Its shape and its initialization.
    pub parameter: Parameter,
}

/// A network's nodes in execution order; the inputs come first.
///
/// ```
/// use posterize::graph::Builder;
/// use posterize::ops::{Activation, Conv2d};
///
/// let mut builder = Builder::new("Net");
/// let x = builder.input("input");
/// let y = builder.add("conv", Conv2d::new(3, 8, 3), &[x]);
/// let y = builder.add("relu", Activation::ReLU, &[y]);
/// builder.output("output", y);
/// let graph = builder.build()?;
///
/// assert_eq!(graph.kind(), "Net");
/// assert_eq!(graph.node(graph.output()).name, "relu");
/// assert_eq!(graph.infer(&[1, 3, 32, 32])?[1].shape, [1, 8, 30, 30]);
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Graph {
    nodes: Vec<Node>,
    outputs: Vec<Output>,
    modules: Vec<ModuleEntry>,
}

/// The largest number of nodes, modules or outputs; the time of some passes grows with the square.
const MAX_NODES: usize = 1 << 14;

/// Checks that a name has no control characters and a bounded length.
fn check_name(name: &str) -> Result<()> {
    const MAX_BYTES: usize = 256;
    if name.len() > MAX_BYTES {
        let start: String = name.chars().take(20).filter(|c| !c.is_control()).collect();
        let length = name.len();
        return Err(Error::layer(
            format!("{start}…"),
            format!("the name has {length} bytes; expected at most {MAX_BYTES}"),
        ));
    }
    if name.chars().any(char::is_control) {
        return Err(Error::layer(
            format!("{name:?}"),
            "the name has control characters; remove them",
        ));
    }
    Ok(())
}

impl Graph {
    /// Creates a graph from its parts.
    ///
    /// # Errors
    /// Returns an error if the nodes are not in execution order, if a name is used twice, if an
    /// operator has the wrong number of inputs, if a hyper-parameter is out of range, if there is
    /// no input or output, or if an output is not a node.
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
                    "found {nodes} nodes, {modules} modules and {outputs} outputs; expected at \
                     most {MAX_NODES} of each"
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
                return Err(Error::layer(&node.name, "two nodes have this name; rename one"));
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
        node.op.check_arity(node.inputs.len())?;
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
                return Err(Error::layer(name, "two outputs have this name; rename one"));
            }
            if node.0 >= self.nodes.len() {
                return Err(Error::layer(
                    "graph",
                    format!(
                        "its output `{name}` is node {}, but there are {} nodes",
                        node.0,
                        self.nodes.len()
                    ),
                ));
            }
        }
        Ok(())
    }

    /// Returns the nodes in execution order.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Returns the nodes with their ids, in execution order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (NodeId, &Node)> {
        self.nodes.iter().enumerate().map(|(index, node)| (NodeId(index), node))
    }

    /// Returns the node with that id.
    ///
    /// # Panics
    /// Panics if there is no such node, because the id is from another graph.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0]
    }

    /// Returns the id of the node with that name.
    pub fn find(&self, name: &str) -> Option<NodeId> {
        self.nodes.iter().position(|node| node.name == name).map(NodeId)
    }

    /// Returns the nodes that are the network's inputs. A node's name is the name of the input.
    pub fn inputs(&self) -> impl Iterator<Item = (NodeId, &Node)> {
        self.iter().take_while(|(_, node)| matches!(node.op, Op::Input(_)))
    }

    /// Returns the network's outputs.
    pub fn outputs(&self) -> &[Output] {
        &self.outputs
    }

    /// Returns the node of the first output. Most networks have only one.
    pub fn output(&self) -> NodeId {
        self.outputs[0].node
    }

    /// Returns whether a node's value is an output of the network.
    pub fn is_output(&self, id: NodeId) -> bool {
        self.outputs.iter().any(|output| output.node == id)
    }

    /// Returns the modules in the order of their first calls; the root comes first.
    pub fn modules(&self) -> &[ModuleEntry] {
        &self.modules
    }

    /// Returns the class name of the network: `MobileNetV2`.
    pub fn kind(&self) -> &str {
        self.modules.first().map_or("Graph", |root| &root.kind)
    }

    /// Returns for every node the nodes that have its output as an input.
    pub fn consumers(&self) -> Vec<Vec<NodeId>> {
        let mut consumers = vec![Vec::new(); self.nodes.len()];
        for (id, node) in self.iter() {
            for input in &node.inputs {
                consumers[input.0].push(id);
            }
        }
        consumers
    }

    /// Returns all parameters and buffers in PyTorch's order.
    ///
    /// Those of modules come first, in the order of the modules, then those of nodes that belong to
    /// no module.
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

    /// Returns the parameters and buffers of a node, in PyTorch's order.
    pub fn parameters_of(&self, id: NodeId) -> impl Iterator<Item = NamedParameter> + use<> {
        let node = &self.nodes[id.0];
        let name = node.name.clone();
        node.op.parameters().into_iter().map(move |parameter| NamedParameter {
            key: (id, parameter.role),
            name: format!("{name}.{}", parameter.role),
            parameter,
        })
    }

    /// Returns the name of a parameter in a state dict: `features.0.0.weight`.
    ///
    /// # Panics
    /// Panics if there is no such node, because the key is from another graph.
    pub fn parameter_name(&self, (id, role): ParameterKey) -> String {
        format!("{}.{role}", self.node(id).name)
    }
}
