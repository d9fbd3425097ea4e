//! Shapes of values in the file, without the axis that the network has in front.

use super::super::view::View;

/// Returns the shape of a value in the file.
pub(super) fn own(view: &View) -> Vec<usize> {
    view.shape().split_off(1)
}

/// Returns a value in another shape of the file.
pub(super) fn reshaped(view: &View, own: impl IntoIterator<Item = usize>) -> View {
    view.clone().reshape(std::iter::once(1).chain(own).collect(), Some(0))
}
