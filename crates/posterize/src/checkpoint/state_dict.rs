//! Named tensors in file order, as PyTorch's `state_dict()`.

use std::fmt;

use indexmap::IndexMap;

use crate::tensor::Tensor;

/// A tensor of a [`StateDict`].
///
/// ```
/// use posterize::Tensor;
/// use posterize::checkpoint::StateTensor;
///
/// let weight = StateTensor::Float(Tensor::zeros([8, 3, 3, 3]));
/// let counter = StateTensor::Int(vec![], vec![1200]);
/// assert_eq!(weight.shape(), [8, 3, 3, 3]);
/// assert!(counter.shape().is_empty());
/// ```
#[derive(Clone, Debug, PartialEq)]
pub enum StateTensor {
    /// Floating-point values. Those of f16, bf16 and f64 are converted to f32.
    Float(Tensor),
    /// Integers, such as `num_batches_tracked`: the shape and the values.
    Int(Vec<usize>, Vec<i64>),
}

impl StateTensor {
    /// Returns the shape.
    pub fn shape(&self) -> &[usize] {
        match self {
            Self::Float(tensor) => tensor.shape(),
            Self::Int(shape, _) => shape,
        }
    }
}

/// A tensor with NaN or infinite values.
///
/// ```
/// use posterize::checkpoint::{NonFinite, StateTensor};
/// use posterize::{StateDict, Tensor};
///
/// let mut weights = StateDict::new();
/// let bias = Tensor::new([3], vec![1.0, f32::NAN, f32::INFINITY])?;
/// weights.insert("fc.bias", StateTensor::Float(bias));
/// let expected = NonFinite { name: "fc.bias".into(), nan: 1, infinite: 1 };
/// assert_eq!(weights.non_finite(), [expected]);
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NonFinite {
    /// The tensor's name.
    pub name: String,
    /// The number of NaN values.
    pub nan: usize,
    /// The number of infinite values.
    pub infinite: usize,
}

/// Where in a checkpoint file the weights of a [`StateDict`] were found, and where it has others.
///
/// Its text is a sentence for people.
///
/// ```
/// use posterize::checkpoint::Selection;
///
/// let selection = Selection {
///     keys: vec!["state_dict".into()],
///     averaged: vec!["state_dict_ema".into()],
///     ..Selection::default()
/// };
/// assert!(selection.has_others());
/// assert_eq!(
///     selection.to_string(),
///     "the weights under `state_dict` are used; the file also has weights under `state_dict_ema`"
/// );
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// The keys of the dictionaries in which the weights are, the outermost first: `model`. Empty for
    /// a file that has nothing but weights.
    pub keys: Vec<String>,
    /// The keys at their side with other weights.
    pub others: Vec<String>,
    /// The keys at their side with averaged weights (EMA).
    pub averaged: Vec<String>,
    /// The prefix of wrapper modules (`module.`, `_orig_mod.`) that was removed from all names.
    pub prefix: String,
}

impl Selection {
    /// Returns whether the file has other weights, too.
    pub fn has_others(&self) -> bool {
        !self.others.is_empty() || !self.averaged.is_empty()
    }
}

impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.keys.is_empty() {
            return f.write_str("the file has nothing but weights");
        }
        write!(f, "the weights under `{}` are used", self.keys.join("`, `"))?;
        if self.has_others() {
            let others = [&self.others[..], &self.averaged].concat();
            write!(f, "; the file also has weights under `{}`", others.join("`, `"))?;
        }
        Ok(())
    }
}

/// Named tensors in file order, as returned by PyTorch's `state_dict()`.
///
/// As for Python's dictionaries, the order does not matter for equality, and neither does the selection.
///
/// ```
/// use posterize::StateDict;
/// use posterize::checkpoint::StateTensor;
/// let mut weights = StateDict::new();
/// weights.insert("classifier.1.bias", StateTensor::Int(vec![2], vec![3, 4]));
/// assert_eq!(weights.get("classifier.1.bias").unwrap().shape(), [2]);
/// ```
#[derive(Clone, Debug, Default)]
pub struct StateDict {
    entries: IndexMap<String, StateTensor>,
    selection: Selection,
}

impl PartialEq for StateDict {
    fn eq(&self, other: &Self) -> bool {
        self.entries == other.entries
    }
}

impl StateDict {
    /// Creates an empty state dict.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an entry at the end, or replaces the entry with that name.
    pub fn insert(&mut self, name: impl Into<String>, tensor: StateTensor) {
        self.entries.insert(name.into(), tensor);
    }

    /// Removes and returns an entry. The order of the others does not change.
    pub fn remove(&mut self, name: &str) -> Option<StateTensor> {
        self.entries.shift_remove(name)
    }

    /// Returns the entry with that name.
    pub fn get(&self, name: &str) -> Option<&StateTensor> {
        self.entries.get(name)
    }

    /// Returns the entry with that name if it is floating-point.
    pub fn float(&self, name: &str) -> Option<&Tensor> {
        match self.get(name)? {
            StateTensor::Float(tensor) => Some(tensor),
            StateTensor::Int(..) => None,
        }
    }

    /// Returns the entries in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &StateTensor)> {
        self.entries.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// Returns the number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns where in its file the weights were found. It is empty for a state dict that was not
    /// read from a file.
    pub fn selection(&self) -> &Selection {
        &self.selection
    }

    #[cfg(feature = "checkpoint")]
    pub(super) fn with_selection(self, selection: Selection) -> Self {
        Self { selection, ..self }
    }

    /// Returns the tensors with NaN or infinite values.
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

/// An owning iterator over the entries of a [`StateDict`], in order.
///
/// ```
/// use posterize::StateDict;
/// use posterize::checkpoint::StateTensor;
///
/// let mut weights = StateDict::new();
/// for name in ["fc.weight", "fc.bias"] {
///     weights.insert(name, StateTensor::Int(vec![1], vec![7]));
/// }
/// let names: Vec<String> = weights.into_iter().map(|(name, _)| name).collect();
/// assert_eq!(names, ["fc.weight", "fc.bias"]);
/// ```
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
        Self { entries: entries.into_iter().collect(), selection: Selection::default() }
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
    fn nan_and_infinite_values_are_counted() {
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
