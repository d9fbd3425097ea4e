//! Repetitions along axes.

use serde::{Deserialize, Serialize};

use super::kernel::Shapes;
use super::limits::check_sizes;
use super::moves::{Moves, moves_values, only_moves, strides};
use super::{Operator, python};

/// `torch.tile`, ONNX's `Tile`: repeats the input along axes other than the batch. An axis of size 1 is
/// broadcast so, as by ONNX's `Expand`.
///
/// ```
/// use posterize::ops::Tile;
/// use posterize::{Architecture, Tensor};
///
/// let model = Architecture::trace(&Tile::new([1, 2]))?.init(0);
/// let y = model.forward(&Tensor::new([1, 2], vec![1.0, 2.0])?)?;
/// assert_eq!(y.data(), [1.0, 2.0, 1.0, 2.0]);
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Tile {
    /// How often each axis is repeated; once the first, the batch.
    pub repeats: Vec<usize>,
}

impl Tile {
    /// Creates the repetition of each axis so many times.
    pub fn new(repeats: impl Into<Vec<usize>>) -> Self {
        Self { repeats: repeats.into() }
    }

    fn moves(&self, shapes: &Shapes) -> Moves {
        let input = &shapes.inputs[0];
        let strides = strides(input);
        Moves::new(shapes, |axis, index| {
            let repeated = self.repeats[axis] > 1;
            let at = if repeated { index % input[axis] } else { index };
            Some(at * strides[axis])
        })
    }
}

impl Operator for Tile {
    fn kind(&self) -> String {
        "Tile".into()
    }

    fn python(&self) -> String {
        format!("dims={}", python::tuple(&self.repeats))
    }

    moves_values!();

    fn validate(&self) -> Result<(), String> {
        if self.repeats.first().is_some_and(|&batch| batch != 1) {
            return Err(format!("repeats of the batch must be 1, found {}", self.repeats[0]));
        }
        if self.repeats.contains(&0) {
            return Err(format!("repeats must be at least 1, found {:?}", self.repeats));
        }
        check_sizes(&self.repeats)
    }

    fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        let shape = inputs[0];
        if shape.len() != self.repeats.len() {
            return Err(format!(
                "expected an input of {} axes for repeats={:?}, found {shape:?}",
                self.repeats.len(),
                self.repeats
            ));
        }
        Ok(shape.iter().zip(&self.repeats).map(|(size, &n)| size.saturating_mul(n)).collect())
    }
}

only_moves!(Tile, "tile");
