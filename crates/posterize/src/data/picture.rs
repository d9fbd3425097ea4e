//! A decoded picture.

use posterize_kernels::resample::RgbView;

use crate::error::{Error, Result};
use crate::pixels::{PixelOrder, PixelView};

/// A picture of 8-bit red, green and blue, as Pillow's `Image.open(…).convert("RGB")` gives it.
#[derive(Clone, PartialEq, Eq)]
pub struct Picture {
    width: usize,
    height: usize,
    data: Vec<u8>,
}

impl Picture {
    /// A picture of `height` rows of `width` pixels; `data` holds red, green and blue of each.
    ///
    /// # Errors
    /// A side is zero, or `data` is not `height * width * 3` bytes long.
    pub fn new(width: usize, height: usize, data: Vec<u8>) -> Result<Self> {
        let expected = width.checked_mul(height).and_then(|pixels| pixels.checked_mul(3));
        if data.is_empty() || expected != Some(data.len()) {
            return Err(Error::shape(
                "picture",
                format!("{height} x {width} pixels of 3 bytes are not {} bytes", data.len()),
            ));
        }
        Ok(Self { width, height, data })
    }

    /// Pixels in a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Rows.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Red, green and blue of each pixel, row by row: `[H, W, 3]`.
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    /// The pixels without their size.
    pub fn into_data(self) -> Vec<u8> {
        self.data
    }

    /// Swaps left and right.
    pub(super) fn mirror(&mut self) {
        for row in self.data.chunks_exact_mut(self.width * 3) {
            row.as_chunks_mut::<3>().0.reverse();
        }
    }

    /// The part of `height` by `width` pixels whose upper left corner is at row `top`, column `left`.
    pub(super) fn part(&self, top: usize, left: usize, height: usize, width: usize) -> RgbView<'_> {
        let stride = self.width * 3;
        RgbView::new(&self.data[top * stride + left * 3..], width, height, stride)
    }
}

impl<'a> From<&'a Picture> for PixelView<'a> {
    fn from(picture: &'a Picture) -> Self {
        Self::new([1, picture.height, picture.width], PixelOrder::Rgb, &picture.data)
            .expect("a picture has as many bytes as its sides say")
    }
}

impl std::fmt::Debug for Picture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Picture")
            .field("width", &self.width)
            .field("height", &self.height)
            .finish_non_exhaustive()
    }
}
