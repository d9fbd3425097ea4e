//! Sizes of tiles and blocks, and the choice of products that are computed with tiles.

use crate::int8::pack::Operand;

/// Number of rows of a tile of activations or accumulators.
pub(super) const ROWS: usize = 16;
/// Number of columns of a tile of weights or accumulators.
pub(super) const COLUMNS: usize = 16;
/// Number of accumulators of a tile.
pub(super) const TILE: usize = ROWS * COLUMNS;
/// Approximate maximum number of input bytes of a block of rows: a part of the L2 cache.
pub(super) const BLOCK_BYTES: usize = 320 * 1024;

/// Minimum depth of a product. With a smaller one, requantization takes nearly all the time, and
/// vector kernels need not store accumulators before it.
const MIN_DEPTH: usize = 24;

/// Whether tiles are faster than vectors for these groups.
pub(super) fn covers(groups: &[Operand<'_>]) -> bool {
    groups[0].taps * groups[0].channels >= MIN_DEPTH && groups.iter().all(Operand::products_fit)
}
