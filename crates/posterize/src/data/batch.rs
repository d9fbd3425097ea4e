//! Batches of pictures.

use super::Picture;
use super::pixel_tables::PixelTables;
use crate::error::Result;
use crate::pixels::{PixelOrder, PixelView};
use crate::tensor::Tensor;

/// A batch of pictures as 8-bit RGB pixels.
///
/// ```
/// # #[cfg(feature = "pnm")] {
/// use posterize::data::{ImageFolder, Loader, Preprocessing};
///
/// let root = tempfile::tempdir().unwrap();
/// std::fs::create_dir(root.path().join("grey")).unwrap();
/// std::fs::write(root.path().join("grey/a.ppm"), b"P6 1 1 255 ddd").unwrap();
/// let folder = ImageFolder::open(root.path(), None)?;
/// let preprocessing = Preprocessing::imagenet().with_sizes(8, 8);
/// let batch = Loader::new(&folder, preprocessing).pixels().next().unwrap()?;
/// assert_eq!(batch.images.shape(), [1, 8, 8]);
/// assert_eq!(batch.images.data(), vec![b'd'; 8 * 8 * 3]);
/// # }
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PixelBatch {
    /// The shape `[N, H, W]`.
    shape: [usize; 3],
    /// The red, green and blue values, `[N, H, W, 3]`.
    data: Vec<u8>,
}

impl PixelBatch {
    /// Creates a batch of pictures of shape `[N, H, W]` from RGB values of shape `[N, H, W, 3]`.
    ///
    /// # Errors
    /// Returns an error if an axis is zero, or if `data` does not have `N * H * W * 3` bytes.
    pub fn new(shape: [usize; 3], data: Vec<u8>) -> Result<Self> {
        PixelView::new(shape, PixelOrder::Rgb, &data)?;
        Ok(Self { shape, data })
    }

    /// Returns the shape `[N, H, W]`.
    pub fn shape(&self) -> [usize; 3] {
        self.shape
    }

    /// Returns the RGB values, of shape `[N, H, W, 3]`.
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    /// Returns the RGB values and drops the shape.
    pub fn into_data(self) -> Vec<u8> {
        self.data
    }
}

impl<'a> From<&'a PixelBatch> for PixelView<'a> {
    fn from(images: &'a PixelBatch) -> Self {
        Self::new(images.shape, PixelOrder::Rgb, &images.data)
            .expect("a batch has as many bytes as its shape")
    }
}

/// A batch of pictures with their labels.
///
/// ```
/// # #[cfg(feature = "pnm")] {
/// use posterize::data::{ImageFolder, Loader, Preprocessing};
///
/// let root = tempfile::tempdir().unwrap();
/// for class in ["ant", "bee"] {
///     std::fs::create_dir(root.path().join(class)).unwrap();
///     std::fs::write(root.path().join(class).join("0.ppm"), b"P6 1 1 255 rgb").unwrap();
/// }
/// let folder = ImageFolder::open(root.path(), None)?;
/// let preprocessing = Preprocessing::imagenet().with_sizes(8, 8);
/// let batch = Loader::new(&folder, preprocessing).batch_size(2).tensors().next().unwrap()?;
/// assert_eq!(batch.images.shape(), [2, 3, 8, 8]);
/// assert_eq!(batch.labels, [0, 1]);
/// # }
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Batch<T> {
    /// The pictures: a [`Tensor`] of shape `[N, 3, H, W]`, channels last, or a [`PixelBatch`].
    pub images: T,
    /// The label of each picture.
    pub labels: Vec<usize>,
    /// The index of each picture in [`ImageFolder::samples`](super::ImageFolder::samples).
    pub indices: Vec<usize>,
}

/// The type of a batch's pictures: [`Tensor`] or [`PixelBatch`]. It cannot be implemented for other
/// types.
///
/// ```
/// use posterize::Tensor;
/// use posterize::data::{Batch, BatchImages};
///
/// fn labels<T: BatchImages>(batches: &[Batch<T>]) -> Vec<usize> {
///     batches.iter().flat_map(|batch| batch.labels.clone()).collect()
/// }
/// let images = Tensor::zeros([2, 3, 8, 8]);
/// let batch = Batch { images, labels: vec![7, 3], indices: vec![0, 1] };
/// assert_eq!(labels(&[batch]), [7, 3]);
/// ```
pub trait BatchImages: sealed::Images {}

impl BatchImages for Tensor {}
impl BatchImages for PixelBatch {}

mod sealed {
    use super::{Picture, PixelBatch, PixelTables, Tensor};

    pub trait Images: Sized {
        type Value: Send + 'static;
        #[expect(private_interfaces, reason = "the trait is sealed")]
        fn prepare(crop: Picture, tables: &PixelTables) -> Vec<Self::Value>;
        /// Makes a batch of `count` pictures of `[H, W]` pixels.
        fn stack(size: [usize; 2], count: usize, values: Vec<Self::Value>) -> Self;
    }

    impl Images for Tensor {
        type Value = f32;

        #[expect(private_interfaces, reason = "the trait is sealed")]
        fn prepare(crop: Picture, tables: &PixelTables) -> Vec<f32> {
            let mut values = Vec::with_capacity(crop.data().len());
            tables.extend(&mut values, crop.data());
            values
        }

        fn stack([height, width]: [usize; 2], count: usize, values: Vec<f32>) -> Self {
            Self::channels_last([count, 3, height, width], values).expect("crops have one size")
        }
    }

    impl Images for PixelBatch {
        type Value = u8;

        #[expect(private_interfaces, reason = "the trait is sealed")]
        fn prepare(crop: Picture, _: &PixelTables) -> Vec<u8> {
            crop.into_data()
        }

        fn stack([height, width]: [usize; 2], count: usize, data: Vec<u8>) -> Self {
            Self::new([count, height, width], data).expect("crops have one size")
        }
    }
}
