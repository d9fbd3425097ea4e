//! Digests that are short enough to be read.

use sha2::{Digest, Sha256};

/// Returns the first 64 bits of a hash as hexadecimal digits.
pub(crate) fn short_digest(hash: Sha256) -> String {
    let digest = hash.finalize();
    let digest = u64::from_be_bytes(digest[..8].try_into().expect("a digest has 32 bytes"));
    format!("{digest:016x}")
}
