//! Checks of input shapes that several operators share.

use super::Activation;

/// The shape of a batch of pictures, `[N, C, H, W]`.
pub(super) fn picture(shape: &[usize]) -> Result<[usize; 4], String> {
    shape.try_into().map_err(|_| format!("expected an input [N, C, H, W], found {shape:?}"))
}

/// Checks the number of channels of an input.
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

/// The axes of a value in the order in which they lie in memory: channels last where there are four.
pub(crate) fn memory_order(rank: usize) -> Vec<usize> {
    if rank == 4 { vec![0, 2, 3, 1] } else { (0..rank).collect() }
}

/// The number of values of a shape, saturated.
pub(super) fn values(shape: &[usize]) -> u64 {
    shape.iter().map(|&size| size as u64).fold(1, u64::saturating_mul)
}

/// The shape that two inputs broadcast to, as NumPy has it. Every value has the batch as its first
/// axis, so both need the same number of axes for their batches to meet.
pub(super) fn broadcast(a: &[usize], b: &[usize]) -> Result<Vec<usize>, String> {
    let mismatch = || format!("its inputs {a:?} and {b:?} cannot be broadcast to one shape");
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

/// The class name of an operator with an activation behind it: `AddReLU`.
pub(super) fn fused_kind(kind: &str, activation: Option<Activation>) -> String {
    format!("{kind}{}", Activation::suffix(activation))
}

#[cfg(test)]
mod tests {
    use super::broadcast;

    #[test]
    fn axes_of_one_are_stretched() {
        assert_eq!(broadcast(&[2, 8, 1, 1], &[2, 8, 7, 5]), Ok(vec![2, 8, 7, 5]));
        assert_eq!(broadcast(&[2, 1, 7, 1], &[2, 8, 1, 5]), Ok(vec![2, 8, 7, 5]));
        assert!(broadcast(&[2, 3, 7, 5], &[2, 8, 7, 5]).unwrap_err().contains("[2, 3, 7, 5]"));
        assert!(broadcast(&[2, 8], &[2, 8, 7, 5]).is_err());
        assert!(broadcast(&[1, 8], &[2, 8]).is_err());
    }
}
