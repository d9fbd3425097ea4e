//! The sample pictures, in the layout of torchvision's ImageFolder with ImageNet's class numbers.
//!
//! Without a class file, the subfolders would be numbered in sorted order: the 20 pictures have 19
//! classes, which would be 0 to 18. So a `classes.txt` beside the subfolders lists all 1,000 classes.

use std::{
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

use crate::ui::Ui;

use super::{FetchError, Result, cache::Cache, digest, wheel};

/// Number of classes of ImageNet.
const CLASSES: u32 = 1000;

/// The name of the file that lists all classes in order, one on a line.
pub(crate) const CLASSES_FILE: &str = "classes.txt";

/// Unpacked pictures that are not verified yet and have no final path.
#[derive(Debug)]
pub(super) struct Draft {
    /// A temporary folder with the folder of pictures in it.
    folder: TempDir,
    origin: String,
}

/// Unpacks the pictures `foolbox/data/imagenet_NN_LABEL.jpg` of `wheel`, each into the folder of its
/// class.
pub(super) fn unpack(wheel: &Path, cache: &Cache) -> Result<Draft> {
    let mut archive = wheel::open(wheel)?;
    let pictures: Vec<(String, u32)> = archive
        .file_names()
        .filter_map(Result::ok)
        .filter_map(|name| Some((name.to_string(), label(&name)?)))
        .collect();
    if pictures.is_empty() {
        let problem = "expected pictures named foolbox/data/imagenet_NN_LABEL.jpg in this wheel, \
                       found none";
        return Err(wheel::error(wheel, problem.into()));
    }
    let folder = cache.temporary_folder()?;
    let root = root(&folder);
    for (name, label) in pictures {
        let class = root.join(class_name(label));
        let path = class.join(name.rsplit('/').next().unwrap_or(&name));
        let bytes = wheel::read(&mut archive, wheel, &name)?;
        fs::create_dir_all(&class).map_err(FetchError::io(&class, "create the folder"))?;
        fs::write(&path, bytes).map_err(FetchError::io(&path, "write"))?;
    }
    let classes = root.join(CLASSES_FILE);
    let names = (0..CLASSES).fold(String::new(), |text, class| text + &class_name(class) + "\n");
    fs::write(&classes, names).map_err(FetchError::io(&classes, "write"))?;
    Ok(Draft { folder, origin: wheel.display().to_string() })
}

fn root(folder: &TempDir) -> PathBuf {
    folder.path().join("samples")
}

/// Returns the name of a class's folder: the number, zero-padded so that names sort like numbers.
fn class_name(class: u32) -> String {
    format!("{class:04}")
}

/// Whether a file has the name of a sample picture, and is in the folder of its class.
pub(super) fn is_picture(file: &Path) -> bool {
    let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
    let (picture, folder) = (name(file), file.parent().and_then(name));
    let label = picture.and_then(|picture| label(&format!("foolbox/data/{picture}")));
    label.is_some() && label.map(class_name) == folder
}

/// Returns the class number in the name of a picture: 243 in `foolbox/data/imagenet_00_243.jpg`.
fn label(name: &str) -> Option<u32> {
    let stem = name.strip_prefix("foolbox/data/imagenet_")?.strip_suffix(".jpg")?;
    let (number, label) = stem.split_once('_')?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let label = Some(label).filter(|label| digits(number) && digits(label))?;
    label.parse().ok().filter(|&label| label < CLASSES)
}

impl Draft {
    /// Verifies the digest and moves the folder to its final path, replacing a folder that is there.
    pub(super) fn place(self, path: &Path, expected: &str) -> Result<Listing> {
        let root = root(&self.folder);
        let listing = Listing::of(&root).map_err(FetchError::io(&root, "read"))?;
        if listing.sha256 != expected {
            return Err(FetchError::Digest {
                origin: self.origin,
                expected: expected.into(),
                found: listing.sha256,
            });
        }
        // A folder cannot be renamed to the path of one that is not empty.
        match fs::rename(path, self.folder.path().join("replaced")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(FetchError::io(path, "replace")(error));
            }
            _ => {}
        }
        fs::rename(&root, path).map_err(FetchError::io(path, "create"))?;
        Ok(listing)
    }
}

/// The size and digest of a folder. The digest is that of the list of its files, which has a line for
/// each file as `sha256sum` prints it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Listing {
    /// Size of all files together.
    pub(super) bytes: u64,
    /// Digest of the list.
    pub(super) sha256: String,
}

impl Listing {
    /// Returns the listing of a folder if its digest is the expected one. Returns `None` if the folder
    /// does not exist or has another digest, which is reported on stderr.
    pub(super) fn of_existing(path: &Path, expected: &str, ui: &Ui) -> Result<Option<Self>> {
        match Self::of(path) {
            Ok(listing) if listing.sha256 == expected => return Ok(Some(listing)),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(FetchError::io(path, "read")(error)),
        }
        ui.note(format_args!(
            "{}: files were changed, removed or added; replacing the folder",
            path.display()
        ));
        Ok(None)
    }

    /// Returns the listing of a folder.
    pub(super) fn of(root: &Path) -> io::Result<Self> {
        let mut files = Vec::new();
        for entry in fs::read_dir(root)? {
            let path = entry?.path();
            if path.is_dir() {
                for entry in fs::read_dir(&path)? {
                    files.push(entry?.path());
                }
            } else {
                files.push(path);
            }
        }
        files.sort();
        let (mut bytes, mut lines) = (0, String::new());
        for path in files {
            let content = fs::read(&path)?;
            bytes += content.len() as u64;
            let name =
                path.strip_prefix(root).unwrap_or(&path).to_string_lossy().replace('\\', "/");
            let _ = writeln!(lines, "{}  {name}", digest::of_bytes(&content));
        }
        Ok(Self { bytes, sha256: digest::of_bytes(lines.as_bytes()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_read_only_from_names_of_sample_pictures() {
        assert_eq!(label("foolbox/data/imagenet_00_243.jpg"), Some(243));
        assert_eq!(label("foolbox/data/imagenet_17_22.jpg"), Some(22));
        for other in [
            "foolbox/data/imagenet_00_1000.jpg",
            "foolbox/data/imagenet_00_+24.jpg",
            "foolbox/data/imagenet_../../x_1.jpg",
            "foolbox/data/imagenet_00_243.png",
            "foolbox/data/cifar10_00_3.png",
            "elsewhere/imagenet_00_243.jpg",
        ] {
            assert_eq!(label(other), None, "{other}");
        }
    }

    #[test]
    fn class_names_sort_like_class_numbers() {
        let names: Vec<String> = (0..CLASSES).map(class_name).collect();
        assert!(names.is_sorted());
    }
}
