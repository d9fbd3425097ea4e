//! What an engine takes.

use posterize_kernels::f32::PixelTable;
use posterize_kernels::pixels;

use crate::data::PixelBatch;
use crate::error::{Error, Result};
use crate::pixels::{PixelOrder, PixelView};
use crate::tensor::{MemoryFormat, Tensor, TensorView};

/// A batch for one input of a network: a [`Tensor`], a [`TensorView`], a [`PixelView`] or a
/// [`PixelBatch`].
///
/// A [`Picture`](crate::data::Picture) is no input, because it may have any size and is not cropped yet:
/// [`Classifier`](crate::Classifier) does all steps, and
/// [`Preprocessing::apply`](crate::data::Preprocessing::apply) returns the crop, whose [`PixelView`] is
/// one.
///
/// Pixels give the same result as a tensor of the normalised pictures, to the bit, and sooner: one
/// table for each channel holds what normalization (and quantization, where the network begins with
/// it) makes of each of the 256 values. They are read where they lie.
///
/// ```
/// use posterize::runtime::Input;
/// use posterize::{PixelOrder, PixelView, Tensor};
///
/// let values = Tensor::zeros([4, 3, 8, 8]);
/// assert_eq!(Input::from(&values).batch(), 4);
/// let pixels = PixelView::new([2, 8, 8], PixelOrder::Rgb, &[0; 2 * 8 * 8 * 3])?;
/// assert_eq!(Input::from(pixels).batch(), 2);
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Input<'a> {
    /// Values such as normalised pictures `[N, C, H, W]`; no copy is made where they are channels
    /// last.
    Tensor(TensorView<'a>),
    /// Pixels, which the engine normalizes: see [`Normalize`].
    Pixels(PixelView<'a>),
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

impl<'a> From<PixelView<'a>> for Input<'a> {
    fn from(pixels: PixelView<'a>) -> Self {
        Self::Pixels(pixels)
    }
}

impl<'a> From<&'a PixelBatch> for Input<'a> {
    fn from(images: &'a PixelBatch) -> Self {
        Self::Pixels(images.into())
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
    /// Becomes `[N, H, W, C]`.
    Pixels(pixels::PixelView<'a>),
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
            Self::Pixels(pixels) => pixels.shape()[0],
        }
    }

    /// The batch, of which pixels become as many channels as they are normalized to.
    pub(super) fn given(self, normalize: Option<Normalize>) -> Result<Given<'a>> {
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
            Self::Pixels(pixels) => {
                let normalize = normalize.ok_or_else(refused_pixels)?;
                let (channels, order) = (normalize.channels(), pixels.order());
                if channels == 1 && order != PixelOrder::Gray {
                    return Err(Error::shape(
                        "pixels",
                        format!(
                            "the network takes one channel, of gray pixels, found {order} pixels: make \
                             them gray, or compile it with Normalize::Rgb if it takes three"
                        ),
                    ));
                }
                let [n, h, w] = pixels.shape();
                let shape = Dims::new(&[n, channels, h, w])?;
                let pixels = match normalize {
                    // The tables are in the network's order, so blue is read where red is.
                    Normalize::Bgr { .. } => pixels.kernels().with_red_and_blue_swapped(),
                    Normalize::Rgb { .. } | Normalize::Gray { .. } => pixels.kernels(),
                };
                Ok(Given { shape, values: Values::Pixels(pixels) })
            }
        }
    }
}

/// The error of an engine that cannot take pixels.
pub(super) fn refused_pixels() -> Error {
    Error::Argument(
        "an engine that takes pixels must have one input [N, C, H, W] and know what to normalize them \
         with: compile it with Options::pictures or Options::normalize"
            .into(),
    )
}

/// torchvision's `Normalize` after its `ToTensor`: `(v / 255 - mean) / std` of each channel.
///
/// It also says how many channels the network takes, and so which pixels an engine can be given.
///
/// ```
/// use posterize::nn::Sequential;
/// use posterize::ops::{Conv2d, Flatten};
/// use posterize::runtime::{Normalize, Options, compile};
/// use posterize::{Architecture, PixelOrder, PixelView};
///
/// // A network of one channel.
/// let net = Sequential::new().then(Conv2d::new(1, 4, 3)).then(Flatten);
/// let options = Options::new(1)?.normalize(Normalize::Gray { mean: 0.2860, std: 0.3530 });
/// let mut engine = compile(&Architecture::trace(&net)?.init(0), options)?;
///
/// let pixels = [127; 28 * 28];
/// let output = engine.run(PixelView::new([1, 28, 28], PixelOrder::Gray, &pixels)?)?;
/// assert_eq!(output.shape(), [1, 4 * 26 * 26]);
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Normalize {
    /// For a network of three channels: red, green and blue. It takes pixels of every
    /// [`PixelOrder`]; gray ones have all three colours alike.
    Rgb {
        /// What is subtracted from red, green and blue (in 0..1).
        mean: [f32; 3],
        /// What red, green and blue are divided by after that.
        std: [f32; 3],
    },
    /// For a network of three channels: blue, green and red. It takes pixels of every [`PixelOrder`],
    /// which says how they lie in memory, not what the network takes.
    Bgr {
        /// What is subtracted from blue, green and red (in 0..1).
        mean: [f32; 3],
        /// What blue, green and red are divided by after that.
        std: [f32; 3],
    },
    /// For a network of one channel. It takes [`PixelOrder::Gray`]; there are several ways to make
    /// colours gray, and only who trained the network knows which.
    Gray {
        /// What is subtracted from the brightness (in 0..1).
        mean: f32,
        /// What it is divided by after that.
        std: f32,
    },
}

impl Normalize {
    /// The channels of the network: 3 or 1.
    pub const fn channels(&self) -> usize {
        match self {
            Self::Rgb { .. } | Self::Bgr { .. } => 3,
            Self::Gray { .. } => 1,
        }
    }

    pub(super) fn table(&self) -> PixelTable {
        match *self {
            Self::Rgb { mean, std } | Self::Bgr { mean, std } => PixelTable::new(mean, std),
            Self::Gray { mean, std } => PixelTable::gray(mean, std),
        }
    }

    pub(super) fn validate(&self) -> Result<()> {
        let (mean, std): (&[f32], &[f32]) = match self {
            Self::Rgb { mean, std } | Self::Bgr { mean, std } => (mean, std),
            Self::Gray { mean, std } => (std::slice::from_ref(mean), std::slice::from_ref(std)),
        };
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
