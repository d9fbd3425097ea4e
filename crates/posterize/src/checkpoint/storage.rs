//! Where the values of a pickle's tensors lie, and the tensors made of them.

use super::Parsed;
use super::decode::decode;
use super::pickle::{Pickle, Value};
use super::state_dict::{StateDict, StateTensor};
use crate::tensor::Tensor;

/// The storages of one file.
pub(super) trait Storages {
    /// The bytes of the storage `key`.
    fn bytes(&mut self, key: &str) -> Parsed<&[u8]>;
}

/// How many bytes may be made out of a file. Half floats double, bytes grow eightfold, tied
/// weights are written once and read twice, and trained weights hardly compress; what grows more
/// than this is a bomb.
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
                "the file would unfold to more than {} MiB, far more than weights of its size do",
                self.limit >> 20
            )),
        }
    }
}

/// Every entry as a dense tensor.
pub(super) fn read_tensors(
    pickle: &Pickle<'_>,
    entries: &[(String, Value<'_>)],
    storages: &mut dyn Storages,
    budget: &mut Budget,
) -> Parsed<StateDict> {
    let mut state_dict = StateDict::new();
    for (name, value) in entries {
        let tensor = read_tensor(pickle, *value, storages, budget)
            .map_err(|problem| in_tensor(name, &problem))?;
        state_dict.insert(name, tensor);
    }
    Ok(state_dict)
}

/// A problem with the tensor `name`.
pub(super) fn in_tensor(name: &str, problem: &str) -> String {
    format!("tensor `{}`: {problem}", super::printable(name.as_bytes()))
}

fn read_tensor(
    pickle: &Pickle<'_>,
    value: Value<'_>,
    storages: &mut dyn Storages,
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
                "its storage {} should hold {} values of {} bytes and is {} bytes long",
                super::printable(view.storage.key.as_bytes()),
                view.storage.count,
                view.storage.element.size(),
                bytes.len()
            ));
        }
        return decode(&bytes[..declared.unwrap_or(0)], view.element, &layout);
    }
    // Some programs keep a counter beside the weights as a plain number.
    match value {
        Value::Bool(value) => Ok(StateTensor::Int(vec![], vec![value.into()])),
        Value::Int(value) => Ok(StateTensor::Int(vec![], vec![value])),
        Value::Float(value) => scalar(value as f32),
        other => Err(format!("expected a tensor, found {}", pickle.describe(other))),
    }
}
