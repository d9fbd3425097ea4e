//! Limits of hyper-parameters, so that products of sizes do not overflow.

/// The largest size in a layer, such as a number of channels. Real classifiers stay far below.
const MAX_SIZE: usize = 1 << 24;
/// The largest number of values of a weight.
const MAX_WEIGHT: usize = 1 << 30;

/// Returns an error if a size, which may come from a file, is too large.
pub(super) fn check_sizes(sizes: &[usize]) -> Result<(), String> {
    match sizes.iter().find(|&&size| size > MAX_SIZE) {
        Some(size) => Err(format!("sizes must be at most {MAX_SIZE}, found {size}")),
        None => Ok(()),
    }
}

/// Returns an error if a weight has too many values.
pub(super) fn check_weight(shape: &[usize]) -> Result<(), String> {
    let values = shape.iter().try_fold(1usize, |product, &size| product.checked_mul(size));
    match values {
        Some(values) if values <= MAX_WEIGHT => Ok(()),
        _ => Err(format!("a weight must have at most {MAX_WEIGHT} values, found {shape:?}")),
    }
}
