//! The graph that an import builds.

use std::collections::HashMap;
use std::sync::Arc;

use super::problem::Outcome;
use crate::graph::{Graph, ModuleEntry, Node, NodeId, Output};
use crate::model::FloatModel;
use crate::ops::{Input, Op, Role};
use crate::parameters::Parameters;
use crate::tensor::Tensor;

/// A node without its final name.
#[derive(Clone, Debug)]
struct DraftNode {
    /// The path that it should have.
    name: String,
    op: Op,
    inputs: Vec<NodeId>,
    /// The shape of its value for a batch of one.
    shape: Vec<usize>,
}

/// A graph under construction, with its parameters.
#[derive(Debug, Default)]
pub(super) struct Draft {
    nodes: Vec<DraftNode>,
    parameters: HashMap<(NodeId, Role), Arc<Tensor>>,
}

impl Draft {
    /// Adds an input of the network.
    pub(super) fn input(&mut self, name: &str, shape: Vec<usize>) -> NodeId {
        let name = name.to_owned();
        self.add(DraftNode { name, op: Input.into(), inputs: Vec::new(), shape })
    }

    /// Adds a call of an operator.
    ///
    /// # Errors
    /// Returns an error if the inputs do not fit the operator.
    pub(super) fn push(
        &mut self,
        name: &str,
        op: impl Into<Op>,
        inputs: &[NodeId],
    ) -> Outcome<NodeId> {
        let op = op.into();
        let shapes: Vec<&[usize]> =
            inputs.iter().map(|input| self.nodes[input.0].shape.as_slice()).collect();
        let shape = op.infer(&shapes)?;
        Ok(self.add(DraftNode { name: name.to_owned(), op, inputs: inputs.to_vec(), shape }))
    }

    /// Sets a parameter of a node.
    ///
    /// # Errors
    /// Returns an error if the operator has no such parameter, or one of another shape.
    pub(super) fn set(&mut self, node: NodeId, role: Role, tensor: Tensor) -> Outcome<()> {
        let parameters = self.nodes[node.0].op.parameters();
        let expected = parameters.iter().find(|parameter| parameter.role == role);
        let expected = expected.map(|parameter| parameter.shape.as_slice());
        if expected != Some(tensor.shape()) {
            let expected = expected.map_or("none".into(), |shape| format!("{shape:?}"));
            return Err(format!(
                "its {role} has the shape {:?}; expected {expected}",
                tensor.shape()
            )
            .into());
        }
        self.parameters.insert((node, role), Arc::new(tensor));
        Ok(())
    }

    /// Returns the shape of a node's value for a batch of one.
    pub(super) fn shape(&self, node: NodeId) -> &[usize] {
        &self.nodes[node.0].shape
    }

    /// Returns the operator of a node.
    pub(super) fn op(&self, node: NodeId) -> &Op {
        &self.nodes[node.0].op
    }

    /// Returns the inputs of a node.
    pub(super) fn inputs(&self, node: NodeId) -> &[NodeId] {
        &self.nodes[node.0].inputs
    }

    fn add(&mut self, node: DraftNode) -> NodeId {
        self.nodes.push(node);
        NodeId(self.nodes.len() - 1)
    }

    /// Returns the network with those nodes alone that the outputs depend on, and all inputs.
    ///
    /// # Errors
    /// Returns an error if the graph has more nodes than are allowed.
    pub(super) fn finish(
        self,
        kind: &str,
        outputs: Vec<(String, NodeId)>,
    ) -> crate::error::Result<FloatModel> {
        let mut needed = vec![false; self.nodes.len()];
        for (_, node) in &outputs {
            needed[node.0] = true;
        }
        for index in (0..self.nodes.len()).rev() {
            needed[index] |= matches!(self.nodes[index].op, Op::Input(_));
            if needed[index] {
                for input in &self.nodes[index].inputs {
                    needed[input.0] = true;
                }
            }
        }
        let mut names = Names::default();
        let mut ids = vec![NodeId(0); self.nodes.len()];
        let mut nodes = Vec::new();
        for (index, node) in self.nodes.into_iter().enumerate().filter(|(index, _)| needed[*index])
        {
            ids[index] = NodeId(nodes.len());
            let inputs = node.inputs.iter().map(|input| ids[input.0]).collect();
            let name = names.unique(&node.name);
            nodes.push(Node { name, op: node.op, inputs, is_module: true });
        }
        let parameters: Parameters = self
            .parameters
            .into_iter()
            .filter(|((node, _), _)| needed[node.0])
            .map(|((node, role), tensor)| ((ids[node.0], role), tensor))
            .collect();
        let outputs = outputs.into_iter().map(|(name, node)| Output::new(name, ids[node.0]));
        let root = ModuleEntry { path: String::new(), kind: kind.into() };
        FloatModel::new(Graph::new(nodes, outputs.collect(), vec![root])?, parameters)
    }
}

/// The names that are taken.
#[derive(Debug, Default)]
pub(super) struct Names(HashMap<String, usize>);

impl Names {
    /// Returns the name, with a number behind it if it is taken.
    pub(super) fn unique(&mut self, name: &str) -> String {
        let mut found = name.to_owned();
        while self.0.contains_key(&found) {
            // Entered before, because `found` is.
            let used = self.0.entry(name.to_owned()).or_insert(0);
            *used += 1;
            found = format!("{name}_{used}");
        }
        self.0.insert(found.clone(), 0);
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::{Activation, Linear};

    #[test]
    fn names_become_unique() {
        let mut names = Names::default();
        let found = ["a", "a", "a_1", "a", "b"].map(|name| names.unique(name));
        assert_eq!(found, ["a", "a_1", "a_1_1", "a_2", "b"]);
    }

    #[test]
    fn what_no_output_depends_on_is_left_out() {
        let mut draft = Draft::default();
        let x = draft.input("x", vec![1, 4]);
        let unused = draft.push("unused", Linear::new(4, 2).bias(false), &[x]).unwrap();
        let weight = Tensor::zeros([2, 4]);
        draft.set(unused, Role::Weight, weight).unwrap();
        let y = draft.push("relu", Activation::ReLU, &[x]).unwrap();
        let model = draft.finish("Net", vec![("y".into(), y)]).unwrap();
        assert_eq!(model.graph().nodes().len(), 2);
        assert!(model.parameters().is_empty());
    }
}
