//! Files that are either written completely or not at all.

mod target;
mod temporary;

use std::fs::{File, Metadata, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::Path;

use target::folder_of;

use crate::error::{Error, Result};

pub use target::Target;

/// Writes a file completely or not at all.
///
/// `body` writes to a temporary file in the same folder, `.posterize-….part`. The temporary file is
/// flushed to disk and then renamed to `path`. If anything fails before that, `path` is unchanged and
/// the temporary file is removed. That of a process that was killed is removed when another file is
/// written to the folder.
///
/// A file that is replaced keeps its permissions, except setuid, setgid and sticky, and if possible its
/// owner and group. If the group cannot be kept, the new group gets no permissions that others do not
/// have.
///
/// Symbolic links are followed, also to a file that does not exist. A device, a pipe or an open file
/// (`/dev/stdout`) is written to directly.
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
    match Target::of(path)? {
        Target::File(file) => return replace(path, &file, body),
        Target::Stream(stream) => open_stream(&stream).and_then(|stream| fill(&stream, body)),
        Target::Stdout => fill(std::io::stdout().lock(), body),
        Target::Stderr => fill(std::io::stderr().lock(), body),
    }
    .map_err(Error::io(path, "write"))
}

/// Returns an error if [`write()`] could not write to `path`, such as for a folder that is missing or not
/// writable. Call it before long work whose result is to be written.
///
/// ```
/// use posterize::atomic_file;
///
/// let folder = tempfile::tempdir().unwrap();
/// atomic_file::check(folder.path().join("model.safetensors"))?;
/// assert!(atomic_file::check(folder.path().join("missing/model.safetensors")).is_err());
/// # Ok::<(), posterize::Error>(())
/// ```
///
/// # Errors
/// [`Error::Io`] with `path`.
pub fn check(path: impl AsRef<Path>) -> Result<()> {
    let path = path.as_ref();
    match Target::of(path)? {
        Target::File(file) => temporary::create(folder_of(&file)).map(|_| ()),
        // Opening a pipe would wait for the process at its other end.
        Target::Stream(stream) if is_pipe(&stream) => Ok(()),
        Target::Stream(stream) => open_stream(&stream).map(|_| ()),
        Target::Stdout | Target::Stderr => Ok(()),
    }
    .map_err(Error::io(path, "create"))
}

fn open_stream(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().write(true).open(path)
}

/// Writes the regular file `target`, and names `path` in errors.
fn replace<T>(
    path: &Path,
    target: &Path,
    body: impl FnOnce(&mut dyn Write) -> std::io::Result<T>,
) -> Result<T> {
    let existing = target.metadata().ok();
    let folder = folder_of(target);
    let temporary = temporary::create(folder).map_err(Error::io(folder, "create a file in"))?;
    let file = temporary.as_file();
    let write = || {
        if existing.is_some() {
            make_private(file)?;
        }
        let result = fill(file, body)?;
        if let Some(existing) = &existing {
            keep_owner_and_permissions(file, existing)?;
        }
        file.sync_all().map(|()| result)
    };
    let result = write().map_err(Error::io(path, "write"))?;
    temporary.persist(target).map_err(|failed| Error::io(path, "write")(failed.error))?;
    // The new name is on disk once the folder is flushed. Some file systems cannot flush a folder;
    // the error is ignored because the file is complete either way.
    if cfg!(unix) {
        let _ = File::open(folder).and_then(|folder| folder.sync_all());
    }
    Ok(result)
}

/// Lets only the owner read a file, until it gets the permissions of the file that it replaces.
#[cfg(unix)]
fn make_private(file: &File) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(std::fs::Permissions::from_mode(0o600))
}

#[cfg(not(unix))]
fn make_private(_: &File) -> std::io::Result<()> {
    Ok(())
}

#[cfg(unix)]
fn keep_owner_and_permissions(file: &File, existing: &Metadata) -> std::io::Result<()> {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
    let created = file.metadata()?;
    // Only root may give files to other users; others may give theirs to a group that they are in.
    if created.uid() != existing.uid() {
        let _ = fchown(file, Some(existing.uid()), None);
    }
    let keeps_group = created.gid() == existing.gid() || {
        let changed = fchown(file, None, Some(existing.gid()));
        changed.is_ok()
    };
    let mode = existing.mode() & 0o777;
    // Another group is no more than anybody else.
    let mode = if keeps_group { mode } else { mode & (0o707 | (mode & 0o007) << 3) };
    file.set_permissions(std::fs::Permissions::from_mode(mode))
}

#[cfg(not(unix))]
fn keep_owner_and_permissions(file: &File, existing: &Metadata) -> std::io::Result<()> {
    file.set_permissions(existing.permissions())
}

#[cfg(unix)]
fn is_pipe(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    path.metadata().is_ok_and(|metadata| metadata.file_type().is_fifo())
}

#[cfg(not(unix))]
fn is_pipe(_: &Path) -> bool {
    false
}

fn fill<T>(
    file: impl Write,
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

    #[cfg(unix)]
    #[test]
    fn a_link_to_a_missing_file_is_followed() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink("a.txt", &link).unwrap();
        write(&link, |file| file.write_all(b"new")).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read(folder.path().join("a.txt")).unwrap(), b"new");
        assert_eq!(names(folder.path()), ["a.txt", "link"]);
    }

    #[cfg(unix)]
    #[test]
    fn setuid_is_not_kept_and_the_owner_is_if_possible() {
        use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        fs::write(&path, "old").unwrap();
        // Only root can give files away. For other users, the test is about the permissions alone.
        let _ = chown(&path, Some(12345), Some(23456));
        let before = fs::metadata(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o6754)).unwrap();
        let during = write(&path, |file| {
            file.write_all(b"new")?;
            let temporary =
                names(folder.path()).into_iter().find(|name| name.starts_with(".posterize-"));
            fs::metadata(folder.path().join(temporary.unwrap()))
        });
        assert_eq!(during.unwrap().mode() & 0o7777, 0o600);
        let after = fs::metadata(&path).unwrap();
        assert_eq!(after.mode() & 0o7777, 0o754);
        assert_eq!((after.uid(), after.gid()), (before.uid(), before.gid()));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_device_is_an_error_and_null_is_not() {
        let error = write("/dev/full", |file| file.write_all(b"x")).unwrap_err().to_string();
        assert!(error.contains("/dev/full: cannot write: No space left"), "{error}");
        write("/dev/null", |file| file.write_all(b"x")).unwrap();
    }

    #[test]
    fn check_finds_what_write_would() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        check(&path).unwrap();
        assert!(names(folder.path()).is_empty());
        fs::write(&path, "old").unwrap();
        check(&path).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"old");
        // Not even root can create a file below a file.
        let error = check(path.join("b.txt")).unwrap_err().to_string();
        assert!(error.contains("a.txt/b.txt: cannot create: "), "{error}");
        assert!(check(folder.path()).unwrap_err().to_string().contains("is a directory"));
        check(folder.path().join("none/b.txt")).unwrap_err();
    }
}
