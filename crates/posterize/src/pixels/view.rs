//! A view of pixels in the caller's memory.

use posterize_kernels::pixels;

use super::order::PixelOrder;
use crate::error::{Error, Result};

/// The distances between the rows and pictures of a [`PixelView`], in bytes.
///
/// ```
/// use posterize::{PixelOrder, PixelStrides, PixelView};
///
/// // Rows of five pixels without gaps.
/// let view = PixelView::new([2, 4, 5], PixelOrder::Rgb, &[0; 2 * 4 * 5 * 3])?;
/// assert_eq!(view.strides(), PixelStrides { row: 5 * 3, picture: 4 * 5 * 3 });
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PixelStrides {
    /// From the start of one row to the start of the next; at least the bytes of a row.
    pub row: usize,
    /// From the start of one picture to the start of the next; at least the bytes from the first row
    /// of a picture to the end of its last row.
    pub picture: usize,
}

/// A view of a batch of pictures of 8-bit pixels in the caller's memory, such as the frame of a camera
/// or a window.
///
/// Its shape is `[N, H, W]`, rows from top to bottom. An engine reads the pixels without a copy, and
/// gives the same bits as for a dense RGB copy of them, whatever their order and the padding between
/// rows. Alpha is ignored: colours are used as they are, not blended with anything.
///
/// ```
/// use posterize::ops::Conv2d;
/// use posterize::runtime::{Normalize, Options, compile};
/// use posterize::{Architecture, PixelOrder, PixelView};
///
/// let model = Architecture::trace(&Conv2d::new(3, 8, 3))?.init(0);
/// let normalize = Normalize::Rgb { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] };
/// let mut engine = compile(&model, Options::new(1)?.normalize(normalize))?;
///
/// // A frame of 30 by 20 pixels in blue, green, red and alpha, its rows 128 bytes apart.
/// let frame: Vec<u8> = (0..20 * 128).map(|i| (i % 251) as u8).collect();
/// let view = PixelView::with_row_stride([1, 20, 30], PixelOrder::Bgra, 128, &frame)?;
/// let output = engine.run(view)?;
/// assert_eq!(output.shape(), [1, 8, 18, 28]);
///
/// // The same pixels as dense red, green and blue.
/// let rows = (0..20).flat_map(|y| view.row(0, y).as_chunks().0);
/// let rgb: Vec<u8> = rows.flat_map(|&[b, g, r, _]| [r, g, b]).collect();
/// assert_eq!(engine.run(PixelView::new([1, 20, 30], PixelOrder::Rgb, &rgb)?)?, output);
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PixelView<'a> {
    view: pixels::PixelView<'a>,
    order: PixelOrder,
}

impl<'a> PixelView<'a> {
    /// Makes a view of pixels of shape `[N, H, W]` without gaps.
    ///
    /// # Errors
    /// An axis is empty, or `data` has another number of bytes than the pixels.
    pub fn new(shape: [usize; 3], order: PixelOrder, data: &'a [u8]) -> Result<Self> {
        let view = pixels::PixelView::dense(shape, order.kernels(), data).map_err(refused)?;
        Ok(Self { view, order })
    }

    /// Makes a view of pixels of shape `[N, H, W]` whose rows begin `row_stride` bytes apart, with the
    /// next picture's first row `H * row_stride` bytes after a picture's first. After the last pixel
    /// there may be any number of bytes, or none.
    ///
    /// # Errors
    /// An axis is empty, rows overlap, or `data` ends before the last pixel does.
    pub fn with_row_stride(
        shape: [usize; 3],
        order: PixelOrder,
        row_stride: usize,
        data: &'a [u8],
    ) -> Result<Self> {
        let picture = shape[1].saturating_mul(row_stride);
        Self::with_strides(shape, order, PixelStrides { row: row_stride, picture }, data)
    }

    /// Makes a view of pixels of shape `[N, H, W]` with padding between rows and between pictures.
    /// After the last pixel there may be any number of bytes, or none.
    ///
    /// ```
    /// use posterize::{PixelOrder, PixelStrides, PixelView};
    ///
    /// // Two pictures of 2 by 3 gray pixels, rows of 4 bytes, and 2 bytes before the next picture.
    /// let data: Vec<u8> = (0..20).collect();
    /// let strides = PixelStrides { row: 4, picture: 10 };
    /// let view = PixelView::with_strides([2, 2, 3], PixelOrder::Gray, strides, &data)?;
    /// assert_eq!(view.row(1, 1), [14, 15, 16]);
    /// # Ok::<(), posterize::Error>(())
    /// ```
    ///
    /// # Errors
    /// An axis is empty, rows or pictures overlap, or `data` ends before the last pixel does.
    pub fn with_strides(
        shape: [usize; 3],
        order: PixelOrder,
        strides: PixelStrides,
        data: &'a [u8],
    ) -> Result<Self> {
        let PixelStrides { row, picture } = strides;
        let strides = pixels::PixelStrides { row, picture };
        let view =
            pixels::PixelView::strided(shape, order.kernels(), strides, data).map_err(refused)?;
        Ok(Self { view, order })
    }

    /// `[N, H, W]`.
    pub fn shape(&self) -> [usize; 3] {
        self.view.shape()
    }

    /// The order of a pixel's values.
    pub fn order(&self) -> PixelOrder {
        self.order
    }

    /// The distances between rows and pictures, in bytes.
    pub fn strides(&self) -> PixelStrides {
        let pixels::PixelStrides { row, picture } = self.view.strides();
        PixelStrides { row, picture }
    }

    /// The bytes of row `y` of a picture, without the padding after it.
    ///
    /// # Panics
    /// If there is no such picture or row.
    pub fn row(&self, picture: usize, y: usize) -> &'a [u8] {
        self.view.row(picture, y)
    }

    /// As kernels take it.
    pub(crate) fn kernels(self) -> pixels::PixelView<'a> {
        self.view
    }
}

fn refused(error: pixels::PixelError) -> Error {
    Error::shape("pixels", error.to_string())
}
