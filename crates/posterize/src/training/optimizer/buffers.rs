//! The buffers that an optimizer keeps for each parameter.

use std::collections::BTreeMap;

/// Returns the buffer of a parameter, with zeros if it has none.
pub(super) fn buffer<'a>(
    buffers: &'a mut BTreeMap<String, Vec<f32>>,
    name: &str,
    len: usize,
) -> &'a mut [f32] {
    // `entry` would copy the name in every step.
    if !buffers.contains_key(name) {
        buffers.insert(name.to_owned(), vec![0.0; len]);
    }
    buffers.get_mut(name).expect("it was inserted")
}
