//! Values of the network during import: a node of the graph, seen through moves of its values.
//!
//! A `Reshape` or `Transpose` of a file only changes how a value is seen. Most of them cancel out: the
//! transposes around TensorFlow's layers, and the three steps of a channel shuffle. Those that do not
//! are computed where an operator needs the value.

use crate::graph::NodeId;

/// A move of a value's elements. Shapes are for a batch of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Move {
    /// The same elements in row-major order, in another shape.
    Reshape(Vec<usize>),
    /// Axis `i` of the result is axis `permutation[i]` of the operand.
    Permute(Vec<usize>),
}

/// The value of a node, seen through moves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct View {
    pub(super) node: NodeId,
    /// The shape of the node's value for a batch of one.
    pub(super) base: Vec<usize>,
    /// The moves, in their order.
    pub(super) moves: Vec<Move>,
    /// The axis of the batch in the view; `None` if it was merged with another axis.
    pub(super) batch: Option<usize>,
}

impl View {
    /// Creates the view of a node's value as it is.
    pub(super) fn of(node: NodeId, shape: Vec<usize>) -> Self {
        Self { node, base: shape, moves: Vec::new(), batch: Some(0) }
    }

    /// Returns the shape that is seen, for a batch of one.
    pub(super) fn shape(&self) -> Vec<usize> {
        let mut shape = self.base.clone();
        for step in &self.moves {
            shape = match step {
                Move::Reshape(shape) => shape.clone(),
                Move::Permute(permutation) => permutation.iter().map(|&axis| shape[axis]).collect(),
            };
        }
        shape
    }

    /// Returns the shape before the last move.
    fn shape_before_last(&self) -> Vec<usize> {
        let mut before = self.clone();
        before.moves.pop();
        before.shape()
    }

    /// Returns the permutation if the view is one, or the value itself.
    pub(super) fn permutation(&self) -> Option<Vec<usize>> {
        match self.moves.as_slice() {
            [] => Some((0..self.base.len()).collect()),
            [Move::Permute(permutation)] => Some(permutation.clone()),
            _ => None,
        }
    }

    /// Returns the same view of another node, which has the same shape.
    pub(super) fn on(&self, node: NodeId) -> Self {
        Self { node, ..self.clone() }
    }

    /// Returns the view with its axes permuted.
    pub(super) fn permute(mut self, permutation: &[usize]) -> Self {
        let mut batch = self.batch;
        self.batch = batch.and_then(|batch| permutation.iter().position(|&axis| axis == batch));
        let mut combined = permutation.to_vec();
        if let Some(Move::Permute(first)) = self.moves.last() {
            batch = batch.map(|batch| first[batch]);
            for axis in &mut combined {
                *axis = first[*axis];
            }
            self.moves.pop();
        }
        let before = self.shape();
        if combined.iter().enumerate().all(|(axis, &from)| axis == from) {
            return self;
        }
        // Axes of one element do not move values, except the batch, which may have more.
        let moved = combined.iter().filter(|&&axis| before[axis] != 1 || batch == Some(axis));
        if moved.is_sorted() {
            let to = combined.iter().map(|&axis| before[axis]).collect();
            return self.reshape_to(to);
        }
        self.moves.push(Move::Permute(combined));
        self
    }

    /// Returns the view in another shape of as many elements, whose batch is the axis `batch`.
    pub(super) fn reshape(mut self, shape: Vec<usize>, batch: Option<usize>) -> Self {
        self.batch = batch;
        self.reshape_to(shape)
    }

    fn reshape_to(mut self, shape: Vec<usize>) -> Self {
        if self.shape() == shape {
            return self;
        }
        if let Some(Move::Reshape(_)) = self.moves.last() {
            if self.shape_before_last() == shape {
                self.moves.pop();
                return self;
            }
            self.moves.pop();
        }
        self.moves.push(Move::Reshape(shape));
        self
    }

