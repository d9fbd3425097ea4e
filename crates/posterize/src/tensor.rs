//! Dense f32 tensors with PyTorch's shapes and memory formats.

use crate::error::{Error, Result};

/// The order of a tensor's values in memory; PyTorch's `torch.memory_format`.
///
/// ```
/// use posterize::{MemoryFormat, Tensor};
///
/// // Two channels of one row of two pixels.
/// let x = Tensor::new([1, 2, 1, 2], vec![1.0, 2.0, 3.0, 4.0])?;
/// assert_eq!(x.format(), MemoryFormat::Contiguous);
/// assert_eq!(x.to_format(MemoryFormat::ChannelsLast).data(), [1.0, 3.0, 2.0, 4.0]);
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum MemoryFormat {
    /// Row-major order of the shape; PyTorch's `torch.contiguous_format`.
    #[default]
    Contiguous,
    /// The order N, H, W, C for a tensor of shape `[N, C, H, W]`; PyTorch's `torch.channels_last`.
    /// Only for tensors of four dimensions.
    ChannelsLast,
}

/// A dense f32 tensor.
///
/// The shape is written as in PyTorch (`[N, C, H, W]`) for either memory format. The
/// [`MemoryFormat`] is the order of the values in memory.
///
/// ```
/// use posterize::{MemoryFormat, Tensor};
/// let x = Tensor::new(vec![1, 2, 1, 2], vec![1.0, 2.0, 3.0, 4.0])?;
/// let y = x.to_format(MemoryFormat::ChannelsLast);
/// assert_eq!(y.data(), [1.0, 3.0, 2.0, 4.0]);
/// assert_eq!(y.shape(), x.shape());
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    shape: Vec<usize>,
    format: MemoryFormat,
    data: Vec<f32>,
}

impl Tensor {
    /// Creates a contiguous tensor.
    ///
    /// # Errors
    /// Returns an error if `data` does not have as many values as `shape`.
    pub fn new(shape: impl Into<Vec<usize>>, data: Vec<f32>) -> Result<Self> {
        Self::with_format(shape.into(), MemoryFormat::Contiguous, data)
    }

    /// Creates a tensor of shape `[N, C, H, W]` from values in the order N, H, W, C.
    ///
    /// # Errors
    /// Returns an error if `data` does not have as many values as the shape.
    pub fn channels_last(shape: [usize; 4], data: Vec<f32>) -> Result<Self> {
        Self::with_format(shape.to_vec(), MemoryFormat::ChannelsLast, data)
    }

    fn with_format(shape: Vec<usize>, format: MemoryFormat, data: Vec<f32>) -> Result<Self> {
        check_len(&shape, &data)?;
        Ok(Self { shape, format, data })
    }

    /// Creates a contiguous tensor of zeros.
    pub fn zeros(shape: impl Into<Vec<usize>>) -> Self {
        let shape = shape.into();
        let data = vec![0.0; shape.iter().product()];
        Self { shape, format: MemoryFormat::Contiguous, data }
    }

    /// Returns the shape, as PyTorch writes it.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Returns the shape `[N, C, H, W]`.
    ///
    /// # Errors
    /// Returns an error if the tensor does not have four dimensions.
    pub fn shape4(&self) -> Result<[usize; 4]> {
        self.shape.as_slice().try_into().map_err(|_| {
            Error::shape("tensor", format!("expected [N, C, H, W], found {:?}", self.shape))
        })
    }

    /// Returns the memory format.
    pub fn format(&self) -> MemoryFormat {
        self.format
    }

    /// Returns the values in the order of the memory format.
    pub fn data(&self) -> &[f32] {
        &self.data
    }

    /// Returns the values in the order of the memory format, mutably.
    pub fn data_mut(&mut self) -> &mut [f32] {
        &mut self.data
    }

    /// Returns the values in the order of the memory format, and drops the shape.
    pub fn into_data(self) -> Vec<f32> {
        self.data
    }

