//! A view of pixels in the caller's memory.

use std::fmt;
use std::ops::Range;

use super::order::PixelOrder;
use crate::lengths::checked_count;

/// The distances between the rows and pictures of a [`PixelView`], in bytes.
///
/// ```
/// use posterize_kernels::pixels::{PixelOrder, PixelStrides, PixelView};
///
/// // Rows of five pixels without gaps.
/// let view = PixelView::dense([2, 4, 5], PixelOrder::Rgb, &[0; 2 * 4 * 5 * 3])?;
/// assert_eq!(view.strides(), PixelStrides { row: 5 * 3, picture: 4 * 5 * 3 });
/// # Ok::<(), posterize_kernels::pixels::PixelError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PixelStrides {
    /// From the start of one row to the start of the next; at least the bytes of a row.
    pub row: usize,
    /// From the start of one picture to the start of the next; at least the bytes from the first row
    /// of a picture to the end of its last row.
    pub picture: usize,
}

/// An error for a shape, strides and a buffer that do not match.
///
/// ```
/// use posterize_kernels::pixels::{PixelError, PixelOrder, PixelView};
///
/// let (shape, order) = ([1, 1, 2], PixelOrder::Gray);
/// let error = PixelView::dense(shape, order, &[1, 2, 3]).unwrap_err();
/// assert_eq!(error, PixelError::Length { shape, order, expected: 2, found: 3 });
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PixelError {
    /// There are no pictures, rows or columns.
    #[error("the shape [N, H, W] = {shape:?} has an empty axis; expected at least 1 everywhere")]
    Empty {
        /// `[N, H, W]`.
        shape: [usize; 3],
    },
    /// Memory cannot hold so many bytes.
    #[error("{order} pixels of shape [N, H, W] = {shape:?} are more bytes than memory can hold")]
    TooLarge {
        /// `[N, H, W]`.
        shape: [usize; 3],
        /// The order of a pixel's values.
        order: PixelOrder,
    },
    /// Rows overlap.
    #[error(
        "a row of {width} {order} pixels takes {expected} bytes, but the row stride is {found}"
    )]
    RowStride {
        /// Pixels in a row.
        width: usize,
        /// The order of a pixel's values.
        order: PixelOrder,
        /// Bytes of a row.
        expected: usize,
        /// Bytes from a row to the next.
        found: usize,
    },
    /// Pictures overlap.
    #[error(
        "a picture of {height} rows, {row_stride} bytes apart, takes {expected} bytes, but the picture \
         stride is {found}"
    )]
    PictureStride {
        /// Rows of a picture.
        height: usize,
        /// Bytes from a row to the next.
        row_stride: usize,
        /// Bytes from the first row to the end of the last.
        expected: usize,
        /// Bytes from a picture to the next.
        found: usize,
    },
    /// The bytes are not as many as dense pixels of the shape.
    #[error(
        "{order} pixels of shape [N, H, W] = {shape:?} without gaps are {expected} bytes, found {found}"
    )]
    Length {
        /// `[N, H, W]`.
        shape: [usize; 3],
        /// The order of a pixel's values.
        order: PixelOrder,
        /// Bytes of the pixels.
        expected: usize,
        /// Bytes that there are.
        found: usize,
    },
    /// The bytes end before the last pixel does.
    #[error(
        "{order} pixels of shape [N, H, W] = {shape:?}, rows {row} and pictures {picture} bytes apart, \
         take at least {expected} bytes, found {found}", row = strides.row, picture = strides.picture
    )]
    TooShort {
        /// `[N, H, W]`.
        shape: [usize; 3],
        /// The order of a pixel's values.
        order: PixelOrder,
        /// The distances between rows and pictures.
        strides: PixelStrides,
        /// Bytes up to the end of the last pixel.
        expected: usize,
        /// Bytes that there are.
        found: usize,
    },
}

/// A view of a batch of pictures `[N, H, W]` of 8-bit pixels in the caller's memory, rows from top to
/// bottom.
///
/// ```
/// use posterize_kernels::pixels::{PixelOrder, PixelStrides, PixelView};
///
/// // Two rows of one pixel, each followed by a byte that is none.
/// let strides = PixelStrides { row: 4, picture: 8 };
/// let view = PixelView::strided([1, 2, 1], PixelOrder::Bgr, strides, &[3, 2, 1, 0, 6, 5, 4])?;
/// assert_eq!(view.row(0, 1), [6, 5, 4]);
/// # Ok::<(), posterize_kernels::pixels::PixelError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PixelView<'a> {
    /// `[N, H, W]`, none of them 0.
    shape: [usize; 3],
    order: PixelOrder,
    strides: PixelStrides,
    /// Reaches to the end of the last pixel, or further.
    data: &'a [u8],
}

