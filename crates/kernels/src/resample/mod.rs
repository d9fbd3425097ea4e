//! Resampling of 8-bit RGB images, with the arithmetic of Pillow.
//!
//! As in Pillow's `Image.resize`, a [`Filter`] is widened by the scale when the image shrinks (except
//! the nearest neighbour), its weights are rounded to 22 fractional bits, and one pass along each axis
//! follows, of which the first rounds to 8 bits. The filter is separable and each output pixel
//! depends on the input only, so a part of the result (a centre crop) costs only that part.

mod filter;
pub(crate) mod passes;

pub use self::filter::Filter;
use self::passes::CHANNELS;
pub use self::passes::Taps;
use crate::isa::Isa;
use crate::lengths::{check_len, element_count};

/// A borrowed 8-bit RGB image, or a rectangle of one.
///
/// ```
/// use posterize_kernels::Isa;
/// use posterize_kernels::resample::{RgbView, Taps, resize_rgb};
///
/// // The mean of two pixels.
/// let image = RgbView::new(&[10, 20, 30, 30, 40, 51], 2, 1, 6);
/// let (columns, rows) = (Taps::bilinear(2, 1, 0..1), Taps::bilinear(1, 1, 0..1));
/// let mut pixel = [0; 3];
/// resize_rgb(Isa::detect(), image, &columns, &rows, &mut pixel);
/// assert_eq!(pixel, [20, 30, 41]); // 40.5 rounds up
/// ```
#[derive(Clone, Copy, Debug)]
pub struct RgbView<'a> {
    data: &'a [u8],
    width: usize,
    height: usize,
    /// Bytes from the start of one row to the start of the next.
    stride: usize,
}

impl<'a> RgbView<'a> {
    /// Views `data` as `height` rows of `width` pixels of 3 bytes; rows start `stride` bytes apart.
    ///
    /// # Panics
    /// If a row is longer than `stride`, or `data` is too short.
    pub fn new(data: &'a [u8], width: usize, height: usize, stride: usize) -> Self {
        let row = element_count("a row", &[width, CHANNELS]);
        assert!(row <= stride, "rows of {width} pixels have {row} bytes; the stride is {stride}");
        let whole = element_count("an image", &[height, stride]);
        // The last row needs no gap after it.
        let needed = whole.saturating_sub(stride - row);
        assert!(
            data.len() >= needed,
            "data has {} bytes; {height} rows with a stride of {stride} need {needed}",
            data.len()
        );
        Self { data, width, height, stride }
    }

    fn row(&self, y: usize) -> &'a [u8] {
        &self.data[y * self.stride..y * self.stride + self.width * CHANNELS]
    }
}

/// Resizes an image to `columns.len()` by `rows.len()` pixels.
///
/// `out` is `[rows.len(), columns.len(), 3]` without gaps.
///
/// # Panics
/// If `columns` or `rows` were made for a larger image than `source`, or the length of `out`
/// differs from its shape.
pub fn resize_rgb(isa: Isa, source: RgbView<'_>, columns: &Taps, rows: &Taps, out: &mut [u8]) {
    let row_bytes = columns.len() * CHANNELS;
    check_len("out", out.len(), &[rows.len(), columns.len(), CHANNELS]);
    if out.is_empty() {
        return;
    }
    let needed = rows.input_range();
    assert!(needed.end <= source.height, "rows {needed:?} of an image {} high", source.height);
    let across = columns.input_range();
    assert!(across.end <= source.width, "columns {across:?} of an image {} wide", source.width);

    let passes = isa.backend().resample(columns).expect("the portable backend can resample");
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

/// Whether the vertical pass comes first, as in Pillow 13: if it removes more than twice as many
/// positions as the horizontal one. (Earlier versions always do the horizontal pass first, and so
/// differ by 1 in some values of tall images.)
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
            full in (1usize..60, 1usize..50), pad in 0usize..5, white: bool, filter in 0usize..6,
        ) {
            let filter = Filter::ALL[filter];
            let stride = width * CHANNELS + pad;
            let mut data = noise(seed, stride * height);
            if white {
                data.fill(255);
            }
            let part = |n: usize| n / 4..n - n / 5;
            let columns = Taps::new(filter, width, full.0, part(full.0));
            let rows = Taps::new(filter, height, full.1, part(full.1));
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
            fn a_crop_of_the_result_equals_the_same_crop_of_the_whole(
            width in 1usize..50, height in 1usize..50, seed: u64, full in (2usize..40, 2usize..40),
            filter in 0usize..6,
        ) {
            let filter = Filter::ALL[filter];
            let data = noise(seed, width * height * CHANNELS);
            let view = RgbView::new(&data, width, height, width * CHANNELS);
            let resize = |across: Range<usize>, down: Range<usize>| {
                let columns = Taps::new(filter, width, full.0, across);
                let rows = Taps::new(filter, height, full.1, down);
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
    fn resizing_to_the_same_size_copies() {
        let data = noise(7, 5 * 4 * CHANNELS);
        let mut out = vec![0; data.len()];
        let (columns, rows) = (Taps::bilinear(5, 5, 0..5), Taps::bilinear(4, 4, 0..4));
        resize_rgb(Isa::detect(), RgbView::new(&data, 5, 4, 15), &columns, &rows, &mut out);
        assert_eq!(out, data);
    }

    #[test]
    #[should_panic(expected = "rows 0..4 of an image 3 high")]
    fn an_image_smaller_than_the_taps_is_refused() {
        let (columns, rows) = (Taps::bilinear(5, 5, 0..5), Taps::bilinear(4, 4, 0..4));
        let view = RgbView::new(&[0; 45], 5, 3, 15);
        resize_rgb(Isa::SCALAR, view, &columns, &rows, &mut [0; 60]);
    }
}