    /// Returns the number of groups if the view is a channel shuffle of the node's value: the
    /// channels split into `[groups, C / groups]`, transposed and merged.
    pub(super) fn channel_shuffle(&self) -> Option<usize> {
        let [Move::Reshape(split), Move::Permute(permutation), Move::Reshape(merged)] =
            self.moves.as_slice()
        else {
            return None;
        };
        let channels = *self.base.get(1)?;
        // Axes of one element, such as a merged batch, do not matter.
        let axes: Vec<usize> = moved(permutation, split);
        let sizes: Vec<usize> = split.iter().copied().filter(|&size| size != 1).collect();
        let rank: Vec<usize> = {
            let mut sorted = axes.clone();
            sorted.sort_unstable();
            axes.iter()
                .map(|axis| sorted.iter().position(|other| other == axis))
                .collect::<Option<_>>()?
        };
        let swaps_first_two = rank.starts_with(&[1, 0]) && rank[2..].is_sorted();
        let splits = sizes.len() >= 2 && sizes[0].checked_mul(sizes[1]) == Some(channels);
        (*merged == self.base && swaps_first_two && splits).then(|| sizes[0])
    }
}

/// Returns the axes of a permutation in their new order, without those of one element.
fn moved(permutation: &[usize], shape: &[usize]) -> Vec<usize> {
    permutation.iter().copied().filter(|&axis| shape[axis] != 1).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(shape: &[usize]) -> View {
        View::of(NodeId(0), shape.to_vec())
    }

    #[test]
    fn moves_that_cancel_out_leave_nothing() {
        let x = value(&[1, 3, 8, 6]);
        let nhwc = x.clone().permute(&[0, 2, 3, 1]);
        assert_eq!(nhwc.shape(), [1, 8, 6, 3]);
        assert_eq!(nhwc.permute(&[0, 3, 1, 2]), x);
        let flat = x.clone().reshape(vec![1, 144], Some(0));
        assert_eq!(flat.clone().reshape(vec![1, 3, 8, 6], Some(0)), x);
        let other = flat.reshape(vec![1, 6, 24], Some(0));
        assert_eq!(other.moves, [Move::Reshape(vec![1, 6, 24])]);
    }

    #[test]
    fn permuting_axes_of_one_element_is_a_reshape() {
        let pooled = value(&[1, 8, 1, 1]).permute(&[0, 2, 3, 1]);
        assert_eq!(pooled.moves, [Move::Reshape(vec![1, 1, 1, 8])]);
        assert_eq!(pooled.permute(&[0, 3, 1, 2]), value(&[1, 8, 1, 1]));
    }

    #[test]
    fn the_batch_axis_is_followed() {
        let x = value(&[1, 4, 5]).permute(&[1, 0, 2]);
        assert_eq!(x.batch, Some(1));
        assert_eq!(x.clone().permute(&[1, 0, 2]).batch, Some(0));
        // It is moved even where the other axes have one element, and where those are in order.
        let heads = value(&[1, 5, 3, 4]).permute(&[2, 0, 1, 3]);
        let back = heads.permute(&[1, 0, 2, 3]);
        assert_eq!(back.moves, [Move::Permute(vec![0, 2, 1, 3])]);
    }

    #[test]
    fn a_channel_shuffle_is_recognized() {
        let x = value(&[1, 6, 4, 4]);
        let split = x.clone().reshape(vec![1, 2, 3, 4, 4], Some(0)).permute(&[0, 2, 1, 3, 4]);
        let shuffled = split.clone().reshape(vec![1, 6, 4, 4], Some(0));
        assert_eq!(shuffled.channel_shuffle(), Some(2));
        // The batch merged with the channels, as `view(b * c // 2, 2, h * w)` does.
        let merged = x.clone().reshape(vec![3, 2, 16], None).permute(&[1, 0, 2]);
        assert_eq!(merged.clone().reshape(vec![1, 6, 4, 4], Some(0)).channel_shuffle(), Some(3));
        assert_eq!(split.channel_shuffle(), None);
        let other = x.reshape(vec![1, 2, 3, 4, 4], Some(0)).permute(&[0, 1, 3, 2, 4]);
        assert_eq!(other.reshape(vec![1, 6, 4, 4], Some(0)).channel_shuffle(), None);
    }
}
