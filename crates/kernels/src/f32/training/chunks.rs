//! How a batch is cut into parts whose sums are added in a fixed order.

use std::ops::Range;

use crate::f32::split::part;

/// The most parts: enough for some threads to share them evenly, few enough for each to have sums
/// of its own.
const MOST: usize = 16;

/// Pixels that are summed in f32 before they are added in f64.
pub(super) const STAT_PIXELS: usize = 512;

/// Units of work (pixels, or pictures) in contiguous chunks, the chunks in blocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chunks {
    units: usize,
    block: usize,
    count: usize,
}

impl Chunks {
    /// Blocks of at most `block` units.
    pub(super) fn new(units: usize, block: usize) -> Self {
        Self::at_most(units, block, MOST)
    }

    /// As [`Chunks::new`], with no more than `most` chunks.
    pub(super) fn at_most(units: usize, block: usize, most: usize) -> Self {
        let count = units.div_ceil(block).clamp(1, most.clamp(1, MOST));
        Self { units, block, count }
    }

    /// How many chunks there are; at least one.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// The units of a chunk.
    pub(super) fn units(&self, chunk: usize) -> Range<usize> {
        part(self.units, self.count, chunk)
    }

    /// The blocks of a chunk, as ranges of units.
    pub(super) fn blocks(&self, chunk: usize) -> impl Iterator<Item = Range<usize>> + use<> {
        let units = self.units(chunk);
        let blocks = units.len().div_ceil(self.block);
        (0..blocks).map(move |block| {
            let part = part(units.len(), blocks, block);
            units.start + part.start..units.start + part.end
        })
    }

    /// Blocks that are summed in f32, of some pixels.
    pub(super) fn blocks_of(pixels: usize) -> impl Iterator<Item = Range<usize>> {
        let blocks = pixels.div_ceil(STAT_PIXELS);
        (0..blocks).map(move |block| part(pixels, blocks, block))
    }
}