    /// Returns a view of the tensor.
    pub fn view(&self) -> TensorView<'_> {
        TensorView { shape: &self.shape, format: self.format, data: &self.data }
    }

    /// Returns the tensor itself if it is channels last, otherwise a copy that is.
    #[cfg(feature = "training")]
    pub(crate) fn channels_last_or_copy(&self) -> std::borrow::Cow<'_, Self> {
        match self.format {
            MemoryFormat::ChannelsLast => std::borrow::Cow::Borrowed(self),
            MemoryFormat::Contiguous => {
                std::borrow::Cow::Owned(self.to_format(MemoryFormat::ChannelsLast))
            }
        }
    }

    /// Returns the tensor in another memory format. A tensor that does not have four dimensions
    /// stays contiguous.
    #[must_use]
    pub fn to_format(&self, format: MemoryFormat) -> Self {
        let &[n, c, h, w] = self.shape.as_slice() else { return self.clone() };
        if format == self.format {
            return self.clone();
        }
        let plane = h * w;
        let mut data = vec![0.0; self.data.len()];
        for image in 0..n {
            let base = image * c * plane;
            for channel in 0..c {
                for pixel in 0..plane {
                    let first = base + channel * plane + pixel;
                    let last = base + pixel * c + channel;
                    match format {
                        MemoryFormat::ChannelsLast => data[last] = self.data[first],
                        MemoryFormat::Contiguous => data[first] = self.data[last],
                    }
                }
            }
        }
        Self { shape: self.shape.clone(), format, data }
    }

    /// Returns a contiguous tensor with the same values and another shape; PyTorch's `reshape`.
    ///
    /// # Errors
    /// Returns an error if the shapes have different numbers of values.
    pub fn reshape(&self, shape: impl Into<Vec<usize>>) -> Result<Self> {
        Self::new(shape, self.to_format(MemoryFormat::Contiguous).data)
    }
}

/// A view of a dense f32 tensor whose values are in a borrowed slice.
///
/// ```
/// use posterize::TensorView;
///
/// let values = [1.0, 2.0, 3.0, 4.0];
/// let view = TensorView::new(&[1, 4], &values)?;
/// assert_eq!(view.shape(), [1, 4]);
/// assert!(TensorView::new(&[1, 3], &values).is_err());
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TensorView<'a> {
    shape: &'a [usize],
    format: MemoryFormat,
    data: &'a [f32],
}

impl<'a> TensorView<'a> {
    /// Creates a contiguous view.
    ///
    /// # Errors
    /// Returns an error if `data` does not have as many values as `shape`.
    pub fn new(shape: &'a [usize], data: &'a [f32]) -> Result<Self> {
        check_len(shape, data)?;
        Ok(Self { shape, format: MemoryFormat::Contiguous, data })
    }

    /// Creates a view of shape `[N, C, H, W]` of values in the order N, H, W, C.
    ///
    /// # Errors
    /// Returns an error if `data` does not have as many values as the shape.
    pub fn channels_last(shape: &'a [usize; 4], data: &'a [f32]) -> Result<Self> {
        check_len(shape, data)?;
        Ok(Self { shape, format: MemoryFormat::ChannelsLast, data })
    }

    /// Returns the shape, as PyTorch writes it.
    pub fn shape(&self) -> &'a [usize] {
        self.shape
    }

    /// Returns the memory format.
    pub fn format(&self) -> MemoryFormat {
        self.format
    }

    /// Returns the values in the order of the memory format.
    pub fn data(&self) -> &'a [f32] {
        self.data
    }
}

/// Checks that `data` has as many values as `shape`.
fn check_len(shape: &[usize], data: &[f32]) -> Result<()> {
    let expected = shape.iter().try_fold(1usize, |product, &size| product.checked_mul(size));
    if expected == Some(data.len()) {
        return Ok(());
    }
    let expected = expected.map_or_else(|| "more than fit in memory".into(), |n| format!("{n}"));
    let found = data.len();
    Err(Error::shape("tensor", format!("shape {shape:?} has {expected} values, found {found}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn converting_to_channels_last_and_back_changes_nothing() {
        let x = Tensor::new([2, 3, 4, 5], (0..120u8).map(f32::from).collect()).unwrap();
        let y = x.to_format(MemoryFormat::ChannelsLast);
        assert_eq!(y.data()[1], x.data()[20]);
        assert_eq!(y.to_format(MemoryFormat::Contiguous), x);
    }

    #[test]
    fn a_shape_that_overflows_is_an_error() {
        assert!(Tensor::new([usize::MAX, 2], vec![]).is_err());
    }
}
