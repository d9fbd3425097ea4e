//! Data sets of pictures: image folders, decoding, transforms and a parallel loader.
//!
//! The results are those of torchvision with Pillow, bit for bit: classes and samples and their
//! order ([`ImageFolder`]), decoded pixels ([`Picture::open`]), resized and cropped pictures
//! ([`Preprocessing`], [`Augmentation`], [`RandomCrop`]) and normalized tensors. The [`Loader`]
//! gives the same results with any number of threads.
//!
//! ```no_run
//! # #[cfg(feature = "data")] {
//! use posterize::data::{ImageFolder, Loader, Preprocessing};
//!
//! let folder = ImageFolder::open("imagenet/val", None)?;
//! let loader = Loader::new(&folder, Preprocessing::imagenet()).batch_size(30).limit(300);
//! for batch in loader.tensors() {
//!     let batch = batch?;
//!     println!("{:?} {:?}", batch.images.shape(), batch.labels);
//! }
//! # }
//! # Ok::<(), posterize::Error>(())
//! ```

mod batch;
#[cfg(feature = "data")]
mod batches;
mod channel_order;
mod class;
#[cfg(feature = "data")]
mod class_list;
#[cfg(any(feature = "jpeg", feature = "tiff"))]
mod cmyk;
#[cfg(feature = "data")]
mod decode;
#[cfg(feature = "data")]
mod exif;
#[cfg(feature = "gif")]
mod gif;
#[cfg(feature = "data")]
mod ifd;
#[cfg(feature = "data")]
mod image_folder;
#[cfg(any(feature = "webp", feature = "bmp", feature = "pnm"))]
mod image_formats;
mod interpolation;
#[cfg(feature = "jpeg")]
mod jpeg;
#[cfg(feature = "data")]
mod limits;
#[cfg(feature = "data")]
mod loader;
#[cfg(any(feature = "gif", feature = "tiff"))]
mod lzw;
mod picture;
mod pixel_tables;
#[cfg(any(feature = "png", feature = "webp", feature = "bmp", feature = "pnm"))]
mod pixels;
#[cfg(feature = "png")]
mod png;
mod preprocessing;
#[cfg(feature = "data")]
mod quiet;
#[cfg(feature = "data")]
mod random;
#[cfg(feature = "data")]
mod random_crop;
mod resize;
#[cfg(feature = "data")]
mod sampler;
#[cfg(feature = "tiff")]
mod tiff;
#[cfg(feature = "data")]
mod transforms;

pub use batch::{Batch, BatchImages, PixelBatch};
#[cfg(feature = "data")]
pub use batches::{Batches, Skipped};
pub use channel_order::ChannelOrder;
pub use class::Class;
#[cfg(feature = "data")]
pub use class_list::read_classes;
#[cfg(feature = "data")]
pub use exif::ExifOrientation;
#[cfg(feature = "data")]
pub use image_folder::{EXTENSIONS, ImageFolder, Sample};
pub use interpolation::Interpolation;
#[cfg(feature = "data")]
pub use limits::{MAX_DECODING_BYTES, MAX_PIXELS};
#[cfg(feature = "data")]
pub use loader::Loader;
pub use picture::Picture;
pub use preprocessing::Preprocessing;
#[cfg(feature = "data")]
pub use random_crop::RandomCrop;
pub use resize::Resize;
#[cfg(feature = "data")]
pub use sampler::{RandomSampler, Sampler, SequentialSampler};
#[cfg(feature = "data")]
pub use transforms::{Augmentation, Transform};

/// Reads a picture, resizes and crops it: [`Picture::open`], then [`Preprocessing::apply`].
///
/// # Errors
/// Returns an error if the file cannot be read or decoded.
#[cfg(feature = "data")]
pub fn load_picture(
    path: impl AsRef<std::path::Path>,
    preprocessing: &Preprocessing,
) -> crate::error::Result<Picture> {
    Ok(preprocessing.apply(&Picture::open(path)?))
}
