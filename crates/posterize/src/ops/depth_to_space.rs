//! Pixels made of channels.

use serde::{Deserialize, Serialize};

use super::kernel::Shapes;
use super::limits::check_sizes;
use super::moves::{Moves, moves_values, only_moves, strides};
use super::shapes::picture;
use super::{BlockOrder, Operator};

/// ONNX's `DepthToSpace`, `torch.nn.PixelShuffle`: makes blocks of pixels of the channels, from
/// `[N, C · block², H, W]` to `[N, C, H · block, W · block]`.
///
/// ```
/// use posterize::ops::DepthToSpace;
/// use posterize::{Architecture, Tensor};
///
/// let model = Architecture::trace(&DepthToSpace::pixel_shuffle(2))?.init(0);
/// let y = model.forward(&Tensor::new([1, 4, 1, 1], vec![1.0, 2.0, 3.0, 4.0])?)?;
/// assert_eq!((y.shape(), y.data()), (&[1, 1, 2, 2][..], &[1.0, 2.0, 3.0, 4.0][..]));
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct DepthToSpace {
    /// Height and width of a block.
    pub block_size: usize,
    /// The order of the channels.
    pub order: BlockOrder,
}

impl DepthToSpace {
    /// Creates the operator with ONNX's default order, [`BlockOrder::PixelsFirst`].
    pub const fn new(block_size: usize) -> Self {
        Self { block_size, order: BlockOrder::PixelsFirst }
    }

    /// Creates `torch.nn.PixelShuffle(block_size)`.
    pub const fn pixel_shuffle(block_size: usize) -> Self {
        Self { block_size, order: BlockOrder::ChannelsFirst }
    }

    fn moves(&self, shapes: &Shapes) -> Moves {
        let (strides, block) = (strides(&shapes.inputs[0]), self.block_size);
        let factors = self.order.factors(shapes.output[1], block);
        Moves::new(shapes, |axis, index| {
            // Axes 2 and 3 also choose the channel.
            let (outer, inner) =
                if axis == 1 { (0, index) } else { (index / block, index % block) };
            Some(outer * strides[axis] + inner * factors[axis - 1] * strides[1])
        })
    }
}

impl Operator for DepthToSpace {
    fn kind(&self) -> String {
        "DepthToSpace".into()
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
        let (block, area) = (self.block_size, self.block_size * self.block_size);
        if !c.is_multiple_of(area) {
            return Err(format!(
                "expected channels that are a multiple of {area}, found {c} in {:?}",
                inputs[0]
            ));
        }
        Ok(vec![n, c / area, h.saturating_mul(block), w.saturating_mul(block)])
    }
}

only_moves!(DepthToSpace, "depth_to_space");
