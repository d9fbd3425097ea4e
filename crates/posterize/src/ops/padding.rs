//! The padding of a convolution.

use posterize_kernels as kernels;
use serde::{Deserialize, Serialize};

/// The padding of a convolution's input with zeros.
///
/// ```
/// use posterize::ops::{Conv2d, Op, Padding};
///
/// let conv = Conv2d::new(3, 8, 3).stride(2);
/// let valid = Op::from(conv.clone().padding(Padding::all(0)));
/// assert_eq!(valid.infer(&[&[1, 3, 8, 8]])?, [1, 8, 3, 3]);
/// let same = Op::from(conv.padding(Padding::Same));
/// assert_eq!(same.infer(&[&[1, 3, 8, 8]])?, [1, 8, 4, 4]);
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Padding {
    /// A number of pixels for each side.
    Explicit {
        /// Rows above.
        top: usize,
        /// Rows below.
        bottom: usize,
        /// Columns to the left.
        left: usize,
        /// Columns to the right.
        right: usize,
    },
    /// TensorFlow's `SAME`, ONNX's `SAME_UPPER`: the output has `ceil(size / stride)` rows and
    /// columns. If the padding of an axis is odd, the bottom or right side gets one pixel more.
    Same,
}

impl Padding {
    /// Creates a padding of the same number of pixels on all four sides.
    pub const fn all(pixels: usize) -> Self {
        Self::Explicit { top: pixels, bottom: pixels, left: pixels, right: pixels }
    }

    /// Returns the pixels of each side for an input of `[h, w]`.
    pub(crate) fn resolve(
        self,
        kernel: [usize; 2],
        stride: [usize; 2],
        dilation: [usize; 2],
        size: [usize; 2],
    ) -> kernels::Padding {
        match self {
            Self::Explicit { top, bottom, left, right } => {
                kernels::Padding { top, bottom, left, right }
            }
            Self::Same => {
                let total = |axis: usize| {
                    // Hyper-parameters may not be validated yet: no size, even 0, may panic.
                    let outputs = size[axis].div_ceil(stride[axis].max(1));
                    let last = outputs.saturating_sub(1).saturating_mul(stride[axis]);
                    let window = kernel[axis].saturating_sub(1).saturating_mul(dilation[axis]);
                    last.saturating_add(window).saturating_add(1).saturating_sub(size[axis])
                };
                let (rows, columns) = (total(0), total(1));
                kernels::Padding {
                    top: rows / 2,
                    bottom: rows - rows / 2,
                    left: columns / 2,
                    right: columns - columns / 2,
                }
            }
        }
    }

    /// Returns the padding as printed by PyTorch's poolings: a number or a pair where it is symmetric.
    pub(super) fn of_pooling(self) -> String {
        match self {
            Self::Explicit { top, bottom, left, right } if top == bottom && left == right => {
                super::python::one_or_pair([top, left])
            }
            Self::Explicit { top, bottom, left, right } => {
                format!("({left}, {right}, {top}, {bottom})")
            }
            Self::Same => "same".into(),
        }
    }

    /// Returns the keyword argument printed by PyTorch; `None` without padding.
    pub(super) fn python(self) -> Option<String> {
        match self {
            Self::Explicit { top: 0, bottom: 0, left: 0, right: 0 } => None,
            Self::Explicit { top, bottom, left, right } if top == bottom && left == right => {
                Some(format!("padding=({top}, {left})"))
            }
            // PyTorch's convolutions have no such padding; this is the order of F.pad.
            Self::Explicit { top, bottom, left, right } => {
                Some(format!("padding=({left}, {right}, {top}, {bottom})"))
            }
            Self::Same => Some("padding=same".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::{Conv2d, Operator};

    #[test]
    fn same_padding_puts_the_odd_pixel_at_the_bottom_and_right() {
        let padding = Padding::Same.resolve([3, 3], [2, 2], [1, 1], [224, 225]);
        assert_eq!(padding, kernels::Padding { top: 0, bottom: 1, left: 1, right: 1 });
        let padding = Padding::Same.resolve([5, 5], [1, 1], [1, 1], [7, 7]);
        assert_eq!(padding, kernels::Padding::symmetric(2, 2));
        let padding = Padding::Same.resolve([1, 1], [2, 2], [1, 1], [7, 7]);
        assert_eq!(padding, kernels::Padding::default());
    }

    #[test]
    fn sizes_that_are_not_valid_do_not_panic() {
        for kernel in [0, 1, usize::MAX] {
            for stride in [0, 1, usize::MAX] {
                let padding = Padding::Same.resolve([kernel; 2], [stride; 2], [kernel; 2], [7, 7]);
                assert_eq!(padding.top, padding.left);
                let conv = Conv2d::new(3, 8, kernel).stride(stride).padding(Padding::Same);
                // The trait's method, unlike `Op::infer`, does not validate.
                let inferred = Operator::infer(&conv, &[&[1, 3, 7, 7]]);
                assert_eq!(inferred.is_ok(), kernel == 1 && stride != 0, "{kernel} {stride}");
            }
        }
    }
}
