//! Positions along an axis by constant indices.

use serde::{Deserialize, Serialize};

use super::kernel::Shapes;
use super::limits::check_sizes;
use super::moves::{Moves, moves_values, only_moves, strides};
use super::shapes::expect_axis;
use super::{Operator, python};

/// `torch.index_select(x, dim, indices)`, ONNX's `Gather` with constant indices: positions along an axis
/// other than the batch, in any order.
///
/// ```
/// use posterize::ops::Gather;
/// use posterize::{Architecture, Tensor};
///
/// let model = Architecture::trace(&Gather::new(1, [2, 0, 0]))?.init(0);
/// let y = model.forward(&Tensor::new([1, 3], vec![1.0, 2.0, 3.0])?)?;
/// assert_eq!(y.data(), [3.0, 1.0, 1.0]);
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Gather {
    /// The axis; 1 is that of the channels. The batch (0) cannot be gathered.
    pub dim: usize,
    /// The positions along the axis, of which there is at least one.
    pub indices: Vec<usize>,
}

impl Gather {
    /// Creates the selection of these positions along `dim`.
    pub fn new(dim: usize, indices: impl Into<Vec<usize>>) -> Self {
        Self { dim, indices: indices.into() }
    }

    fn moves(&self, shapes: &Shapes) -> Moves {
        let strides = strides(&shapes.inputs[0]);
        Moves::new(shapes, |axis, index| {
            let at = if axis == self.dim { self.indices[index] } else { index };
            Some(at * strides[axis])
        })
    }
}

impl Operator for Gather {
    fn kind(&self) -> String {
        "Gather".into()
    }

    fn python(&self) -> String {
        format!("dim={}, indices={}", self.dim, python::tuple(&self.indices))
    }

    moves_values!();

    fn validate(&self) -> Result<(), String> {
        if self.dim == 0 {
            return Err("a selection along the batch axis; dim must be at least 1".into());
        }
        if self.indices.is_empty() {
            return Err("indices is empty; at least one position is selected".into());
        }
        check_sizes(&[self.indices.len()])
    }

    fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        let mut shape = inputs[0].to_vec();
        expect_axis(self.dim, &shape)?;
        let size = &mut shape[self.dim];
        if let Some(index) = self.indices.iter().find(|&index| index >= size) {
            return Err(format!(
                "index {index} is behind the last position of axis {} of an input of {:?}",
                self.dim, inputs[0]
            ));
        }
        *size = self.indices.len();
        Ok(shape)
    }
}

only_moves!(Gather, "gather");
