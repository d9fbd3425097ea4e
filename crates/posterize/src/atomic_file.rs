//! Files that are either written completely or not at all.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::Path;

use crate::error::{Error, Result};

/// Writes a file completely or not at all.
///
/// `body` writes to a temporary file in the same folder. The temporary file is flushed to disk and
/// then renamed to `path`. If anything fails before that, `path` is unchanged and the temporary
/// file is removed.
///
/// A symbolic link is followed. A device or pipe (`/dev/stdout`) is written to directly.
///
/// ```
/// let folder = tempfile::tempdir().unwrap();
/// let path = folder.path().join("predictions.csv");
/// posterize::atomic_file::write(&path, |file| writeln!(file, "path,label"))?;
/// assert_eq!(std::fs::read_to_string(&path).unwrap(), "path,label\n");
/// # Ok::<(), posterize::Error>(())
/// ```
///
/// # Errors
/// [`Error::Io`] with `path`, if the folder is missing or not writable, the disk is full, or
/// `body` fails.
pub fn write<T>(
    path: impl AsRef<Path>,
    body: impl FnOnce(&mut dyn Write) -> std::io::Result<T>,
) -> Result<T> {
    let path = path.as_ref();
    // Renaming onto a link would replace the link.
    let target = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    let existing = target.metadata().ok();
    match &existing {
        Some(metadata) if metadata.is_dir() => {
            let is_folder = std::io::Error::from(std::io::ErrorKind::IsADirectory);
            return Err(Error::io(path, "write")(is_folder));
        }
        // Renaming onto a device would replace the device.
        Some(metadata) if !metadata.is_file() => {
            return OpenOptions::new()
                .write(true)
                .open(&target)
                .and_then(|file| fill(&file, body))
                .map_err(Error::io(path, "write"));
        }
        _ => {}
    }
    let folder = folder_of(&target);
    let temporary = new_temporary(folder).map_err(Error::io(folder, "create a file in"))?;
    let file = temporary.as_file();
    let result = fill(file, body)
        .and_then(|result| {
            if let Some(metadata) = existing {
                file.set_permissions(metadata.permissions())?;
            }
            file.sync_all().map(|()| result)
        })
        .map_err(Error::io(path, "write"))?;
    temporary.persist(&target).map_err(|failed| Error::io(path, "write")(failed.error))?;
    // The new name is on disk once the folder is flushed. Some file systems cannot flush a folder;
    // the error is ignored because the file is complete either way.
    if cfg!(unix) {
        let _ = File::open(folder).and_then(|folder| folder.sync_all());
    }
    Ok(result)
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Creates a file that is removed when dropped, with the permissions that `File::create` gives.
fn new_temporary(folder: &Path) -> std::io::Result<tempfile::NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".posterize-").suffix(".part");
    #[cfg(unix)]
    let permissions = {
        use std::os::unix::fs::PermissionsExt;
        // The umask is applied to these.
        std::fs::Permissions::from_mode(0o666)
    };
    #[cfg(unix)]
    builder.permissions(permissions);
    builder.tempfile_in(folder)
}

fn fill<T>(
    file: &File,
    body: impl FnOnce(&mut dyn Write) -> std::io::Result<T>,
) -> std::io::Result<T> {
    let mut buffered = BufWriter::with_capacity(1 << 16, file);
    let result = body(&mut buffered)?;
    buffered.flush()?;
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_new_file_is_complete_and_no_temporary_file_remains() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        let length = write(&path, |file| {
            file.write_all(b"hello")?;
            Ok(5)
        });
        assert_eq!(length.unwrap(), 5);
        assert_eq!(fs::read(&path).unwrap(), b"hello");
        assert_eq!(names(folder.path()), ["a.txt"]);
    }

    #[test]
    fn a_failure_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        fs::write(&path, "old").unwrap();
        let error = write::<()>(&path, |file| {
            file.write_all(&vec![b'x'; 1 << 20])?;
            Err(std::io::Error::from(std::io::ErrorKind::StorageFull))
        })
        .unwrap_err();
        assert!(error.to_string().contains("a.txt: cannot write: "), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(names(folder.path()), ["a.txt"]);
    }

    #[test]
    fn a_panic_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        let panicked = std::panic::catch_unwind(|| write::<()>(&path, |_| panic!("in the body")));
        assert!(panicked.is_err());
        assert!(names(folder.path()).is_empty());
    }

    #[test]
    fn a_folder_or_a_missing_folder_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let error = write(folder.path(), |_| Ok(())).unwrap_err().to_string();
        assert!(error.contains("cannot write: is a directory"), "{error}");
        let error = write(folder.path().join("none/a.txt"), |_| Ok(())).unwrap_err().to_string();
        assert!(error.contains("none: cannot create a file in"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed_permissions_kept_and_devices_not_replaced() {
        use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let link = folder.path().join("link");
        symlink(&path, &link).unwrap();
        write(&link, |file| file.write_all(b"new")).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        // A new file has the same permissions as one made by File::create.
        write(folder.path().join("b"), |_| Ok(())).unwrap();
        fs::write(folder.path().join("c"), "").unwrap();
        let mode = |name| fs::metadata(folder.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode("b"), mode("c"));
        // A socket cannot be opened as a file: writing fails, and the socket remains.
        let socket = folder.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        assert!(write(&socket, |file| file.write_all(b"x")).is_err());
        assert!(fs::metadata(&socket).unwrap().file_type().is_socket());
    }
}
