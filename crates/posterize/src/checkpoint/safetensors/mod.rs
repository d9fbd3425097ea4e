//! Reading and writing safetensors files.

mod header;
#[cfg(feature = "checkpoint")]
mod read;
#[cfg(feature = "save")]
mod write;

pub(crate) use header::{LENGTH, Place, explain, header};
#[cfg(feature = "checkpoint")]
pub(super) use read::read;
