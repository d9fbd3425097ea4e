//! sha256 digests of files.

use std::{fmt, fmt::Write as _, fs::File, io, io::Read, path::Path};

use sha2::{Digest, Sha256};

use crate::ui::Ui;

use super::{FetchError, Result};

/// The first digits of a sha256: 8 to 64 of them, in lower-case hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sha256Prefix(String);

impl Sha256Prefix {
    pub(super) fn new(digits: &str) -> Self {
        Self(digits.to_owned())
    }

    /// Whether `sha256` (64 digits) begins with these digits.
    pub(super) fn matches(&self, sha256: &str) -> bool {
        sha256.starts_with(&self.0)
    }
}

impl fmt::Display for Sha256Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Returns the file name of a URL and the digits of the digest in it, as in `resnet18-f37072fd.pth`.
/// This is the convention of `torch.hub.load_state_dict_from_url`.
pub(super) fn of_url(url: &str) -> Result<(&str, Sha256Prefix)> {
    let error = |problem: &str| FetchError::Url { url: url.into(), problem: problem.into() };
    let path = url
        .strip_prefix("https://")
        .ok_or_else(|| error("expected a URL that begins with https://"))?;
    let name = path.rsplit_once('/').map_or("", |(_, name)| name);
    let digits = name.strip_suffix(".pth").and_then(|stem| stem.rsplit_once('-'));
    match digits {
        Some((stem, digits))
            if (8..=64).contains(&digits.len())
                && digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
                && stem.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b)) =>
        {
            Ok((name, Sha256Prefix::new(digits)))
        }
        _ => Err(error(
            "expected a file name that ends in -DIGITS.pth, where DIGITS are the first 8 or more \
             digits of the file's sha256",
        )),
    }
}

/// Returns the digest of a file.
pub(super) fn of_file(path: &Path) -> Result<String> {
    let file = File::open(path).map_err(FetchError::io(path, "open"))?;
    of_reader(file).map_err(FetchError::io(path, "read"))
}

/// Returns the digest of a file if it is the expected one. Returns `None` if the file does not exist or
/// has another digest, which is reported on stderr.
pub(super) fn of_existing_file(
    path: &Path,
    expected: &Sha256Prefix,
    ui: &Ui,
) -> Result<Option<String>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(FetchError::io(path, "open")(error)),
    };
    let sha256 = of_reader(file).map_err(FetchError::io(path, "read"))?;
    if expected.matches(&sha256) {
        return Ok(Some(sha256));
    }
    ui.note(format_args!("{}: damaged (its sha256 is {sha256}); replacing it", path.display()));
    Ok(None)
}

/// Returns the digest of bytes.
pub(super) fn of_bytes(bytes: &[u8]) -> String {
    hexadecimal(&Sha256::digest(bytes))
}

fn of_reader(mut reader: impl Read) -> io::Result<String> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(hexadecimal(&hasher.finalize())),
            Ok(count) => hasher.update(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_of_abc_is_the_one_in_fips_180() {
        assert_eq!(
            of_bytes(b"abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn a_url_contains_the_first_digits_of_the_digest() {
        let (name, digest) = of_url("https://host:1/a/b/resnet18-f37072fd.pth").unwrap();
        assert_eq!((name, digest.to_string().as_str()), ("resnet18-f37072fd.pth", "f37072fd"));
        assert!(digest.matches("f37072fd00"));
        assert!(!digest.matches("e37072fd00"));
    }

    #[test]
    fn a_url_without_a_digest_or_without_tls_is_an_error() {
        for url in [
            "http://host/resnet18-f37072fd.pth",
            "https://host/resnet18.pth",
            "https://host/resnet18-f37072f.pth",
            "https://host/resnet18-F37072FD.pth",
            "https://host/resnet18-f37072fd.pt",
            "https://host/a?b=..%2fx\\y-f37072fd.pth",
            "https://resnet18-f37072fd.pth",
        ] {
            assert!(of_url(url).is_err(), "{url}");
        }
    }
}
