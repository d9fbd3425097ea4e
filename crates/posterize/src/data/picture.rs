//! Decoded pictures.

use posterize_kernels::resample::RgbView;

use crate::error::{Error, Result};
use crate::pixels::{PixelOrder, PixelView};

/// A decoded picture of 8-bit RGB pixels, as returned by Pillow's `Image.open(…).convert("RGB")`.
///
/// ```
/// # #[cfg(feature = "pnm")] {
/// use posterize::data::Picture;
///
/// // A PPM file of one red and one blue pixel.
/// let file = b"P6 2 1 255 \xff\x00\x00\x00\x00\xff";
/// let picture = Picture::decode("two.ppm", file)?;
/// assert_eq!((picture.width(), picture.height()), (2, 1));
/// assert_eq!(picture.data(), [255, 0, 0, 0, 0, 255]);
/// # }
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Picture {
    width: usize,
    height: usize,
    data: Vec<u8>,
}

impl Picture {
    /// Creates a picture from RGB values of shape `[H, W, 3]`.
    ///
    /// # Errors
    /// Returns an error if `width` or `height` is zero, or if `data` does not have `height * width
    /// * 3` bytes.
    pub fn new(width: usize, height: usize, data: Vec<u8>) -> Result<Self> {
        let expected = width.checked_mul(height).and_then(|pixels| pixels.checked_mul(3));
        if data.is_empty() || expected != Some(data.len()) {
            return Err(Error::shape(
                "picture",
                format!(
                    "expected {width} x {height} pixels of 3 bytes each, found {} bytes",
                    data.len()
                ),
            ));
        }
        Ok(Self { width, height, data })
    }

    /// Returns the width in pixels.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Returns the height in pixels.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Returns the RGB values, of shape `[H, W, 3]`.
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    /// Returns the RGB values and drops the size.
    pub fn into_data(self) -> Vec<u8> {
        self.data
    }

    /// Flips the picture horizontally.
    #[cfg(feature = "data")]
    pub(super) fn flip(&mut self) {
        for row in self.data.chunks_exact_mut(self.width * 3) {
            row.as_chunks_mut::<3>().0.reverse();
        }
    }

    /// Returns the part of `height` by `width` pixels whose upper left corner is at row `top`,
    /// column `left`.
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
