//! Broadcasting of two shapes by NumPy's rules.

mod axis;
mod pairwise;
mod pieces;
#[cfg(test)]
pub(crate) mod testing;

pub(crate) use pairwise::{Pairwise, combine};
pub(crate) use pieces::Piece;

use axis::Axis;

use crate::lengths::checked_count;

/// A plan for combining two inputs element by element with broadcasting, made once from their
/// shapes.
///
/// By [NumPy's rules](https://numpy.org/doc/stable/user/basics.broadcasting.html), shapes are
/// aligned at their last axis, missing axes have size 1, and an axis of size 1 is repeated to the
/// size of the other shape. Shapes are in memory order: for channels-last values, give `[N, H, W,
/// C]` instead of `[N, C, H, W]`.
///
/// Neighbouring axes that broadcast alike are merged, so that equal shapes, a scalar, one value per
/// channel (`[N, 1, 1, C]` with `[N, H, W, C]`) and one value per pixel (`[N, H, W, 1]`) become
/// loops over one, two or three axes.
///
/// Operators also take several tensors of these shapes one behind the other, such as the images of a
/// batch, and combine each with the one at the same place: a plan for one image serves any batch.
///
/// ```
/// use posterize_kernels::Broadcast;
///
/// let plan = Broadcast::new(&[2, 1, 1, 32], &[2, 7, 7, 32])?;
/// assert_eq!(plan.shape(), [2, 7, 7, 32]);
/// assert_eq!(plan.input_len(), [2 * 32, 2 * 7 * 7 * 32]);
/// # Ok::<(), posterize_kernels::BroadcastError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broadcast {
    shape: Vec<usize>,
    len: usize,
    input_len: [usize; 2],
    /// The merged axes of the output, outermost first; there is at least one.
    axes: Vec<Axis>,
}

/// An error for two shapes that cannot be broadcast together.
///
/// ```
/// use posterize_kernels::{Broadcast, BroadcastError};
///
/// let error = Broadcast::new(&[2, 3], &[2, 4]).unwrap_err();
/// assert_eq!(error, BroadcastError::Mismatch { a: vec![2, 3], b: vec![2, 4], from_last: 1 });
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BroadcastError {
    /// The sizes of an axis differ and neither is 1.
    #[error(
        "shapes {a:?} and {b:?} do not broadcast: sizes {} and {} of axis −{from_last} differ and \
         neither is 1",
        a[a.len() - from_last], b[b.len() - from_last]
    )]
    Mismatch {
        /// The first shape.
        a: Vec<usize>,
        /// The second shape.
        b: Vec<usize>,
        /// The axis, counted from the last one, which is 1.
        from_last: usize,
    },
    /// An input or the output has more elements than memory can hold.
    #[error("shape {shape:?} has more elements than memory can hold")]
    TooLarge {
        /// The shape with too many elements.
        shape: Vec<usize>,
    },
}

impl Broadcast {
    /// Makes the plan for inputs of shapes `a` and `b`.
    ///
    /// # Errors
    /// If the shapes do not broadcast, or an input or the output has more elements than fit an
    /// `isize`.
    pub fn new(a: &[usize], b: &[usize]) -> Result<Self, BroadcastError> {
        let rank = a.len().max(b.len());
        let size = |shape: &[usize], from_last: usize| {
            shape.len().checked_sub(from_last).map_or(1, |axis| shape[axis])
        };
        let input_len = [checked_len(a)?, checked_len(b)?];
        let mut shape = Vec::with_capacity(rank);
        let mut axes: Vec<Axis> = Vec::new();
        for from_last in (1..=rank).rev() {
            let sizes = [size(a, from_last), size(b, from_last)];
            let size = match sizes {
                [x, y] if x == y => x,
                [1, size] | [size, 1] => size,
                _ => {
                    return Err(BroadcastError::Mismatch {
                        a: a.to_vec(),
                        b: b.to_vec(),
                        from_last,
                    });
                }
            };
            shape.push(size);
            if size == 1 {
                continue;
            }
            let moves = sizes.map(|size| size != 1);
            match axes.last_mut() {
                // Saturation is never seen: `checked_len` below checks the product of all sizes.
                Some(last) if last.moves == moves => last.size = last.size.saturating_mul(size),
                _ => axes.push(Axis { size, moves, step: [0; 2] }),
            }
        }
        let len = checked_len(&shape)?;
        if axes.is_empty() {
            axes.push(Axis { size: 1, moves: [true; 2], step: [0; 2] });
        }
        if len > 0 {
            let mut steps = [1; 2];
            for axis in axes.iter_mut().rev() {
                for (side, next) in steps.iter_mut().enumerate() {
                    if axis.moves[side] {
                        axis.step[side] = *next;
                        *next *= axis.size;
                    }
                }
            }
        }
        Ok(Self { shape, len, input_len, axes })
    }

