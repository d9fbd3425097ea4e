//! The graph that an import builds.

use std::collections::HashMap;
use std::sync::Arc;

use super::problem::Outcome;
use crate::graph::{Graph, ModuleEntry, Node, NodeId, Output};
use crate::model::FloatModel;
use crate::ops::{Conv2d, Input, Op, Role};
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
    /// The calls of operators without parameters, by their inputs.
    calls: HashMap<Vec<NodeId>, Vec<NodeId>>,
}

/// The number of calls with the same inputs among which an equal one is looked for.
const COMPARED: usize = 16;

impl Draft {
    /// Adds an input of the network.
    pub(super) fn input(&mut self, name: &str, shape: Vec<usize>) -> NodeId {
        let name = name.to_owned();
        self.add(DraftNode { name, op: Input.into(), inputs: Vec::new(), shape })
    }

    /// Adds a call of an operator. A second call of one without parameters, with the same inputs, is the
    /// first: a channel shuffle is recognized again by every node that reads a part of it.
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
        let known = self.calls.get(inputs).map_or(&[][..], Vec::as_slice);
        let mut known = known.iter().rev().take(COMPARED);
        if let Some(&known) = known.find(|known| self.nodes[known.0].op == op) {
            return Ok(known);
        }
        let shared = op.parameters().is_empty();
        let node =
            self.add(DraftNode { name: name.to_owned(), op, inputs: inputs.to_vec(), shape });
        if shared {
            self.calls.entry(inputs.to_vec()).or_default().push(node);
        }
        Ok(node)
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
        mut self,
        kind: &str,
        mut outputs: Vec<(String, NodeId)>,
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
        self.merge_affines(&mut needed, &mut outputs);
        self.convolve_lone_norms(&needed, &outputs);
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

impl Draft {
    /// Returns how often the value of each node is used, by needed nodes and as an output.
    fn users(&self, needed: &[bool], outputs: &[(String, NodeId)]) -> Vec<usize> {
        let mut users = vec![0; self.nodes.len()];
        for (_, node) in outputs {
            users[node.0] += 1;
        }
        for (node, _) in self.nodes.iter().zip(needed).filter(|(_, needed)| **needed) {
            node.inputs.iter().for_each(|input| users[input.0] += 1);
        }
        users
    }

    /// Merges products and sums with constants into the batch norm before them, or into the product or
    /// sum before them, which is a batch norm of mean 0 and variance 1. So `fuse` folds a scale and a
    /// shift that are two nodes into one convolution.
    fn merge_affines(&mut self, needed: &mut [bool], outputs: &mut [(String, NodeId)]) {
        let users = self.users(needed, outputs);
        let mut moved: Vec<NodeId> = (0..self.nodes.len()).map(NodeId).collect();
        // The last node that was merged into each, or that itself: it has the users of the value.
        let mut last: Vec<usize> = (0..self.nodes.len()).collect();
        for index in 0..self.nodes.len() {
            for input in &mut self.nodes[index].inputs {
                *input = moved[input.0];
            }
            if !needed[index] {
                continue;
            }
            let (Op::BatchNorm(outer), &[input]) =
                (&self.nodes[index].op, self.nodes[index].inputs.as_slice())
            else {
                continue;
            };
            let Op::BatchNorm(inner) = &self.nodes[input.0].op else { continue };
            let same =
                (inner.num_features, inner.dimensions) == (outer.num_features, outer.dimensions);
            if !same || users[last[input.0]] != 1 {
                continue;
            }
            let Some((scale, shift)) = self.affine(NodeId(index)) else { continue };
            let parameter =
                |role| self.parameters.get(&(input, role)).map(|tensor| tensor.data().to_vec());
            let (Some(mut gamma), Some(mut beta)) =
                (parameter(Role::Weight), parameter(Role::Bias))
            else {
                continue;
            };
            for (channel, (scale, shift)) in scale.iter().zip(&shift).enumerate() {
                gamma[channel] *= scale;
                beta[channel] = beta[channel] * scale + shift;
            }
            for (role, values) in [(Role::Weight, gamma), (Role::Bias, beta)] {
                let shape = [values.len()];
                if let Ok(tensor) = Tensor::new(shape, values) {
                    self.parameters.insert((input, role), Arc::new(tensor));
                }
            }
            moved[index] = input;
            last[input.0] = index;
            needed[index] = false;
        }
        for (_, output) in outputs {
            *output = moved[output.0];
        }
    }

