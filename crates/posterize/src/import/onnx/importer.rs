//! The state of an import: the graph so far, and the value of each name of the file.

use std::collections::HashMap;
use std::sync::Arc;

use super::attributes::Attributes;
use super::constant::{Constant, Int};
use super::draft::Draft;
use super::external::External;
use super::names;
use super::problem::{Outcome, unsupported};
use super::proto::TensorProto;
use super::scalar::Expression;
use super::tensor;
use super::view::{Move, View};
use crate::graph::NodeId;
use crate::ops::{ChannelShuffle, Flatten, Op, Permute, Reshape, Role};
use crate::tensor::Tensor;

/// A value of the file.
#[derive(Clone, Debug)]
pub(super) enum Value<'a> {
    /// A tensor of the file, not yet decoded.
    Initializer(&'a TensorProto),
    /// A constant that was computed.
    Constant(Arc<Constant>),
    /// A value that depends on the network's inputs.
    View(View),
    /// The output of a node that cannot be imported.
    Unknown,
}

impl From<View> for Value<'_> {
    fn from(view: View) -> Self {
        Self::View(view)
    }
}

impl From<Constant> for Value<'_> {
    fn from(constant: Constant) -> Self {
        Self::Constant(Arc::new(constant))
    }
}

/// A node of the file with the values of its inputs.
#[derive(Debug)]
pub(super) struct Call<'a> {
    /// The name of its layer.
    pub(super) name: String,
    pub(super) op_type: &'a str,
    pub(super) attributes: Attributes<'a>,
    /// The version of its operator set.
    pub(super) opset: i64,
    /// Its inputs; `None` for an optional one that is left out.
    pub(super) inputs: Vec<Option<Value<'a>>>,
    /// The number of its outputs.
    pub(super) outputs: usize,
    pub(super) external: &'a External,
    /// The size of the batch axis of the network's inputs in the file; `None` if it is left open.
    pub(super) file_batch: Option<i64>,
}

impl<'a> Call<'a> {
    /// Returns an input that must be there.
    pub(super) fn input(&self, index: usize) -> Outcome<&Value<'a>> {
        let input = self.inputs.get(index).and_then(Option::as_ref);
        input.ok_or_else(|| format!("its input {index} is missing").into())
    }

    /// Returns whether an input is there.
    pub(super) fn has(&self, index: usize) -> bool {
        matches!(self.inputs.get(index), Some(Some(_)))
    }

    /// Returns whether an input is a constant.
    pub(super) fn is_constant(&self, index: usize) -> bool {
        let input = self.inputs.get(index).and_then(Option::as_ref);
        matches!(input, Some(Value::Initializer(_) | Value::Constant(_)))
    }

    /// Returns an input that depends on the network's inputs.
    pub(super) fn view(&self, index: usize) -> Outcome<&View> {
        match self.input(index)? {
            Value::View(view) => Ok(view),
            _ => unsupported(format!("a constant as input {index}")),
        }
    }

    /// Returns a constant input.
    pub(super) fn constant(&self, index: usize) -> Outcome<Arc<Constant>> {
        match self.input(index)? {
            Value::Initializer(tensor) => Ok(Arc::new(tensor::decode(tensor, self.external)?)),
            Value::Constant(constant) => Ok(Arc::clone(constant)),
            Value::View(_) | Value::Unknown => {
                unsupported(format!("an input {index} that is computed from the network's input"))
            }
        }
    }

    /// Returns a constant input, or `None` if it is left out.
    pub(super) fn optional(&self, index: usize) -> Outcome<Option<Arc<Constant>>> {
        if self.has(index) { self.constant(index).map(Some) } else { Ok(None) }
    }

    /// Returns a constant input of floats as a tensor.
    pub(super) fn tensor(&self, index: usize) -> Outcome<Tensor> {
        let constant = Arc::unwrap_or_clone(self.constant(index)?);
        Ok(constant.into_tensor()?)
    }

    /// Returns the name of the layer with the input 1 as its weight: that in the weight's name, or
    /// else that of the node.
    pub(super) fn layer_name(&self) -> String {
        let of_weight = match self.inputs.get(1) {
            Some(Some(Value::Initializer(tensor))) => names::of_weight(tensor.name()),
            _ => None,
        };
        names::clean(of_weight.unwrap_or(&self.name))
    }

    /// Returns integers that are an input since some version, and an attribute before; `None` if
    /// both are left out.
    pub(super) fn ints(&self, index: usize, name: &str) -> Outcome<Option<Vec<i64>>> {
        match self.optional(index)? {
            Some(constant) => Ok(Some(constant.known_ints()?)),
            None => Ok(self.attributes.ints(name)?.map(<[i64]>::to_vec)),
        }
    }
}

/// The state of an import.
#[derive(Debug, Default)]
pub(super) struct Importer {
    pub(super) draft: Draft,
    /// What nodes are of earlier ones, where that may become an operator.
    expressions: HashMap<NodeId, Vec<Expression>>,
}

