//! Views of 8-bit pixels in the caller's memory, and the tables that normalize them.

mod order;
mod tables;
mod view;

pub use order::PixelOrder;
pub(crate) use tables::{BLOCK, Entry, Tables, map_each};
pub use view::{PixelError, PixelStrides, PixelView};
