//! Channels made of pixels.

use serde::{Deserialize, Serialize};

use super::kernel::Shapes;
use super::limits::check_sizes;
use super::moves::{Moves, moves_values, only_moves, strides};
use super::shapes::picture;
use super::{BlockOrder, Operator};

/// ONNX's `SpaceToDepth`, `torch.nn.PixelUnshuffle`: makes channels of blocks of pixels, from
/// `[N, C, H · block, W · block]` to `[N, C · block², H, W]`.
///
/// ```
/// use posterize::ops::SpaceToDepth;
/// use posterize::{Architecture, Tensor};
///
/// let model = Architecture::trace(&SpaceToDepth::new(2))?.init(0);
/// let y = model.forward(&Tensor::new([1, 1, 2, 2], vec![1.0, 2.0, 3.0, 4.0])?)?;
/// assert_eq!((y.shape(), y.data()), (&[1, 4, 1, 1][..], &[1.0, 2.0, 3.0, 4.0][..]));
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct SpaceToDepth {
    /// Height and width of a block.
    pub block_size: usize,
    /// The order of the channels.
    pub order: BlockOrder,
}

impl SpaceToDepth {
    /// Creates the operator with ONNX's order, [`BlockOrder::PixelsFirst`].
    pub const fn new(block_size: usize) -> Self {
        Self { block_size, order: BlockOrder::PixelsFirst }
    }

    /// Creates `torch.nn.PixelUnshuffle(block_size)`.
    pub const fn pixel_unshuffle(block_size: usize) -> Self {
        Self { block_size, order: BlockOrder::ChannelsFirst }
    }

    fn moves(&self, shapes: &Shapes) -> Moves {
        let (strides, block) = (strides(&shapes.inputs[0]), self.block_size);
        let channels = shapes.channels();
        Moves::new(shapes, |axis, index| {
            Some(match axis {
                1 => {
                    let (channel, row, column) = match self.order {
                        BlockOrder::PixelsFirst => {
                            let pixel = index / channels;
                            (index % channels, pixel / block, pixel % block)
                        }
                        BlockOrder::ChannelsFirst => {
                            let rest = index / block;
                            (rest / block, rest % block, index % block)
                        }
                    };
                    channel * strides[1] + row * strides[2] + column * strides[3]
                }
                _ => index * block * strides[axis],
            })
        })
    }
}

impl Operator for SpaceToDepth {
    fn kind(&self) -> String {
        "SpaceToDepth".into()
    }

    fn python(&self) -> String {
        format!("block_size={}, order={:?}", self.block_size, self.order)
    }

    moves_values!();

    fn validate(&self) -> Result<(), String> {
        if self.block_size == 0 {
            return Err("block_size is 0; it must be at least 1".into());
        }
        check_sizes(&[self.block_size, self.block_size.saturating_mul(self.block_size)])
    }

    fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        let [n, c, h, w] = picture(inputs[0])?;
        let block = self.block_size;
        if !h.is_multiple_of(block) || !w.is_multiple_of(block) {
            return Err(format!(
                "expected a height and a width that are multiples of {block}, found {:?}",
                inputs[0]
            ));
        }
        Ok(vec![n, c.saturating_mul(block * block), h / block, w / block])
    }
}

only_moves!(SpaceToDepth, "space_to_depth");
