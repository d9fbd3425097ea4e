//! Shape inference: what every node puts out for inputs of given shapes, and at what cost.

use super::{Graph, NodeId};
use crate::error::{Error, Result};
use crate::ops::Op;

/// A node's output and cost for one input shape.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LayerShape {
    /// The output, with the batch as its first axis: `[N, C, H, W]`, `[N, C]`.
    pub shape: Vec<usize>,
    /// Multiply-adds of convolutions and linear layers for the whole batch; 0 for the rest.
    pub multiply_adds: u64,
}

impl Graph {
    /// What every node puts out for an input of shape `[N, C, H, W]`, in the order of the nodes.
    ///
    /// # Errors
    /// A layer that such an input does not fit, by its name; a network of several inputs.
    pub fn infer(&self, input: &[usize]) -> Result<Vec<LayerShape>> {
        self.infer_all(&[input])
    }

    /// What every node puts out for inputs of these shapes, in the order of the nodes. The first axis
    /// of each is the batch.
    ///
    /// # Errors
    /// A layer that such inputs do not fit, by its name; another number of inputs than the network
    /// has, or batches that differ.
    pub fn infer_all(&self, inputs: &[&[usize]]) -> Result<Vec<LayerShape>> {
        self.check_inputs(inputs)?;
        let mut layers: Vec<LayerShape> = Vec::with_capacity(self.nodes.len());
        for (index, node) in self.nodes.iter().enumerate() {
            let shape = if matches!(node.op, Op::Input(_)) {
                inputs[index].to_vec()
            } else {
                let inputs: Vec<&[usize]> =
                    node.inputs.iter().map(|id: &NodeId| layers[id.0].shape.as_slice()).collect();
                node.op
                    .infer(&inputs)
                    .map_err(|problem| Error::shape(node.name.clone(), problem))?
            };
            // Every later product of sizes then fits.
            let values = shape.iter().try_fold(1usize, |product, &size| product.checked_mul(size));
            if values.is_none_or(|values| values > isize::MAX as usize / 8) {
                return Err(Error::shape(node.name.clone(), format!("{shape:?} is too large")));
            }
            let multiply_adds = node.op.multiply_adds(&shape);
            layers.push(LayerShape { shape, multiply_adds });
        }
        Ok(layers)
    }

    fn check_inputs(&self, inputs: &[&[usize]]) -> Result<()> {
        let names: Vec<&str> = self.inputs().map(|(_, node)| node.name.as_str()).collect();
        if names.len() != inputs.len() {
            return Err(Error::shape(
                "input",
                format!(
                    "the network has {} inputs ({}), found {}",
                    names.len(),
                    names.join(", "),
                    inputs.len()
                ),
            ));
        }
        for (&name, &shape) in names.iter().zip(inputs) {
            if shape.is_empty() || shape.contains(&0) {
                return Err(Error::shape(name, format!("{shape:?} has an empty axis")));
            }
            if shape[0] != inputs[0][0] {
                return Err(Error::shape(
                    name,
                    format!("a batch of {}, beside one of {}", shape[0], inputs[0][0]),
                ));
            }
        }
        Ok(())
    }
}
