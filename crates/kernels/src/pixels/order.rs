//! The order of a pixel's channels in memory.

use std::fmt;

/// The order of a pixel's channels in memory, with one byte for each.
///
/// ```
/// use posterize_kernels::pixels::PixelOrder;
///
/// assert_eq!(PixelOrder::Bgra.bytes(), 4);
/// assert_eq!(PixelOrder::Bgra.to_string(), "BGRA");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PixelOrder {
    /// Red, green, blue.
    Rgb,
    /// Blue, green, red, as in OpenCV.
    Bgr,
    /// Red, green, blue, alpha. Alpha is ignored: colours are used as they are, without blending.
    Rgba,
    /// Blue, green, red, alpha. Alpha is ignored.
    Bgra,
    /// One value, the brightness.
    Gray,
}

impl PixelOrder {
    /// Number of bytes of a pixel.
    pub const fn bytes(self) -> usize {
        match self {
            Self::Rgb | Self::Bgr => 3,
            Self::Rgba | Self::Bgra => 4,
            Self::Gray => 1,
        }
    }

    /// The order in which red stands where blue did, and blue where red did.
    ///
    /// ```
    /// use posterize_kernels::pixels::PixelOrder;
    ///
    /// assert_eq!(PixelOrder::Rgba.with_red_and_blue_swapped(), PixelOrder::Bgra);
    /// ```
    #[must_use]
    pub const fn with_red_and_blue_swapped(self) -> Self {
        match self {
            Self::Rgb => Self::Bgr,
            Self::Bgr => Self::Rgb,
            Self::Rgba => Self::Bgra,
            Self::Bgra => Self::Rgba,
            Self::Gray => Self::Gray,
        }
    }
}

impl fmt::Display for PixelOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Rgb => "RGB",
            Self::Bgr => "BGR",
            Self::Rgba => "RGBA",
            Self::Bgra => "BGRA",
            Self::Gray => "gray",
        })
    }
}
