//! Permutations of axes.

use serde::{Deserialize, Serialize};

use super::kernel::Shapes;
use super::moves::{Moves, moves_values, only_moves, strides};
use super::{Operator, python};

/// `torch.permute(x, dims)`, ONNX's `Transpose`: reorders the axes. The batch stays the first.
///
/// ```
/// use posterize::ops::Permute;
/// use posterize::{Architecture, Tensor};
///
/// let model = Architecture::trace(&Permute::new([0, 2, 1]))?.init(0);
/// let y = model.forward(&Tensor::new([1, 2, 3], vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0])?)?;
/// assert_eq!((y.shape(), y.data()), (&[1, 3, 2][..], &[1.0, 4.0, 2.0, 5.0, 3.0, 6.0][..]));
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Permute {
    /// The axis of the input that each axis of the output is. The first is 0, the batch.
    pub dims: Vec<usize>,
}

impl Permute {
    /// Creates a permutation: axis `k` of the output is axis `dims[k]` of the input.
    pub fn new(dims: impl Into<Vec<usize>>) -> Self {
        Self { dims: dims.into() }
    }

    fn moves(&self, shapes: &Shapes) -> Moves {
        let strides = strides(&shapes.inputs[0]);
        Moves::new(shapes, |axis, index| Some(index * strides[self.dims[axis]]))
    }
}

impl Operator for Permute {
    fn kind(&self) -> String {
        "Permute".into()
    }

    fn python(&self) -> String {
        format!("dims={}", python::tuple(&self.dims))
    }

    moves_values!();

    fn validate(&self) -> Result<(), String> {
        if self.dims.first() != Some(&0) {
            return Err(format!(
                "dims must begin with 0, since the batch stays the first axis; found {:?}",
                self.dims
            ));
        }
        let mut sorted = self.dims.clone();
        sorted.sort_unstable();
        if !sorted.iter().copied().eq(0..self.dims.len()) {
            return Err(format!("dims must name each axis once, found {:?}", self.dims));
        }
        Ok(())
    }

    fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        let shape = inputs[0];
        if shape.len() != self.dims.len() {
            return Err(format!(
                "expected an input of {} axes for dims={:?}, found {shape:?}",
                self.dims.len(),
                self.dims
            ));
        }
        Ok(self.dims.iter().map(|&axis| shape[axis]).collect())
    }
}

only_moves!(Permute, "permute");
