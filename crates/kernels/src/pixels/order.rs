//! The order of a pixel's values.

use std::fmt;

/// The order of a pixel's values in memory, one byte each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PixelOrder {
    /// Red, green, blue.
    Rgb,
    /// Blue, green, red, as OpenCV has it.
    Bgr,
    /// Red, green, blue, alpha. Alpha is ignored: colours are used as they are, not blended.
    Rgba,
    /// Blue, green, red, alpha. Alpha is ignored.
    Bgra,
    /// One value, the brightness.
    Gray,
}

impl PixelOrder {
    /// Bytes of a pixel.
    pub const fn bytes(self) -> usize {
        match self {
            Self::Rgb | Self::Bgr => 3,
            Self::Rgba | Self::Bgra => 4,
            Self::Gray => 1,
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
