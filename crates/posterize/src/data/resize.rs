//! The sizes that pictures are resized and cropped to.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::Error;

/// The size that a picture is resized to before it is cropped; the `size` of torchvision's `Resize`.
///
/// In text, and in the file of a saved model, it is one number or a height and a width.
///
/// ```
/// use posterize::data::Resize;
///
/// assert_eq!(Resize::Shorter(256).of([375, 500]), [256, 341]);
/// assert_eq!("48x192".parse::<Resize>()?, Resize::Exact([48, 192]));
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Resize {
    /// The length of the shorter side, in pixels. The longer one keeps the aspect ratio and is rounded
    /// down.
    Shorter(usize),
    /// The height and the width, in pixels, whatever the aspect ratio was.
    Exact([usize; 2]),
}

impl Resize {
    /// Returns the height and width of a picture of `[H, W]` pixels after resizing.
    ///
    /// # Panics
    /// Panics if a side of the picture is zero.
    pub fn of(self, [height, width]: [usize; 2]) -> [usize; 2] {
        match self {
            Self::Exact(size) => size,
            Self::Shorter(size) => {
                let (short, long) = (height.min(width), height.max(width));
                let long = (size as u128 * long as u128 / short as u128) as usize;
                if height <= width { [size, long] } else { [long, size] }
            }
        }
    }

    /// Returns the smallest height and width of any picture after resizing.
    pub fn smallest(self) -> [usize; 2] {
        match self {
            Self::Shorter(size) => [size; 2],
            Self::Exact(size) => size,
        }
    }
}

impl From<usize> for Resize {
    fn from(shorter: usize) -> Self {
        Self::Shorter(shorter)
    }
}

/// Prints `256`, or the height and width: `48x192`.
impl fmt::Display for Resize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shorter(size) => write!(f, "{size}"),
            Self::Exact([height, width]) => write!(f, "{height}x{width}"),
        }
    }
}

// As in text, because the settings of a training run have it so, of which those of earlier versions had
// only one number.
impl fmt::Debug for Resize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Resize {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let sides: Result<Vec<usize>, _> = text.split('x').map(str::parse).collect();
        match sides.as_deref() {
            Ok(&[size]) => Ok(Self::Shorter(size)),
            Ok(&[height, width]) => Ok(Self::Exact([height, width])),
            _ => Err(Error::Argument(format!(
                "found the size {text:?}; expected a number of pixels such as 256, or height x width \
                 such as 48x192"
            ))),
        }
    }
}

/// A height and a width in a file: one number where they are equal, as older files have it.
pub(super) mod height_and_width {
    use super::{Deserialize, Deserializer, Resize, Serialize, Serializer};

    pub(in crate::data) fn serialize<S: Serializer>(
        &[height, width]: &[usize; 2],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let size =
            if height == width { Resize::Shorter(height) } else { Resize::Exact([height, width]) };
        size.serialize(serializer)
    }

    pub(in crate::data) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<[usize; 2], D::Error> {
        Ok(Resize::deserialize(deserializer)?.smallest())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resized_sizes_equal_torchvisions() {
        let resized = |size| Resize::Shorter(size);
        assert_eq!(resized(256).of([375, 500]), [256, 341]);
        assert_eq!(resized(256).of([500, 333]), [384, 256]);
        assert_eq!(resized(256).of([256, 256]), [256, 256]);
        assert_eq!(resized(8).of([1, 1_000_000]), [8, 8_000_000]);
        assert_eq!(Resize::Exact([48, 192]).of([500, 333]), [48, 192]);
    }

    #[test]
    fn text_is_read_as_it_was_printed() {
        for size in [Resize::Shorter(256), Resize::Exact([48, 192])] {
            assert_eq!(size.to_string().parse::<Resize>().unwrap(), size);
            let json = serde_json::to_string(&size).unwrap();
            assert_eq!(serde_json::from_str::<Resize>(&json).unwrap(), size);
        }
        for bad in ["", "x", "8x", "8x8x8", "-1", "1e3", "8 x 8"] {
            assert!(bad.parse::<Resize>().is_err(), "{bad:?}");
        }
    }
}
