//! Division of a batch into chunks, whose sums are added in a fixed order.

use std::ops::Range;

use crate::f32::split::part;

/// Maximum number of chunks: enough for several threads to share them evenly, few enough for each
/// chunk to have its own sums.
const MAX_CHUNKS: usize = 16;

/// Number of pixels that are summed in f32 before sums are added in f64.
pub(super) const STAT_PIXELS: usize = 512;

/// Units of work (pixels or images), divided into contiguous chunks, and these into blocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chunks {
    units: usize,
    block: usize,
    count: usize,
}

impl Chunks {
    /// Divides `units` units, with blocks of at most `block` units.
    pub(super) fn new(units: usize, block: usize) -> Self {
        Self::with_max(units, block, MAX_CHUNKS)
    }

    /// As [`Chunks::new`], with at most `max` chunks.
    pub(super) fn with_max(units: usize, block: usize, max: usize) -> Self {
        let count = units.div_ceil(block).clamp(1, max.clamp(1, MAX_CHUNKS));
        Self { units, block, count }
    }

    /// Number of chunks; at least one.
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

    /// The blocks of `pixels` pixels that are summed in f32.
    pub(super) fn blocks_of(pixels: usize) -> impl Iterator<Item = Range<usize>> {
        let blocks = pixels.div_ceil(STAT_PIXELS);
        (0..blocks).map(move |block| part(pixels, blocks, block))
    }
}