impl<'a> PixelView<'a> {
    /// Makes a view of pixels of shape `[N, H, W]` without gaps.
    ///
    /// # Errors
    /// An axis is empty, or `data` has another number of bytes than the pixels.
    pub fn dense(shape: [usize; 3], order: PixelOrder, data: &'a [u8]) -> Result<Self, PixelError> {
        let [n, h, w] = shape;
        let expected = checked_count(&[n, h, w, order.bytes()])
            .ok_or(PixelError::TooLarge { shape, order })?;
        let row = w * order.bytes();
        let view = Self::strided(shape, order, PixelStrides { row, picture: h * row }, data);
        match view {
            Ok(view) if data.len() == expected => Ok(view),
            Ok(_) | Err(PixelError::TooShort { .. }) => {
                Err(PixelError::Length { shape, order, expected, found: data.len() })
            }
            Err(error) => Err(error),
        }
    }

    /// Makes a view of pixels of shape `[N, H, W]` with padding between rows and between pictures.
    /// After the last pixel there may be any number of bytes, or none.
    ///
    /// # Errors
    /// An axis is empty, rows or pictures overlap, or `data` ends before the last pixel does.
    pub fn strided(
        shape: [usize; 3],
        order: PixelOrder,
        strides: PixelStrides,
        data: &'a [u8],
    ) -> Result<Self, PixelError> {
        let [n, h, w] = shape;
        if shape.contains(&0) {
            return Err(PixelError::Empty { shape });
        }
        let too_large = PixelError::TooLarge { shape, order };
        let row = checked_count(&[w, order.bytes()]).ok_or(too_large)?;
        if strides.row < row {
            let found = strides.row;
            return Err(PixelError::RowStride { width: w, order, expected: row, found });
        }
        // To the end of the last of `count` parts, `stride` bytes apart.
        let span = |count: usize, stride: usize, part: usize| {
            let before = (count - 1).checked_mul(stride)?;
            before.checked_add(part).filter(|&bytes| isize::try_from(bytes).is_ok())
        };
        let picture = span(h, strides.row, row).ok_or(too_large)?;
        if strides.picture < picture {
            return Err(PixelError::PictureStride {
                height: h,
                row_stride: strides.row,
                expected: picture,
                found: strides.picture,
            });
        }
        let expected = span(n, strides.picture, picture).ok_or(too_large)?;
        if data.len() < expected {
            let found = data.len();
            return Err(PixelError::TooShort { shape, order, strides, expected, found });
        }
        Ok(Self { shape, order, strides, data })
    }

    /// `[N, H, W]`.
    pub fn shape(&self) -> [usize; 3] {
        self.shape
    }

    /// The order of a pixel's values.
    pub fn order(&self) -> PixelOrder {
        self.order
    }

    /// The same bytes, of which red is read as blue and blue as red.
    #[must_use]
    pub fn with_red_and_blue_swapped(self) -> Self {
        Self { order: self.order.with_red_and_blue_swapped(), ..self }
    }

    /// The distances between rows and pictures.
    pub fn strides(&self) -> PixelStrides {
        self.strides
    }

    /// The bytes of row `y` of a picture, without the padding after it.
    ///
    /// # Panics
    /// If there is no such picture or row.
    pub fn row(&self, picture: usize, y: usize) -> &'a [u8] {
        let [n, h, w] = self.shape;
        assert!(picture < n && y < h, "row {y} of picture {picture} in {n} pictures of {h} rows");
        let start = picture * self.strides.picture + y * self.strides.row;
        &self.data[start..start + w * self.order.bytes()]
    }

    /// How many pixels there are.
    pub(super) fn pixels(&self) -> usize {
        self.shape.iter().product()
    }

    /// The longest stretches of pixels without gaps: a row, a picture or the whole batch.
    pub(super) fn stretches(&self) -> Stretches<'a> {
        let Self { shape: [n, h, w], order, strides, data } = *self;
        let bytes = order.bytes();
        let picture = h * w * bytes;
        let (len, of_a_picture) = if strides.row != w * bytes {
            (w, h)
        } else if n > 1 && strides.picture != picture {
            (h * w, 1)
        } else {
            (n * h * w, 1)
        };
        Stretches { len, of_a_picture, bytes, strides, data }
    }
}

impl fmt::Debug for PixelView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PixelView")
            .field("shape", &self.shape)
            .field("order", &self.order)
            .field("strides", &self.strides)
            .finish_non_exhaustive()
    }
}

/// Pixels as stretches of equal length without gaps.
#[derive(Clone, Copy)]
pub(super) struct Stretches<'a> {
    /// Pixels in each.
    len: usize,
    of_a_picture: usize,
    /// Of a pixel.
    bytes: usize,
    strides: PixelStrides,
    data: &'a [u8],
}

