//! Geometry of two-dimensional convolutions and poolings, and the output sizes that follow from it.

/// Padding around an image, in pixels; the padded pixels are zeros (in u8, the zero point).
///
/// ```
/// use posterize_kernels::Padding;
///
/// let padding = Padding::symmetric(1, 2);
/// assert_eq!(padding, Padding { top: 1, bottom: 1, left: 2, right: 2 });
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Padding {
    /// Rows above.
    pub top: usize,
    /// Rows below.
    pub bottom: usize,
    /// Columns to the left.
    pub left: usize,
    /// Columns to the right.
    pub right: usize,
}

impl Padding {
    /// Padding of `rows` above and below and `columns` left and right, as PyTorch's `padding=(rows,
    /// columns)`.
    pub const fn symmetric(rows: usize, columns: usize) -> Self {
        Self { top: rows, bottom: rows, left: columns, right: columns }
    }

    /// Height and width of an image of `[h, w]` with the padding; `None` if one overflows.
    pub fn around(&self, [h, w]: [usize; 2]) -> Option<[usize; 2]> {
        let height = h.checked_add(self.top)?.checked_add(self.bottom)?;
        let width = w.checked_add(self.left)?.checked_add(self.right)?;
        Some([height, width])
    }
}

/// The hyper-parameters of a two-dimensional convolution, as `torch.nn.Conv2d` has them.
///
/// Its weights are `[out_channels, in_channels / groups, kh, kw]`.
///
/// ```
/// use posterize_kernels::{Conv2dGeometry, Padding};
///
/// // The first convolution of MobileNetV2.
/// let conv = Conv2dGeometry {
///     in_channels: 3,
///     out_channels: 32,
///     groups: 1,
///     kernel: [3, 3],
///     stride: [2, 2],
///     dilation: [1, 1],
///     padding: Padding::symmetric(1, 1),
/// };
/// assert_eq!(conv.output_size([224, 224]), Some([112, 112]));
/// assert_eq!(conv.taps_per_output(), 3 * 3 * 3);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Conv2dGeometry {
    /// Input channels.
    pub in_channels: usize,
    /// Output channels.
    pub out_channels: usize,
    /// Number of groups; `in_channels` and `out_channels` are multiples of it.
    pub groups: usize,
    /// Height and width of the kernel window.
    pub kernel: [usize; 2],
    /// Stride of the window: vertical, horizontal.
    pub stride: [usize; 2],
    /// Distance between neighbouring taps of the window: vertical, horizontal.
    pub dilation: [usize; 2],
    /// Padding of the input.
    pub padding: Padding,
}

/// An error for hyper-parameters that no convolution can have.
///
/// ```
/// use posterize_kernels::Conv2dGeometry;
///
/// let error = Conv2dGeometry::square([3, 8], 3, 1, 3).validate().unwrap_err();
/// assert_eq!(error.to_string(), "8 output channels do not divide into 3 groups");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GeometryError {
    /// A size that must be at least one is zero.
    #[error("{0} is zero; it must be at least 1")]
    Zero(&'static str),
    /// The weights have more elements than memory can hold.
    #[error(
        "weights of shape {0:?} ([out_channels, in_channels / groups, kh, kw]) have more elements than \
         memory can hold"
    )]
    TooManyWeights([usize; 4]),
    /// A channel count is not a multiple of the number of groups.
    #[error("{channels} {which} channels do not divide into {groups} groups")]
    Groups {
        /// Which channels: `input` or `output`.
        which: &'static str,
        /// The number of those channels.
        channels: usize,
        /// The number of groups.
        groups: usize,
    },
}

impl Conv2dGeometry {
    /// Checks that every size is at least 1, that both channel counts are multiples of `groups`,
    /// and that the number of weights fits an `isize`.
    ///
    /// # Errors
    /// Returns the first condition that does not hold.
    pub fn validate(&self) -> Result<(), GeometryError> {
        let positive = [
            ("in_channels", self.in_channels),
            ("out_channels", self.out_channels),
            ("groups", self.groups),
            ("kernel height", self.kernel[0]),
            ("kernel width", self.kernel[1]),
            ("vertical stride", self.stride[0]),
            ("horizontal stride", self.stride[1]),
            ("vertical dilation", self.dilation[0]),
            ("horizontal dilation", self.dilation[1]),
        ];
        if let Some(&(name, _)) = positive.iter().find(|(_, size)| *size == 0) {
            return Err(GeometryError::Zero(name));
        }
        for (which, channels) in [("input", self.in_channels), ("output", self.out_channels)] {
            if channels % self.groups != 0 {
                return Err(GeometryError::Groups { which, channels, groups: self.groups });
            }
        }
        let weights =
            [self.out_channels, self.in_channels / self.groups, self.kernel[0], self.kernel[1]];
        let count = weights.iter().try_fold(1_usize, |count, &size| count.checked_mul(size));
        if count.is_none_or(|count| isize::try_from(count).is_err()) {
            return Err(GeometryError::TooManyWeights(weights));
        }
        Ok(())
    }

