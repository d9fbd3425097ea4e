//! The files that a command reads and writes, checked before it does any work.

use std::{
    collections::HashSet,
    ffi::OsString,
    fs::{self, Metadata},
    path::{Path, PathBuf},
};

use posterize::{
    atomic_file::{self, Target},
    data::EXTENSIONS,
};

use crate::error::{CliError, Result};

/// The files and folders that a command reads and writes, each with the option that names it.
#[derive(Debug, Default)]
pub(crate) struct Paths {
    reads: Vec<Named>,
    writes: Vec<Named>,
    /// Folders to create.
    folders: Vec<PathBuf>,
}

/// A path and the option that names it, such as `--weights`.
#[derive(Debug)]
struct Named {
    option: String,
    path: PathBuf,
}

impl Named {
    fn new(option: &str, path: &Path) -> Self {
        Self { option: option.to_owned(), path: path.to_path_buf() }
    }
}

impl Paths {
    /// Adds the files or folders that an option names, if it is given, as paths that are read.
    pub(crate) fn reads<'a>(
        mut self,
        option: &str,
        paths: impl IntoIterator<Item = &'a PathBuf>,
    ) -> Self {
        self.reads.extend(paths.into_iter().map(|path| Named::new(option, path)));
        self
    }

    /// Adds the file that an option names, if it is given, as one that is written.
    pub(crate) fn writes<'a>(
        mut self,
        option: &str,
        paths: impl IntoIterator<Item = &'a PathBuf>,
    ) -> Self {
        self.writes.extend(paths.into_iter().map(|path| Named::new(option, path)));
        self
    }

    /// Adds files that are written to a folder, which is created if it does not exist.
    pub(crate) fn writes_into(mut self, option: &str, folder: &Path, names: &[&str]) -> Self {
        self.writes.extend(names.iter().map(|name| Named::new(option, &folder.join(name))));
        self.folders.push(folder.to_path_buf());
        self
    }

    /// Returns an error if a file that is written is also read, if two are the same file, or if one
    /// cannot be written.
    pub(crate) fn check(&self) -> Result<()> {
        self.keep_inputs()?;
        for (index, written) in self.writes.iter().enumerate() {
            let place = Place::of(&written.path)?;
            for other in &self.writes[..index] {
                if !place.is_null() && place == Place::of(&other.path)? {
                    return Err(CliError::Usage(format!(
                        "{} ({}) and {} ({}) are the same file; let one of them have another name",
                        other.path.display(),
                        other.option,
                        written.path.display(),
                        written.option
                    )));
                }
            }
        }
        for folder in &self.folders {
            fs::create_dir_all(folder).map_err(posterize::Error::io(folder, "create"))?;
        }
        for written in &self.writes {
            atomic_file::check(&written.path)?;
        }
        Ok(())
    }

    /// Returns an error if a file that is written is one of those that are read, or a picture in a
    /// folder that is read.
    pub(crate) fn keep_inputs(&self) -> Result<()> {
        // A file that does not exist yet cannot be one that is read.
        let mut existing = Vec::new();
        for written in &self.writes {
            if let Some(identity) = Place::of(&written.path)?.existing_file() {
                existing.push((written, identity));
            }
        }
        if existing.is_empty() {
            return Ok(());
        }
        for read in &self.reads {
            let found = if read.path.is_dir() {
                let identities = existing.iter().map(|(_, identity)| identity);
                picture_in(&read.path, &identities.collect::<Vec<_>>())
            } else {
                identity(&read.path).map(|identity| (read.path.clone(), identity))
            };
            let Some((path, identity)) = found else { continue };
            if let Some((written, _)) = existing.iter().find(|(_, other)| *other == identity) {
                return Err(CliError::Usage(format!(
                    "{} ({}) is the same file as {} ({}), which would be lost; choose another name \
                     for {}",
                    written.path.display(),
                    written.option,
                    path.display(),
                    read.option,
                    written.option
                )));
            }
        }
        Ok(())
    }

    /// Whether one of the files that are written is the standard output, so that nothing else can be
    /// printed there.
    pub(crate) fn use_stdout(&self) -> bool {
        let stdout = identity("/dev/stdout".as_ref());
        self.writes.iter().any(|written| match Target::of(&written.path) {
            Ok(Target::Stdout) => true,
            Ok(Target::File(path) | Target::Stream(path)) => {
                let written = identity(&path);
                written.is_some() && written == stdout && written != identity(NULL.as_ref())
            }
            _ => false,
        })
    }
}

/// Whether two paths lead to the same existing file or folder.
pub(crate) fn are_same(a: &Path, b: &Path) -> bool {
    identity(a).is_some_and(|a| Some(a) == identity(b))
}

/// The device to which any number of files can be written.
const NULL: &str = "/dev/null";

/// What tells a file from all others, whatever its path.
#[cfg(unix)]
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Identity {
    device: u64,
    inode: u64,
}

#[cfg(not(unix))]
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Identity(PathBuf);

/// Returns the identity of a file or folder, or `None` if it does not exist.
#[cfg(unix)]
fn identity(path: &Path) -> Option<Identity> {
    use std::os::unix::fs::MetadataExt;
    let metadata = fs::metadata(path).ok()?;
    Some(Identity { device: metadata.dev(), inode: metadata.ino() })
}

