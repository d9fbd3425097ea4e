//! The checkpoint format of PyTorch since 1.6: a zip archive with the entries `NAME/data.pkl`,
//! `NAME/byteorder` and `NAME/data/KEY`.
//!
//! Only what such files contain is supported: entries that are stored or deflated, without
//! encryption, in one file, with or without zip64 (APPNOTE 4.3 to 4.5). All sizes in the archive
//! are checked against the size of the file.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::{ErrorKind, Read};

use super::contents::{Contents, list};
use super::decode::reserved;
use super::interner::Interner;
use super::pickle::{self, Pickle};
use super::read_options::ReadOptions;
use super::select::{self, Selected};
use super::state_dict::StateDict;
use super::storage::{Budget, Storages, read_tensors};
use super::{Parsed, SAVE_WEIGHTS, printable};
use crate::foreign::KERAS;

/// The largest pickle, in bytes. That of a state dict is far smaller.
const MAX_PICKLE: usize = 64 << 20;

const TRUNCATED: &str = "the file is truncated or damaged; copy or download it again";

/// Reads the state dict of a file in this format.
pub(super) fn read(file: &[u8], options: &ReadOptions) -> Parsed<StateDict> {
    // Decompressed storages and decoded tensors each have a budget.
    let mut budget = Budget::of_file(file.len());
    with_pickle(file, options, |pickle, selected, storages| {
        let state_dict = read_tensors(pickle, &selected.entries, storages, &mut budget)?;
        Ok(state_dict.with_selection(selected.selection))
    })
}

/// Lists the tensors of a file in this format.
pub(super) fn contents(file: &[u8], options: &ReadOptions) -> Parsed<Contents> {
    with_pickle(file, options, |pickle, selected, _| list("PyTorch (zip)", pickle, selected))
}

/// Passes the pickle of a file, its state dict and its storages to a function.
fn with_pickle<R>(
    file: &[u8],
    options: &ReadOptions,
    then: impl for<'a> FnOnce(&Pickle<'a>, Selected<'a>, &mut dyn Storages<'a>) -> Parsed<R>,
) -> Parsed<R> {
    let archive = Archive::open(file)?;
    let root = archive.root()?;
    let mut reading = Reading { packed: file.len(), decompressed: Budget::of_file(file.len()) };
    if archive.entries.contains_key(format!("{root}constants.pkl").as_bytes()) {
        return Err("a TorchScript archive (torch.jit.save), which contains code. Save only the \
                    weights: torch.save(model.state_dict(), \"weights.pth\")"
            .into());
    }
    let byteorder = format!("{root}byteorder");
    if archive.entries.contains_key(byteorder.as_bytes())
        && archive.bytes(&byteorder, 16, &mut reading)?.as_ref() != b"little"
    {
        return Err(
            "it was written on a big-endian machine; save it again on a little-endian one".into()
        );
    }
    let name = format!("{root}data.pkl");
    let bytes = archive.bytes(&name, MAX_PICKLE, &mut reading)?;
    let pickle: Pickle<'_> = pickle::read(&bytes, &name, 0)?;
    let selected = select::state_dict_of(&pickle, options)?;
    let mut storages =
        ZipStorages { archive, root, reading, keys: Interner::default(), read: Vec::new() };
    then(&pickle, selected, &mut storages)
}

struct ZipStorages<'a, 'p> {
    archive: Archive<'a>,
    root: String,
    reading: Reading,
    keys: Interner<'p>,
    /// The storages read so far, by the numbers of their keys. Tied weights share a storage.
    read: Vec<Cow<'a, [u8]>>,
}

impl<'p> Storages<'p> for ZipStorages<'_, 'p> {
    fn bytes(&mut self, key: &'p str) -> Parsed<&[u8]> {
        let number = self.keys.number(key);
        if number == self.read.len() {
            let name = format!("{}data/{key}", self.root);
            self.read.push(self.archive.bytes(&name, usize::MAX, &mut self.reading)?);
        }
        Ok(&self.read[number])
    }
}

/// What may still be read of an archive.
struct Reading {
    /// Bytes of entries as they are in the file: as many as the file has. Entries that overlap would
    /// need more, and their checksums alone could take any time.
    packed: usize,
    /// Bytes of entries after they were decompressed.
    decompressed: Budget,
}

/// A zip archive and its directory.
struct Archive<'a> {
    file: &'a [u8],
    entries: HashMap<&'a [u8], Entry>,
}

#[derive(Clone, Copy)]
struct Entry {
    flags: u16,
    method: u16,
    checksum: u32,
    packed: u64,
    size: u64,
    header: u64,
}

