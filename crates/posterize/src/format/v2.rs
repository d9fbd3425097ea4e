//! Writing and reading the JSON of a graph in format versions 2 and 3.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::error::{Error, Result};
use crate::graph::{Graph, ModuleEntry, Node, NodeId, Output};
use crate::ops::Op;
use crate::quantization::QParams;

/// A graph with the scale and zero point of every node whose output is int8.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SavedGraph<'a> {
    nodes: Vec<SavedNode<'a>>,
    outputs: Cow<'a, [Output]>,
    modules: Cow<'a, [ModuleEntry]>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedNode<'a> {
    name: Cow<'a, str>,
    /// The operator's tag.
    op: Cow<'a, str>,
    /// The version of the operator's attributes.
    version: u32,
    attributes: Box<RawValue>,
    inputs: Cow<'a, [NodeId]>,
    is_module: bool,
    /// The quantization of the node's output; `null` if it is float.
    quantization: Option<Quantization<'a>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Quantization<'a> {
    scale: f32,
    zero_point: i32,
    /// The type of the quantized values: [`DTYPE`].
    dtype: Cow<'a, str>,
}

/// The type of quantized values.
const DTYPE: &str = "u8";

impl<'a> SavedGraph<'a> {
    /// Creates the JSON's value for a graph. `qparams` returns the scale and zero point of a node's
    /// output, or `None` if it is float.
    ///
    /// # Errors
    /// Returns an error if an operator's attributes cannot be written as JSON.
    pub(super) fn new(
        graph: &'a Graph,
        qparams: &dyn Fn(NodeId) -> Option<QParams>,
    ) -> Result<Self> {
        let nodes = graph
            .iter()
            .map(|(id, node)| {
                let attributes = node.op.attributes().map_err(|error| {
                    Error::layer(&node.name, format!("cannot write its attributes: {error}"))
                })?;
                Ok(SavedNode {
                    name: Cow::Borrowed(&node.name),
                    op: Cow::Borrowed(node.op.tag()),
                    version: node.op.version(),
                    attributes,
                    inputs: Cow::Borrowed(&node.inputs),
                    is_module: node.is_module,
                    quantization: qparams(id).map(|qparams| Quantization {
                        scale: qparams.scale,
                        zero_point: qparams.zero_point,
                        dtype: Cow::Borrowed(DTYPE),
                    }),
                })
            })
            .collect::<Result<_>>()?;
        let outputs = Cow::Borrowed(graph.outputs());
        Ok(Self { nodes, outputs, modules: Cow::Borrowed(graph.modules()) })
    }

    /// Returns the graph, and the scale and zero point of every node whose output is int8.
    ///
    /// # Errors
    /// Returns a message if an operator or a type is not known, if an operator's attributes are not
    /// valid, or if the nodes are not a valid graph.
    pub(super) fn into_graph(self) -> Result<(Graph, Vec<Option<QParams>>), String> {
        let mut nodes = Vec::with_capacity(self.nodes.len());
        let mut qparams = Vec::with_capacity(self.nodes.len());
        for node in self.nodes {
            let in_node = |problem: String| format!("{}: {problem}", node.name);
            let op = Op::from_saved(&node.op, node.version, &node.attributes).map_err(in_node)?;
            qparams.push(node.quantization.map(Quantization::check).transpose().map_err(in_node)?);
            nodes.push(Node {
                name: node.name.into_owned(),
                op,
                inputs: node.inputs.into_owned(),
                is_module: node.is_module,
            });
        }
        let graph = Graph::new(nodes, self.outputs.into_owned(), self.modules.into_owned());
        Ok((graph.map_err(|error| error.to_string())?, qparams))
    }
}

impl Quantization<'_> {
    fn check(self) -> Result<QParams, String> {
        if self.dtype != DTYPE {
            return Err(format!(
                "its values are of type {:?}, and this posterize reads {DTYPE:?}; use a newer \
                 posterize",
                self.dtype
            ));
        }
        Ok(QParams { scale: self.scale, zero_point: self.zero_point })
    }
}
