//! Checks inputs for NaN.

use super::input::{Given, Values};
use crate::error::{Error, Result};
use crate::graph::Graph;

/// Checks that no value of an input is NaN. A quantized input would make it an arbitrary number.
///
/// Infinite values are allowed: they are the largest numbers in int8, and float networks may use them
/// as masks. Pixels are always finite.
///
/// # Errors
/// Returns [`Error::NotFinite`] that names the input and the index of the first NaN.
pub(super) fn check_inputs(graph: &Graph, given: &[Given<'_>]) -> Result<()> {
    for ((_, node), given) in graph.inputs().zip(given) {
        let (Values::InPlace(values) | Values::Contiguous(values)) = given.values else { continue };
        if let Some(index) = first_nan(values) {
            return Err(Error::not_finite(
                &node.name,
                format!(
                    "value {index} of the input {:?} is NaN; check what computed it",
                    &*given.shape
                ),
            ));
        }
    }
    Ok(())
}

/// Returns the index of the first NaN.
fn first_nan(values: &[f32]) -> Option<usize> {
    // A loop without an early end is vectorized.
    const BLOCK: usize = 4096;
    let block = values
        .chunks(BLOCK)
        .position(|block| block.iter().fold(false, |found, value| found | value.is_nan()))?;
    let start = block * BLOCK;
    values[start..].iter().position(|value| value.is_nan()).map(|index| start + index)
}

#[cfg(test)]
mod tests {
    use super::first_nan;

    #[test]
    fn the_first_nan_is_found_at_every_index() {
        let mut values = vec![f32::INFINITY; 9000];
        assert_eq!(first_nan(&values), None);
        values[8999] = f32::NAN;
        for index in [0, 1, 4095, 4096, 8191, 8192, 8998] {
            let good = std::mem::replace(&mut values[index], -f32::NAN);
            assert_eq!(first_nan(&values), Some(index));
            values[index] = good;
        }
        assert_eq!(first_nan(&values), Some(8999));
        assert_eq!(first_nan(&[]), None);
    }
}