impl<'a> Archive<'a> {
    fn open(file: &'a [u8]) -> Parsed<Self> {
        let (mut at, count) = find_directory(file)?;
        let mut entries = HashMap::new();
        for index in 0..count {
            let damaged =
                || format!("entry {index} of {count} in the zip directory is damaged: {TRUNCATED}");
            let header = Record(file.get(at..).ok_or_else(damaged)?);
            if header.u32(0) != Some(0x0201_4b50) {
                return Err(damaged());
            }
            let (name, entry, length) = directory_entry(header).ok_or_else(damaged)?;
            if entries.insert(name, entry).is_some() {
                return Err(format!("two zip entries are called {}", printable(name)));
            }
            at += length;
        }
        Ok(Self { file, entries })
    }

    /// Returns the folder of `data.pkl`, with a slash at its end.
    fn root(&self) -> Parsed<String> {
        let mut roots = self.entries.keys().filter_map(|name| {
            let root = name.strip_suffix(b"data.pkl")?;
            let first_slash = root.iter().position(|&byte| byte == b'/');
            (root.is_empty() || first_slash == Some(root.len() - 1)).then_some(root)
        });
        match (roots.next(), roots.next()) {
            (Some(root), None) => {
                String::from_utf8(root.to_vec()).map_err(|error| error.to_string())
            }
            (Some(_), Some(_)) => {
                Err("a zip archive with several checkpoints (data.pkl); expected one".into())
            }
            (None, _) => Err(self.other_kind()),
        }
    }

    /// Returns the message for an archive without a pickle, by what it has instead.
    fn other_kind(&self) -> String {
        let has = |name: &[u8]| {
            self.entries.keys().any(|entry| {
                entry.strip_suffix(name).is_some_and(|folder| matches!(folder, [] | [.., b'/']))
            })
        };
        if has(b"serialized_exported_program.json") || has(b"archive_format") {
            format!("a program of torch.export.save (.pt2), which contains code. {SAVE_WEIGHTS}")
        } else if has(b"model.weights.h5") {
            format!("a model of Keras (.keras), {KERAS}")
        } else if self.entries.keys().any(|name| name.ends_with(b".npy")) {
            "arrays of NumPy (.npz); save them as safetensors".into()
        } else {
            "a zip archive that is not a checkpoint of PyTorch: it has no entry NAME/data.pkl. If \
             the checkpoint is inside of it, unpack it"
                .into()
        }
    }

    /// Returns the bytes of an entry. Returns an error if the checksum is wrong or if there are
    /// more than `limit`.
    fn bytes(&self, name: &str, limit: usize, reading: &mut Reading) -> Parsed<Cow<'a, [u8]>> {
        let entry = *self
            .entries
            .get(name.as_bytes())
            .ok_or_else(|| format!("its zip archive has no entry {}", shown(name)))?;
        let size =
            usize::try_from(entry.size).ok().filter(|&size| size <= limit).ok_or_else(|| {
                format!(
                    "zip entry {} has a size of {} bytes; expected at most {limit}",
                    shown(name),
                    entry.size
                )
            })?;
        let packed = packed_bytes(self.file, entry).ok_or_else(|| {
            format!("zip entry {} is outside of the file: {TRUNCATED}", shown(name))
        })?;
        reading.packed = reading.packed.checked_sub(packed.len()).ok_or_else(|| {
            format!("zip entry {} overlaps others: the file is damaged or malicious", shown(name))
        })?;
        let bytes = match entry.method {
            _ if entry.flags & 1 != 0 => {
                return Err(format!(
                    "zip entry {} is encrypted, which is not supported; decrypt the file",
                    shown(name)
                ));
            }
            0 if packed.len() == size => Cow::Borrowed(packed),
            8 => {
                reading.decompressed.spend(size)?;
                let inflated = inflate(packed, size)
                    .map_err(|problem| format!("zip entry {}: {problem}", shown(name)))?;
                Cow::Owned(inflated.ok_or_else(|| {
                    format!(
                        "zip entry {} does not decompress to {size} bytes: {TRUNCATED}",
                        shown(name)
                    )
                })?)
            }
            0 => {
                return Err(format!(
                    "zip entry {} is stored and has two different sizes, {} and {size} bytes: \
                     {TRUNCATED}",
                    shown(name),
                    packed.len()
                ));
            }
            method => {
                return Err(format!(
                    "zip entry {} has compression method {method}; expected 0 (stored) or 8 \
                     (deflate)",
                    shown(name)
                ));
            }
        };
        // torch.save can be configured to write 0 instead of a checksum.
        if entry.checksum != 0 && crc32fast::hash(&bytes) != entry.checksum {
            return Err(format!("the checksum of zip entry {} is wrong: {TRUNCATED}", shown(name)));
        }
        Ok(bytes)
    }
}

fn shown(name: &str) -> String {
    printable(name.as_bytes())
}

