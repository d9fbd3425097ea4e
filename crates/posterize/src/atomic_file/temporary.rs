//! Temporary files beside the files that they become.
//!
//! A process locks its temporary files. So an unlocked one belongs to a process that was killed, and the
//! next process that writes to the folder removes it.

use std::fs::{self, DirEntry, OpenOptions, TryLockError};
use std::io;
use std::path::Path;

use tempfile::NamedTempFile;

const PREFIX: &str = ".posterize-";
const SUFFIX: &str = ".part";

/// Creates a file that is removed when dropped, with the permissions that `File::create` gives.
pub(super) fn create(folder: &Path) -> io::Result<NamedTempFile> {
    remove_stale(folder);
    let mut builder = tempfile::Builder::new();
    builder.prefix(PREFIX).suffix(SUFFIX);
    #[cfg(unix)]
    let permissions = {
        use std::os::unix::fs::PermissionsExt;
        // The umask is applied to these.
        fs::Permissions::from_mode(0o666)
    };
    #[cfg(unix)]
    builder.permissions(permissions);
    loop {
        let file = builder.tempfile_in(folder)?;
        match file.as_file().try_lock() {
            Ok(()) if file.path().exists() => return Ok(file),
            // Another process took it for a stale one before it was locked, and removes it.
            Ok(()) | Err(TryLockError::WouldBlock) => {}
            // Where files cannot be locked, nobody takes a file for a stale one.
            Err(TryLockError::Error(_)) => return Ok(file),
        }
    }
}

/// Removes the temporary files of processes that were killed. Errors are ignored, because the file of
/// another user is that user's to remove.
fn remove_stale(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if !is_temporary(&entry) {
            continue;
        }
        let path = entry.path();
        let Ok(file) = OpenOptions::new().write(true).open(&path) else { continue };
        if file.try_lock().is_ok() {
            let _ = fs::remove_file(&path);
        }
    }
}

fn is_temporary(entry: &DirEntry) -> bool {
    let name = entry.file_name();
    let name = name.to_string_lossy();
    name.starts_with(PREFIX)
        && name.ends_with(SUFFIX)
        && entry.file_type().is_ok_and(|kind| kind.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_of_dead_processes_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in [".posterize-aaaaaa.part", "photo.part", ".posterize-notes"] {
            fs::write(at(name), "").unwrap();
        }
        let used = create(folder.path()).unwrap();
        assert!(!at(".posterize-aaaaaa.part").exists());
        assert!(at("photo.part").exists() && at(".posterize-notes").exists());
        let other = create(folder.path()).unwrap();
        assert!(used.path().exists() && other.path().exists());
    }
}
