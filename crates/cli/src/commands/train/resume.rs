//! The command that continues a run.

use std::{borrow::Cow, ffi::OsString, path::Path};

/// Returns the command line of this process with `--resume checkpoint` in place of its own `--resume` and
/// `--overwrite`, quoted for a shell.
pub(super) fn command(arguments: impl IntoIterator<Item = OsString>, checkpoint: &Path) -> String {
    let mut words = Vec::new();
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        let argument = argument.to_string_lossy().into_owned();
        match argument.as_str() {
            "--overwrite" => {}
            "--resume" => drop(arguments.next()),
            other if other.starts_with("--resume=") => {}
            other => words.push(quoted(other).into_owned()),
        }
    }
    words.push("--resume".to_owned());
    words.push(quoted(&checkpoint.to_string_lossy()).into_owned());
    words.join(" ")
}

/// Returns a word as a POSIX shell reads it.
fn quoted(word: &str) -> Cow<'_, str> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./=:,@%+".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.into();
    }
    format!("'{}'", word.replace('\'', r"'\''")).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resume_is_replaced_and_words_are_quoted() {
        let arguments = |words: &[&str]| -> Vec<OsString> {
            words.iter().map(|word| OsString::from(*word)).collect()
        };
        let first =
            ["posterize", "train", "--data", "my pictures", "--freeze", "f.*", "--overwrite"];
        let expected = "posterize train --data 'my pictures' --freeze 'f.*'";
        let checkpoint = Path::new("it's.checkpoint");
        assert_eq!(
            command(arguments(&first), checkpoint),
            format!(r"{expected} --resume 'it'\''s.checkpoint'")
        );
        for resume in [&["--resume", "old"][..], &["--resume=old"]] {
            let again = [&first[..], resume].concat();
            assert_eq!(
                command(arguments(&again), Path::new("a/b")),
                format!("{expected} --resume a/b")
            );
        }
    }
}
