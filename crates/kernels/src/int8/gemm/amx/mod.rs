//! Exact products with AMX tiles: `tdpbusd` multiplies 16 rows of up to 64 u8 with 16 columns of as
//! many i8 and adds to 16 x 16 accumulators of i32, without saturating on the way.
//!
//! Rust's intrinsics for tiles are unstable, hence assembly. A block of 32 x 32 outputs is one
//! statement, from loading biases into the accumulators to storing these, so that no tile has to
//! survive from one statement to the next; only their configuration does, as does the rounding
//! mode of other instructions.
//!
//! Accumulators can leave tiles through memory only: those of a block are stored, and requantized
//! from there at once, which takes one buffer of four tiles.

mod direct;
mod done;
mod gathered;
mod panels;
mod positions;
mod steps;
mod tiles;

pub(super) use self::direct::Direct;
pub(super) use self::gathered::Weights;
pub(crate) use self::tiles::multiply_tiles;
use crate::int8::pack::Operand;

/// Rows of a tile of activations or accumulators.
const ROWS: usize = 16;
/// Columns of a tile of weights or accumulators.
const COLUMNS: usize = 16;
/// Accumulators of a tile.
const TILE: usize = ROWS * COLUMNS;
/// Input bytes that a block of rows takes at most, about: a part of the L2 cache.
const BLOCK_BYTES: usize = 320 * 1024;

/// Fewer products than this an output leave nearly all the time to requantization, and vectors need
/// not store accumulators before it.
const LEAST_DEPTH: usize = 24;

/// Whether tiles serve this product better than vectors do.
pub(super) fn covers(operand: &Operand<'_>) -> bool {
    operand.taps * operand.channels >= LEAST_DEPTH
}