/// The largest number of expressions that are kept of a node.
const MAX_EXPRESSIONS: usize = 4;

impl Importer {
    /// Adds a call of an operator and returns its value.
    pub(super) fn push(
        &mut self,
        name: &str,
        op: impl Into<Op>,
        inputs: &[NodeId],
    ) -> Outcome<View> {
        let node = self.draft.push(name, op, inputs)?;
        Ok(View::of(node, self.draft.shape(node).to_vec()))
    }

    /// Sets a parameter of the node of a view.
    pub(super) fn set(&mut self, view: &View, role: Role, tensor: Tensor) -> Outcome<()> {
        self.draft.set(view.node, role, tensor)
    }

    /// Returns the node whose value is that of the view as it is seen, after computing its moves.
    pub(super) fn node(&mut self, view: &View, name: &str) -> Outcome<NodeId> {
        if view.batch != Some(0) {
            return unsupported(format!(
                "a value of shape {:?} whose first axis is not the batch",
                view.shape()
            ));
        }
        if let Some(groups) = view.channel_shuffle() {
            let name = format!("{name}.shuffle");
            return Ok(self.push(&name, ChannelShuffle::new(groups), &[view.node])?.node);
        }
        let mut node = view.node;
        for step in &view.moves {
            let name = format!("{name}.layout");
            let op: Op = match step {
                Move::Reshape(to) if to.first() == Some(&1) => match to.len() {
                    2 => Flatten.into(),
                    _ => Reshape::new(to[1..].iter().map(|&s| s as i64).collect::<Vec<_>>()).into(),
                },
                Move::Permute(permutation) if permutation.first() == Some(&0) => {
                    Permute::new(permutation.as_slice()).into()
                }
                _ => {
                    return unsupported(format!(
                        "a value of shape {:?} that merges the batch with another axis",
                        view.shape()
                    ));
                }
            };
            node = self.push(&name, op, &[node])?.node;
        }
        Ok(node)
    }

    /// Returns a node with the batch first, and the permutation through which its value is that of the
    /// view: the view's own node, if it only permutes that.
    pub(super) fn permuted(&mut self, view: &View, name: &str) -> Outcome<(NodeId, Vec<usize>)> {
        let Some(batch) = view.batch else {
            return Ok((self.node(view, name)?, Vec::new()));
        };
        if let Some(permutation) = view.permutation()
            && permutation[batch] == 0
        {
            return Ok((view.node, permutation));
        }
        let rank = view.shape().len();
        let mut batch_first: Vec<usize> = vec![batch];
        batch_first.extend((0..rank).filter(|&axis| axis != batch));
        let mut back = vec![0; rank];
        batch_first.iter().enumerate().for_each(|(to, &from)| back[from] = to);
        Ok((self.node(&view.clone().permute(&batch_first), name)?, back))
    }

    /// Returns the nodes of several views with the same permutation of their axes, if there is one in
    /// which none of them has to be moved, and else after computing the moves; and the permutation.
    pub(super) fn aligned(
        &mut self,
        views: &[&View],
        name: &str,
    ) -> Outcome<(Vec<NodeId>, Vec<usize>)> {
        let rank = views[0].shape().len();
        for candidate in views {
            let Some(permutation) = candidate.permutation() else { continue };
            let mut inverse = vec![0; permutation.len()];
            permutation.iter().enumerate().for_each(|(to, &from)| inverse[from] = to);
            let moved: Vec<View> = views
                .iter()
                .filter(|view| view.shape().len() == permutation.len())
                .map(|view| (*view).clone().permute(&inverse))
                .collect();
            let as_they_are = |view: &View| view.moves.is_empty() && view.batch == Some(0);
            if moved.len() == views.len() && moved.iter().all(as_they_are) {
                return Ok((moved.iter().map(|view| view.node).collect(), permutation));
            }
        }
        let nodes = views.iter().map(|view| self.node(view, name)).collect::<Outcome<_>>()?;
        Ok((nodes, (0..rank).collect()))
    }

    /// Returns what a node is of earlier ones.
    pub(super) fn expressions(&self, node: NodeId) -> Vec<Expression> {
        let known = self.expressions.get(&node).into_iter().flatten().copied();
        known.chain([Expression::of(node)]).collect()
    }

    /// Remembers what a node is of earlier ones.
    pub(super) fn remember(&mut self, node: NodeId, mut expressions: Vec<Expression>) {
        expressions.truncate(MAX_EXPRESSIONS);
        self.expressions.insert(node, expressions);
    }
}

/// Returns the sizes of a view, that of the batch axis as a multiple of the batch size.
pub(super) fn sizes(view: &View) -> Outcome<Vec<Int>> {
    let Some(batch) = view.batch else {
        return unsupported("the shape of a value whose batch was merged with another axis");
    };
    let shape = view.shape();
    let size = |(at, &size): (usize, &usize)| {
        if at == batch { Int::BATCH } else { Int::from(size as i64) }
    };
    Ok(shape.iter().enumerate().map(size).collect())
}
