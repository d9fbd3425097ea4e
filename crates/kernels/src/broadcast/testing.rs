//! Random pairs of shapes for tests of broadcasting kernels.

use proptest::prelude::*;

/// Pairs of shapes that broadcast: of arbitrary ranks up to 6, and of the kinds that occur in
/// networks, with row lengths around those of vectors and tasks.
pub(crate) fn shapes() -> impl Strategy<Value = [Vec<usize>; 2]> {
    let arbitrary = proptest::collection::vec((1_usize..6, 0_u8..5), 0..=6).prop_flat_map(|axes| {
        let rank = axes.len();
        (Just(axes), 0..=rank, any::<bool>()).prop_map(|(axes, drop, exchange)| {
            let side = |stays: u8| -> Vec<usize> {
                axes.iter().map(|&(size, kind)| if kind == stays { 1 } else { size }).collect()
            };
            let (a, mut b) = (side(0), side(1));
            // Leading axes may be missing from one of the shapes.
            b.drain(..drop);
            if exchange { [b, a] } else { [a, b] }
        })
    });
    let rows = prop_oneof![1_usize..70, 120_usize..140, 250_usize..260];
    let usual = (1_usize..4, 1_usize..60, rows, 0_u8..6, any::<bool>()).prop_map(
        |(n, p, c, kind, exchange)| {
            let other = match kind {
                0 => vec![n, p, c],
                1 => vec![],
                2 => vec![c],
                3 => vec![n, 1, c],
                4 => vec![n, p, 1],
                _ => vec![p, c],
            };
            if exchange { [other, vec![n, p, c]] } else { [vec![n, p, c], other] }
        },
    );
    let long = (16_000_usize..40_000, 0_u8..4).prop_map(|(c, kind)| match kind {
        0 => [vec![c], vec![c]],
        1 => [vec![2, c], vec![2, 1]],
        2 => [vec![c], vec![2, c]],
        _ => [vec![1], vec![c]],
    });
    let empty = Just([vec![3, 0, 2], vec![3, 1, 1]]);
    prop_oneof![6 => arbitrary, 6 => usual, 2 => long, 1 => empty]
}
