//! The cache folder of downloaded files. A file gets its final name only when it is complete.

use std::{
    env,
    fs::{self, File, OpenOptions, TryLockError},
    io,
    path::{Path, PathBuf},
};

use tempfile::{NamedTempFile, TempDir};

use crate::ui::Ui;

use super::{FetchError, Item, Result, digest::Sha256Prefix};

/// The ending of the names of files that are being downloaded.
pub(super) const PART: &str = ".part";

/// Prefix of the names of temporary files and folders.
const TEMPORARY: &str = ".fetch-";

/// The cache folder of downloaded files.
#[derive(Debug)]
pub(super) struct Cache {
    root: PathBuf,
}

impl Cache {
    /// Uses the folder given, else `$POSTERIZE_CACHE`, else the user's cache folder according to the
    /// XDG base directory specification.
    pub(super) fn new(given: Option<&Path>) -> Result<Self> {
        let set = |name| env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        let root = given.map(Path::to_path_buf).or_else(|| set("POSTERIZE_CACHE")).or_else(|| {
            // The specification says that relative paths are ignored.
            let folder = set("XDG_CACHE_HOME").filter(|path| path.is_absolute());
            let folder = folder.or_else(|| env::home_dir().map(|home| home.join(".cache")));
            folder.map(|folder| folder.join("posterize"))
        });
        Ok(Self { root: root.ok_or(FetchError::NoCacheFolder)? })
    }

    /// Returns the folder.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Returns the path of `file` of `item`, whether it exists or not.
    pub(super) fn path(&self, item: Item, file: &str) -> PathBuf {
        let folder = self.root.join(item.name());
        if file.is_empty() { folder } else { folder.join(file) }
    }

    /// Locks the folder against other processes until the returned file is dropped. Waits if another
    /// process holds the lock.
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
                ui.note("waiting for another posterize process that is downloading");
                file.lock().map_err(FetchError::io(&path, "lock"))?;
            }
            Err(TryLockError::Error(error)) => return Err(FetchError::io(&path, "lock")(error)),
        }
        self.remove_temporary();
        Ok(file)
    }

    /// Removes temporary files of processes that were killed. Only the holder of the lock creates
    /// temporary files, so none of them is in use.
    fn remove_temporary(&self) {
        for entry in fs::read_dir(&self.root).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(TEMPORARY) {
                let path = entry.path();
                let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir_all(&path));
            }
        }
    }

    /// Creates a temporary folder on the same disk as the cache. It is removed when dropped.
    pub(super) fn temporary_folder(&self) -> Result<TempDir> {
        tempfile::Builder::new()
            .prefix(TEMPORARY)
            .tempdir_in(&self.root)
            .map_err(FetchError::io(&self.root, "create a temporary folder in"))
    }

    /// Creates a temporary file on the same disk as the cache. It is removed when dropped.
    pub(super) fn temporary_file(&self) -> Result<NamedTempFile> {
        tempfile::Builder::new()
            .prefix(TEMPORARY)
            .tempfile_in(&self.root)
            .map_err(FetchError::io(&self.root, "create a temporary file in"))
    }

    /// Copies `file` to a temporary file.
    pub(super) fn copy(&self, file: &Path) -> Result<Draft> {
        let mut source = File::open(file).map_err(FetchError::io(file, "open"))?;
        let mut copy = self.temporary_file()?;
        // io::copy does not say which of the two files failed; it is more probably the written one.
        io::copy(&mut source, &mut copy).map_err(FetchError::io(&self.root, "copy into"))?;
        Ok(Draft::Temporary { file: copy, origin: file.display().to_string() })
    }

    fn create(&self) -> Result<()> {
        fs::create_dir_all(&self.root).map_err(FetchError::io(&self.root, "create the folder"))
    }
}

/// A complete file that is not verified yet and has no final name.
#[derive(Debug)]
pub(super) enum Draft {
    /// Unpacked or copied. The file is removed unless [`Draft::place`] is called.
    Temporary { file: NamedTempFile, origin: String },
    /// Downloaded.
    Part { path: PathBuf, origin: String },
}

impl Draft {
    /// Returns the file's present path.
    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Temporary { file, .. } => file.path(),
            Self::Part { path, .. } => path,
        }
    }

    /// Moves the file to its final path, and replaces a file that is there.
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
        // Temporary files are readable by their owner only; files in the cache should be readable by
        // everybody.
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let _ = fs::set_permissions(path, fs::Permissions::from_mode(0o644));
        }
        Ok(())
    }

    /// Removes the file because its digest is wrong, and returns the error.
    pub(super) fn reject(self, found: &str, expected: &Sha256Prefix) -> FetchError {
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

/// Returns the path of a file while it is being downloaded. If the download is interrupted, the file
/// stays there, to be continued.
pub(super) fn part(path: &Path) -> PathBuf {
    let mut part = path.as_os_str().to_owned();
    part.push(PART);
    part.into()
}

/// Creates the parent folder of `path`.
pub(super) fn create_parent(path: &Path) -> Result<()> {
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder).map_err(FetchError::io(folder, "create the folder"))
}
