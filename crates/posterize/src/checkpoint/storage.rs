//! Reading the tensors of a pickle from the storages of its file.

use super::Parsed;
use super::decode::decode;
use super::pickle::{Pickle, Value};
use super::state_dict::{StateDict, StateTensor};
use crate::tensor::Tensor;

/// The storages of a file. `'a` is the lifetime of their keys in the pickle.
pub(super) trait Storages<'a> {
    /// Returns the bytes of the storage with that key.
    fn bytes(&mut self, key: &'a str) -> Parsed<&[u8]>;
}

/// The memory in bytes that a tensor takes besides its values, its name and its shape.
const PER_TENSOR: usize = 256;

/// The memory that reading a file may take: 32 times its size and 64 MiB.
///
/// Decoding f16 takes twice the file's size, decoding bytes eight times, and tied weights are
/// decoded more than once. Trained weights hardly compress. A file that needs more is a
/// decompression bomb.
pub(super) struct Budget {
    left: usize,
    limit: usize,
}

impl Budget {
    pub(super) fn of_file(length: usize) -> Self {
        let limit = length.saturating_mul(32).saturating_add(64 << 20);
        Self { left: limit, limit }
    }

    pub(super) fn spend(&mut self, bytes: usize) -> Parsed<()> {
        match self.left.checked_sub(bytes) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => Err(format!(
                "reading the file would take more than {} MiB, which is too much for its size: it \
                 is damaged or malicious",
                self.limit >> 20
            )),
        }
    }
}

/// Reads all entries as dense tensors.
pub(super) fn read_tensors<'a>(
    pickle: &Pickle<'a>,
    entries: &[(&str, Value<'a>)],
    storages: &mut dyn Storages<'a>,
    budget: &mut Budget,
) -> Parsed<StateDict> {
    let mut state_dict = StateDict::new();
    for &(name, value) in entries {
        let tensor = budget
            .spend(PER_TENSOR + name.len())
            .and_then(|()| read_tensor(pickle, value, storages, budget))
            .map_err(|problem| in_tensor(name, &problem))?;
        state_dict.insert(name, tensor);
    }
    Ok(state_dict)
}

/// Returns the message for a problem with a tensor.
pub(super) fn in_tensor(name: &str, problem: &str) -> String {
    format!("tensor `{}`: {problem}", super::printable(name.as_bytes()))
}

fn read_tensor<'a>(
    pickle: &Pickle<'a>,
    value: Value<'a>,
    storages: &mut dyn Storages<'a>,
    budget: &mut Budget,
) -> Parsed<StateTensor> {
    let scalar =
        |data| Tensor::new([], vec![data]).map(StateTensor::Float).map_err(|e| e.to_string());
    if let Some(view) = pickle.tensor(value) {
        let layout = view.layout.shifted(view.storage.view_offset)?;
        budget.spend(layout.decoded_bytes(view.element))?;
        let bytes = storages.bytes(view.storage.key)?;
        let declared = view.storage.count.checked_mul(view.storage.element.size());
        if declared.is_none_or(|declared| declared > bytes.len()) {
            return Err(format!(
                "expected a storage {} of {} values of {} bytes each, found {} bytes: the file is \
                 damaged",
                super::printable(view.storage.key.as_bytes()),
                view.storage.count,
                view.storage.element.size(),
                bytes.len()
            ));
        }
        return decode(&bytes[..declared.unwrap_or(0)], view.element, &layout);
    }
    // Some training scripts save counters as plain numbers among the weights.
    match value {
        Value::Bool(value) => Ok(StateTensor::Int(vec![], vec![value.into()])),
        Value::Int(value) => Ok(StateTensor::Int(vec![], vec![value])),
        Value::Float(value) => scalar(value as f32),
        other => Err(format!("expected a tensor, found {}", pickle.describe(other))),
    }
}