/// Decompresses to exactly `size` bytes; `None` if that fails. The memory grows with the data and
/// is not reserved by `size`, which may be wrong. Returns an error if there is not enough.
fn inflate(packed: &[u8], size: usize) -> Parsed<Option<Vec<u8>>> {
    let mut bytes = reserved(size.min(packed.len().saturating_mul(4)))?;
    let read =
        flate2::read::DeflateDecoder::new(packed).take(size as u64 + 1).read_to_end(&mut bytes);
    match read {
        Ok(length) if length == size => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::OutOfMemory => Err(error.to_string()),
        _ => Ok(None),
    }
}

/// A zip record, which has little-endian numbers at fixed positions.
#[derive(Clone, Copy)]
struct Record<'a>(&'a [u8]);

impl<'a> Record<'a> {
    fn u16(self, at: usize) -> Option<u16> {
        Some(u16::from_le_bytes(*self.0.get(at..)?.first_chunk()?))
    }

    fn u32(self, at: usize) -> Option<u32> {
        Some(u32::from_le_bytes(*self.0.get(at..)?.first_chunk()?))
    }

    fn u64(self, at: usize) -> Option<u64> {
        Some(u64::from_le_bytes(*self.0.get(at..)?.first_chunk()?))
    }

    fn bytes(self, at: usize, length: usize) -> Option<&'a [u8]> {
        self.0.get(at..)?.get(..length)
    }
}

/// Returns the position of the central directory and its number of entries.
fn find_directory(file: &[u8]) -> Parsed<(usize, u64)> {
    const END: usize = 22;
    let missing = || format!("the directory at the end of the zip archive is missing: {TRUNCATED}");
    // The end record is last, except for a comment, whose length it has.
    let last = file.len().checked_sub(END).ok_or_else(missing)?;
    let end = (last.saturating_sub(u16::MAX.into())..=last)
        .rev()
        .find(|&at| {
            let record = Record(&file[at..]);
            record.u32(0) == Some(0x0605_4b50) && record.u16(20).map(usize::from) == Some(last - at)
        })
        .ok_or_else(missing)?;
    let directory = || -> Option<(u64, u64, u64)> {
        let record = Record(file.get(end..)?);
        // With zip64, a locator before it has the position of a record with 64-bit numbers.
        if let Some(locator) = end.checked_sub(20).map(|at| Record(&file[at..]))
            && locator.u32(0) == Some(0x0706_4b50)
        {
            let wide = Record(file.get(usize::try_from(locator.u64(8)?).ok()?..)?);
            if wide.u32(0)? != 0x0606_4b50 {
                return None;
            }
            return Some((wide.u64(32)?, wide.u64(40)?, wide.u64(48)?));
        }
        Some((record.u16(10)?.into(), record.u32(12)?.into(), record.u32(16)?.into()))
    };
    let (count, size, start) = directory().ok_or_else(missing)?;
    let fits = start.checked_add(size).is_some_and(|stop| stop <= end as u64);
    // An entry has at least 46 bytes.
    if !fits || count > size / 46 {
        return Err(format!(
            "the zip archive has a directory of {count} entries and {size} bytes at {start}, \
             which does not fit in the file of {} bytes: {TRUNCATED}",
            file.len()
        ));
    }
    Ok((start as usize, count))
}

/// Reads an entry of the central directory. Returns its name, its fields and its length.
fn directory_entry(header: Record<'_>) -> Option<(&[u8], Entry, usize)> {
    let name_length = usize::from(header.u16(28)?);
    let extra_length = usize::from(header.u16(30)?);
    let comment_length = usize::from(header.u16(32)?);
    let mut entry = Entry {
        flags: header.u16(8)?,
        method: header.u16(10)?,
        checksum: header.u32(16)?,
        packed: header.u32(20)?.into(),
        size: header.u32(24)?.into(),
        header: header.u32(42)?.into(),
    };
    let name = header.bytes(46, name_length)?;
    let mut extra = header.bytes(46 + name_length, extra_length)?;
    // The zip64 field has those numbers that do not fit in 32 bits, in this order.
    while let (Some(id), Some(length)) = (Record(extra).u16(0), Record(extra).u16(2)) {
        let field = Record(extra).bytes(4, length.into())?;
        if id == 1 {
            let mut at = 0;
            for number in [&mut entry.size, &mut entry.packed, &mut entry.header] {
                if *number == u64::from(u32::MAX) {
                    *number = Record(field).u64(at)?;
                    at += 8;
                }
            }
        }
        extra = &extra[4 + field.len()..];
    }
    let length = 46 + name_length + extra_length + comment_length;
    header.bytes(0, length)?;
    Some((name, entry, length))
}

/// Returns the bytes of an entry as stored in the file.
fn packed_bytes(file: &[u8], entry: Entry) -> Option<&[u8]> {
    let header = Record(file.get(usize::try_from(entry.header).ok()?..)?);
    if header.u32(0)? != 0x0403_4b50 {
        return None;
    }
    let start = 30 + usize::from(header.u16(26)?) + usize::from(header.u16(28)?);
    header.bytes(start, usize::try_from(entry.packed).ok()?)
}
