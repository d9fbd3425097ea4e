//! What an engine takes.

use super::workspace::Given;
use crate::data::{Picture, PixelBatch};
use crate::error::{Error, Result};
use crate::tensor::{MemoryFormat, Tensor};

/// A batch of pictures: a [`Tensor`], a [`PixelBatch`], or one [`Picture`].
///
/// Pixels give the same result as a tensor of the normalised pictures, to the bit, and sooner: one
/// table for each colour holds what normalization (and quantization, where the network begins with
/// it) makes of each of the 256 values.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// Normalised pictures `[N, C, H, W]`; no copy is made where they are channels last.
    Tensor(&'a Tensor),
    /// Red, green and blue of each pixel.
    Pixels {
        /// `[N, H, W, 3]`.
        shape: [usize; 4],
        /// In the order of the shape.
        data: &'a [u8],
    },
}

impl<'a> From<&'a Tensor> for Input<'a> {
    fn from(images: &'a Tensor) -> Self {
        Self::Tensor(images)
    }
}

impl<'a> From<&'a PixelBatch> for Input<'a> {
    fn from(images: &'a PixelBatch) -> Self {
        Self::Pixels { shape: images.shape, data: &images.data }
    }
}

impl<'a> From<&'a Picture> for Input<'a> {
    fn from(picture: &'a Picture) -> Self {
        let shape = [1, picture.height(), picture.width(), 3];
        Self::Pixels { shape, data: picture.data() }
    }
}

impl<'a> Input<'a> {
    /// The shape as `[N, C, H, W]`, and the values.
    pub(super) fn parts(self) -> Result<([usize; 4], Given<'a>)> {
        match self {
            Self::Tensor(images) => {
                let given = match images.format() {
                    MemoryFormat::ChannelsLast => Given::ChannelsLast(images.data()),
                    MemoryFormat::Contiguous => Given::Contiguous(images.data()),
                };
                Ok((images.shape4()?, given))
            }
            Self::Pixels { shape: [n, h, w, c], data } => {
                let expected =
                    [n, h, w].iter().try_fold(3usize, |all, &size| all.checked_mul(size));
                if c != 3 || expected != Some(data.len()) {
                    return Err(Error::shape(
                        "pixels",
                        format!(
                            "{} bytes of shape {:?}; expected as many as [N, H, W, 3] asks for",
                            data.len(),
                            [n, h, w, c]
                        ),
                    ));
                }
                Ok(([n, 3, h, w], Given::Pixels(data)))
            }
        }
    }
}

/// torchvision's `Normalize` after its `ToTensor`: `(v / 255 - mean) / std` of each colour.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Normalize {
    /// What is subtracted from red, green and blue (in 0..1).
    pub mean: [f32; 3],
    /// What red, green and blue are divided by after that.
    pub std: [f32; 3],
}

impl Normalize {
    pub(super) fn validate(&self) -> Result<()> {
        let Self { mean, std } = self;
        let usable = mean.iter().chain(std).all(|value| value.is_finite())
            && std.iter().all(|&value| value != 0.0);
        if usable {
            return Ok(());
        }
        Err(Error::Argument(format!(
            "normalization with mean {mean:?}, std {std:?}; expected finite numbers, std not zero"
        )))
    }
}
