//! A file read, its format recognised by its content.

use std::fs::File;
use std::io::{Read, Seek};
use std::path::Path;

use super::state_dict::StateDict;
use super::{Parsed, legacy, safetensors, zip_archive};
use crate::error::{Error, Result};

/// Bytes at the beginning of a file that tell its format.
const SIGNATURE: usize = 512;

/// The formats that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Zip,
    Pickle,
    Safetensors,
}

impl StateDict {
    /// Reads the checkpoint at `path`: a PyTorch file (zip or legacy) or safetensors, told apart by
    /// content.
    ///
    /// The weights may lie in a dictionary that training scripts write, under `state_dict`,
    /// `model`, `model_state_dict` and similar keys; prefixes of wrapping modules (`module.`,
    /// `_orig_mod.`) are removed. f16, bf16 and f64 values become f32, integers and bools i64.
    ///
    /// ```no_run
    /// let weights = posterize::StateDict::open("mobilenet_v2.pth")?;
    /// for (name, tensor) in weights.iter() {
    ///     println!("{name}: {:?}", tensor.shape());
    /// }
    /// # Ok::<(), posterize::Error>(())
    /// ```
    ///
    /// # Errors
    /// The file cannot be read, is damaged or truncated, is none of these formats, holds no
    /// weights, or is a pickle that would run code; the last names the callable, and nothing of
    /// it is run.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let mut file = File::open(path).map_err(Error::io(path, "open"))?;
        let metadata = file.metadata().map_err(Error::io(path, "read"))?;
        if metadata.is_dir() {
            return Err(checkpoint_error(path, "a folder, where a checkpoint file is expected"));
        }
        // A device may have no end.
        if !metadata.is_file() {
            return Err(checkpoint_error(path, "not a regular file"));
        }
        // Whatever is no checkpoint is not read to its end.
        let mut start = Vec::new();
        (&mut file)
            .take(SIGNATURE as u64)
            .read_to_end(&mut start)
            .map_err(Error::io(path, "read"))?;
        recognise(&start).map_err(|problem| checkpoint_error(path, problem))?;
        file.rewind().map_err(Error::io(path, "read"))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(Error::io(path, "read"))?;
        Self::from_bytes(path, &bytes)
    }

    /// The same for a file in memory. `path` is what errors call it.
    ///
    /// # Errors
    /// As [`StateDict::open`].
    pub fn from_bytes(path: impl AsRef<Path>, bytes: &[u8]) -> Result<Self> {
        let read = |format| match format {
            Format::Zip => zip_archive::read(bytes),
            Format::Pickle => legacy::read(bytes),
            Format::Safetensors => safetensors::read(bytes),
        };
        recognise(&bytes[..bytes.len().min(SIGNATURE)])
            .and_then(read)
            .map_err(|problem| checkpoint_error(path.as_ref(), problem))
    }

    /// Writes a safetensors file: first under a temporary name in the same folder, then renamed,
    /// so that `path` is either as before or complete. [`StateDict::open`] gives back an equal
    /// state_dict in the same order.
    ///
    /// # Errors
    /// The file cannot be written; nothing is left behind then.
    pub fn save_safetensors(&self, path: impl AsRef<Path>) -> Result<()> {
        safetensors::write(self, path.as_ref())
    }
}

fn checkpoint_error(path: &Path, problem: impl Into<String>) -> Error {
    Error::Checkpoint { path: path.to_path_buf(), problem: problem.into() }
}

/// The format of a file that begins with `start`.
fn recognise(start: &[u8]) -> Parsed<Format> {
    const KNOWN: &str = "expected a PyTorch checkpoint (.pth, .pt) or safetensors";
    let begins = |signature: &[u8]| start.starts_with(signature);
    let found = match start {
        [] => "an empty file",
        [b'P', b'K', 3, 4, ..] => return Ok(Format::Zip),
        // The length of a JSON header, then the header.
        [_, _, _, _, _, 0, 0, 0, b'{', ..] => return Ok(Format::Safetensors),
        // A pickle of protocol 2 to 5, or of the older ones, which begin with a name, a mark or a
        // container.
        [0x80 | b'c' | b'(' | b'}' | b']' | b')', ..] => return Ok(Format::Pickle),
        _ if begins(b"version https://git-lfs") => {
            return Err(format!("{KNOWN}, found a pointer of Git LFS: run `git lfs pull`"));
        }
        _ if begins(b"<") => "a web page or XML; perhaps a download that failed",
        _ if begins(b"\x89HDF\r\n\x1a\n") => "HDF5 (Keras)",
        _ if begins(b"\x1f\x8b") => "gzip; unpack it first",
        _ if start.get(257..262) == Some(b"ustar") => {
            return Err(format!(
                "{KNOWN}, found a tar archive, as PyTorch before 0.1.10 wrote: load it in PyTorch \
                 and save it again"
            ));
        }
        [_, ..] if start.len() < 9 => "a file of a few bytes; perhaps truncated",
        _ => "something else",
    };
    Err(format!("{KNOWN}, found {found}"))
}
