//! Antialiased bilinear resampling of 8-bit pictures, with Pillow's arithmetic.
//!
//! Pillow's `Image.resize(…, BILINEAR)` widens the triangle filter by the scale when it shrinks,
//! rounds the weights to 22 fractional bits, and runs a pass along each axis, the first of which
//! rounds to 8 bits. A separable filter gives each output pixel the same value whether its
//! neighbours are computed or not, so a part of the result (a centre crop) costs only that part.

pub(crate) mod passes;

use self::passes::CHANNELS;
pub use self::passes::Taps;
use crate::isa::Isa;
use crate::lengths::element_count;

/// A picture of 8-bit red, green and blue, or a part of one.
#[derive(Clone, Copy, Debug)]
pub struct RgbView<'a> {
    data: &'a [u8],
    width: usize,
    height: usize,
    /// Bytes from one row to the next.
    stride: usize,
}

impl<'a> RgbView<'a> {
    /// `height` rows of `width` pixels, `stride` bytes apart.
    ///
    /// # Panics
    /// `data` is too short, or a row longer than the stride.
    pub fn new(data: &'a [u8], width: usize, height: usize, stride: usize) -> Self {
        let row = element_count("a row", &[width, CHANNELS]);
        assert!(row <= stride, "rows of {width} pixels every {stride} bytes");
        let whole = element_count("a picture", &[height, stride]);
        // The last row may end before its stride does.
        let needed = whole.saturating_sub(stride - row);
        assert!(data.len() >= needed, "{height} rows of {stride} bytes in {} bytes", data.len());
        Self { data, width, height, stride }
    }

    fn row(&self, y: usize) -> &'a [u8] {
        &self.data[y * self.stride..y * self.stride + self.width * CHANNELS]
    }
}

/// Resizes `source` to `columns.len()` by `rows.len()` pixels, written to `out` row by row without
/// gaps.
///
/// # Panics
/// `columns` or `rows` reach outside `source`, or `out` is not `rows.len() * columns.len() * 3`
/// bytes long.
pub fn resize_rgb(isa: Isa, source: RgbView<'_>, columns: &Taps, rows: &Taps, out: &mut [u8]) {
    let row_bytes = columns.len() * CHANNELS;
    assert_eq!(out.len(), rows.len() * row_bytes, "bytes for the resized picture");
    if out.is_empty() {
        return;
    }
    let needed = rows.input_range();
    assert!(needed.end <= source.height, "rows {needed:?} of a picture {} high", source.height);
    let across = columns.input_range();
    assert!(across.end <= source.width, "columns {across:?} of a picture {} wide", source.width);

    let passes = isa.backend().resample(columns).expect("the portable backend resamples");
    if vertical_first(columns, rows) {
        let width = across.len() * CHANNELS;
        let mut line = vec![0; width];
        for (y, out) in out.chunks_exact_mut(row_bytes).enumerate() {
            let (start, weights) = rows.row(y);
            let lines = &source.data[start * source.stride + across.start * CHANNELS..];
            passes.vertical(lines, source.stride, weights, &mut line);
            passes.horizontal(&line, across.start, out);
        }
    } else {
        let mut between = vec![0; needed.len() * row_bytes];
        for (y, line) in needed.clone().zip(between.chunks_exact_mut(row_bytes)) {
            passes.horizontal(source.row(y), 0, line);
        }
        for (y, line) in out.chunks_exact_mut(row_bytes).enumerate() {
            let (start, weights) = rows.row(y);
            let lines = &between[(start - needed.start) * row_bytes..];
            passes.vertical(lines, row_bytes, weights, line);
        }
    }
}

/// Pillow 13 runs the vertical pass first where it removes more than twice what the other does.
/// (Earlier versions never do, which shows in single units of tall pictures.)
fn vertical_first(columns: &Taps, rows: &Taps) -> bool {
    rows.shrunk_by > 0 && rows.shrunk_by > 2 * columns.shrunk_by
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use proptest::prelude::*;

    use super::*;

    fn noise(seed: u64, len: usize) -> Vec<u8> {
        let mut state = seed | 1;
        (0..len)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                (state >> 32) as u8
            })
            .collect()
    }

    proptest! {
        #[test]
        fn every_isa_equals_the_scalar_passes(
            width in 1usize..70, height in 1usize..40, seed: u64,
            full in (1usize..60, 1usize..50), pad in 0usize..5, white: bool,
        ) {
            let stride = width * CHANNELS + pad;
            let mut data = noise(seed, stride * height);
            if white {
                data.fill(255);
            }
            let part = |n: usize| n / 4..n - n / 5;
            let columns = Taps::bilinear(width, full.0, part(full.0));
            let rows = Taps::bilinear(height, full.1, part(full.1));
            let mut expected = vec![0; columns.len() * rows.len() * CHANNELS];
            let view = RgbView::new(&data, width, height, stride);
            resize_rgb(Isa::SCALAR, view, &columns, &rows, &mut expected);
            for isa in Isa::supported() {
                let mut found = vec![1; expected.len()];
                resize_rgb(isa, view, &columns, &rows, &mut found);
                prop_assert_eq!(&found, &expected, "{}", isa);
            }
            if white {
                prop_assert!(expected.iter().all(|&v| v == 255));
            }
        }

        #[test]
        fn a_part_of_the_result_is_that_part_of_the_whole(
            width in 1usize..50, height in 1usize..50, seed: u64, full in (2usize..40, 2usize..40),
        ) {
            let data = noise(seed, width * height * CHANNELS);
            let view = RgbView::new(&data, width, height, width * CHANNELS);
            let resize = |across: Range<usize>, down: Range<usize>| {
                let columns = Taps::bilinear(width, full.0, across);
                let rows = Taps::bilinear(height, full.1, down);
                let mut out = vec![0; columns.len() * rows.len() * CHANNELS];
                resize_rgb(Isa::detect(), view, &columns, &rows, &mut out);
                out
            };
            let whole = resize(0..full.0, 0..full.1);
            let (x, y) = (full.0 / 3, full.1 / 3);
            let part = resize(x..full.0, y..full.1);
            let row_bytes = (full.0 - x) * CHANNELS;
            for (row, line) in part.chunks_exact(row_bytes).enumerate() {
                let at = ((y + row) * full.0 + x) * CHANNELS;
                prop_assert_eq!(line, &whole[at..at + row_bytes]);
            }
        }
    }

    #[test]
    fn the_same_size_copies() {
        let data = noise(7, 5 * 4 * CHANNELS);
        let mut out = vec![0; data.len()];
        let (columns, rows) = (Taps::bilinear(5, 5, 0..5), Taps::bilinear(4, 4, 0..4));
        resize_rgb(Isa::detect(), RgbView::new(&data, 5, 4, 15), &columns, &rows, &mut out);
        assert_eq!(out, data);
    }

    #[test]
    #[should_panic(expected = "rows 0..4 of a picture 3 high")]
    fn a_picture_smaller_than_the_taps_is_refused() {
        let (columns, rows) = (Taps::bilinear(5, 5, 0..5), Taps::bilinear(4, 4, 0..4));
        let view = RgbView::new(&[0; 45], 5, 3, 15);
        resize_rgb(Isa::SCALAR, view, &columns, &rows, &mut [0; 60]);
    }
}
