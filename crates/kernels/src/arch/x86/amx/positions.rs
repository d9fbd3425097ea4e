//! The positions that the rows of a product stand for, and which of them are output pixels.

use super::sizes::ROWS;

/// Rows of activations at equal distances, one for each position of some image rows.
///
/// Positions at the right edge whose windows reach into the next row are not output pixels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Positions {
    /// Pointer to the activations of the first position.
    pub(super) start: *const u8,
    /// Bytes from one position to the next.
    pub(super) stride: usize,
    /// Number of positions.
    pub(super) len: usize,
    /// Number of positions of an image row.
    pub(super) width: usize,
    /// Number of positions, from the left of each image row, that are output pixels.
    pub(super) pixels: usize,
}

impl Positions {
    /// Describes `len` positions that all are pixels.
    pub(super) fn in_order(start: *const u8, stride: usize, len: usize) -> Self {
        Self { start, stride, len, width: len, pixels: len }
    }

    /// Returns the first position of the tile that contains `position` and those after it. The last
    /// tile starts earlier rather than having fewer rows.
    pub(super) fn tile(&self, position: usize) -> usize {
        position.min(self.len.saturating_sub(ROWS))
    }

    /// Pointer to the activations of a position.
    pub(super) fn row(&self, position: usize) -> *const u8 {
        self.start.wrapping_add(position * self.stride)
    }
}

/// An iteration over the runs of pixels, in the order of positions.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PixelRuns {
    /// The next position.
    position: usize,
    /// The place of the next position in its image row.
    x: usize,
    /// The index of the next pixel.
    pixel: usize,
}

/// Neighbouring positions of one image row that are pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) position: usize,
    pub(super) pixel: usize,
    pub(super) len: usize,
}

impl PixelRuns {
    /// Returns the next pixels of one image row before the position `end`; `None` if there are
    /// none.
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
    fn the_runs_contain_every_pixel_once() {
        for width in 1..40 {
            for pixels in 1..=width {
                for rows in 1..5 {
                    let len = (rows - 1) * width + pixels;
                    let start = std::ptr::null();
                    let positions = Positions { start, stride: 4, len, width, pixels };
                    let mut runs = PixelRuns::default();
                    let mut found = Vec::new();
                    for end in (0..len).step_by(ROWS).map(|tile| len.min(tile + ROWS)) {
                        while let Some(run) = runs.next(&positions, end) {
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
    fn the_last_tile_starts_early_and_is_whole() {
        let positions = |len| Positions::in_order(std::ptr::null(), 4, len);
        assert_eq!([0, 8, 16].map(|position| positions(24).tile(position)), [0, 8, 8]);
        assert_eq!(positions(9).tile(0), 0);
    }
}
