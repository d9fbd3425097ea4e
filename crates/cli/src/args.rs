//! Groups of arguments that several commands share.

use std::path::PathBuf;

use clap::{Args, builder::RangedU64ValueParser};
use posterize::{data::ExifOrientation, runtime::Options};

use crate::error::Result;

/// Parses a number of pictures, at least 1.
pub(crate) fn positive() -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..)
}

/// Where downloaded files are kept, and whether downloading is allowed.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct CacheArgs {
    /// Folder for downloaded files [default: $POSTERIZE_CACHE, else $XDG_CACHE_HOME/posterize, else
    /// ~/.cache/posterize]
    #[arg(long, value_name = "DIR")]
    pub(crate) cache: Option<PathBuf>,

    /// Download nothing: use only files that are in the cache folder already
    #[arg(long)]
    pub(crate) offline: bool,
}

/// Whether pictures are turned upright, which torchvision does not do.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct ExifArgs {
    /// Turn pictures upright by the orientation that cameras write in them (EXIF) [default: ignore it, as
    /// torchvision does]
    #[arg(long)]
    exif: bool,
}

impl ExifArgs {
    pub(crate) fn orientation(&self) -> ExifOrientation {
        if self.exif { ExifOrientation::Applied } else { ExifOrientation::Ignored }
    }
}

/// The number of threads.
#[derive(Args, Clone, Debug)]
pub(crate) struct ThreadArgs {
    /// Number of threads [default: number of processors]
    #[arg(long, value_name = "T", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
}

impl ThreadArgs {
    /// Returns the engine options for that many threads, on the best instruction set that the CPU has
    /// or the one that `POSTERIZE_ISA` names.
    pub(crate) fn options(&self) -> Result<Options> {
        Ok(match self.threads {
            Some(threads) => Options::new(usize::from(threads))?,
            None => Options::all_threads()?,
        })
    }
}
