//! Reads files of one kind into memory, and names them in errors.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::container::{Kind, check_start};
use super::limits::MAX_MESSAGE_CHARS;
use crate::error::{Error, Result};

/// Returns an [`Error::Format`] of a file. The problem may quote the file: control characters are
/// escaped, and what is too long is cut.
pub(super) fn format_error(path: &Path, problem: &str) -> Error {
    let mut shown = String::new();
    for (index, c) in problem.chars().enumerate() {
        if index == MAX_MESSAGE_CHARS {
            shown.push('…');
            break;
        }
        if c.is_control() { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    Error::Format { path: path.to_path_buf(), problem: shown }
}

/// Returns the bytes of a file that begins as a file of that kind does.
pub(super) fn read(kind: &Kind, path: &Path) -> Result<Vec<u8>> {
    let failed = || Error::io(path, "read");
    let mut file = File::open(path).map_err(Error::io(path, "open"))?;
    let metadata = file.metadata().map_err(failed())?;
    if !metadata.is_file() {
        let found = if metadata.is_dir() { "a folder" } else { "not a regular file" };
        return Err(format_error(path, &format!("{found}, where {} is expected", kind.what)));
    }
    // A file of another kind is not read to its end.
    let mut bytes = Vec::new();
    (&mut file).take(9).read_to_end(&mut bytes).map_err(failed())?;
    check_start(kind, &bytes).map_err(|problem| format_error(path, &problem))?;
    if metadata.len() > kind.max_bytes {
        return Err(format_error(
            path,
            &format!("{} bytes are more than the limit of {}", metadata.len(), kind.max_bytes),
        ));
    }
    bytes.reserve_exact(metadata.len() as usize);
    file.take(kind.max_bytes).read_to_end(&mut bytes).map_err(failed())?;
    Ok(bytes)
}
