//! The CSV file of predictions, with the columns `path,label,p1,s1,…,p5,s5`.

use std::{
    borrow::Cow,
    path::{Path, PathBuf},
};

use posterize::{Tensor, atomic_file, metrics};

use crate::error::Result;

/// Number of classes in a line. A network with fewer classes leaves fields empty.
const TOP_K: usize = 5;

/// The text of the CSV file: for each picture its path and class number, then the most probable class
/// numbers with their logits.
#[derive(Debug)]
pub(super) struct Predictions {
    path: PathBuf,
    text: String,
}

impl Predictions {
    /// Creates an empty table to write to `path`.
    pub(super) fn new(path: &Path) -> Self {
        let text = "path,label,p1,s1,p2,s2,p3,s3,p4,s4,p5,s5\n".into();
        Self { path: path.to_path_buf(), text }
    }

    /// Adds a batch, given the path and the class number of each picture and the logits `[N, C]`.
    pub(super) fn add<'a>(
        &mut self,
        pictures: impl Iterator<Item = (&'a Path, usize)>,
        logits: &Tensor,
    ) {
        let classes = logits.shape().last().copied().unwrap_or(1).max(1);
        for ((path, label), row) in pictures.zip(logits.data().chunks_exact(classes)) {
            let mut line = format!("{},{label}", field(&path.to_string_lossy()));
            let mut best = metrics::topk(row, TOP_K).into_iter();
            for _ in 0..TOP_K {
                line +=
                    &best.next().map_or(",,".into(), |(class, logit)| format!(",{class},{logit}"));
            }
            self.text += &line;
            self.text += "\n";
        }
    }

    /// Writes the file atomically.
    pub(super) fn write(self) -> Result<()> {
        Ok(atomic_file::write(&self.path, |file| file.write_all(self.text.as_bytes()))?)
    }
}

/// Quotes a field if it has to be (RFC 4180).
fn field(text: &str) -> Cow<'_, str> {
    if text.contains([',', '"', '\n', '\r']) {
        Cow::Owned(format!("\"{}\"", text.replace('"', "\"\"")))
    } else {
        Cow::Borrowed(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_twelve_fields_for_any_number_of_classes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.csv");
        let mut predictions = Predictions::new(&path);
        let logits = Tensor::new([2, 2], vec![0.25, 1.5, -1.0, f32::NEG_INFINITY]).unwrap();
        let pictures = [(Path::new("a/1.jpg"), 1), (Path::new("b,\"/2.jpg"), 0)];
        predictions.add(pictures.into_iter(), &logits);
        predictions.write().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let expected = "path,label,p1,s1,p2,s2,p3,s3,p4,s4,p5,s5\n\
            a/1.jpg,1,1,1.5,0,0.25,,,,,,\n\
            \"b,\"\"/2.jpg\",0,0,-1,1,-inf,,,,,,\n";
        assert_eq!(text, expected);
    }
}
