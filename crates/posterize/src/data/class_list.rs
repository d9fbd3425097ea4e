//! Files that list the classes of a data set.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::Path;

use super::class::Class;
use crate::error::{Error, Result};

pub(super) fn dataset(path: &Path, problem: impl Into<String>) -> Error {
    Error::Dataset { path: path.to_path_buf(), problem: problem.into() }
}

/// Says how names with spaces are written, if one of them has a space.
pub(super) fn space_hint(names: &[&str]) -> &'static str {
    if names.iter().any(|name| name.contains(char::is_whitespace)) {
        ". In a file of classes, a folder name with spaces is in double quotes, or a tab follows it"
    } else {
        ""
    }
}

/// Reads a text file of classes: one line per class, in the order of the labels.
///
/// A line is the name of the class folder, white space, and the class name. Without a class name, the
/// folder's name is used. A folder name with spaces is in double quotes, where `""` is a quote, or a tab
/// follows it. Where the folders are known, as in [`ImageFolder::open`](super::ImageFolder::open), it
/// needs neither: the folder name is the longest with which the line begins.
///
/// ```
/// use posterize::data::{Class, read_classes};
///
/// let file = tempfile::NamedTempFile::new().unwrap();
/// std::fs::write(file.path(), "n01440764 tench\n\"great dane\" Great Dane\ncocker spaniel\tdog\n").unwrap();
/// let classes = read_classes(file.path())?;
/// assert_eq!(classes[1], Class { folder: "great dane".into(), name: "Great Dane".into() });
/// assert_eq!(classes[2], Class { folder: "cocker spaniel".into(), name: "dog".into() });
/// # Ok::<(), posterize::Error>(())
/// ```
///
/// # Errors
/// Returns an error if the file cannot be read, is empty or not UTF-8, names a folder twice, or has a
/// quote that does not end.
pub fn read_classes(file: impl AsRef<Path>) -> Result<Vec<Class>> {
    read_classes_of(file.as_ref(), &[])
}

/// Reads a file of classes for these class folders.
pub(super) fn read_classes_of(file: &Path, folders: &[String]) -> Result<Vec<Class>> {
    let bytes = fs::read(file).map_err(Error::io(file, "read"))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let line = error.as_bytes()[..error.utf8_error().valid_up_to()].split(|&b| b == b'\n');
        dataset(file, format!("line {} is not UTF-8; save the file as UTF-8 text", line.count()))
    })?;
    let mut lines = Vec::new();
    for (number, text) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        // A tab at the end ends a folder name with spaces.
        let text = text.trim_start();
        if text.is_empty() {
            continue;
        }
        let line = Line::read(text).ok_or_else(|| {
            let problem =
                format!("line {}: the quote at its beginning has no end: {text}", number + 1);
            dataset(file, problem)
        })?;
        lines.push((number + 1, line));
    }
    // A folder whose name has a clear end in one line is not meant by another.
    let clear: HashSet<&str> = lines
        .iter()
        .filter(|(_, line)| line.is_clear)
        .map(|(_, line)| line.folder.as_str())
        .collect();
    let with_spaces: HashSet<&str> = folders
        .iter()
        .map(String::as_str)
        .filter(|folder| folder.contains(char::is_whitespace) && !clear.contains(folder))
        .collect();
    let mut classes = Vec::new();
    let mut seen: HashMap<&str, usize> = HashMap::new();
    for (number, line) in &lines {
        let (folder, name) = match line.known_folder(&with_spaces) {
            Some(found) => found,
            None => (line.folder.as_str(), line.name),
        };
        if let Some(before) = seen.insert(folder, *number) {
            return Err(dataset(
                file,
                format!(
                    "lines {before} and {number} both begin with {folder}; every class must have a \
                     different folder{}",
                    space_hint(&[name])
                ),
            ));
        }
        let name = if name.is_empty() { folder } else { name };
        classes.push(Class { folder: folder.to_owned(), name: name.to_owned() });
    }
    if classes.is_empty() {
        return Err(dataset(file, "found no class; expected one line for each class: FOLDER NAME"));
    }
    Ok(classes)
}

/// A line of a file of classes.
struct Line<'a> {
    text: &'a str,
    folder: String,
    /// The class name, which may be empty.
    name: &'a str,
    /// Whether a quote or a tab ends the folder's name, and not a space.
    is_clear: bool,
}

impl<'a> Line<'a> {
    /// Splits a line into the folder and the name. Returns `None` if a quote does not end.
    fn read(text: &'a str) -> Option<Self> {
        let line = |folder: String, name: &'a str, is_clear| Self {
            text: text.trim_end(),
            folder,
            name: name.trim(),
            is_clear,
        };
        if let Some(quoted) = text.strip_prefix('"') {
            let mut folder = String::new();
            let mut rest = quoted;
            loop {
                let (part, after) = rest.split_once('"')?;
                folder += part;
                match after.strip_prefix('"') {
                    Some(_) => folder.push('"'),
                    None => return Some(line(folder, after, true)),
                }
                rest = &after[1..];
            }
        }
        if let Some((folder, name)) = text.split_once('\t') {
            return Some(line(folder.trim().to_owned(), name, true));
        }
        let (folder, name) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        Some(line(folder.to_owned(), name, false))
    }

    /// Returns the longest of the folders whose name and white space the line begins with, and the rest
    /// of the line.
    fn known_folder(&self, folders: &HashSet<&'a str>) -> Option<(&'a str, &'a str)> {
        if self.is_clear {
            return None;
        }
        let longest = folders.iter().map(|folder| folder.len()).max()?;
        let ends = self.text.char_indices().filter(|(_, c)| c.is_whitespace());
        let ends: Vec<usize> = ends
            .map(|(end, _)| end)
            .chain([self.text.len()])
            .take_while(|&end| end <= longest)
            .collect();
        ends.into_iter()
            .rev()
            .map(|end| self.text.split_at(end))
            .find(|(folder, _)| folders.contains(folder))
            .map(|(folder, name)| (folder, name.trim()))
    }
}
