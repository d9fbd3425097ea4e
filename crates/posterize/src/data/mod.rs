//! Pictures on disk: image folders, transforms, and the parallel loader.
//!
//! Everything here gives the numbers that torchvision gives over Pillow: the same classes and
//! samples in the same order ([`ImageFolder`]), the same pixels ([`Picture::open`]), the same
//! resized and cropped pictures ([`Preprocessing`], [`Augmentation`], [`RandomCrop`]), the same normalised tensors.
//! The [`Loader`] does it on several threads with the same result for any number of them.
//!
//! ```no_run
//! use posterize::data::{ImageFolder, Loader, Preprocessing};
//! # fn main() -> posterize::Result<()> {
//! let folder = ImageFolder::open("imagenet/val", None)?;
//! let loader = Loader::new(&folder, Preprocessing::imagenet()).batch_size(30).limit(300);
//! for batch in loader.tensors() {
//!     let batch = batch?;
//!     println!("{:?} {:?}", batch.images.shape(), batch.labels);
//! }
//! # Ok(())
//! # }
//! ```

mod decode;
mod image_folder;
mod loader;
mod picture;
mod preprocessing;
mod random;
mod random_crop;
mod sampler;
mod transforms;

use std::path::Path;

pub use decode::MAX_PIXELS;
pub use image_folder::{Class, EXTENSIONS, ImageFolder, Sample};
pub use loader::{Batch, BatchImages, Batches, Loader, PixelBatch, Skipped};
pub use picture::Picture;
pub use preprocessing::Preprocessing;
pub use random_crop::RandomCrop;
pub use sampler::{RandomSampler, Sampler, SequentialSampler};
pub use transforms::{Augmentation, Transform};

use crate::error::Result;

/// Reads one picture and crops it for evaluation: [`Picture::open`], then [`Preprocessing::apply`].
///
/// # Errors
/// The file cannot be read or decoded.
pub fn load_picture(path: impl AsRef<Path>, preprocessing: &Preprocessing) -> Result<Picture> {
    Ok(preprocessing.apply(&Picture::open(path)?))
}
