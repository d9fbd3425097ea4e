//! The order of a pixel's channels in memory.

use std::fmt;

use posterize_kernels::pixels as kernels;

/// The order of a pixel's channels in memory, with one byte for each.
///
/// ```
/// use posterize::PixelOrder;
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
        self.kernels().bytes()
    }

    /// Returns what the kernels take.
    pub(super) const fn kernels(self) -> kernels::PixelOrder {
        match self {
            Self::Rgb => kernels::PixelOrder::Rgb,
            Self::Bgr => kernels::PixelOrder::Bgr,
            Self::Rgba => kernels::PixelOrder::Rgba,
            Self::Bgra => kernels::PixelOrder::Bgra,
            Self::Gray => kernels::PixelOrder::Gray,
        }
    }
}

impl fmt::Display for PixelOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.kernels(), f)
    }
}
