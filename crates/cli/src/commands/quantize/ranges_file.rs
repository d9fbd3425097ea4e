//! Files of calibrated ranges.

use std::{
    fs::File,
    io::{self, Read, Write},
    path::Path,
};

use posterize::{atomic_file, data::Loader, quantization::Ranges};
use serde::{Deserialize, Serialize};
use serde_json::ser::{Formatter, Serializer};

use super::pictures_digest::pictures_digest;
use crate::{
    error::{CliError, Result},
    quantization::Choice,
    ui::{Ui, count},
};

/// The largest file that is read. A value takes less than 300 bytes, and a factor of a channel 13.
const MAX_BYTES: u64 = 64 << 20;

/// The largest number of changed values that are named.
const NAMED: usize = 5;

/// The ranges that a calibration found, and the pictures that it observed.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RangesFile {
    /// The model's name, for readers.
    model: String,
    #[serde(rename = "calibration")]
    choice: Choice,
    /// Of the names and sizes of the calibration pictures.
    pictures_digest: String,
    pub(super) ranges: Ranges,
}

impl RangesFile {
    pub(super) fn new(model: &str, choice: Choice, loader: &Loader, ranges: Ranges) -> Self {
        let pictures_digest = pictures_digest(loader);
        Self { model: model.to_owned(), choice, pictures_digest, ranges }
    }

    /// Reads a file, and notes which of its ranges were changed.
    pub(super) fn read(path: &Path, ui: &Ui) -> Result<Self> {
        let read = |error| CliError::from(posterize::Error::io(path, "read")(error));
        let problem = |problem| CliError::File { path: path.to_path_buf(), problem };
        let mut bytes = Vec::new();
        let file = File::open(path).map_err(read)?;
        file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(read)?;
        if bytes.len() as u64 > MAX_BYTES {
            return Err(problem(format!(
                "expected at most {MAX_BYTES} bytes, found more; pass a file that `posterize quantize \
                 --save-ranges` wrote"
            )));
        }
        let found: Self = serde_json::from_slice(&bytes).map_err(|error| {
            problem(format!(
                "these are no ranges: {error}{}; correct it, or pass a file that `posterize quantize \
                 --save-ranges` wrote",
                start_of_line(&bytes, error.line())
            ))
        })?;
        let changed = found.ranges.changed();
        if !changed.is_empty() {
            let rest = changed.len().saturating_sub(NAMED);
            ui.note(format_args!(
                "{}: {} of {} ranges were changed, so that their scales are others: {}{}",
                path.display(),
                changed.len(),
                found.ranges.values.len(),
                changed[..changed.len() - rest].join(", "),
                if rest == 0 { String::new() } else { format!(" and {}", count(rest as u64)) }
            ));
        }
        Ok(found)
    }

    /// Writes the file, with a line for each value.
    pub(super) fn write(&self, path: &Path) -> Result<()> {
        let mut json = Vec::new();
        let lines = Lines { depth: 0, is_empty: true };
        self.serialize(&mut Serializer::with_formatter(&mut json, lines))
            .map_err(|error| CliError::Output(error.into()))?;
        json.push(b'\n');
        Ok(atomic_file::write(path, |file| file.write_all(&json))?)
    }

    /// Warns if passes that need pictures get others than those that were calibrated on.
    pub(super) fn check_pictures(&self, path: &Path, choice: &Choice, loader: &Loader, ui: &Ui) {
        if self.choice != *choice || self.pictures_digest != pictures_digest(loader) {
            ui.warn(format_args!(
                "{}: the pictures are not those that were calibrated on, so bias correction and rounding \
                 will give another result",
                path.display()
            ));
        }
    }
}

/// Returns the beginning of a line of a file, which shows the value that an error is about.
fn start_of_line(bytes: &[u8], line: usize) -> String {
    const SHOWN: usize = 60;
    let found = bytes.split(|&byte| byte == b'\n').nth(line.saturating_sub(1)).unwrap_or_default();
    let text = String::from_utf8_lossy(&found[..found.len().min(4 * SHOWN)]);
    match text.trim() {
        "" => String::new(),
        text if text.chars().count() > SHOWN => {
            format!(", in `{}...`", text.chars().take(SHOWN).collect::<String>())
        }
        text => format!(", in `{text}`"),
    }
}

/// Writes the objects and arrays down to that of all values over several lines, and those in it in one line.
struct Lines {
    depth: usize,
    /// Whether the innermost object or array has no members yet.
    is_empty: bool,
}

impl Lines {
    const DEPTH: usize = 3;

    fn begin<W: Write + ?Sized>(&mut self, writer: &mut W, bracket: &[u8]) -> io::Result<()> {
        self.depth += 1;
        self.is_empty = true;
        writer.write_all(bracket)
    }

    fn member<W: Write + ?Sized>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.is_empty = false;
        match (self.depth <= Self::DEPTH, first) {
            (true, _) => {
                writer.write_all(if first { b"\n" } else { b",\n" })?;
                self.indent(writer)
            }
            (false, true) => Ok(()),
            (false, false) => writer.write_all(b", "),
        }
    }

    fn end<W: Write + ?Sized>(&mut self, writer: &mut W, bracket: &[u8]) -> io::Result<()> {
        self.depth -= 1;
        if self.depth < Self::DEPTH && !self.is_empty {
            writer.write_all(b"\n")?;
            self.indent(writer)?;
        }
        self.is_empty = false;
        writer.write_all(bracket)
    }

    fn indent<W: Write + ?Sized>(&self, writer: &mut W) -> io::Result<()> {
        (0..self.depth).try_for_each(|_| writer.write_all(b"  "))
    }
}

impl Formatter for Lines {
    fn begin_array<W: Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.begin(writer, b"[")
    }

    fn begin_array_value<W: Write + ?Sized>(&mut self, w: &mut W, first: bool) -> io::Result<()> {
        self.member(w, first)
    }

    fn end_array<W: Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.end(writer, b"]")
    }

    fn begin_object<W: Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.begin(writer, b"{")
    }

    fn begin_object_key<W: Write + ?Sized>(&mut self, w: &mut W, first: bool) -> io::Result<()> {
        self.member(w, first)
    }

    fn begin_object_value<W: Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }

    fn end_object<W: Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.end(writer, b"}")
    }
}
