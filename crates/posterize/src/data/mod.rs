//! Data sets of pictures: image folders, decoding, transforms and a parallel loader.
//!
//! The results are those of torchvision with Pillow, bit for bit: classes and samples and their
//! order ([`ImageFolder`]), decoded pixels ([`Picture::open`]), resized and cropped pictures
//! ([`Preprocessing`], [`Augmentation`], [`RandomCrop`]) and normalized tensors. The [`Loader`]
//! gives the same results with any number of threads.
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
mod jpeg;
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

/// Reads a picture, resizes and crops it: [`Picture::open`], then [`Preprocessing::apply`].
///
/// # Errors
/// Returns an error if the file cannot be read or decoded.
pub fn load_picture(path: impl AsRef<Path>, preprocessing: &Preprocessing) -> Result<Picture> {
    Ok(preprocessing.apply(&Picture::open(path)?))
}
