//! Dense f32 tensors: shapes as PyTorch writes them, channels last in memory where they are pictures.

use std::borrow::Cow;

use crate::error::{Error, Result};

/// How a tensor's values lie in memory; PyTorch's `torch.memory_format`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum MemoryFormat {
    /// Row-major in the order of the shape.
    #[default]
    Contiguous,
    /// A shape `[N, C, H, W]` stored as N, H, W, C. Only for four dimensions.
    ChannelsLast,
}

/// A dense f32 tensor.
///
/// The shape is always written as PyTorch writes it (`[N, C, H, W]`); the [`MemoryFormat`] says how
/// the values lie in memory.
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
    /// A contiguous tensor of `shape` over `data`.
    ///
    /// # Errors
    /// `data` has another number of values than `shape`.
    pub fn new(shape: impl Into<Vec<usize>>, data: Vec<f32>) -> Result<Self> {
        Self::with_format(shape.into(), MemoryFormat::Contiguous, data)
    }

    /// A tensor of shape `[n, c, h, w]` over values that lie as N, H, W, C.
    ///
    /// # Errors
    /// `data` has another number of values than the shape.
    pub fn channels_last(shape: [usize; 4], data: Vec<f32>) -> Result<Self> {
        Self::with_format(shape.to_vec(), MemoryFormat::ChannelsLast, data)
    }

    fn with_format(shape: Vec<usize>, format: MemoryFormat, data: Vec<f32>) -> Result<Self> {
        check_len(&shape, &data)?;
        Ok(Self { shape, format, data })
    }

    /// A contiguous tensor of zeros.
    pub fn zeros(shape: impl Into<Vec<usize>>) -> Self {
        let shape = shape.into();
        let data = vec![0.0; shape.iter().product()];
        Self { shape, format: MemoryFormat::Contiguous, data }
    }

    /// The shape, as PyTorch writes it.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The shape as `[N, C, H, W]`.
    ///
    /// # Errors
    /// The tensor does not have four dimensions.
    pub fn shape4(&self) -> Result<[usize; 4]> {
        self.shape.as_slice().try_into().map_err(|_| {
            Error::shape("tensor", format!("expected [N, C, H, W], found {:?}", self.shape))
        })
    }

    /// How the values lie in memory.
    pub fn format(&self) -> MemoryFormat {
        self.format
    }

    /// The values as they lie in memory.
    pub fn data(&self) -> &[f32] {
        &self.data
    }

    /// The values as they lie in memory, to change.
    pub fn data_mut(&mut self) -> &mut [f32] {
        &mut self.data
    }

    /// The values as they lie in memory, without the shape.
    pub fn into_data(self) -> Vec<f32> {
        self.data
    }

    /// A view of its values.
    pub fn view(&self) -> TensorView<'_> {
        TensorView { shape: &self.shape, format: self.format, data: &self.data }
    }

    /// The tensor itself where it is channels last, else a copy that is.
    pub(crate) fn channels_last_or_copy(&self) -> Cow<'_, Self> {
        match self.format {
            MemoryFormat::ChannelsLast => Cow::Borrowed(self),
            MemoryFormat::Contiguous => Cow::Owned(self.to_format(MemoryFormat::ChannelsLast)),
        }
    }

    /// The same tensor with its values in another order in memory. A tensor without four dimensions
    /// is contiguous in either.
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

    /// The same values under another shape, contiguous.
    ///
    /// # Errors
    /// The shapes hold different numbers of values.
    pub fn reshape(&self, shape: impl Into<Vec<usize>>) -> Result<Self> {
        Self::new(shape, self.to_format(MemoryFormat::Contiguous).data)
    }
}

/// A view of a dense f32 tensor in somebody else's memory.
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
    /// A contiguous view of `shape` over `data`.
    ///
    /// # Errors
    /// `data` has another number of values than `shape`.
    pub fn new(shape: &'a [usize], data: &'a [f32]) -> Result<Self> {
        check_len(shape, data)?;
        Ok(Self { shape, format: MemoryFormat::Contiguous, data })
    }

    /// A view of shape `[n, c, h, w]` over values that lie as N, H, W, C.
    ///
    /// # Errors
    /// `data` has another number of values than the shape.
    pub fn channels_last(shape: &'a [usize; 4], data: &'a [f32]) -> Result<Self> {
        check_len(shape, data)?;
        Ok(Self { shape, format: MemoryFormat::ChannelsLast, data })
    }

    /// The shape, as PyTorch writes it.
    pub fn shape(&self) -> &'a [usize] {
        self.shape
    }

    /// How the values lie in memory.
    pub fn format(&self) -> MemoryFormat {
        self.format
    }

    /// The values as they lie in memory.
    pub fn data(&self) -> &'a [f32] {
        self.data
    }
}

/// Checks that there are as many values as a shape has.
fn check_len(shape: &[usize], data: &[f32]) -> Result<()> {
    let expected = shape.iter().try_fold(1usize, |product, &size| product.checked_mul(size));
    if expected == Some(data.len()) {
        return Ok(());
    }
    let problem = format!("shape {shape:?} does not hold {} values", data.len());
    Err(Error::shape("tensor", problem))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_last_and_back_is_the_identity() {
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
