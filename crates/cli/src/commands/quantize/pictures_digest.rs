//! A digest that tells calibration pictures from others.

use std::fs;

use posterize::data::Loader;
use sha2::{Digest, Sha256};

/// Returns a digest of the names and sizes of all pictures, in their order.
pub(super) fn pictures_digest(loader: &Loader) -> String {
    let mut hash = Sha256::new();
    for sample in loader.samples() {
        // Without the folder, which may have been moved.
        let name = sample.path.file_name().unwrap_or_default().as_encoded_bytes();
        hash.update((name.len() as u64).to_le_bytes());
        hash.update(name);
        let bytes = fs::metadata(&sample.path).map_or(0, |metadata| metadata.len());
        hash.update(bytes.to_le_bytes());
    }
    let digest = hash.finalize();
    let digest = u64::from_be_bytes(*digest.first_chunk().expect("a digest has 32 bytes"));
    format!("{digest:016x}")
}
