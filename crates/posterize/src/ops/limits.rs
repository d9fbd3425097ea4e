//! Limits of hyper-parameters, which keep every later product of sizes within bounds.

/// The largest size of a layer; no layer of a classifier is near it.
const MAX_SIZE: usize = 1 << 24;
/// The largest number of values of a weight.
const MAX_WEIGHT: usize = 1 << 30;

/// Checks sizes that may come from a file.
pub(super) fn check_sizes(sizes: &[usize]) -> Result<(), String> {
    match sizes.iter().find(|&&size| size > MAX_SIZE) {
        Some(size) => Err(format!("a size of {size} is beyond the limit of {MAX_SIZE}")),
        None => Ok(()),
    }
}

/// Checks the number of values of a weight.
pub(super) fn check_weight(shape: &[usize]) -> Result<(), String> {
    let values = shape.iter().try_fold(1usize, |product, &size| product.checked_mul(size));
    match values {
        Some(values) if values <= MAX_WEIGHT => Ok(()),
        _ => Err(format!("a weight of {shape:?} has more than the limit of {MAX_WEIGHT} values")),
    }
}
