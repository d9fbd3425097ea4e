//! What an engine takes.

use crate::data::{Picture, PixelBatch};
use crate::error::{Error, Result};
use crate::tensor::{MemoryFormat, Tensor, TensorView};

/// A batch for one input of a network: a [`Tensor`], a [`TensorView`], a [`PixelBatch`], or one
/// [`Picture`].
///
/// Pixels give the same result as a tensor of the normalised pictures, to the bit, and sooner: one
/// table for each colour holds what normalization (and quantization, where the network begins with
/// it) makes of each of the 256 values.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Input<'a> {
    /// Values such as normalised pictures `[N, C, H, W]`; no copy is made where they are channels
    /// last.
    Tensor(TensorView<'a>),
    /// Red, green and blue of each pixel.
    Pixels {
        /// `[N, H, W, 3]`.
        shape: [usize; 4],
        /// In the order of the shape.
        data: &'a [u8],
    },
}

impl<'a> From<&'a Tensor> for Input<'a> {
    fn from(values: &'a Tensor) -> Self {
        Self::Tensor(values.view())
    }
}

impl<'a> From<TensorView<'a>> for Input<'a> {
    fn from(values: TensorView<'a>) -> Self {
        Self::Tensor(values)
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

/// The most axes that a value may have.
const MAX_RANK: usize = 8;

/// A shape that needs no memory of its own.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dims {
    sizes: [usize; MAX_RANK],
    rank: usize,
}

impl Dims {
    fn new(shape: &[usize]) -> Result<Self> {
        if shape.is_empty() || shape.len() > MAX_RANK {
            return Err(Error::shape(
                "input",
                format!("{shape:?} has {} axes; expected 1 to {MAX_RANK}", shape.len()),
            ));
        }
        let mut sizes = [1; MAX_RANK];
        sizes[..shape.len()].copy_from_slice(shape);
        Ok(Self { sizes, rank: shape.len() })
    }

    /// The first axis.
    pub(super) fn batch(&self) -> usize {
        self.sizes[0]
    }
}

impl std::ops::Deref for Dims {
    type Target = [usize];

    fn deref(&self) -> &[usize] {
        &self.sizes[..self.rank]
    }
}

/// The values of a batch as its caller has them.
#[derive(Clone, Copy, Debug)]
pub(super) enum Values<'a> {
    /// `[N, H, W, C]`, or any shape that has not four axes; used as it is.
    InPlace(&'a [f32]),
    /// `[N, C, H, W]`.
    Contiguous(&'a [f32]),
    /// `[N, H, W, 3]`.
    Pixels(&'a [u8]),
}

/// A batch for one input.
#[derive(Clone, Copy, Debug)]
pub(super) struct Given<'a> {
    /// As PyTorch has it, `[N, C, H, W]`.
    pub(super) shape: Dims,
    pub(super) values: Values<'a>,
}

impl Given<'_> {
    /// No values, but a shape to plan for.
    pub(super) fn sized(shape: &[usize]) -> Result<Self> {
        Ok(Self { shape: Dims::new(shape)?, values: Values::InPlace(&[]) })
    }

    /// Its shape for a batch of one.
    pub(super) fn for_one(&self) -> Vec<usize> {
        let mut shape = self.shape.to_vec();
        shape[0] = 1;
        shape
    }
}

impl<'a> Input<'a> {
    /// The size of the batch: the first axis of the shape; 0 where there is none.
    pub fn batch(&self) -> usize {
        match self {
            Self::Tensor(view) => view.shape().first().copied().unwrap_or(0),
            Self::Pixels { shape, .. } => shape[0],
        }
    }

    pub(super) fn given(self) -> Result<Given<'a>> {
        match self {
            Self::Tensor(view) => {
                let values = match view.format() {
                    MemoryFormat::Contiguous if view.shape().len() == 4 => {
                        Values::Contiguous(view.data())
                    }
                    MemoryFormat::ChannelsLast | MemoryFormat::Contiguous => {
                        Values::InPlace(view.data())
                    }
                };
                Ok(Given { shape: Dims::new(view.shape())?, values })
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
                Ok(Given { shape: Dims::new(&[n, 3, h, w])?, values: Values::Pixels(data) })
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
