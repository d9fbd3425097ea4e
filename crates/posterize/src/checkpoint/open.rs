//! Reading and writing checkpoint files. The format is recognized by the content.

use std::fs::File;
use std::io::{Read, Seek};
use std::path::Path;

use super::contents::Contents;
use super::read_options::ReadOptions;
use super::state_dict::StateDict;
use super::{Parsed, legacy, safetensors, zip_archive};
use crate::error::{Error, Result};
use crate::foreign::{self, SIGNATURE};
use crate::trace;

/// The format of a checkpoint file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Zip,
    Pickle,
    Safetensors,
}

impl StateDict {
    /// Reads a checkpoint file of PyTorch (zip or legacy) or safetensors. The format is recognized
    /// by the content.
    ///
    /// The weights may be in a dictionary under `state_dict`, `model`, `model_state_dict` or a
    /// similar key, as training scripts write them. Prefixes of wrapper modules (`module.`,
    /// `_orig_mod.`) are removed from the names. Values of f16, bf16 and f64 are converted to f32,
    /// integers and bools to i64.
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
    /// Returns an error if the file cannot be read, is damaged or truncated, has another format, or
    /// has no weights. Returns an error that names the callable if the file is a pickle that would
    /// run code; the code is not run.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(path, &ReadOptions::new())
    }

    /// Reads a checkpoint file as [`StateDict::open`] does, but the weights that the options name.
    ///
    /// # Errors
    /// Returns the errors of [`StateDict::open`], and an error if there are no averaged weights but
    /// the options ask for them.
    pub fn open_with(path: impl AsRef<Path>, options: &ReadOptions) -> Result<Self> {
        let path = path.as_ref();
        trace::span!(INFO, "load", path = trace::display(path.display()));
        Self::from_bytes_with(path, &read_file(path)?, options)
    }

    /// Reads a checkpoint file in memory, as [`StateDict::open`] does. `path` is the file's name in
    /// errors.
    ///
    /// # Errors
    /// Returns the same errors as [`StateDict::open`].
    pub fn from_bytes(path: impl AsRef<Path>, bytes: &[u8]) -> Result<Self> {
        Self::from_bytes_with(path, bytes, &ReadOptions::new())
    }

    /// Reads a checkpoint file in memory, as [`StateDict::open_with`] does.
    ///
    /// # Errors
    /// Returns the same errors as [`StateDict::open_with`].
    pub fn from_bytes_with(
        path: impl AsRef<Path>,
        bytes: &[u8],
        options: &ReadOptions,
    ) -> Result<Self> {
        let read = |format| match format {
            Format::Zip => zip_archive::read(bytes, options),
            Format::Pickle => legacy::read(bytes, options),
            Format::Safetensors => safetensors::read(bytes, options),
        };
        recognise(&bytes[..bytes.len().min(SIGNATURE)])
            .and_then(read)
            .map_err(|problem| checkpoint_error(path.as_ref(), problem))
    }
}

impl Contents {
    /// Returns whether a file begins as a checkpoint of weights does, so that [`Contents::open`] may
    /// list it. Models and training runs saved by posterize are none.
    pub fn can_list(path: impl AsRef<Path>) -> bool {
        // Longer headers are not read.
        const MAX_START: u64 = 16 << 20;
        let mut start = Vec::new();
        let read = |file: File, start: &mut Vec<u8>| {
            file.metadata().is_ok_and(|metadata| metadata.is_file())
                && file.take(MAX_START).read_to_end(start).is_ok()
        };
        if !File::open(path).is_ok_and(|file| read(file, &mut start)) {
            return false;
        }
        match recognise(&start[..start.len().min(SIGNATURE)]) {
            Ok(Format::Zip | Format::Pickle) => true,
            Ok(Format::Safetensors) => safetensors::begins_as_weights(&start),
            Err(_) => false,
        }
    }

    /// Lists the tensors of a checkpoint file that [`StateDict::open_with`] would read.
    ///
    /// # Errors
    /// Returns the errors of [`StateDict::open_with`], but none for types that cannot be read.
    pub fn open(path: impl AsRef<Path>, options: &ReadOptions) -> Result<Self> {
        let path = path.as_ref();
        let bytes = read_file(path)?;
        let list = |format| match format {
            Format::Zip => zip_archive::contents(&bytes, options),
            Format::Pickle => legacy::contents(&bytes, options),
            Format::Safetensors => safetensors::contents(&bytes, options),
        };
        recognise(&bytes[..bytes.len().min(SIGNATURE)])
            .and_then(list)
            .map_err(|problem| checkpoint_error(path, problem))
    }
}

/// Reads a file that begins as a checkpoint does.
fn read_file(path: &Path) -> Result<Vec<u8>> {
    let mut file = File::open(path).map_err(Error::io(path, "open"))?;
    let metadata = file.metadata().map_err(Error::io(path, "read"))?;
    if metadata.is_dir() {
        return Err(checkpoint_error(path, "expected a checkpoint file, found a folder"));
    }
    // A device may have no end.
    if !metadata.is_file() {
        return Err(checkpoint_error(
            path,
            "expected a checkpoint file, found a device or pipe, which is not a regular file",
        ));
    }
    // A file of another format, which may be very large, is not read completely.
    let mut start = Vec::new();
    (&mut file).take(SIGNATURE as u64).read_to_end(&mut start).map_err(Error::io(path, "read"))?;
    recognise(&start).map_err(|problem| checkpoint_error(path, problem))?;
    file.rewind().map_err(Error::io(path, "read"))?;
    let mut bytes = Vec::new();
    let length = usize::try_from(metadata.len()).unwrap_or(usize::MAX);
    bytes.try_reserve_exact(length).map_err(|_| {
        checkpoint_error(
            path,
            format!(
                "not enough memory: the system does not give {length} bytes for the file; close \
                 other programs, or use a machine with more memory"
            ),
        )
    })?;
    file.read_to_end(&mut bytes).map_err(Error::io(path, "read"))?;
    Ok(bytes)
}

fn checkpoint_error(path: &Path, problem: impl Into<String>) -> Error {
    Error::Checkpoint { path: path.to_path_buf(), problem: problem.into() }
}

/// Recognizes the format of a file by its first bytes.
fn recognise(start: &[u8]) -> Parsed<Format> {
    let found = match start {
        [b'P', b'K', 3, 4, ..] => return Ok(Format::Zip),
        // The length of the JSON header, and its first byte.
        [_, _, _, _, _, 0, 0, 0, b'{', ..] => return Ok(Format::Safetensors),
        // A pickle: the PROTO instruction of protocols 2 to 5, or GLOBAL, MARK or an empty
        // container of protocols 0 and 1.
        [0x80 | b'c' | b'(' | b'}' | b']' | b')', ..] => return Ok(Format::Pickle),
        _ => foreign::named(start),
    };
    let found = found.unwrap_or_else(|| match start.len() {
        ..9 => "a file of a few bytes; it may be truncated".into(),
        _ => "another format".into(),
    });
    Err(format!("expected a PyTorch checkpoint (.pth, .pt) or safetensors, found {found}"))
}
