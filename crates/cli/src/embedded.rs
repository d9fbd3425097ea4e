//! The model and the pictures that are built into the program, so that it can be tried offline: a
//! small MobileNetV2 trained on Fashion-MNIST, and a part of that data set (see `embedded/README.md`).

use std::{
    fs,
    io::{Cursor, Read},
    path::{Path, PathBuf},
};

use posterize::{Error, StateDict};
use tempfile::TempDir;
use zip::{ZipArchive, result::ZipResult};

use crate::error::Result;

/// The name of the built-in model.
pub(crate) const MODEL: &str = "fashion_mobilenet_v2";
/// What reports print as the path of the built-in weights.
pub(crate) const WEIGHTS_NAME: &str = "embedded/fashion_mobilenet_v2.safetensors";
/// What reports print as the path of the built-in training pictures.
pub(crate) const TRAIN: &str = "embedded/train";
/// What reports print as the path of the built-in validation pictures.
pub(crate) const VAL: &str = "embedded/val";

const WEIGHTS: &[u8] = include_bytes!("../embedded/fashion_mobilenet_v2.safetensors");
/// `train/`, `val/` and `classes.txt`, as `embedded/prepare.py` writes them.
const PICTURES: &[u8] = include_bytes!("../embedded/pictures.zip");

/// Returns the trained weights.
pub(crate) fn weights() -> Result<StateDict> {
    Ok(StateDict::from_bytes(WEIGHTS_NAME, WEIGHTS)?)
}

/// The built-in pictures in a temporary folder, which is removed when this is dropped.
#[derive(Debug)]
pub(crate) struct Pictures {
    folder: TempDir,
}

impl Pictures {
    /// Writes the pictures to a temporary folder.
    pub(crate) fn unpack() -> Result<Self> {
        let root = std::env::temp_dir();
        let folder = tempfile::Builder::new()
            .prefix("posterize-pictures-")
            .tempdir()
            .map_err(Error::io(&root, "create a folder in"))?;
        let write = |path: &Path, content: &[u8]| -> Result<()> {
            let parent = path.parent().expect("the path is below the folder");
            fs::create_dir_all(parent).map_err(Error::io(parent, "create"))?;
            Ok(fs::write(path, content).map_err(Error::io(path, "write"))?)
        };
        for file in entries(PICTURES) {
            let (name, content) = file.expect("the built-in archive is valid");
            write(&folder.path().join(name), &content)?;
        }
        Ok(Self { folder })
    }

    /// Returns the folder of 1,200 training pictures, 120 of each class.
    pub(crate) fn train(&self) -> PathBuf {
        self.folder.path().join("train")
    }

    /// Returns the folder of 1,000 validation pictures from the test files, 100 of each class.
    pub(crate) fn val(&self) -> PathBuf {
        self.folder.path().join("val")
    }
}

/// Iterates over the paths and contents of the files in a zip archive, in the archive's order.
fn entries(archive: &[u8]) -> impl Iterator<Item = ZipResult<(String, Vec<u8>)>> {
    let mut archive = ZipArchive::new(Cursor::new(archive)).expect("the built-in archive is valid");
    (0..archive.len()).map(move |index| {
        let mut file = archive.by_index(index)?;
        let mut content = Vec::new();
        file.read_to_end(&mut content)?;
        Ok((file.name()?.into_owned(), content))
    })
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use posterize::{data::ImageFolder, models};
    use sha2::{Digest, Sha256};

    use super::{MODEL, PICTURES, Pictures, WEIGHTS, entries, weights};

    #[test]
    fn weights_fit_the_network_and_take_at_most_2_mb() {
        let network = models::by_name(MODEL, &models::config(MODEL).unwrap()).unwrap();
        network.load(&weights().unwrap()).unwrap();
        assert!(WEIGHTS.len() <= 2_000_000, "{}", WEIGHTS.len());
    }

    /// The accuracies in the documentation were measured on exactly these pictures.
    #[test]
    fn the_archive_has_the_expected_digest() {
        let mut digest = Sha256::new();
        for file in entries(PICTURES) {
            let (name, content) = file.unwrap();
            digest.update(name);
            digest.update(content);
        }
        let mut digits = String::new();
        for byte in digest.finalize() {
            write!(digits, "{byte:02x}").unwrap();
        }
        assert_eq!(digits, "b3a3ce59ac20d607d4dc358a7e5038fdeda1343adbbb8ca3a5a99c1f40ecc956");
    }

    #[test]
    fn pictures_are_unpacked_into_class_folders_and_removed_on_drop() {
        let pictures = Pictures::unpack().unwrap();
        let classes = pictures.val().parent().unwrap().join("classes.txt");
        for (split, of_each) in [(pictures.train(), 120), (pictures.val(), 100)] {
            let named = ImageFolder::open(&split, Some(&classes)).unwrap();
            let numbered = ImageFolder::open(&split, None).unwrap();
            // The folders' names begin with the class number, so they sort in the order of the classes.
            assert_eq!(named.classes().len(), 10);
            for (label, (named, numbered)) in
                named.classes().iter().zip(numbered.classes()).enumerate()
            {
                assert_eq!(named.folder, numbered.folder);
                assert!(named.folder.starts_with(&format!("{label}_")), "{}", named.folder);
            }
            for label in 0..10 {
                let samples = named.samples().iter().filter(|sample| sample.label == label);
                assert_eq!(samples.count(), of_each, "{} class {label}", split.display());
            }
        }
        let val = pictures.val();
        drop(pictures);
        assert!(!val.exists());
    }
}
