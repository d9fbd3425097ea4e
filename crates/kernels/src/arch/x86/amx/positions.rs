//! The rows of a product, and the pixels that their results are.

use super::sizes::ROWS;

/// Rows of activations at equal distances, one for each position in rows of a picture. Where windows
/// reach beyond the right edge into the next row, the result is no pixel.
#[derive(Clone, Copy, Debug)]
pub(super) struct Positions {
    /// The activations of the first one.
    pub(super) start: *const u8,
    /// Bytes from one to the next.
    pub(super) stride: usize,
    pub(super) len: usize,
    /// Positions of a row of the picture.
    pub(super) width: usize,
    /// How many of these, from the left on, are pixels.
    pub(super) pixels: usize,
}

impl Positions {
    /// `len` pixels.
    pub(super) fn in_order(start: *const u8, stride: usize, len: usize) -> Self {
        Self { start, stride, len, width: len, pixels: len }
    }

    /// Where the tile begins that is to hold a position and those behind it: the last tile begins
    /// early rather than be cut short.
    pub(super) fn tile(&self, position: usize) -> usize {
        position.min(self.len.saturating_sub(ROWS))
    }

    /// The activations of a position.
    pub(super) fn row(&self, position: usize) -> *const u8 {
        self.start.wrapping_add(position * self.stride)
    }
}

/// A walk over all positions, in their order.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Walk {
    /// The next position, and its place in its row.
    position: usize,
    x: usize,
    /// The next pixel.
    pixel: usize,
}

/// Neighbouring positions of one row that are pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) position: usize,
    pub(super) pixel: usize,
    pub(super) len: usize,
}

impl Walk {
    /// The next pixels of one row before the position `end`.
    #[inline]
    pub(super) fn next(&mut self, positions: &Positions, end: usize) -> Option<Run> {
        if self.x >= positions.pixels {
            let left = (positions.width - self.x).min(end - self.position);
            self.position += left;
            self.x += left;
            if self.x < positions.width {
                return None;
            }
            self.x = 0;
        }
        let len = (positions.pixels - self.x).min(end - self.position);
        let run = Run { position: self.position, pixel: self.pixel, len };
        self.position += len;
        self.x += len;
        self.pixel += len;
        (len > 0).then_some(run)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_finds_every_pixel_once() {
        for width in 1..40 {
            for pixels in 1..=width {
                for rows in 1..5 {
                    let len = (rows - 1) * width + pixels;
                    let start = std::ptr::null();
                    let positions = Positions { start, stride: 4, len, width, pixels };
                    let mut walk = Walk::default();
                    let mut found = Vec::new();
                    for end in (0..len).step_by(ROWS).map(|tile| len.min(tile + ROWS)) {
                        while let Some(run) = walk.next(&positions, end) {
                            assert!(run.position + run.len <= end);
                            found.extend((0..run.len).map(|i| (run.position + i, run.pixel + i)));
                        }
                    }
                    let all = (0..rows * pixels)
                        .map(|pixel| (pixel / pixels * width + pixel % pixels, pixel));
                    assert!(found.into_iter().eq(all), "{pixels} of {width}, {rows} rows");
                }
            }
        }
    }

    #[test]
    fn the_last_tile_begins_early() {
        let positions = |len| Positions::in_order(std::ptr::null(), 4, len);
        assert_eq!([0, 8, 16].map(|position| positions(24).tile(position)), [0, 8, 8]);
        assert_eq!(positions(9).tile(0), 0);
    }
}
