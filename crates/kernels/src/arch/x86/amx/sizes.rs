//! Sizes of tiles and blocks, and which products they suit.

use crate::int8::pack::Operand;

/// Rows of a tile of activations or accumulators.
pub(super) const ROWS: usize = 16;
/// Columns of a tile of weights or accumulators.
pub(super) const COLUMNS: usize = 16;
/// Accumulators of a tile.
pub(super) const TILE: usize = ROWS * COLUMNS;
/// Input bytes that a block of rows takes at most, about: a part of the L2 cache.
pub(super) const BLOCK_BYTES: usize = 320 * 1024;

/// Fewer products than this an output leave nearly all the time to requantization, and vectors need
/// not store accumulators before it.
const LEAST_DEPTH: usize = 24;

/// Whether tiles serve these groups better than vectors do.
pub(super) fn covers(groups: &[Operand<'_>]) -> bool {
    groups[0].taps * groups[0].channels >= LEAST_DEPTH && groups.iter().all(Operand::products_fit)
}
