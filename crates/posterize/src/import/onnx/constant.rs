//! Constants of a file: weights, and the integers of its shape arithmetic.

use crate::tensor::Tensor;

/// An integer of shape arithmetic: a number, or a multiple of the batch size, which is not known at
/// import.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Int {
    pub(super) value: i64,
    /// Whether the value is multiplied by the batch size.
    pub(super) per_batch: bool,
}

impl Int {
    /// The size of the batch axis.
    pub(super) const BATCH: Self = Self { value: 1, per_batch: true };

    /// Returns the number; `None` if it depends on the batch size.
    pub(super) fn known(self) -> Option<i64> {
        (!self.per_batch).then_some(self.value)
    }
}

impl From<i64> for Int {
    fn from(value: i64) -> Self {
        Self { value, per_batch: false }
    }
}

/// The values of a constant. Narrower types are widened.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Data {
    Float(Vec<f32>),
    /// Integers, and booleans as 0 and 1.
    Int(Vec<Int>),
}

/// A constant tensor in row-major order.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Constant {
    pub(super) shape: Vec<usize>,
    pub(super) data: Data,
}

/// The largest number of values that constant folding computes for one constant.
const MAX_FOLDED: usize = 1 << 27;

/// The largest number of values of a tensor of a file, which must have as many.
const MAX_VALUES: usize = 1 << 34;

/// Returns the number of elements of a shape that is computed.
///
/// # Errors
/// Returns an error if there are too many.
pub(super) fn count(shape: &[usize]) -> Result<usize, String> {
    count_up_to(shape, MAX_FOLDED)
}

/// Returns the number of elements of the shape of a tensor in a file.
///
/// # Errors
/// Returns an error if there are more than any file has.
pub(super) fn count_in_file(shape: &[usize]) -> Result<usize, String> {
    count_up_to(shape, MAX_VALUES)
}

fn count_up_to(shape: &[usize], max: usize) -> Result<usize, String> {
    shape
        .iter()
        .try_fold(1_usize, |product, &size| product.checked_mul(size))
        .filter(|&count| count <= max)
        .ok_or_else(|| {
            format!("a constant of shape {shape:?} has more values than the limit of {max}")
        })
}

impl Constant {
    /// Creates a vector of integers.
    pub(super) fn ints(values: Vec<Int>) -> Self {
        Self { shape: vec![values.len()], data: Data::Int(values) }
    }

    /// Creates a vector of floats.
    pub(super) fn floats_of(values: Vec<f32>) -> Self {
        Self { shape: vec![values.len()], data: Data::Float(values) }
    }

    /// Creates a scalar.
    pub(super) fn scalar(value: f32) -> Self {
        Self { shape: Vec::new(), data: Data::Float(vec![value]) }
    }

    /// Returns the number of values.
    pub(super) fn len(&self) -> usize {
        match &self.data {
            Data::Float(values) => values.len(),
            Data::Int(values) => values.len(),
        }
    }

    /// Returns the values of a float constant.
    ///
    /// # Errors
    /// Returns an error if it is of integers.
    pub(super) fn floats(&self) -> Result<&[f32], String> {
        match &self.data {
            Data::Float(values) => Ok(values),
            Data::Int(_) => Err("expected a constant of floats, found integers".into()),
        }
    }

    /// Returns the values of an integer constant, some of which may depend on the batch size.
    ///
    /// # Errors
    /// Returns an error if it is of floats.
    pub(super) fn sizes(&self) -> Result<&[Int], String> {
        match &self.data {
            Data::Int(values) => Ok(values),
            Data::Float(_) => Err("expected a constant of integers, found floats".into()),
        }
    }

    /// Returns the values of an integer constant.
    ///
    /// # Errors
    /// Returns an error if it is of floats, or if a value depends on the batch size.
    pub(super) fn known_ints(&self) -> Result<Vec<i64>, String> {
        let known = self.sizes()?.iter().map(|value| value.known());
        known.collect::<Option<_>>().ok_or_else(|| "a value depends on the batch size".into())
    }