impl<'a> Stretches<'a> {
    /// The first of the pixels in the range that lie without a gap: how many, and their bytes.
    pub(super) fn next(&self, range: &Range<usize>) -> (usize, &'a [u8]) {
        let (stretch, column) = (range.start / self.len, range.start % self.len);
        let (picture, row) = (stretch / self.of_a_picture, stretch % self.of_a_picture);
        let count = range.len().min(self.len - column);
        let start = picture * self.strides.picture + row * self.strides.row + column * self.bytes;
        (count, &self.data[start..start + count * self.bytes])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text<T: fmt::Debug>(result: Result<T, PixelError>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn dense_pixels_are_exactly_as_many_bytes() {
        let data = [0; 24];
        let view = PixelView::dense([1, 2, 4], PixelOrder::Rgb, &data).unwrap();
        assert_eq!(view.strides(), PixelStrides { row: 12, picture: 24 });
        for found in [0, 23] {
            assert_eq!(
                text(PixelView::dense([1, 2, 4], PixelOrder::Rgb, &data[..found])),
                format!(
                    "RGB pixels of shape [N, H, W] = [1, 2, 4] without gaps are 24 bytes, found {found}"
                )
            );
        }
        assert_eq!(
            text(PixelView::dense([2, 2, 2], PixelOrder::Gray, &data)),
            "gray pixels of shape [N, H, W] = [2, 2, 2] without gaps are 8 bytes, found 24"
        );
    }

    #[test]
    fn no_axis_is_empty() {
        for axis in 0..3 {
            let mut shape = [2; 3];
            shape[axis] = 0;
            let expected = format!(
                "the shape [N, H, W] = {shape:?} has an empty axis; expected at least 1 everywhere"
            );
            let strides = PixelStrides { row: 8, picture: 16 };
            assert_eq!(text(PixelView::dense(shape, PixelOrder::Bgra, &[])), expected);
            assert_eq!(text(PixelView::strided(shape, PixelOrder::Bgra, strides, &[])), expected);
        }
    }

    #[test]
    fn rows_and_pictures_do_not_overlap() {
        let data = [0; 100];
        let strided = |row, picture| {
            PixelView::strided([2, 3, 4], PixelOrder::Rgba, PixelStrides { row, picture }, &data)
        };
        assert_eq!(
            text(strided(15, 50)),
            "a row of 4 RGBA pixels takes 16 bytes, but the row stride is 15"
        );
        assert_eq!(
            text(strided(17, 49)),
            "a picture of 3 rows, 17 bytes apart, takes 50 bytes, but the picture stride is 49"
        );
        assert_eq!(strided(17, 50).unwrap().row(1, 2).len(), 16);
        assert_eq!(
            text(strided(17, 51)),
            "RGBA pixels of shape [N, H, W] = [2, 3, 4], rows 17 and pictures 51 bytes apart, take at \
             least 101 bytes, found 100"
        );
    }

    #[test]
    fn sizes_that_overflow_are_refused() {
        let half = 1 << (usize::BITS / 2);
        for shape in [
            [half, half, 1],
            [half, 1, half],
            [1, half, half],
            [1, 1, usize::MAX],
            [usize::MAX, 1, 1],
            [1, usize::MAX, 1],
            [1, 1, usize::MAX / 4 + 2],
        ] {
            let expected = format!(
                "BGRA pixels of shape [N, H, W] = {shape:?} are more bytes than memory can hold"
            );
            assert_eq!(text(PixelView::dense(shape, PixelOrder::Bgra, &[0; 8])), expected);
        }
        for (shape, row, picture) in [
            ([1, 2, 1], usize::MAX, usize::MAX),
            ([2, 1, 1], 4, usize::MAX),
            ([1, 3, 1], usize::MAX / 2, usize::MAX),
            ([3, 1, 1], 4, usize::MAX / 2 + 1),
        ] {
            let strides = PixelStrides { row, picture };
            let view = PixelView::strided(shape, PixelOrder::Bgra, strides, &[0; 8]);
            assert_eq!(view, Err(PixelError::TooLarge { shape, order: PixelOrder::Bgra }));
        }
        // Strides that nothing follows.
        let strides = PixelStrides { row: usize::MAX, picture: usize::MAX };
        let view = PixelView::strided([1, 1, 2], PixelOrder::Bgra, strides, &[7; 8]).unwrap();
        assert_eq!(view.row(0, 0), [7; 8]);
    }

    #[test]
    #[should_panic(expected = "row 2 of picture 0 in 1 pictures of 2 rows")]
    fn a_row_outside_is_refused() {
        PixelView::dense([1, 2, 2], PixelOrder::Gray, &[0; 4]).unwrap().row(0, 2);
    }
}
