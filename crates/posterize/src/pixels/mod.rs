//! Pixels in the caller's memory.

mod order;
mod view;

pub use order::PixelOrder;
pub use view::{PixelStrides, PixelView};