    /// Returns the value of a constant with one element, as a float.
    pub(super) fn single(&self) -> Option<f32> {
        match &self.data {
            Data::Float(values) if values.len() == 1 => Some(values[0]),
            Data::Int(values) if values.len() == 1 => values[0].known().map(|value| value as f32),
            _ => None,
        }
    }

    /// Returns the values as a tensor.
    ///
    /// # Errors
    /// Returns an error if it is of integers.
    pub(super) fn into_tensor(self) -> Result<Tensor, String> {
        match self.data {
            Data::Float(values) => {
                Tensor::new(self.shape, values).map_err(|error| error.to_string())
            }
            Data::Int(_) => Err("expected a constant of floats, found integers".into()),
        }
    }

    /// Returns the elements at these positions as a constant of another shape.
    pub(super) fn pick(&self, shape: Vec<usize>, positions: &[usize]) -> Self {
        let data = match &self.data {
            Data::Float(values) => Data::Float(positions.iter().map(|&at| values[at]).collect()),
            Data::Int(values) => Data::Int(positions.iter().map(|&at| values[at]).collect()),
        };
        Self { shape, data }
    }

    /// Returns the same values in another shape of as many elements.
    pub(super) fn with_shape(&self, shape: Vec<usize>) -> Self {
        Self { shape, data: self.data.clone() }
    }
}

/// Returns an axis that may be counted from the end, as an index.
///
/// # Errors
/// Returns an error if there is no such axis.
pub(super) fn axis(axis: i64, rank: usize) -> Result<usize, String> {
    let index = if axis < 0 { axis.checked_add(rank as i64) } else { Some(axis) };
    index
        .and_then(|index| usize::try_from(index).ok())
        .filter(|&index| index < rank)
        .ok_or_else(|| format!("axis {axis} is out of range for {rank} dimensions"))
}

/// Returns the row-major strides of a shape.
pub(super) fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1_usize; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis].saturating_mul(shape[axis]);
    }
    strides
}

/// Returns for each element of a tensor of `shape`, in row-major order, `start` plus the sum over the
/// axes of the element's index times the axis's step.
pub(super) fn positions(shape: &[usize], start: usize, steps: &[isize]) -> Vec<usize> {
    let total: usize = shape.iter().product();
    let mut found = Vec::with_capacity(total);
    let mut index = vec![0_usize; shape.len()];
    let mut at = start as isize;
    for _ in 0..total {
        found.push(at as usize);
        for axis in (0..shape.len()).rev() {
            index[axis] += 1;
            at += steps[axis];
            if index[axis] < shape[axis] {
                break;
            }
            at -= steps[axis] * shape[axis] as isize;
            index[axis] = 0;
        }
    }
    found
}

/// Returns integers as sizes.
///
/// # Errors
/// Returns an error if one is negative.
pub(super) fn sizes(values: &[i64]) -> Result<Vec<usize>, String> {
    let sizes: Option<Vec<usize>> =
        values.iter().map(|&value| usize::try_from(value).ok()).collect();
    sizes.ok_or_else(|| format!("the shape {values:?} has a negative size"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_follow_the_steps_of_each_axis() {
        assert_eq!(positions(&[2, 3], 0, &[3, 1]), [0, 1, 2, 3, 4, 5]);
        assert_eq!(positions(&[3, 2], 0, &[1, 3]), [0, 3, 1, 4, 2, 5]);
        assert_eq!(positions(&[3], 2, &[-1]), [2, 1, 0]);
        assert_eq!(positions(&[2, 2], 0, &[0, 1]), [0, 1, 0, 1]);
        assert_eq!(positions(&[], 0, &[]), [0]);
        assert_eq!(positions(&[0, 2], 0, &[2, 1]), [0_usize; 0]);
    }

    #[test]
    fn axes_count_from_both_ends() {
        assert_eq!(axis(1, 4), Ok(1));
        assert_eq!(axis(-1, 4), Ok(3));
        assert!(axis(4, 4).is_err() && axis(-5, 4).is_err() && axis(i64::MIN, 4).is_err());
    }
}
