//! The order of channels that are made of pixels.

use serde::{Deserialize, Serialize};

/// The order of the channels of which [`DepthToSpace`](super::DepthToSpace) makes pixels.
///
/// ```
/// use posterize::ops::{BlockOrder, DepthToSpace};
///
/// assert_eq!(DepthToSpace::pixel_shuffle(2).order, BlockOrder::ChannelsFirst);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum BlockOrder {
    /// Channel `(row · block + column) · C + c` is the pixel at `row` and `column` of a block of channel
    /// `c` of C; ONNX's `DCR`.
    PixelsFirst,
    /// Channel `(c · block + row) · block + column` is that pixel; ONNX's `CRD`, PyTorch's
    /// `PixelShuffle`.
    ChannelsFirst,
}

impl BlockOrder {
    /// Returns the channel of the pixel at a row and a column of a block, as what each of them adds to
    /// it: the factors of channel, row and column.
    pub(super) const fn factors(self, channels: usize, block: usize) -> [usize; 3] {
        match self {
            Self::PixelsFirst => [1, block * channels, channels],
            Self::ChannelsFirst => [block * block, block, 1],
        }
    }
}
