//! The checkpoint format of PyTorch before 1.6 (`_use_new_zipfile_serialization=False`).
//!
//! A file has five pickles: a magic number, the protocol version, properties of the machine, the
//! object, and the keys of the storages. The storages follow in the order of the keys, each as its
//! number of elements and their bytes.

use std::collections::HashMap;

use super::contents::{Contents, list};
use super::element::Element;
use super::interner::Interner;
use super::pickle::{self, Object, Pickle, Value};
use super::read_options::ReadOptions;
use super::select::{self, Selected};
use super::state_dict::StateDict;
use super::storage::{Budget, Storages, read_tensors};
use super::{Parsed, printable};

/// The magic number 0x1950a86a20f9469cfc6c, little-endian.
const MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
const PROTOCOL: i64 = 1001;

/// Reads the state dict of a file in this format.
pub(super) fn read(file: &[u8], options: &ReadOptions) -> Parsed<StateDict> {
    let mut budget = Budget::of_file(file.len());
    with_pickle(file, options, |pickle, selected, storages| {
        let state_dict = read_tensors(pickle, &selected.entries, storages, &mut budget)?;
        Ok(state_dict.with_selection(selected.selection))
    })
}

/// Lists the tensors of a file in this format.
pub(super) fn contents(file: &[u8], options: &ReadOptions) -> Parsed<Contents> {
    with_pickle(file, options, |pickle, selected, _| list("PyTorch (legacy)", pickle, selected))
}

/// Passes the pickle of a file, its state dict and its storages to a function.
fn with_pickle<R>(
    file: &[u8],
    options: &ReadOptions,
    then: impl for<'a> FnOnce(&Pickle<'a>, Selected<'a>, &mut dyn Storages<'a>) -> Parsed<R>,
) -> Parsed<R> {
    let mut at = 0;
    let magic = next_pickle(file, &mut at, "the file's first pickle")?;
    if !matches!(magic.root, Value::Long(bytes) if bytes == MAGIC) {
        return Err(format!(
            "a Python pickle of {} that was not written by torch.save; save the weights with \
             torch.save(model.state_dict(), \"weights.pth\")",
            magic.describe(magic.root)
        ));
    }
    let protocol = next_pickle(file, &mut at, "the protocol version")?;
    if !matches!(protocol.root, Value::Int(PROTOCOL)) {
        return Err(format!(
            "its protocol version is not {PROTOCOL}, the only one of PyTorch: the file is damaged"
        ));
    }
    let system = next_pickle(file, &mut at, "the properties of the machine")?;
    let little_endian = system.dict(system.root).and_then(|properties| {
        properties.iter().find_map(|(key, value)| match (key, value) {
            (Value::Str("little_endian"), Value::Bool(value)) => Some(*value),
            _ => None,
        })
    });
    match little_endian {
        Some(true) => {}
        Some(false) => {
            return Err(
                "it was written on a big-endian machine; save it again on a little-endian one"
                    .into(),
            );
        }
        None => {
            return Err("the byte order of the machine is missing: the file is damaged".into());
        }
    }
    let object = next_pickle(file, &mut at, "the pickled object")?;
    let selected = select::state_dict_of(&object, options)?;
    let keys = next_pickle(file, &mut at, "the list of storages")?;
    let mut storages = find_storages(file, at, &object, &keys)?;
    then(&object, selected, &mut storages)
}

fn next_pickle<'a>(file: &'a [u8], at: &mut usize, what: &str) -> Parsed<Pickle<'a>> {
    let rest = &file[*at..];
    if rest.is_empty() {
        return Err(format!("the file ends at byte {at}, before {what}: it is truncated"));
    }
    let pickle = pickle::read(rest, what, *at)?;
    *at += pickle.length;
    Ok(pickle)
}

struct LegacyStorages<'a> {
    keys: Interner<'a>,
    /// The bytes of each storage, by the number of its key.
    bytes: HashMap<usize, &'a [u8]>,
}

impl<'a> Storages<'a> for LegacyStorages<'a> {
    fn bytes(&mut self, key: &'a str) -> Parsed<&[u8]> {
        self.bytes
            .get(&self.keys.number(key))
            .copied()
            .ok_or_else(|| format!("the file has no storage {}", printable(key.as_bytes())))
    }
}

/// Finds the storages, which begin at byte `at`.
fn find_storages<'a>(
    file: &'a [u8],
    mut at: usize,
    object: &Pickle<'a>,
    keys: &Pickle<'a>,
) -> Parsed<LegacyStorages<'a>> {
    let mut numbers = Interner::default();
    let declared: HashMap<usize, (Element, usize)> = object
        .storages()
        .map(|storage| (numbers.number(storage.key), (storage.element, storage.count)))
        .collect();
    let Some(Object::List(list)) = keys.object(keys.root) else {
        return Err("the list of storages is not a list: the file is damaged".into());
    };
    let mut storages = HashMap::new();
    for &key in list {
        let Value::Str(key) = key else {
            return Err("the key of a storage is not a string: the file is damaged".into());
        };
        let number = numbers.number(key);
        let shown = || printable(key.as_bytes());
        let &(element, count) = declared.get(&number).ok_or_else(|| {
            format!("storage {} belongs to no tensor: the file is damaged", shown())
        })?;
        let rest = &file[at..];
        let Some(written) = rest.first_chunk() else {
            return Err(format!(
                "the file ends at byte {}, before storage {}: it is truncated",
                file.len(),
                shown()
            ));
        };
        let written = i64::from_le_bytes(*written);
        if usize::try_from(written) != Ok(count) {
            return Err(format!(
                "storage {} at byte {at} has {written} values and the pickle says {count}: the \
                 file is damaged",
                shown()
            ));
        }
        // This cannot overflow: the pickle's reader has checked it.
        let length = count * element.size();
        let bytes = rest[size_of::<i64>()..].get(..length).ok_or_else(|| {
            format!(
                "storage {} at byte {at} needs {length} bytes and the file ends at byte {}: it is \
                 truncated",
                shown(),
                file.len()
            )
        })?;
        at += size_of::<i64>() + length;
        storages.insert(number, bytes);
    }
    Ok(LegacyStorages { keys: numbers, bytes: storages })
}
