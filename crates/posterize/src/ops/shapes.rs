//! Shapes and their checks, shared by several operators.

use super::Activation;

/// Returns a shape as `[N, C, H, W]`, or an error if it does not have four axes.
pub(super) fn picture(shape: &[usize]) -> Result<[usize; 4], String> {
    shape.try_into().map_err(|_| format!("expected an input [N, C, H, W], found {shape:?}"))
}

/// Returns an error if an input has another number of channels than expected.
pub(super) fn expect_channels(
    expected: usize,
    found: usize,
    shape: &[usize],
) -> Result<(), String> {
    if expected == found {
        Ok(())
    } else {
        Err(format!("expected {expected} channels, found {found} in an input of {shape:?}"))
    }
}

/// Returns an error if an input has no axis `dim`.
pub(super) fn expect_axis(dim: usize, shape: &[usize]) -> Result<(), String> {
    if dim < shape.len() {
        Ok(())
    } else {
        Err(format!("expected an input with an axis {dim}, found {shape:?}"))
    }
}

/// Returns the axes of a shape in memory order: channels last for four axes.
pub(crate) fn memory_order(rank: usize) -> Vec<usize> {
    if rank == 4 { vec![0, 2, 3, 1] } else { (0..rank).collect() }
}

/// Whether a value of this shape may fit into memory. Where it may, no product of its sizes
/// overflows, nor their sums with the sizes of an operator.
pub(crate) fn fits_memory(shape: &[usize]) -> bool {
    let values = shape.iter().try_fold(1usize, |product, &size| product.checked_mul(size));
    values.is_some_and(|values| values <= isize::MAX as usize / 8)
        && shape.iter().all(|&size| size <= isize::MAX as usize / 8)
}

/// Returns the number of values of a shape, or `u64::MAX` if it overflows.
pub(super) fn values(shape: &[usize]) -> u64 {
    shape.iter().map(|&size| size as u64).fold(1, u64::saturating_mul)
}

/// Returns the shape that two inputs are broadcast to, as in NumPy.
///
/// The batch, the first axis, is not broadcast, so both inputs need the same number of axes.
pub(super) fn broadcast(a: &[usize], b: &[usize]) -> Result<Vec<usize>, String> {
    let mismatch = || {
        format!(
            "inputs {a:?} and {b:?} cannot be broadcast: they need the same number of axes and the \
             same batch size, and other sizes must be equal or 1"
        )
    };
    if a.len() != b.len() || a.first() != b.first() {
        return Err(mismatch());
    }
    a.iter()
        .zip(b)
        .map(|(&a, &b)| match (a, b) {
            (a, b) if a == b => Ok(a),
            (1, other) | (other, 1) => Ok(other),
            _ => Err(mismatch()),
        })
        .collect()
}

/// Returns the class name of an operator with an activation fused into it, such as `AddReLU`.
pub(super) fn fused_kind(kind: &str, activation: Option<Activation>) -> String {
    format!("{kind}{}", Activation::suffix(activation))
}

#[cfg(test)]
mod tests {
    use super::broadcast;

    #[test]
    fn shapes_are_broadcast_as_in_numpy() {
        assert_eq!(broadcast(&[2, 8, 1, 1], &[2, 8, 7, 5]), Ok(vec![2, 8, 7, 5]));
        assert_eq!(broadcast(&[2, 1, 7, 1], &[2, 8, 1, 5]), Ok(vec![2, 8, 7, 5]));
        assert!(broadcast(&[2, 3, 7, 5], &[2, 8, 7, 5]).unwrap_err().contains("[2, 3, 7, 5]"));
        assert!(broadcast(&[2, 8], &[2, 8, 7, 5]).is_err());
        assert!(broadcast(&[1, 8], &[2, 8]).is_err());
    }
}
