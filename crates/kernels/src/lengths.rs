//! Checks that slices have the lengths that their shapes ask for, without integer overflow.
//!
//! Every safe operator checks its slices with these functions first. Kernels may then compute sizes
//! and offsets without checks: each product is at most a length that was checked.

use crate::geometry::{Conv2dGeometry, Padding, Pool2dGeometry};

/// Returns the number of elements of a tensor with the given sizes.
///
/// # Panics
/// If the product of all sizes that are not 0 exceeds `isize::MAX`, the length limit of slices.
/// Sizes of 0 are left out so that no product of only some of the sizes overflows either.
#[track_caller]
pub(crate) fn element_count(what: &str, sizes: &[usize]) -> usize {
    checked_count(sizes).unwrap_or_else(|| {
        panic!("{what} of sizes {sizes:?} has more elements than memory can hold")
    })
}

/// Returns the number of elements of a tensor; `None` where [`element_count`] panics.
pub(crate) fn checked_count(sizes: &[usize]) -> Option<usize> {
    sizes
        .iter()
        .try_fold(1_usize, |product, &size| product.checked_mul(size.max(1)))
        .filter(|&product| isize::try_from(product).is_ok())
        .map(|_| sizes.iter().product())
}

/// Checks that a slice has as many elements as a tensor with the given sizes.
///
/// # Panics
/// If it has not, and as [`element_count`].
#[track_caller]
pub(crate) fn check_len(what: &str, len: usize, sizes: &[usize]) {
    let count = element_count(what, sizes);
    assert!(len == count, "{what} has {len} elements, but shape {sizes:?} has {count}");
}

/// Checks that a slice, named `what`, is as long as another one.
///
/// # Panics
/// If it is not.
#[track_caller]
pub(crate) fn check_same_len(what: &str, len: usize, other: &str, other_len: usize) {
    assert!(len == other_len, "{what} has {len} elements, but {other} has {other_len}");
}

/// Returns height and width of an image with its padding.
///
/// # Panics
/// If one of them overflows.
#[track_caller]
pub(crate) fn padded(size: [usize; 2], padding: Padding) -> [usize; 2] {
    let Padding { top, bottom, left, right } = padding;
    let around = |size: usize, before: usize, after: usize| {
        let padded = size.checked_add(before).and_then(|size| size.checked_add(after));
        padded.unwrap_or_else(|| {
            panic!(
                "a size of {size} with padding of {before} and {after} is more than memory can hold"
            )
        })
    };
    [around(size[0], top, bottom), around(size[1], left, right)]
}

/// The shapes of the input and the output of a window operator, checked against overflow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lengths {
    /// `[batch, h, w, channels]`.
    pub(crate) input: [usize; 4],
    /// `[batch, oh, ow, channels]`.
    pub(crate) output: [usize; 4],
}

impl Lengths {
    /// The shapes for a convolution of `batch` images of `size`.
    ///
    /// # Panics
    /// If the window does not fit into the padded input, or the input, a row of the padded input or
    /// the output has more elements than memory can hold.
    #[track_caller]
    pub(crate) fn of_conv2d(geometry: &Conv2dGeometry, batch: usize, size: [usize; 2]) -> Self {
        let &Conv2dGeometry { in_channels, out_channels, kernel, padding, .. } = geometry;
        let output_size = geometry.output_size(size);
        Self::new((batch, size, in_channels), (kernel, padding), output_size, out_channels)
    }

    /// The shapes for a pooling of `batch` images of `size`.
    ///
    /// # Panics
    /// As [`Lengths::of_conv2d`].
    #[track_caller]
    pub(crate) fn of_pool2d(
        geometry: &Pool2dGeometry,
        batch: usize,
        size: [usize; 2],
        channels: usize,
    ) -> Self {
        let &Pool2dGeometry { kernel, padding, .. } = geometry;
        let output_size = geometry.output_size(size);
        Self::new((batch, size, channels), (kernel, padding), output_size, channels)
    }

    #[track_caller]
    fn new(
        (batch, size, channels): (usize, [usize; 2], usize),
        (kernel, padding): ([usize; 2], Padding),
        output_size: Option<[usize; 2]>,
        out_channels: usize,
    ) -> Self {
        let Some([oh, ow]) = output_size else {
            panic!(
                "a window of {kernel:?} does not fit into an input of {size:?} with {padding:?}"
            );
        };
        let [_, w] = padded(size, padding);
        element_count("a padded row", &[w, channels]);
        let lengths = Self {
            input: [batch, size[0], size[1], channels],
            output: [batch, oh, ow, out_channels],
        };
        element_count("the input", &lengths.input);
        element_count("the output", &lengths.output);
        lengths
    }

    /// Height and width of the output.
    pub(crate) fn output_size(&self) -> [usize; 2] {
        [self.output[1], self.output[2]]
    }

    /// Checks the lengths of the input and output slices.
    ///
    /// # Panics
    /// If one of them differs from its shape.
    #[track_caller]
    pub(crate) fn check(&self, input: usize, output: usize) {
        check_len("the input", input, &self.input);
        check_len("the output", output, &self.output);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_are_counted() {
        assert_eq!(element_count("x", &[2, 3, 4]), 24);
        assert_eq!(element_count("x", &[2, 0, 4]), 0);
        assert_eq!(element_count("x", &[]), 1);
        assert_eq!(padded([2, 3], Padding { top: 1, bottom: 2, left: 3, right: 4 }), [5, 10]);
        let g = Conv2dGeometry::square([3, 8], 3, 2, 1);
        let lengths = Lengths::of_conv2d(&g, 2, [7, 9]);
        assert_eq!((lengths.input, lengths.output), ([2, 7, 9, 3], [2, 4, 5, 8]));
        lengths.check(2 * 7 * 9 * 3, 2 * 4 * 5 * 8);
    }

    #[test]
    #[should_panic(
        expected = "the output of sizes [2305843009213693952, 2, 2, 2] has more elements"
    )]
    fn a_product_that_wraps_to_zero_is_refused() {
        let g = Conv2dGeometry {
            padding: Padding::symmetric(2, 2),
            ..Conv2dGeometry::square([1, 2], 3, 1, 1)
        };
        Lengths::of_conv2d(&g, 1 << 61, [0, 0]);
    }

    #[test]
    #[should_panic(expected = "more elements than memory can hold")]
    fn zeros_do_not_hide_an_overflow() {
        element_count("x", &[0, 1 << 40, 1 << 40]);
    }

    #[test]
    #[should_panic(expected = "the input has 5 elements, but shape [1, 2, 3] has 6")]
    fn another_length_is_refused() {
        check_len("the input", 5, &[1, 2, 3]);
    }
}
