//! How values lie in memory: of four axes channels last (N, H, W, C), of others in their order.

/// The place in memory order of an axis of a shape.
pub(crate) fn memory_axis(rank: usize, axis: usize) -> usize {
    match (rank, axis) {
        (4, 1) => 3,
        (4, 2 | 3) => axis - 1,
        _ => axis,
    }
}

/// A shape in memory order: `[N, H, W, C]` of `[N, C, H, W]`.
pub(crate) fn in_memory_order(shape: &[usize]) -> Vec<usize> {
    match *shape {
        [n, c, h, w] => vec![n, h, w, c],
        _ => shape.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_are_where_the_shape_says() {
        for shape in [&[2, 3, 5, 7][..], &[2, 3], &[2, 3, 5], &[2, 3, 5, 7, 11], &[2]] {
            let lies = in_memory_order(shape);
            for (axis, &size) in shape.iter().enumerate() {
                assert_eq!(lies[memory_axis(shape.len(), axis)], size, "{shape:?}, axis {axis}");
            }
        }
    }
}
