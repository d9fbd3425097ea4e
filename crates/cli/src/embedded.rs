//! The model and the pictures that are built into the program, so that it can be tried offline: a
//! small MobileNetV2 trained on Fashion-MNIST, and a part of that data set (see `embedded/README.md`).

use std::{
    fs::{self, File, OpenOptions},
    io::{Cursor, Read},
    mem,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use posterize::{Error, StateDict};
use tempfile::TempDir;
use zip::{ZipArchive, result::ZipResult};

use crate::{error::Result, interrupt};

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

/// Beginning of the names of temporary folders.
const PREFIX: &str = "posterize-pictures-";
/// The file in a temporary folder that the process which uses the folder keeps locked.
const LOCK: &str = ".lock";

/// The built-in pictures in a temporary folder. It is removed when this is dropped and at Ctrl-C, and
/// that of a process that was killed when pictures are unpacked the next time.
#[derive(Debug)]
pub(crate) struct Pictures {
    folder: TempDir,
    /// Unlocked by the system when the process ends, however that happens.
    _lock: File,
}

impl Pictures {
    /// Writes the pictures to a temporary folder.
    pub(crate) fn unpack() -> Result<Self> {
        let root = std::env::temp_dir();
        remove_stale(&root);
        let folder = tempfile::Builder::new()
            .prefix(PREFIX)
            .tempdir_in(&root)
            .map_err(Error::io(&root, "create a folder in"))?;
        let lock = folder.path().join(LOCK);
        let lock = File::create(&lock).map_err(Error::io(&lock, "create"))?;
        // Where files cannot be locked, nobody takes the folder for a stale one.
        let _ = lock.try_lock();
        remove_at_interrupt(folder.path());
        let write = |path: &Path, content: &[u8]| -> Result<()> {
            let _writing = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
            let parent = path.parent().expect("the path is below the folder");
            fs::create_dir_all(parent).map_err(Error::io(parent, "create"))?;
            Ok(fs::write(path, content).map_err(Error::io(path, "write"))?)
        };
        for file in entries(PICTURES) {
            let (name, content) = file.expect("the built-in archive is valid");
            write(&folder.path().join(name), &content)?;
        }
        Ok(Self { folder, _lock: lock })
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

/// Removes the temporary folders of processes that were killed. Errors are ignored, because a folder of
/// another user is that user's to remove.
fn remove_stale(root: &Path) {
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if !is_folder || !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        let lock = entry.path().join(LOCK);
        if !fs::symlink_metadata(&lock).is_ok_and(|metadata| metadata.is_file()) {
            continue;
        }
        let Ok(lock) = OpenOptions::new().write(true).open(&lock) else { continue };
        if lock.try_lock().is_ok() {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Held while a file is unpacked, and by Ctrl-C for ever, so that nothing is written to a folder while it
/// is removed.
static WRITING: Mutex<()> = Mutex::new(());

/// Removes a folder before Ctrl-C ends the program.
fn remove_at_interrupt(folder: &Path) {
    let folder = folder.to_path_buf();
    interrupt::before_end(move || {
        mem::forget(WRITING.lock().unwrap_or_else(PoisonError::into_inner));
        let _ = fs::remove_dir_all(&folder);
    });
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
    use std::{fmt::Write as _, fs};

    use posterize::{data::ImageFolder, models};
    use sha2::{Digest, Sha256};

    use super::{LOCK, MODEL, PICTURES, Pictures, WEIGHTS, entries, remove_stale, weights};

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

    #[test]
    fn only_folders_of_dead_processes_are_removed() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        for name in ["posterize-pictures-dead", "posterize-pictures-live", "photos"] {
            fs::create_dir(at(name)).unwrap();
            fs::write(at(name).join(LOCK), "").unwrap();
        }
        fs::create_dir(at("posterize-pictures-other")).unwrap();
        let live = fs::File::open(at("posterize-pictures-live").join(LOCK)).unwrap();
        live.lock().unwrap();
        remove_stale(root.path());
        assert!(!at("posterize-pictures-dead").exists());
        for name in ["posterize-pictures-live", "posterize-pictures-other", "photos"] {
            assert!(at(name).exists(), "{name}");
        }
    }
}
