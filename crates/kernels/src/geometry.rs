//! Shapes of two-dimensional convolutions and poolings, and the sizes that follow from them.

/// Zeros (or zero points) added around an input, in pixels.
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
    /// `rows` above and below, `columns` left and right, as PyTorch's `padding=(rows, columns)`.
    pub const fn symmetric(rows: usize, columns: usize) -> Self {
        Self { top: rows, bottom: rows, left: columns, right: columns }
    }
}

/// A convolution's channels and window; weights are `[out_channels, in_channels / groups, kh, kw]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Conv2dGeometry {
    /// Input channels.
    pub in_channels: usize,
    /// Output channels.
    pub out_channels: usize,
    /// Groups; both channel counts are multiples of it.
    pub groups: usize,
    /// Window height and width.
    pub kernel: [usize; 2],
    /// Step of the window, rows then columns.
    pub stride: [usize; 2],
    /// Distance between the taps of the window.
    pub dilation: [usize; 2],
    /// Padding of the input.
    pub padding: Padding,
}

/// A geometry that no convolution can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GeometryError {
    /// A size that must be at least one is zero.
    #[error("{0} is zero; it must be at least 1")]
    Zero(&'static str),
    /// The weights are more than memory can hold.
    #[error("weights of {0:?} (output channels, input channels, rows, columns) are too many")]
    TooManyWeights([usize; 4]),
    /// Channels do not divide into the groups.
    #[error("{channels} {which} channels do not divide into {groups} groups")]
    Groups {
        /// `input` or `output`.
        which: &'static str,
        /// How many channels.
        channels: usize,
        /// How many groups.
        groups: usize,
    },
}

impl Conv2dGeometry {
    /// Checks that every size is positive, that the channels divide into the groups, and that the
    /// weights can be counted.
    ///
    /// # Errors
    /// The first condition that does not hold.
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
    pub fn output_size(&self, [h, w]: [usize; 2]) -> Option<[usize; 2]> {
        window_output_size(self.kernel, self.stride, self.dilation, self.padding, [h, w])
    }

    /// How many weights one output channel has: `in_channels / groups * kh * kw`.
    pub fn taps_per_output(&self) -> usize {
        self.in_channels / self.groups * self.kernel[0] * self.kernel[1]
    }

    /// One input and one output channel a group.
    pub fn is_depthwise(&self) -> bool {
        self.groups == self.in_channels && self.groups == self.out_channels
    }

    /// A 1x1 window, stride 1, no padding, one group: what [`Self::is_pointwise`] asks for.
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

    /// A square window around each pixel, padded by half of it: without gaps, and with one stride for
    /// rows and columns.
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

    /// A 1x1 window, stride 1, no padding, one group: a matrix product.
    pub fn is_pointwise(&self) -> bool {
        self.kernel == [1, 1]
            && self.stride == [1, 1]
            && self.groups == 1
            && self.padding == Padding::default()
    }
}

/// A pooling's window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pool2dGeometry {
    /// Window height and width.
    pub kernel: [usize; 2],
    /// Step of the window, rows then columns.
    pub stride: [usize; 2],
    /// Distance between the taps of the window.
    pub dilation: [usize; 2],
    /// Padding of the input, with values that never win.
    pub padding: Padding,
}

impl Pool2dGeometry {
    /// Height and width of the output for an input of `[h, w]` (`ceil_mode` off); `None` where the
    /// window does not fit.
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
