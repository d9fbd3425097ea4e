//! Reading files to memory, and errors that name them.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use safetensors::SafeTensorError;
use safetensors::tensor::Metadata;

use super::container::{Kind, check_start, header_length};
use super::limits::{CHECKED_BYTES, MAX_MESSAGE_CHARS};
use crate::checkpoint::safetensors::{LENGTH, explain};
use crate::error::{Error, Result, printable_up_to};
use crate::foreign::SIGNATURE;

/// Returns an [`Error::Format`]. The message may quote the file, so control characters are escaped
/// and long messages are cut.
pub(super) fn format_error(path: &Path, problem: &str) -> Error {
    let problem = printable_up_to(problem.as_bytes(), MAX_MESSAGE_CHARS);
    Error::Format { path: path.to_path_buf(), problem }
}

/// Reads a file if its size and its first bytes are those of a file of that kind.
pub(super) fn read(kind: &Kind, path: &Path) -> Result<Vec<u8>> {
    let failed = || Error::io(path, "read");
    let mut file = File::open(path).map_err(Error::io(path, "open"))?;
    let metadata = file.metadata().map_err(failed())?;
    if !metadata.is_file() {
        let found =
            if metadata.is_dir() { "a folder" } else { "a device or pipe, not a regular file" };
        return Err(format_error(path, &format!("expected {}, found {found}", kind.what)));
    }
    // A file of another kind, which may be very large, is not read completely.
    let mut bytes = Vec::new();
    (&mut file).take(9).read_to_end(&mut bytes).map_err(failed())?;
    if check_start(kind, &bytes).is_err() {
        // What it is instead may be said only by later bytes.
        (&mut file).take(SIGNATURE as u64 - 9).read_to_end(&mut bytes).map_err(failed())?;
        check_start(kind, &bytes).map_err(|problem| format_error(path, &problem))?;
    }
    if metadata.len() > kind.max_bytes {
        return Err(format_error(
            path,
            &format!("expected at most {} bytes, found {}", kind.max_bytes, metadata.len()),
        ));
    }
    let size = usize::try_from(metadata.len()).unwrap_or(usize::MAX);
    if metadata.len() > CHECKED_BYTES {
        let length = header_length(&bytes).map_err(|problem| format_error(path, &problem))?;
        let rest = (LENGTH as u64 + length).saturating_sub(bytes.len() as u64);
        (&mut file).take(rest).read_to_end(&mut bytes).map_err(failed())?;
        check_size(&bytes, size)
            .map_err(|error| format_error(path, &explain(&error, length, size)))?;
    }
    bytes.try_reserve_exact(size.saturating_sub(bytes.len())).map_err(|_| {
        format_error(path, &format!("there is not enough memory to read its {size} bytes"))
    })?;
    file.take(kind.max_bytes).read_to_end(&mut bytes).map_err(failed())?;
    Ok(bytes)
}

/// Checks that a file of `size` bytes that begins with this header has the size that the header
/// describes.
fn check_size(header: &[u8], size: usize) -> Result<(), SafeTensorError> {
    let described: Metadata = serde_json::from_slice(&header[LENGTH..])
        .map_err(SafeTensorError::InvalidHeaderDeserialization)?;
    if header.len().checked_add(described.data_len()) == Some(size) {
        Ok(())
    } else {
        Err(SafeTensorError::MetadataIncompleteBuffer)
    }
}
