//! Named tensors in file order, as PyTorch's `state_dict()`.

use crate::tensor::Tensor;

/// One entry of a [`StateDict`].
#[derive(Clone, Debug, PartialEq)]
pub enum StateTensor {
    /// Floating-point values (f16, bf16 and f64 files are converted to f32).
    Float(Tensor),
    /// Integers, such as `num_batches_tracked`: shape and values.
    Int(Vec<usize>, Vec<i64>),
}

impl StateTensor {
    /// The shape.
    pub fn shape(&self) -> &[usize] {
        match self {
            Self::Float(tensor) => tensor.shape(),
            Self::Int(shape, _) => shape,
        }
    }
}

/// Named tensors in file order, as PyTorch's `state_dict()`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StateDict {
    entries: Vec<(String, StateTensor)>,
}

impl StateDict {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds or replaces an entry.
    pub fn insert(&mut self, name: impl Into<String>, tensor: StateTensor) {
        let name = name.into();
        match self.entries.iter_mut().find(|(other, _)| *other == name) {
            Some((_, slot)) => *slot = tensor,
            None => self.entries.push((name, tensor)),
        }
    }

    /// The entry of that name.
    pub fn get(&self, name: &str) -> Option<&StateTensor> {
        self.entries.iter().find(|(other, _)| other == name).map(|(_, tensor)| tensor)
    }

    /// The entries in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &StateTensor)> {
        self.entries.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}
