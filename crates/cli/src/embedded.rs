//! What the program carries, so that there is something to try without a network: a small
//! MobileNetV2 trained on Fashion-MNIST, and some of its pictures (see `embedded/README.md`).

use std::{
    fs,
    path::{Path, PathBuf},
};

use posterize::{Error, StateDict};
use tempfile::TempDir;

use crate::error::Result;

/// The network's name.
pub(crate) const MODEL: &str = "fashion_mobilenet_v2";
/// What its weights are called where the path of a file would stand.
pub(crate) const WEIGHTS_NAME: &str = "embedded/fashion_mobilenet_v2.safetensors";
/// What its pictures are called where the path of a folder would stand.
pub(crate) const TRAIN: &str = "embedded/train";
pub(crate) const VAL: &str = "embedded/val";

const WEIGHTS: &[u8] = include_bytes!("../../../embedded/fashion_mobilenet_v2.safetensors");
const CLASSES: &[u8] = include_bytes!("../../../embedded/classes.txt");
/// As `build.rs` packs them.
const PICTURES: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/pictures.bin"));

/// The network's trained weights.
pub(crate) fn weights() -> Result<StateDict> {
    Ok(StateDict::from_bytes(WEIGHTS_NAME, WEIGHTS)?)
}

/// The pictures in a folder of their own, which is removed with this.
#[derive(Debug)]
pub(crate) struct Pictures {
    folder: TempDir,
}

impl Pictures {
    /// Writes them to a temporary folder.
    pub(crate) fn unpack() -> Result<Self> {
        let root = std::env::temp_dir();
        let folder = tempfile::Builder::new()
            .prefix("posterize-pictures-")
            .tempdir()
            .map_err(Error::io(&root, "create a folder in"))?;
        let write = |path: &Path, content: &[u8]| -> Result<()> {
            let parent = path.parent().expect("a file in the folder");
            fs::create_dir_all(parent).map_err(Error::io(parent, "create"))?;
            Ok(fs::write(path, content).map_err(Error::io(path, "write"))?)
        };
        for (name, content) in packed(PICTURES) {
            write(&folder.path().join(name), content)?;
        }
        write(&folder.path().join(crate::fetch::CLASSES_FILE), CLASSES)?;
        Ok(Self { folder })
    }

    /// 1,200 pictures of the training files, 120 of each class.
    pub(crate) fn train(&self) -> PathBuf {
        self.folder.path().join("train")
    }

    /// 1,000 pictures of the test files, 100 of each class.
    pub(crate) fn val(&self) -> PathBuf {
        self.folder.path().join("val")
    }
}

/// The paths and contents of what `build.rs` packed.
fn packed(mut bytes: &[u8]) -> impl Iterator<Item = (&str, &[u8])> {
    let mut part = move || {
        let (length, rest) = bytes.split_first_chunk()?;
        let (part, rest) = rest.split_at(u32::from_le_bytes(*length) as usize);
        bytes = rest;
        Some(part)
    };
    std::iter::from_fn(move || {
        let name = std::str::from_utf8(part()?).expect("build.rs packs paths as text");
        Some((name, part()?))
    })
}

#[cfg(test)]
mod tests {
    use posterize::{data::ImageFolder, models};

    use super::{MODEL, Pictures, WEIGHTS, weights};

    #[test]
    fn the_weights_fit_the_network_and_are_small() {
        let network = models::by_name(MODEL, &models::config(MODEL).unwrap()).unwrap();
        network.load(&weights().unwrap()).unwrap();
        assert!(WEIGHTS.len() <= 2_000_000, "{}", WEIGHTS.len());
    }

    #[test]
    fn pictures_are_unpacked_as_they_are_in_the_repository_and_removed() {
        let pictures = Pictures::unpack().unwrap();
        let embedded = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../embedded");
        for (unpacked, name, count) in
            [(pictures.train(), "train", 1200), (pictures.val(), "val", 1000)]
        {
            let file = pictures.val().parent().unwrap().join("classes.txt");
            let found = ImageFolder::open(&unpacked, Some(&file)).unwrap();
            let original = ImageFolder::open(embedded.join(name), None).unwrap();
            assert_eq!((found.len(), original.len()), (count, count));
            // Numbered folders sort as the classes do.
            let folders = |folder: &ImageFolder| -> Vec<String> {
                folder.classes().iter().map(|class| class.folder.clone()).collect()
            };
            assert_eq!(folders(&found), folders(&original));
            for (found, original) in found.samples().iter().zip(original.samples()) {
                assert_eq!(found.label, original.label);
                assert_eq!(
                    std::fs::read(&found.path).unwrap(),
                    std::fs::read(&original.path).unwrap()
                );
            }
        }
        let gone = pictures.val();
        drop(pictures);
        assert!(!gone.exists());
    }
}
