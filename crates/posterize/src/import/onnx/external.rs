//! Data of tensors in files beside the ONNX file.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};

use super::proto::StringStringEntryProto;
use crate::error::printable;

/// The folder in which an ONNX file's data may be.
#[derive(Debug)]
pub(super) struct External {
    /// `None` for a file in memory, which has no folder.
    folder: Option<PathBuf>,
}

impl External {
    /// Data beside the file at `path`.
    pub(super) fn beside(path: &Path) -> Self {
        let folder = path.parent().map(|folder| {
            if folder.as_os_str().is_empty() { PathBuf::from(".") } else { folder.to_path_buf() }
        });
        Self { folder }
    }

    /// No data outside of the ONNX file.
    pub(super) const fn none() -> Self {
        Self { folder: None }
    }

    /// Reads the data that these entries of a tensor describe, `bytes` long.
    ///
    /// # Errors
    /// Returns an error if the path leaves the folder, is a link, or has less data.
    pub(super) fn read(
        &self,
        entries: &[StringStringEntryProto],
        bytes: usize,
    ) -> Result<Vec<u8>, String> {
        let entries: HashMap<&str, &str> =
            entries.iter().map(|entry| (entry.key(), entry.value())).collect();
        let location = *entries.get("location").ok_or("its external data has no location")?;
        let number = |key: &str, default: u64| match entries.get(key) {
            None => Ok(default),
            Some(text) => text.parse().map_err(|_| {
                format!("its external data has the {key} {:?}", printable(text.as_bytes()))
            }),
        };
        let (offset, length) = (number("offset", 0)?, number("length", bytes as u64)?);
        if length != bytes as u64 {
            return Err(format!("it needs {bytes} bytes, but its external data has {length}"));
        }
        let path = self.resolve(location)?;
        let show = |error: std::io::Error| format!("cannot read {}: {error}", path.display());
        let mut file = File::open(&path).map_err(show)?;
        let size = file.metadata().map_err(show)?.len();
        if offset.checked_add(length).is_none_or(|end| end > size) {
            return Err(format!(
                "its data is at byte {offset} of {}, {length} bytes long, but the file has {size} \
                 bytes; copy it again",
                path.display()
            ));
        }
        file.seek(SeekFrom::Start(offset)).map_err(show)?;
        let mut data = Vec::new();
        data.try_reserve_exact(bytes).map_err(|error| error.to_string())?;
        file.take(length).read_to_end(&mut data).map_err(show)?;
        if data.len() != bytes {
            return Err(format!("{} is shorter than it was when opened", path.display()));
        }
        Ok(data)
    }

    /// Returns the path of a file within the folder.
    fn resolve(&self, location: &str) -> Result<PathBuf, String> {
        let shown = printable(location.as_bytes());
        let Some(folder) = &self.folder else {
            return Err(format!(
                "its data is in the file {shown}; open the model by its path to read it"
            ));
        };
        let mut path = folder.clone();
        for component in Path::new(location).components() {
            match component {
                Component::Normal(name) => path.push(name),
                Component::CurDir => continue,
                _ => {
                    return Err(format!(
                        "its data is in {shown}, which leaves the model's folder; only files \
                         within it are read"
                    ));
                }
            }
            let info = fs::symlink_metadata(&path)
                .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
            if info.file_type().is_symlink() {
                return Err(format!(
                    "its data is in {}, which is a link; only files are read",
                    path.display()
                ));
            }
        }
        // A pipe would block, and a device may never end.
        if !fs::metadata(&path).is_ok_and(|info| info.is_file()) {
            return Err(format!("its data is in {}, which is not a file", path.display()));
        }
        Ok(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(pairs: &[(&str, &str)]) -> Vec<StringStringEntryProto> {
        pairs
            .iter()
            .map(|(key, value)| StringStringEntryProto {
                key: Some((*key).into()),
                value: Some((*value).into()),
            })
            .collect()
    }

    #[test]
    fn data_is_read_from_the_folder_alone() {
        let folder = tempfile::tempdir().unwrap();
        let inside = folder.path().join("model");
        fs::create_dir(&inside).unwrap();
        fs::write(inside.join("model.onnx.data"), [0, 1, 2, 3, 4, 5]).unwrap();
        fs::write(folder.path().join("secret"), [9; 6]).unwrap();
        let external = External::beside(&inside.join("model.onnx"));
        let read = |pairs: &[(&str, &str)], bytes| external.read(&entries(pairs), bytes);

        let found = read(&[("location", "model.onnx.data"), ("offset", "2"), ("length", "3")], 3);
        assert_eq!(found.unwrap(), [2, 3, 4]);
        let error = |pairs: &[(&str, &str)], bytes| read(pairs, bytes).unwrap_err();
        assert!(error(&[], 3).contains("no location"));
        assert!(error(&[("location", "../secret")], 3).contains("leaves the model's folder"));
        assert!(error(&[("location", "/etc/passwd")], 3).contains("leaves the model's folder"));
        assert!(error(&[("location", "absent")], 3).contains("cannot read"));
        assert!(error(&[("location", ".")], 3).contains("not a file"));
        let at = |offset| [("location", "model.onnx.data"), ("offset", offset)];
        assert!(error(&at("4"), 3).contains("the file has 6 bytes"));
        assert!(error(&at("18446744073709551615"), 3).contains("the file has 6 bytes"));
        assert!(error(&at("-1"), 3).contains("offset"));
        let short = [("location", "model.onnx.data"), ("length", "2")];
        assert!(error(&short, 3).contains("needs 3 bytes"));
        assert!(External::none().read(&entries(&at("0")), 3).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn links_are_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("data"), [0; 4]).unwrap();
        std::os::unix::fs::symlink("data", folder.path().join("link")).unwrap();
        let external = External::beside(&folder.path().join("model.onnx"));
        let error = external.read(&entries(&[("location", "link")]), 4).unwrap_err();
        assert!(error.contains("is a link"), "{error}");
    }
}