    /// Height and width of the output for an input of `[h, w]`; `None` where the window does not
    /// fit into the padded input.
    ///
    /// Each is `(size + padding − dilation · (kernel − 1) − 1) / stride + 1`, rounded down, with
    /// the padding of both sides, as for [`torch.nn.Conv2d`].
    ///
    /// [`torch.nn.Conv2d`]: https://docs.pytorch.org/docs/stable/generated/torch.nn.Conv2d.html
    pub fn output_size(&self, [h, w]: [usize; 2]) -> Option<[usize; 2]> {
        window_output_size(self.kernel, self.stride, self.dilation, self.padding, [h, w])
    }

    /// The number of weights of one output channel: `in_channels / groups · kh · kw`.
    pub fn taps_per_output(&self) -> usize {
        self.in_channels / self.groups * self.kernel[0] * self.kernel[1]
    }

    /// Whether each group has one input and one output channel.
    pub fn is_depthwise(&self) -> bool {
        self.groups == self.in_channels && self.groups == self.out_channels
    }

    /// A 1x1 convolution with stride 1, no padding and one group; see [`Self::is_pointwise`].
    pub fn pointwise(in_channels: usize, out_channels: usize) -> Self {
        Self {
            in_channels,
            out_channels,
            groups: 1,
            kernel: [1, 1],
            stride: [1, 1],
            dilation: [1, 1],
            padding: Padding::default(),
        }
    }

    /// A convolution with a square window, padding of `kernel / 2` on all sides, dilation 1, and
    /// the same stride for rows and columns.
    ///
    /// With an odd `kernel` and stride 1 the output is as large as the input.
    pub fn square(
        [in_channels, out_channels]: [usize; 2],
        kernel: usize,
        stride: usize,
        groups: usize,
    ) -> Self {
        Self {
            in_channels,
            out_channels,
            groups,
            kernel: [kernel; 2],
            stride: [stride; 2],
            dilation: [1; 2],
            padding: Padding::symmetric(kernel / 2, kernel / 2),
        }
    }

    /// Whether this is a 1x1 convolution with stride 1, no padding and one group, and so a matrix
    /// product over pixels.
    pub fn is_pointwise(&self) -> bool {
        self.kernel == [1, 1]
            && self.stride == [1, 1]
            && self.groups == 1
            && self.padding == Padding::default()
    }
}

/// The window of a two-dimensional pooling.
///
/// ```
/// use posterize_kernels::{Padding, Pool2dGeometry};
///
/// // The max pooling of ResNet.
/// let pool = Pool2dGeometry {
///     kernel: [3, 3],
///     stride: [2, 2],
///     dilation: [1, 1],
///     padding: Padding::symmetric(1, 1),
/// };
/// assert_eq!(pool.output_size([112, 112]), Some([56, 56]));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pool2dGeometry {
    /// Height and width of the window.
    pub kernel: [usize; 2],
    /// Stride of the window: vertical, horizontal.
    pub stride: [usize; 2],
    /// Distance between neighbouring taps of the window: vertical, horizontal.
    pub dilation: [usize; 2],
    /// Padding of the input; padded pixels never are the maximum.
    pub padding: Padding,
}

impl Pool2dGeometry {
    /// Height and width of the output for an input of `[h, w]`, as PyTorch with `ceil_mode=False`;
    /// `None` where the window does not fit into the padded input.
    pub fn output_size(&self, size: [usize; 2]) -> Option<[usize; 2]> {
        window_output_size(self.kernel, self.stride, self.dilation, self.padding, size)
    }
}

fn window_output_size(
    kernel: [usize; 2],
    stride: [usize; 2],
    dilation: [usize; 2],
    padding: Padding,
    [h, w]: [usize; 2],
) -> Option<[usize; 2]> {
    let one = |size: usize, before: usize, after: usize, axis: usize| {
        let reach = dilation[axis].checked_mul(kernel[axis].checked_sub(1)?)?.checked_add(1)?;
        let padded = size.checked_add(before)?.checked_add(after)?;
        padded.checked_sub(reach)?.checked_div(stride[axis])?.checked_add(1)
    };
    Some([one(h, padding.top, padding.bottom, 0)?, one(w, padding.left, padding.right, 1)?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_sizes_follow_pytorchs_formula() {
        let mut g = Conv2dGeometry {
            in_channels: 3,
            out_channels: 32,
            groups: 1,
            kernel: [3, 3],
            stride: [2, 2],
            dilation: [1, 1],
            padding: Padding::symmetric(1, 1),
        };
        assert_eq!(g.output_size([224, 225]), Some([112, 113]));
        g.padding = Padding { top: 0, bottom: 1, left: 0, right: 1 };
        assert_eq!(g.output_size([224, 224]), Some([112, 112]));
        g.dilation = [2, 2];
        assert_eq!(g.output_size([224, 224]), Some([111, 111]));
        assert_eq!(g.output_size([3, 224]), None);
        g.groups = 2;
        assert!(g.validate().is_err());
        g.groups = 1;
        assert_eq!(g.validate(), Ok(()));
        g.kernel = [1 << 32, 1 << 32];
        assert_eq!(g.validate(), Err(GeometryError::TooManyWeights([32, 3, 1 << 32, 1 << 32])));
    }
}
