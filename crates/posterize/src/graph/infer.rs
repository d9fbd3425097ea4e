//! Shape inference: the output shape and the cost of every node for given input shapes.

use super::{Graph, NodeId};
use crate::error::{Error, Result};
use crate::ops::Op;
use crate::ops::shapes::fits_memory;

/// The output shape and the cost of a node for given input shapes.
///
/// ```
/// use posterize::nn::trace;
/// use posterize::ops::Conv2d;
///
/// let graph = trace(&Conv2d::new(3, 8, 3).stride(2))?;
/// let layers = graph.infer(&[1, 3, 33, 33])?;
/// assert_eq!(layers[1].shape, [1, 8, 16, 16]);
/// assert_eq!(layers[1].multiply_adds, (8 * 16 * 16) * (3 * 3 * 3));
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LayerShape {
    /// The shape of the output; its first axis is the batch: `[N, C, H, W]`, `[N, C]`.
    pub shape: Vec<usize>,
    /// The number of multiply-adds for the whole batch; 0 for nodes that are not convolutions or
    /// linear layers.
    pub multiply_adds: u64,
    /// The cost of computing it for the whole batch, in multiply-adds; see
    /// [`Operator::work`](crate::ops::Operator::work).
    pub work: u64,
}

impl Graph {
    /// Infers the output shape and cost of every node for an input of shape `[N, C, H, W]`, in the
    /// order of the nodes.
    ///
    /// # Errors
    /// Returns an error that names the layer if the input does not fit it, or if the network has
    /// several inputs.
    pub fn infer(&self, input: &[usize]) -> Result<Vec<LayerShape>> {
        self.infer_all(&[input])
    }

    /// Infers the output shape and cost of every node for several inputs, in the order of the
    /// nodes.
    ///
    /// `inputs` has the shape of each of the network's inputs. The first axis of each is the batch.
    ///
    /// # Errors
    /// Returns an error that names the layer if the inputs do not fit it, if the network has
    /// another number of inputs, or if the batch sizes differ.
    pub fn infer_all(&self, inputs: &[&[usize]]) -> Result<Vec<LayerShape>> {
        self.check_inputs(inputs)?;
        let mut layers: Vec<LayerShape> = Vec::with_capacity(self.nodes.len());
        for (index, node) in self.nodes.iter().enumerate() {
            let taken: Vec<&[usize]> =
                node.inputs.iter().map(|id: &NodeId| layers[id.0].shape.as_slice()).collect();
            let shape = if matches!(node.op, Op::Input(_)) {
                inputs[index].to_vec()
            } else {
                node.op
                    .infer_valid(&taken)
                    .map_err(|problem| Error::shape(node.name.clone(), problem))?
            };
            if !fits_memory(&shape) {
                return Err(Error::shape(
                    node.name.clone(),
                    format!("its output of shape {shape:?} is too large for the memory"),
                ));
            }
            let multiply_adds = node.op.multiply_adds(&shape);
            let work = node.op.work(&taken, &shape);
            layers.push(LayerShape { shape, multiply_adds, work });
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
                return Err(Error::shape(
                    name,
                    format!("expected a shape without zeros, found {shape:?}"),
                ));
            }
            if shape[0] != inputs[0][0] {
                return Err(Error::shape(
                    name,
                    format!(
                        "expected a batch of {} as for the first input, found {}",
                        inputs[0][0], shape[0]
                    ),
                ));
            }
        }
        Ok(())
    }
}
