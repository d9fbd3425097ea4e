//! The items in the cache folder, and removing them.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use clap::ValueEnum;
use serde::Serialize;

use crate::ui::Ui;

use super::{
    CLASSES_FILE, FetchError, Fetcher, Item, Result, cache,
    catalogue::Source,
    digest::{self, Sha256Prefix},
    download, samples,
};

/// A file or folder of pictures in the cache folder.
#[derive(Debug, Serialize)]
pub(crate) struct Cached {
    /// The item's name on the command line.
    pub(crate) name: &'static str,
    /// The file, or the folder of pictures.
    pub(crate) path: PathBuf,
    /// Size of the file, or of all pictures.
    pub(crate) bytes: u64,
    pub(crate) state: State,
    /// The files on disk.
    #[serde(skip)]
    files: Vec<PathBuf>,
}

/// Whether an item can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    /// It has the expected digest.
    Verified,
    /// The download was interrupted; the next one continues it.
    Partial,
    /// It has another digest; it is downloaded again when it is needed.
    Damaged,
}

impl State {
    /// Returns its name, as in JSON.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::Partial => "partial",
            Self::Damaged => "damaged",
        }
    }
}

impl Fetcher {
    /// Returns the cache folder.
    pub(crate) fn root(&self) -> &Path {
        self.cache.root()
    }

    /// Lists what is in the cache folder, of all items in their order. Files that no download of an item
    /// writes are left out.
    pub(crate) fn cached(&self) -> Result<Vec<Cached>> {
        let mut found = Vec::new();
        for &item in Item::value_variants() {
            found.extend(self.cached_of(item)?);
        }
        Ok(found)
    }

    /// Removes an item from the cache folder, or all of them, and returns what was removed. Waits while
    /// another process downloads.
    pub(crate) fn clean(&self, item: Option<Item>, ui: &Ui) -> Result<Vec<Cached>> {
        if !self.cache.root().exists() {
            return Ok(Vec::new());
        }
        let _lock = self.cache.lock(ui)?;
        let items = match &item {
            Some(item) => std::slice::from_ref(item),
            None => Item::value_variants(),
        };
        let mut removed = Vec::new();
        for &item in items {
            for cached in self.cached_of(item)? {
                for file in &cached.files {
                    match fs::remove_file(file) {
                        Err(error) if error.kind() != io::ErrorKind::NotFound => {
                            return Err(FetchError::io(file, "remove")(error));
                        }
                        _ => {}
                    }
                }
                // A folder with other files in it stays.
                let folders = cached.files.iter().filter_map(|file| file.parent());
                for folder in folders.chain([&*self.cache.path(item, "")]) {
                    let _ = fs::remove_dir(folder);
                }
                removed.push(cached);
            }
        }
        Ok(removed)
    }

    fn cached_of(&self, item: Item) -> Result<Vec<Cached>> {
        let folder = self.cache.path(item, "");
        match item.source() {
            Source::WheelFile { entry, sha256, .. } => {
                let name = entry.rsplit('/').next().unwrap_or(entry);
                let digest = Sha256Prefix::new(sha256);
                files(&folder, item, |found| (found == name).then(|| digest.clone()))
            }
            Source::Https { .. } => files(&folder, item, |found| {
                digest::of_url(&format!("https://_/{found}")).ok().map(|(_, digest)| digest)
            }),
            Source::WheelSamples { sha256, .. } => pictures(folder, item, sha256),
        }
    }
}

/// Lists the files of an item. `digest` returns what the digest of the file with a name begins with, or
/// `None` if no download has that name.
fn files(
    folder: &Path,
    item: Item,
    digest: impl Fn(&str) -> Option<Sha256Prefix>,
) -> Result<Vec<Cached>> {
    let mut found = Vec::new();
    for path in entries(folder)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let metadata = fs::symlink_metadata(&path).map_err(FetchError::io(&path, "read"))?;
        if !metadata.is_file() {
            continue;
        }
        let whole = name.strip_suffix(cache::PART);
        let Some(expected) = digest(whole.unwrap_or(&name)) else { continue };
        let (state, files) = if whole.is_some() {
            (State::Partial, vec![path.clone(), download::version(&path)])
        } else if expected.matches(&digest::of_file(&path)?) {
            (State::Verified, vec![path.clone()])
        } else {
            (State::Damaged, vec![path.clone()])
        };
        found.push(Cached { name: item.name(), path, bytes: metadata.len(), state, files });
    }
    Ok(found)
}

/// Lists the folder of pictures, if it has any.
fn pictures(folder: PathBuf, item: Item, expected: &str) -> Result<Vec<Cached>> {
    let classes = folder.join(CLASSES_FILE);
    let mut files: Vec<PathBuf> = Some(classes).filter(|file| file.is_file()).into_iter().collect();
    for class in entries(&folder)? {
        if class.is_dir() {
            files.extend(entries(&class)?.into_iter().filter(|file| samples::is_picture(file)));
        }
    }
    if files.is_empty() {
        return Ok(Vec::new());
    }
    let listing = samples::Listing::of(&folder).map_err(FetchError::io(&folder, "read"))?;
    let state = if listing.sha256 == expected { State::Verified } else { State::Damaged };
    Ok(vec![Cached { name: item.name(), path: folder, bytes: listing.bytes, state, files }])
}

/// Returns the paths in a folder in sorted order, of which there are none if it does not exist.
fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(FetchError::io(folder, "read the folder"))?,
    };
    let mut paths = Vec::new();
    for entry in entries {
        paths.push(entry.map_err(FetchError::io(folder, "read the folder"))?.path());
    }
    paths.sort();
    Ok(paths)
}