#[cfg(not(unix))]
fn identity(path: &Path) -> Option<Identity> {
    path.canonicalize().ok().map(Identity)
}

/// Whether a file in a folder may have one of the identities. It is quick: it reads no metadata.
#[cfg(unix)]
fn may_be_one_of(entry: &fs::DirEntry, identities: &[&Identity]) -> bool {
    use std::os::unix::fs::DirEntryExt;
    identities.iter().any(|identity| identity.inode == entry.ino())
}

#[cfg(not(unix))]
fn may_be_one_of(_: &fs::DirEntry, _: &[&Identity]) -> bool {
    true
}

/// Where a file is written.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    /// A file, device or pipe that exists.
    Existing { identity: Identity, is_file: bool },
    /// A file to create, in a folder that exists.
    New { folder: Identity, name: OsString },
    /// A file in a folder that does not exist, or a closed standard output.
    Nowhere(PathBuf),
}

impl Place {
    fn of(path: &Path) -> Result<Self> {
        let target = match Target::of(path)? {
            Target::File(target) | Target::Stream(target) => target,
            Target::Stdout => "/dev/stdout".into(),
            _ => path.to_path_buf(),
        };
        if let Some(identity) = identity(&target) {
            let is_file = fs::metadata(&target).as_ref().is_ok_and(Metadata::is_file);
            return Ok(Self::Existing { identity, is_file });
        }
        let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = identity(folder.unwrap_or(Path::new(".")));
        Ok(match (folder, target.file_name()) {
            (Some(folder), Some(name)) => Self::New { folder, name: name.to_owned() },
            _ => Self::Nowhere(target),
        })
    }

    fn is_null(&self) -> bool {
        matches!(self, Self::Existing { identity: found, .. } if identity(NULL.as_ref()).as_ref() == Some(found))
    }

    /// Returns the identity of a regular file that exists.
    fn existing_file(self) -> Option<Identity> {
        match self {
            Self::Existing { identity, is_file: true } => Some(identity),
            _ => None,
        }
    }
}

/// Returns the first picture in `root` or below it that is one of these files.
fn picture_in(root: &Path, files: &[&Identity]) -> Option<(PathBuf, Identity)> {
    let mut folders = vec![root.to_path_buf()];
    // Links may lead to the same folder again and again.
    let mut seen: HashSet<Identity> = identity(root).into_iter().collect();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let Ok(kind) = entry.file_type() else { continue };
            let path = entry.path();
            if kind.is_dir() || (kind.is_symlink() && path.is_dir()) {
                if identity(&path).is_some_and(|identity| seen.insert(identity)) {
                    folders.push(path);
                }
            } else if is_picture(&path)
                && (kind.is_symlink() || may_be_one_of(&entry, files))
                && let Some(identity) = identity(&path).filter(|found| files.contains(&found))
            {
                return Some((path, identity));
            }
        }
    }
    None
}

fn is_picture(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    EXTENSIONS.iter().any(|extension| name.ends_with(extension))
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn check(reads: &[PathBuf], writes: &[PathBuf]) -> Result<(), String> {
        let paths = Paths::default().reads("--weights", reads).writes("-o", writes);
        paths.check().map_err(|error| error.to_string())
    }

    #[test]
    fn an_input_is_found_through_links_and_in_folders() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("m.pth"), "weights").unwrap();
        fs::create_dir_all(at("data/bee")).unwrap();
        fs::write(at("data/bee/1.jpg"), "picture").unwrap();
        fs::write(at("data/out.csv"), "predictions").unwrap();
        symlink("m.pth", at("symlink")).unwrap();
        fs::hard_link(at("m.pth"), at("hard_link")).unwrap();
        fs::hard_link(at("data/bee/1.jpg"), at("picture")).unwrap();
        symlink(at("data"), at("data/bee/loop")).unwrap();
        for name in ["m.pth", "symlink", "hard_link", "data/../m.pth"] {
            let error = check(&[at("m.pth")], &[at(name)]).unwrap_err();
            let expected = format!(
                "{} (-o) is the same file as {} (--weights)",
                at(name).display(),
                at("m.pth").display()
            );
            assert!(error.contains(&expected), "{error}");
        }
        for name in ["data/bee/1.jpg", "picture"] {
            let error = check(&[at("data")], &[at(name)]).unwrap_err();
            assert!(error.contains("data/bee/1.jpg (--weights), which would be lost"), "{error}");
        }
        check(&[at("m.pth"), at("data")], &[at("data/out.csv"), at("new.pth")]).unwrap();
    }

    #[test]
    fn two_outputs_with_the_same_file_are_found_before_it_exists() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        symlink("new", at("link")).unwrap();
        let error = check(&[], &[at("new"), at("link")]).unwrap_err();
        assert!(error.contains("/new (-o) and ") && error.contains("are the same file"), "{error}");
        check(&[], &[at("new"), at("other")]).unwrap();
        check(&[], &[NULL.into(), NULL.into()]).unwrap();
        assert!(!at("new").exists());
    }
}
