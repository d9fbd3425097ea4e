//! The folder that fetched files lie in. A file gets its name there only when it is whole.

use std::{
    env,
    fs::{self, File, OpenOptions, TryLockError},
    io,
    path::{Path, PathBuf},
};

use tempfile::{NamedTempFile, TempDir};

use crate::ui::Ui;

use super::{FetchError, Item, Result, digest::Sha256Prefix};

/// How the names of temporary files and folders begin.
const TEMPORARY: &str = ".fetch-";

/// The folder that fetched files lie in.
#[derive(Debug)]
pub(super) struct Cache {
    root: PathBuf,
}

impl Cache {
    /// The folder given, else `$POSTERIZE_CACHE`, else the user's cache folder as the XDG base
    /// directory specification has it.
    pub(super) fn new(given: Option<&Path>) -> Result<Self> {
        let set = |name| env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        let root = given.map(Path::to_path_buf).or_else(|| set("POSTERIZE_CACHE")).or_else(|| {
            // The specification has relative paths ignored.
            let folder = set("XDG_CACHE_HOME").filter(|path| path.is_absolute());
            let folder = folder.or_else(|| env::home_dir().map(|home| home.join(".cache")));
            folder.map(|folder| folder.join("posterize"))
        });
        Ok(Self { root: root.ok_or(FetchError::NoCacheFolder)? })
    }

    /// Where `file` of `item` lies, or will.
    pub(super) fn path(&self, item: Item, file: &str) -> PathBuf {
        let folder = self.root.join(item.name());
        if file.is_empty() { folder } else { folder.join(file) }
    }

    /// Waits until no other run fetches into this folder, and keeps others waiting until dropped.
    pub(super) fn lock(&self, ui: &Ui) -> Result<File> {
        self.create()?;
        let path = self.root.join(".lock");
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(FetchError::io(&path, "create"))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                ui.note("waiting for another posterize that is fetching");
                file.lock().map_err(FetchError::io(&path, "lock"))?;
            }
            Err(TryLockError::Error(error)) => return Err(FetchError::io(&path, "lock")(error)),
        }
        self.sweep();
        Ok(file)
    }

    /// Removes what a run that was killed left behind. Only the holder of the lock makes temporary
    /// files, so none of them is in use.
    fn sweep(&self) {
        for entry in fs::read_dir(&self.root).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(TEMPORARY) {
                let path = entry.path();
                let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir_all(&path));
            }
        }
    }

    /// A folder that disappears with its handle, on the same disk as the cache.
    pub(super) fn temporary_folder(&self) -> Result<TempDir> {
        tempfile::Builder::new()
            .prefix(TEMPORARY)
            .tempdir_in(&self.root)
            .map_err(FetchError::io(&self.root, "create a temporary folder in"))
    }

    /// A file that disappears with its handle, on the same disk as the cache.
    pub(super) fn temporary_file(&self) -> Result<NamedTempFile> {
        tempfile::Builder::new()
            .prefix(TEMPORARY)
            .tempfile_in(&self.root)
            .map_err(FetchError::io(&self.root, "create a temporary file in"))
    }

    /// A copy of `file`, not yet in its place.
    pub(super) fn copy(&self, file: &Path) -> Result<Draft> {
        let mut source = File::open(file).map_err(FetchError::io(file, "open"))?;
        let mut copy = self.temporary_file()?;
        // io::copy says not which of the two files failed; writing is the likelier.
        io::copy(&mut source, &mut copy).map_err(FetchError::io(&self.root, "copy into"))?;
        Ok(Draft::Temporary { file: copy, origin: file.display().to_string() })
    }

    fn create(&self) -> Result<()> {
        fs::create_dir_all(&self.root).map_err(FetchError::io(&self.root, "create the folder"))
    }
}

/// A whole file that has yet to be verified and named.
#[derive(Debug)]
pub(super) enum Draft {
    /// Unpacked or copied; disappears unless it is placed.
    Temporary { file: NamedTempFile, origin: String },
    /// Downloaded.
    Part { path: PathBuf, origin: String },
}

impl Draft {
    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Temporary { file, .. } => file.path(),
            Self::Part { path, .. } => path,
        }
    }

    /// Gives the file its name, in place of what may have had it.
    pub(super) fn place(self, path: &Path) -> Result<()> {
        create_parent(path)?;
        match self {
            Self::Temporary { file, .. } => {
                file.as_file().sync_all().map_err(FetchError::io(file.path(), "write"))?;
                file.persist(path).map_err(|e| FetchError::io(path, "create")(e.error))?;
            }
            Self::Part { path: part, .. } => {
                fs::rename(&part, path).map_err(FetchError::io(path, "create"))?;
            }
        }
        // A temporary file is its owner's alone; what lies in the cache is like any other file.
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let _ = fs::set_permissions(path, fs::Permissions::from_mode(0o644));
        }
        Ok(())
    }

    /// Removes the file, whose digest is wrong.
    pub(super) fn refuse(self, found: &str, expected: &Sha256Prefix) -> FetchError {
        let origin = match self {
            Self::Temporary { origin, .. } => origin,
            Self::Part { path, origin } => {
                let _ = fs::remove_file(path);
                origin
            }
        };
        FetchError::Digest { origin, expected: expected.to_string(), found: found.into() }
    }
}

/// Where `path` lies while it is being downloaded; it stays there if the download is cut off.
pub(super) fn part(path: &Path) -> PathBuf {
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    part.into()
}

/// Creates the folder that `path` is to lie in.
pub(super) fn create_parent(path: &Path) -> Result<()> {
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder).map_err(FetchError::io(folder, "create the folder"))
}
