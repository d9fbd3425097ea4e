//! Checkpoints (PyTorch zip, PyTorch legacy, safetensors) read into a [`StateDict`].
//!
//! A `.pth` file is a Python pickle: a program for a stack machine that may import and call
//! anything. This module interprets that program itself, with a list of the few callables that
//! describe tensors (`pickle`), and runs none of them: each becomes inert data. The crates
//! that read such files were looked at first. `pytorch-reader` reads the legacy format and is
//! careful with memory, but it turns calls it does not know into opaque values instead of
//! refusing them, accepts whole pickled models, and loses the order of the entries; and trust in
//! a file is this module's own affair. The zip directory is read here too (`zip_archive`), so
//! that every allocation is bounded by what the file holds.
//!
//! Everything works on the bytes of the file, read once: nothing is mapped, so a file that
//! changes meanwhile can do no harm.

mod check;
mod decode;
mod element;
mod legacy;
mod open;
mod pickle;
pub(crate) mod safetensors;
mod select;
mod state_dict;
mod storage;
mod zip_archive;

pub use state_dict::{IntoIter, NonFinite, StateDict, StateTensor};

pub use crate::error::StateDictMismatch;

/// What a reader gives; the message becomes [`crate::Error::Checkpoint`] with the file's name.
type Parsed<T> = Result<T, String>;

/// Text of a file as it may stand in a message: escaped, and not longer than a line.
fn printable(text: &[u8]) -> String {
    const LONGEST: usize = 120;
    let shown: String = String::from_utf8_lossy(&text[..text.len().min(4 * LONGEST)])
        .chars()
        .take(LONGEST)
        .flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] })
        .collect();
    if text.len() > shown.len() && shown.chars().count() >= LONGEST { shown + "…" } else { shown }
}