    /// Returns the factors and summands of a product or sum with constants; `None` for a batch norm with
    /// statistics.
    fn affine(&self, id: NodeId) -> Option<(Vec<f32>, Vec<f32>)> {
        let Op::BatchNorm(norm) = &self.nodes[id.0].op else { return None };
        let of = |role| self.parameters.get(&(id, role)).map(|tensor| tensor.data());
        let plain = norm.eps == 0.0
            && of(Role::RunningMean)?.iter().all(|&mean| mean == 0.0)
            && of(Role::RunningVar)?.iter().all(|&variance| variance == 1.0);
        plain.then_some((of(Role::Weight)?.to_vec(), of(Role::Bias)?.to_vec()))
    }

    /// Replaces the batch norms that cannot be folded into the layer before them by convolutions of one
    /// channel each, which are computed in int8 too. Those at the network's beginning stay: there, a layer
    /// in float costs less than another rounding of the pixels, and the preprocessing of pictures takes
    /// them in.
    fn convolve_lone_norms(&mut self, needed: &[bool], outputs: &[(String, NodeId)]) {
        let users = self.users(needed, outputs);
        // The inputs, and the batch norms between them and other layers.
        let mut beginning = vec![false; self.nodes.len()];
        for index in 0..self.nodes.len() {
            let node = &self.nodes[index];
            beginning[index] = matches!(node.op, Op::Input(_));
            let (Op::BatchNorm(norm), &[input]) = (&node.op, node.inputs.as_slice()) else {
                continue;
            };
            let before = &self.nodes[input.0].op;
            let folds = users[input.0] == 1 && before.with_batch_norm(norm.dimensions).is_some();
            beginning[index] = beginning[input.0];
            if folds || norm.dimensions != 2 || beginning[index] {
                continue;
            }
            let parameter = |role| self.parameters.get(&(NodeId(index), role)).map(|t| t.data());
            let [Some(gamma), Some(beta), Some(mean), Some(var)] =
                [Role::Weight, Role::Bias, Role::RunningMean, Role::RunningVar].map(parameter)
            else {
                continue;
            };
            let channels = norm.num_features;
            let [scale, shift] = norm.scale_and_shift(gamma, beta, mean, var);
            let shift = Tensor::new([channels], shift);
            let scale = Tensor::new([channels, 1, 1, 1], scale);
            let (Ok(scale), Ok(shift)) = (scale, shift) else { continue };
            self.nodes[index].op = Conv2d::new(channels, channels, 1).groups(channels).into();
            self.parameters.retain(|&(node, _), _| node.0 != index);
            for (role, tensor) in [(Role::Weight, scale), (Role::Bias, shift)] {
                self.parameters.insert((NodeId(index), role), Arc::new(tensor));
            }
        }
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
    use crate::ops::{Activation, BatchNorm, Conv2d, Linear};

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

    #[test]
    fn equal_calls_are_one() {
        let mut draft = Draft::default();
        let x = draft.input("x", vec![1, 4]);
        let mut relu = |x| draft.push("relu", Activation::ReLU, &[x]).unwrap();
        let (a, b) = (relu(x), relu(x));
        assert_eq!(a, b);
        assert_ne!(relu(a), a);
        let linear = |draft: &mut Draft| draft.push("linear", Linear::new(4, 2), &[x]).unwrap();
        assert_ne!(linear(&mut draft), linear(&mut draft));
    }

    #[test]
    fn products_and_sums_are_merged_into_the_norm_before_them() {
        let mut draft = Draft::default();
        let norm = |draft: &mut Draft, name: &str, x, values: [f32; 4], eps| {
            let node = draft.push(name, BatchNorm::two_d(1).eps(eps), &[x]).unwrap();
            let roles = [Role::Weight, Role::Bias, Role::RunningMean, Role::RunningVar];
            for (role, value) in roles.into_iter().zip(values) {
                draft.set(node, role, Tensor::new([1], vec![value]).unwrap()).unwrap();
            }
            node
        };
        let x = draft.input("x", vec![1, 1, 2, 2]);
        let conv = draft.push("conv", Conv2d::new(1, 1, 1).bias(false), &[x]).unwrap();
        draft.set(conv, Role::Weight, Tensor::new([1, 1, 1, 1], vec![1.0]).unwrap()).unwrap();
        let bn = norm(&mut draft, "bn", conv, [2.0, 1.0, 0.5, 3.0], 1.0);
        let product = norm(&mut draft, "product", bn, [3.0, 0.0, 0.0, 1.0], 0.0);
        let sum = norm(&mut draft, "sum", product, [1.0, -4.0, 0.0, 1.0], 0.0);
        // Used twice, so it stays.
        let left = norm(&mut draft, "left", sum, [0.5, 0.0, 0.0, 1.0], 0.0);
        let outputs = vec![("left".into(), left), ("sum".into(), sum)];
        let model = draft.finish("Net", outputs).unwrap();
        let names: Vec<_> = model.graph().nodes().iter().map(|node| node.name.as_str()).collect();
        assert_eq!(names, ["x", "conv", "bn", "left"]);
        let values = |name: &str| model.parameter_named(name).unwrap().data()[0];
        assert_eq!((values("bn.weight"), values("bn.bias")), (6.0, -1.0));
        assert_eq!((values("bn.running_mean"), values("bn.running_var")), (0.5, 3.0));
    }

    #[test]
    fn batch_norms_without_a_layer_to_fold_them_into_become_convolutions() {
        let mut draft = Draft::default();
        let norm = |draft: &mut Draft, name: &str, x| {
            let node = draft.push(name, BatchNorm::two_d(2).eps(1.0), &[x]).unwrap();
            let roles = [Role::Weight, Role::Bias, Role::RunningMean, Role::RunningVar];
            for (role, values) in
                roles.into_iter().zip([[2.0, -3.0], [0.5, 1.0], [4.0, 5.0], [3.0, 8.0]])
            {
                draft.set(node, role, Tensor::new([2], values.to_vec()).unwrap()).unwrap();
            }
            node
        };
        let x = draft.input("x", vec![1, 2, 3, 3]);
        let of_input = norm(&mut draft, "of_input", x);
        let second = norm(&mut draft, "second", of_input);
        let relu = draft.push("relu", Activation::ReLU, &[second]).unwrap();
        let lone = norm(&mut draft, "lone", relu);
        let conv = draft.push("conv", Conv2d::new(2, 2, 1).bias(false), &[lone]).unwrap();
        let weight = Tensor::new([2, 2, 1, 1], vec![1.0, 0.5, -1.0, 0.25]).unwrap();
        draft.set(conv, Role::Weight, weight).unwrap();
        let folded = norm(&mut draft, "folded", conv);
        let model = draft.finish("Net", vec![("y".into(), folded)]).unwrap();
        let kinds: Vec<_> = model.graph().nodes().iter().map(|node| node.op.kind()).collect();
        let expected =
            ["Input", "BatchNorm2d", "BatchNorm2d", "ReLU", "Conv2d", "Conv2d", "BatchNorm2d"];
        assert_eq!(kinds, expected);
        let of_lone = |name: &str| model.parameter_named(name).unwrap().data().to_vec();
        assert_eq!(of_lone("lone.weight"), [1.0, -1.0]);
        assert_eq!(of_lone("lone.bias"), [0.5 - 4.0, 1.0 + 5.0]);
    }
}
