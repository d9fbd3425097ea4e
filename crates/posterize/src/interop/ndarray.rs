//! Views of the arrays of the crate `ndarray`, and tensors as such arrays.

use ::ndarray::{ArrayBase, ArrayD, Data, Dimension, Ix4, IxDyn};

use crate::error::{Error, Result};
use crate::tensor::{MemoryFormat, Tensor, TensorView};

/// Needs the Cargo feature `ndarray`.
///
/// ```
/// use ndarray::{Array4, ArrayView4};
/// use posterize::{MemoryFormat, TensorView};
///
/// let images = Array4::<f32>::zeros([2, 3, 8, 10]);
/// assert_eq!(TensorView::try_from(&images)?.shape(), [2, 3, 8, 10]);
///
/// // Values `[N, H, W, C]` as the pictures `[N, C, H, W]` that they are.
/// let values = Array4::<f32>::zeros([2, 8, 10, 3]);
/// let images: ArrayView4<f32> = values.view().permuted_axes([0, 3, 1, 2]);
/// let view = TensorView::try_from(&images)?;
/// assert_eq!(view.shape(), [2, 3, 8, 10]);
/// assert_eq!(view.format(), MemoryFormat::ChannelsLast);
/// # Ok::<(), posterize::Error>(())
/// ```
impl<'a, S, D> TryFrom<&'a ArrayBase<S, D>> for TensorView<'a>
where
    S: Data<Elem = f32>,
    D: Dimension,
{
    type Error = Error;

    /// Makes a view of the array's values, whose shape is the array's.
    ///
    /// # Errors
    /// The values lie in another order than the array's axes, and not channels last either.
    fn try_from(array: &'a ArrayBase<S, D>) -> Result<Self> {
        let shape = array.shape();
        if let Some(values) = array.as_slice() {
            return Self::new(shape, values);
        }
        let pictures = array.view().into_dimensionality::<Ix4>();
        let rows = pictures.map(|pictures| pictures.permuted_axes([0, 2, 3, 1]));
        if let (Ok(Some(values)), Ok(shape)) = (rows.map(|rows| rows.to_slice()), shape.try_into())
        {
            return Self::channels_last(shape, values);
        }
        Err(Error::shape(
            "tensor",
            format!(
                "expected an array in standard layout or [N, C, H, W] in channels-last order, found one \
                 of shape {shape:?} and strides {:?}: make a view of its as_standard_layout()",
                array.strides()
            ),
        ))
    }
}

/// Needs the Cargo feature `ndarray`.
impl From<Tensor> for ArrayD<f32> {
    /// Makes an array of the tensor's shape, without a copy: where the tensor is channels last, the
    /// array's strides say so.
    ///
    /// ```
    /// use ndarray::ArrayD;
    /// use posterize::Tensor;
    ///
    /// let pixels = vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
    /// let array = ArrayD::from(Tensor::channels_last([1, 3, 1, 2], pixels)?);
    /// assert_eq!(array.shape(), [1, 3, 1, 2]);
    /// assert_eq!(array[[0, 1, 0, 0]], 2.0);
    /// # Ok::<(), posterize::Error>(())
    /// ```
    fn from(tensor: Tensor) -> Self {
        let shape = tensor.shape().to_vec();
        let format = tensor.format();
        let array = |shape: &[usize]| {
            Self::from_shape_vec(IxDyn(shape), tensor.into_data())
                .expect("a tensor has as many values as its shape")
        };
        match (format, shape.as_slice()) {
            (MemoryFormat::ChannelsLast, &[n, c, h, w]) => {
                array(&[n, h, w, c]).permuted_axes(IxDyn(&[0, 3, 1, 2]))
            }
            _ => array(&shape),
        }
    }
}
