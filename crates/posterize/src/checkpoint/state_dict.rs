//! Named tensors in file order, as PyTorch's `state_dict()`.

use indexmap::IndexMap;

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

/// A tensor with values that are no finite numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NonFinite {
    /// The tensor's name.
    pub name: String,
    /// How many of its values are NaN.
    pub nan: usize,
    /// How many of its values are infinite.
    pub infinite: usize,
}

/// Named tensors in file order, as PyTorch's `state_dict()`.
///
/// Equality disregards the order, as that of Python's dictionaries does.
///
/// ```
/// use posterize::StateDict;
/// use posterize::checkpoint::StateTensor;
/// let mut weights = StateDict::new();
/// weights.insert("classifier.1.bias", StateTensor::Int(vec![2], vec![3, 4]));
/// assert_eq!(weights.get("classifier.1.bias").unwrap().shape(), [2]);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StateDict {
    entries: IndexMap<String, StateTensor>,
}

impl StateDict {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an entry at the end, or replaces the one of that name where it stands.
    pub fn insert(&mut self, name: impl Into<String>, tensor: StateTensor) {
        self.entries.insert(name.into(), tensor);
    }

    /// Takes an entry out; the order of the others remains.
    pub fn remove(&mut self, name: &str) -> Option<StateTensor> {
        self.entries.shift_remove(name)
    }

    /// The entry of that name.
    pub fn get(&self, name: &str) -> Option<&StateTensor> {
        self.entries.get(name)
    }

    /// The floating-point entry of that name.
    pub fn float(&self, name: &str) -> Option<&Tensor> {
        match self.get(name)? {
            StateTensor::Float(tensor) => Some(tensor),
            StateTensor::Int(..) => None,
        }
    }

    /// The entries in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &StateTensor)> {
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

    /// The tensors with NaN or infinite values, to warn about.
    pub fn non_finite(&self) -> Vec<NonFinite> {
        self.iter()
            .filter_map(|(name, tensor)| {
                let StateTensor::Float(tensor) = tensor else { return None };
                let not_finite = tensor.data().iter().filter(|value| !value.is_finite()).count();
                if not_finite == 0 {
                    return None;
                }
                let nan = tensor.data().iter().filter(|value| value.is_nan()).count();
                Some(NonFinite { name: name.to_owned(), nan, infinite: not_finite - nan })
            })
            .collect()
    }
}

impl IntoIterator for StateDict {
    type Item = (String, StateTensor);
    type IntoIter = IntoIter;

    fn into_iter(self) -> IntoIter {
        IntoIter(self.entries.into_iter())
    }
}

/// The entries of a [`StateDict`] in order, by value.
#[derive(Debug)]
pub struct IntoIter(indexmap::map::IntoIter<String, StateTensor>);

impl Iterator for IntoIter {
    type Item = (String, StateTensor);

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl DoubleEndedIterator for IntoIter {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.0.next_back()
    }
}

impl ExactSizeIterator for IntoIter {}

impl FromIterator<(String, StateTensor)> for StateDict {
    fn from_iter<I: IntoIterator<Item = (String, StateTensor)>>(entries: I) -> Self {
        Self { entries: entries.into_iter().collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_keep_their_order_and_names_are_unique() {
        let int = |value| StateTensor::Int(vec![], vec![value]);
        let mut weights = StateDict::new();
        for name in ["b", "a", "c", "b"] {
            weights.insert(name, int(1));
        }
        weights.insert("a", int(2));
        assert_eq!(weights.iter().map(|(name, _)| name).collect::<Vec<_>>(), ["b", "a", "c"]);
        assert_eq!(weights.get("a"), Some(&int(2)));
        assert_eq!(weights.remove("b"), Some(int(1)));
        assert_eq!(weights.iter().map(|(name, _)| name).collect::<Vec<_>>(), ["a", "c"]);
        assert_eq!(weights.clone().into_iter().len(), 2);
        let last = weights.clone().into_iter().next_back();
        assert_eq!(last, Some(("c".to_owned(), int(1))));
        assert!(weights.into_iter().eq([("a".to_owned(), int(2)), ("c".to_owned(), int(1))]));
    }

    #[test]
    fn values_that_are_not_finite_are_counted_by_name() {
        let tensor = |data: Vec<f32>| StateTensor::Float(Tensor::new([data.len()], data).unwrap());
        let weights: StateDict = [
            ("good".to_owned(), tensor(vec![1.0, f32::MAX])),
            ("bad".to_owned(), tensor(vec![f32::NAN, f32::INFINITY, 0.0, f32::NEG_INFINITY])),
        ]
        .into_iter()
        .collect();
        assert_eq!(weights.non_finite(), [NonFinite { name: "bad".into(), nan: 1, infinite: 2 }]);
    }
}