    /// The shape of the output.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Number of elements of the output.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the output has no elements.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Number of elements of each input.
    pub fn input_len(&self) -> [usize; 2] {
        self.input_len
    }

    /// The merged axes, outermost first; there is at least one.
    pub(crate) fn axes(&self) -> &[Axis] {
        &self.axes
    }

    /// Checks the lengths of the inputs and of the output, and returns how many tensors each holds.
    ///
    /// # Panics
    /// If the lengths are not the same multiple of those of the shapes.
    pub(crate) fn check(&self, a: usize, b: usize, output: usize) -> usize {
        let slices = [
            ("the output", output, self.len),
            ("the first input", a, self.input_len[0]),
            ("the second input", b, self.input_len[1]),
        ];
        // Where the output is empty, one of the inputs is, and the other one tells.
        let count = slices.iter().find_map(|&(_, len, one)| len.checked_div(one)).unwrap_or(1);
        for (what, len, one) in slices {
            let expected = count * one;
            assert!(
                len == expected,
                "{what} has {len} elements, but {count} of its shape have {expected}"
            );
        }
        count
    }
}

/// Returns the number of elements of a shape. Sizes of 0 do not hide an overflow of the product of
/// the others, because strides are products of some of the sizes.
fn checked_len(shape: &[usize]) -> Result<usize, BroadcastError> {
    checked_count(shape).ok_or_else(|| BroadcastError::TooLarge { shape: shape.to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_follow_numpy() {
        for (a, b, shape) in [
            (&[2, 3][..], &[2, 3][..], &[2, 3][..]),
            (&[], &[], &[]),
            (&[5], &[], &[5]),
            (&[3, 1], &[4], &[3, 4]),
            (&[8, 1, 6, 1], &[7, 1, 5], &[8, 7, 6, 5]),
            (&[1, 0], &[4, 1], &[4, 0]),
        ] {
            assert_eq!(Broadcast::new(a, b).unwrap().shape(), shape);
            assert_eq!(Broadcast::new(b, a).unwrap().shape(), shape);
        }
    }

    #[test]
    fn shapes_that_do_not_broadcast_give_an_error_with_their_sizes() {
        let error = Broadcast::new(&[2, 3, 5], &[4, 5]).unwrap_err().to_string();
        assert!(error.contains("sizes 3 and 4 of axis −2"), "{error}");
        let huge = [1 << 40, 1 << 40];
        for (a, b) in
            [(&huge[..], &[][..]), (&[1 << 40, 1], &[1 << 40]), (&[], &[0, 1 << 40, 1 << 40])]
        {
            let error = Broadcast::new(a, b).unwrap_err();
            assert!(matches!(error, BroadcastError::TooLarge { .. }), "{error}");
        }
    }

    #[test]
    fn axes_that_broadcast_alike_are_merged() {
        let sizes = |a: &[usize], b: &[usize]| -> Vec<usize> {
            Broadcast::new(a, b).unwrap().axes().iter().map(|axis| axis.size).collect()
        };
        assert_eq!(sizes(&[2, 7, 7, 32], &[2, 7, 7, 32]), [2 * 7 * 7 * 32]);
        assert_eq!(sizes(&[2, 7, 7, 32], &[]), [2 * 7 * 7 * 32]);
        assert_eq!(sizes(&[2, 7, 7, 32], &[32]), [2 * 7 * 7, 32]);
        assert_eq!(sizes(&[2, 7, 7, 32], &[2, 1, 1, 32]), [2, 7 * 7, 32]);
        assert_eq!(sizes(&[2, 7, 7, 32], &[2, 7, 7, 1]), [2 * 7 * 7, 32]);
        assert_eq!(sizes(&[1, 1], &[1]), [1]);
    }
}
