//! The order of a network's input channels.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The order of the three channels of a network's input.
///
/// Pictures are decoded as red, green and blue. Networks trained with OpenCV or Caffe take blue first.
///
/// ```
/// use posterize::data::{ChannelOrder, Picture, Preprocessing};
///
/// let blue_first = Preprocessing {
///     channels: ChannelOrder::Bgr,
///     mean: [0.0; 3],
///     std: [1.0; 3],
///     ..Preprocessing::imagenet().with_sizes(1, 1)
/// };
/// let orange = Picture::new(1, 1, vec![255, 102, 0])?;
/// assert_eq!(blue_first.tensor(&[orange])?.data(), [0.0, 0.4, 1.0]);
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ChannelOrder {
    /// Red, green, blue, as torchvision and timm have it.
    #[default]
    Rgb,
    /// Blue, green, red, as OpenCV and Caffe have it.
    Bgr,
}

impl ChannelOrder {
    /// Whether it is the order of torchvision.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
    pub(super) fn is_rgb(&self) -> bool {
        *self == Self::Rgb
    }
}

impl fmt::Display for ChannelOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Rgb => "RGB",
            Self::Bgr => "BGR",
        })
    }
}
