//! Safetensors files of tensors and metadata, with a digest.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;

use safetensors::{Dtype, SafeTensors};
use sha2::{Digest, Sha256};

use super::limits::MAX_HEADER_BYTES;
use crate::checkpoint::safetensors::{FORMAT, LENGTH, Place, explain, header};
use crate::foreign;

/// A kind of file.
#[derive(Debug)]
pub(super) struct Kind {
    /// The value of `format` in the metadata.
    pub format: &'static str,
    /// The format version that is written, which is the newest that is read.
    pub version: u32,
    /// The name of such a file in messages: "a model saved by posterize".
    pub what: &'static str,
    /// The advice in the error for a safetensors file of another kind.
    pub advice: &'static str,
    /// The largest file that is read, in bytes.
    pub max_bytes: u64,
}

const DIGEST: &str = "digest";
const VERSION: &str = "format_version";

/// A tensor with its values as stored in the file, little-endian.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct RawTensor<'a> {
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    pub bytes: Cow<'a, [u8]>,
}

/// The content of a file. Encoding adds the format, version and digest to the metadata.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Container<'a> {
    pub metadata: BTreeMap<String, String>,
    pub tensors: BTreeMap<String, RawTensor<'a>>,
}

impl<'a> Container<'a> {
    /// Returns the bytes of the file. Values of four bytes come before those of one byte, so that
    /// each is aligned to its size.
    pub(super) fn encode(mut self, kind: &Kind) -> Vec<u8> {
        let mut set = |key: &str, value: String| {
            self.metadata.entry(key.into()).or_insert(value);
        };
        set(FORMAT, kind.format.into());
        set(VERSION, kind.version.to_string());
        set("tool", concat!("posterize ", env!("CARGO_PKG_VERSION")).into());
        self.metadata.remove(DIGEST);
        let digest = self.digest();
        self.metadata.insert(DIGEST.into(), digest);

        let mut order: Vec<(&String, &RawTensor<'_>)> = self.tensors.iter().collect();
        order.sort_by_key(|(_, tensor)| std::cmp::Reverse(tensor.dtype.bitsize()));
        let mut end = 0;
        let places: Vec<Place<'_>> = order
            .iter()
            .map(|(name, tensor)| {
                let start = end;
                end += tensor.bytes.len();
                Place { name, dtype: tensor.dtype, shape: &tensor.shape, bytes: start..end }
            })
            .collect();
        let metadata = self.metadata.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        let mut file = header(metadata, &places);
        file.reserve_exact(end);
        for (_, tensor) in order {
            file.extend_from_slice(&tensor.bytes);
        }
        file
    }

    /// Returns the content of a file of that kind.
    ///
    /// # Errors
    /// Returns a message if the header is damaged, the version is not supported or the digest is
    /// wrong.
    pub(super) fn decode(kind: &Kind, file: &'a [u8]) -> Result<Self, String> {
        check_start(kind, &file[..file.len().min(foreign::SIGNATURE)])?;
        let header_length = header_length(file)?;
        let described = |error| explain(&error, header_length, file.len());
        let (_, metadata) = SafeTensors::read_metadata(file).map_err(described)?;
        let data = &file[LENGTH + header_length as usize..];
        let mut tensors = BTreeMap::new();
        for (name, info) in metadata.tensors() {
            let (start, end) = info.data_offsets;
            let bytes = Cow::Borrowed(&data[start..end]);
            tensors.insert(name, RawTensor { dtype: info.dtype, shape: info.shape.clone(), bytes });
        }
        let metadata = metadata.metadata().clone().unwrap_or_default().into_iter().collect();
        let mut container = Self { metadata, tensors };
        container.check_version(kind)?;
        let found =
            container.metadata.remove(DIGEST).ok_or("its metadata has no digest; save it again")?;
        let expected = container.digest();
        // A fuzzer cannot make digests, and is to get behind this check.
        if found != expected && !cfg!(fuzzing) {
            return Err(format!(
                "its content was altered or damaged: expected the digest {expected}, found \
                 {found:.71}; copy it again, or save it again"
            ));
        }
        Ok(container)
    }

    /// Returns the format version.
    ///
    /// # Errors
    /// Returns a message if the metadata has no version, or one that is not a number from 1 on.
    pub(super) fn version(&self) -> Result<u32, String> {
        let text = self.metadata.get(VERSION).map_or("", String::as_str);
        match text.parse() {
            Ok(version) if version > 0 => Ok(version),
            _ => Err(format!("its format version is {text:?}; expected a number from 1 on")),
        }
    }

    fn check_version(&self, kind: &Kind) -> Result<(), String> {
        if self.metadata.get(FORMAT).map(String::as_str) != Some(kind.format) {
            return Err(format!(
                "a safetensors file, but not {}: its metadata has no `format: {}`; {}",
                kind.what, kind.format, kind.advice
            ));
        }
        let version = self.version()?;
        if version > kind.version {
            return Err(format!(
                "it has format version {version}, and this posterize ({}) reads versions up to \
                 {}; use a newer posterize",
                env!("CARGO_PKG_VERSION"),
                kind.version
            ));
        }
        Ok(())
    }

    /// Returns the SHA-256 of the metadata and the tensors, both sorted by name.
    ///
    /// It covers the number of metadata entries and of tensors, the key and value of each entry,
    /// and the name, type, shape and bytes of each tensor. Numbers have 8 bytes, little-endian.
    /// Strings, shapes and bytes are preceded by their length.
    fn digest(&self) -> String {
        let mut hash = Sha256::new();
        let number = |hash: &mut Sha256, value: usize| hash.update((value as u64).to_le_bytes());
        let add = |hash: &mut Sha256, bytes: &[u8]| {
            number(hash, bytes.len());
            hash.update(bytes);
        };
        number(&mut hash, self.metadata.len());
        number(&mut hash, self.tensors.len());
        for (key, value) in &self.metadata {
            add(&mut hash, key.as_bytes());
            add(&mut hash, value.as_bytes());
        }
        for (name, tensor) in &self.tensors {
            add(&mut hash, name.as_bytes());
            add(&mut hash, tensor.dtype.to_string().as_bytes());
            number(&mut hash, tensor.shape.len());
            tensor.shape.iter().for_each(|&size| number(&mut hash, size));
            add(&mut hash, &tensor.bytes);
        }
        hash.finalize().iter().fold("sha256:".to_owned(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }
}

/// Returns the length of the header in bytes, which is at the start of a file.
///
/// # Errors
/// Returns a message if it is too large.
pub(super) fn header_length(file: &[u8]) -> Result<u64, String> {
    let length = file.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    if length > MAX_HEADER_BYTES {
        return Err(format!("its header has {length} bytes; expected at most {MAX_HEADER_BYTES}"));
    }
    Ok(length)
}

/// Returns what a pickle or a zip archive is, by the name of the first file in the archive.
fn of_pytorch(start: &[u8]) -> &'static str {
    let name = start
        .get(26..28)
        .map_or(0, |length| usize::from(u16::from_le_bytes([length[0], length[1]])));
    let name = start.get(30..).map_or(&[][..], |rest| &rest[..name.min(rest.len())]);
    let is_called = |other: &str| name.ends_with(other.as_bytes());
    if is_called("/archive_format") || is_called("serialized_exported_program.json") {
        "a program of torch.export.save (.pt2), which contains code"
    } else if name == b"metadata.json" || name == b"config.json" {
        "a model of Keras (.keras)"
    } else {
        "a PyTorch checkpoint, which has float weights and no network"
    }
}

/// Checks by its first bytes, 9 or up to [`SIGNATURE`](foreign::SIGNATURE), that a file may be a safetensors
/// file.
///
/// # Errors
/// Returns a message about what the file is instead.
pub(super) fn check_start(kind: &Kind, start: &[u8]) -> Result<(), String> {
    let what = kind.what;
    match start {
        [_, _, _, _, _, 0, 0, 0, b'{', ..] => Ok(()),
        [b'P', b'K', 3, 4, ..] | [0x80, ..] => {
            Err(format!("expected {what}, found {}; {}", of_pytorch(start), kind.advice))
        }
        _ => Err(match foreign::named(start) {
            Some(found) => format!("expected {what}, found {found}"),
            None if start.len() < 9 => {
                format!("expected {what}, found a file of {} bytes", start.len())
            }
            None => format!("expected {what}, found a file that is not a safetensors file"),
        }),
    }
}
