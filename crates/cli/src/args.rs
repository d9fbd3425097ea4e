//! The groups of arguments that several commands share.

use std::path::PathBuf;

use clap::Args;
use posterize::runtime::Options;

use crate::error::Result;

/// Where fetched files lie, and whether the network may be used to bring more.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct CacheArgs {
    /// Folder of fetched files [default: $POSTERIZE_CACHE, else $XDG_CACHE_HOME/posterize, else
    /// ~/.cache/posterize]
    #[arg(long, value_name = "DIR")]
    pub(crate) cache: Option<PathBuf>,

    /// Use only what has been fetched before
    #[arg(long)]
    pub(crate) offline: bool,
}

/// How much of the machine to use.
#[derive(Args, Clone, Debug)]
pub(crate) struct ThreadArgs {
    /// Threads [default: as many as there are processors]
    #[arg(long, value_name = "T", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
}

impl ThreadArgs {
    /// That many threads, on the best instruction set or the one that `POSTERIZE_ISA` names.
    pub(crate) fn options(&self) -> Result<Options> {
        Ok(match self.threads {
            Some(threads) => Options::new(usize::from(threads))?,
            None => Options::all_threads()?,
        })
    }
}
