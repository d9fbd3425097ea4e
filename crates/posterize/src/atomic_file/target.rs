//! What a path leads to when it is written.

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use crate::error::{Error, Result};

/// Maximum number of links that are followed; Linux follows 40.
const MAX_LINKS: usize = 40;

/// What [`write()`](crate::atomic_file::write()) writes to for a path.
///
/// ```
/// use posterize::atomic_file::Target;
///
/// let folder = tempfile::tempdir().unwrap();
/// let path = folder.path().join("predictions.csv");
/// assert_eq!(Target::of(&path)?, Target::File(path));
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Target {
    /// A regular file, which is replaced, or a path at which there is nothing yet. No part of the
    /// path after the folder is a symbolic link.
    File(PathBuf),
    /// A device, a pipe or an open file (`/dev/fd/3`), which is written to directly.
    Stream(PathBuf),
    /// The standard output of this process (`/dev/stdout`), which is written to directly.
    Stdout,
    /// The standard error of this process (`/dev/stderr`), which is written to directly.
    Stderr,
}

impl Target {
    /// Follows the symbolic links of `path`, also to a file that does not exist.
    ///
    /// # Errors
    /// [`Error::Io`] with `path`, if it is a folder or a loop of links.
    pub fn of(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        Self::follow(path).map_err(Error::io(path, "write"))
    }

    fn follow(path: &Path) -> io::Result<Self> {
        let mut target = path.to_path_buf();
        for _ in 0..=MAX_LINKS {
            match open_file(&target) {
                Some(OpenFile::Own(1)) => return Ok(Self::Stdout),
                Some(OpenFile::Own(2)) => return Ok(Self::Stderr),
                Some(_) => return Ok(Self::Stream(target)),
                None => {}
            }
            if let Ok(link) = fs::read_link(&target) {
                target = folder_of(&target).join(link);
                continue;
            }
            return match fs::metadata(&target) {
                Ok(metadata) if metadata.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
                Ok(metadata) if !metadata.is_file() => Ok(Self::Stream(target)),
                _ => Ok(Self::File(target)),
            };
        }
        // Opening it gives the system's own error for a loop.
        fs::metadata(path).and_then(|_| Err(io::Error::other("too many symbolic links")))
    }
}

/// Returns the folder that `path` is in.
pub(super) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// An open file of a process, by its number.
enum OpenFile {
    /// Of this process.
    Own(u32),
    /// Of another one.
    Other,
}

/// Returns the open file that `path` names: `/dev/fd/N` or `/proc/PID/fd/N`. These look like links, but
/// what they link to may have no path.
fn open_file(path: &Path) -> Option<OpenFile> {
    if !cfg!(unix) {
        return None;
    }
    let mut parts = Vec::new();
    for component in path.components() {
        match component {
            Component::RootDir => {}
            Component::Normal(part) => parts.push(part.to_str()?),
            _ => return None,
        }
    }
    if !path.is_absolute() {
        return None;
    }
    let number = |digits: &str| digits.parse().ok();
    match parts[..] {
        ["dev", "fd", file] | ["proc", "self" | "thread-self", "fd", file] => {
            number(file).map(OpenFile::Own)
        }
        ["proc", process, "fd", file] if number(process) == Some(std::process::id()) => {
            number(file).map(OpenFile::Own)
        }
        ["proc", process, "fd", file] => number(process).and(number(file)).map(|_| OpenFile::Other),
        _ => None,
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_are_followed_to_files_that_do_not_exist() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        symlink("second", at("first")).unwrap();
        symlink(at("missing.txt"), at("second")).unwrap();
        assert_eq!(Target::of(at("first")).unwrap(), Target::File(at("missing.txt")));
        symlink("loop", at("loop")).unwrap();
        let error = Target::of(at("loop")).unwrap_err().to_string();
        assert!(error.contains("loop: cannot write: ") && error.contains("levels"), "{error}");
        symlink(folder.path(), at("folder")).unwrap();
        assert!(Target::of(at("folder")).unwrap_err().to_string().contains("is a directory"));
    }

    #[test]
    fn standard_output_and_devices_are_no_files() {
        assert_eq!(Target::of("/dev/stdout").unwrap(), Target::Stdout);
        assert_eq!(Target::of("/dev/fd/1").unwrap(), Target::Stdout);
        assert_eq!(Target::of("/dev/stderr").unwrap(), Target::Stderr);
        assert_eq!(Target::of("/dev/null").unwrap(), Target::Stream("/dev/null".into()));
        assert_eq!(Target::of("/dev/fd/7").unwrap(), Target::Stream("/dev/fd/7".into()));
        let own = format!("/proc/{}/fd/2", std::process::id());
        assert_eq!(Target::of(own).unwrap(), Target::Stderr);
        assert_eq!(Target::of("/proc/1/fd/1").unwrap(), Target::Stream("/proc/1/fd/1".into()));
    }
}
