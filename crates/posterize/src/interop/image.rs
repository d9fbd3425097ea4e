//! Views of the pictures of the crate `image`.

use ::image::{DynamicImage, GrayImage, RgbImage, RgbaImage};

use crate::error::{Error, Result};
use crate::pixels::{PixelOrder, PixelView};

/// Needs the Cargo feature `image`.
///
/// ```
/// use image::RgbImage;
/// use posterize::PixelView;
///
/// let picture = RgbImage::new(30, 20);
/// assert_eq!(PixelView::try_from(&picture)?.shape(), [1, 20, 30]);
/// # Ok::<(), posterize::Error>(())
/// ```
impl<'a> TryFrom<&'a RgbImage> for PixelView<'a> {
    type Error = Error;

    /// Makes a view of one picture.
    ///
    /// # Errors
    /// The picture has no pixels.
    fn try_from(image: &'a RgbImage) -> Result<Self> {
        one(image.dimensions(), PixelOrder::Rgb, image)
    }
}

/// Needs the Cargo feature `image`.
impl<'a> TryFrom<&'a RgbaImage> for PixelView<'a> {
    type Error = Error;

    /// Makes a view of one picture. Alpha is ignored.
    ///
    /// # Errors
    /// The picture has no pixels.
    fn try_from(image: &'a RgbaImage) -> Result<Self> {
        one(image.dimensions(), PixelOrder::Rgba, image)
    }
}

/// Needs the Cargo feature `image`.
impl<'a> TryFrom<&'a GrayImage> for PixelView<'a> {
    type Error = Error;

    /// Makes a view of one picture.
    ///
    /// # Errors
    /// The picture has no pixels.
    fn try_from(image: &'a GrayImage) -> Result<Self> {
        one(image.dimensions(), PixelOrder::Gray, image)
    }
}

/// Needs the Cargo feature `image`.
///
/// ```
/// use image::DynamicImage;
/// use posterize::{PixelOrder, PixelView};
///
/// let picture = DynamicImage::new_rgba8(30, 20);
/// assert_eq!(PixelView::try_from(&picture)?.order(), PixelOrder::Rgba);
/// let picture = DynamicImage::new_rgb16(30, 20);
/// assert!(PixelView::try_from(&picture).is_err());
/// let picture = picture.to_rgb8();
/// assert_eq!(PixelView::try_from(&picture)?.order(), PixelOrder::Rgb);
/// # Ok::<(), posterize::Error>(())
/// ```
impl<'a> TryFrom<&'a DynamicImage> for PixelView<'a> {
    type Error = Error;

    /// Makes a view of one picture.
    ///
    /// # Errors
    /// The picture has no pixels, or its pixels are not RGB, RGBA or gray of 8 bits.
    fn try_from(image: &'a DynamicImage) -> Result<Self> {
        match image {
            DynamicImage::ImageRgb8(image) => image.try_into(),
            DynamicImage::ImageRgba8(image) => image.try_into(),
            DynamicImage::ImageLuma8(image) => image.try_into(),
            _ => Err(Error::shape(
                "pixels",
                format!(
                    "expected a picture of type Rgb8, Rgba8 or L8, found {:?}: convert it with \
                     DynamicImage::to_rgb8 or to_luma8",
                    image.color()
                ),
            )),
        }
    }
}

fn one((width, height): (u32, u32), order: PixelOrder, data: &[u8]) -> Result<PixelView<'_>> {
    let side = |pixels: u32| usize::try_from(pixels).unwrap_or(usize::MAX);
    let row_stride = side(width).saturating_mul(order.bytes());
    // The memory of a picture may be longer than its pixels.
    PixelView::with_row_stride([1, side(height), side(width)], order, row_stride, data)
}
