//! Checking that a state dict fits a model.

use std::collections::HashSet;

use super::state_dict::{StateDict, StateTensor};
use crate::error::{Error, MismatchCause, Result, StateDictMismatch};

impl StateDict {
    /// Checks that the names and shapes of the entries are exactly those of a model, as PyTorch's
    /// `load_state_dict(strict=True)` does.
    ///
    /// `num_batches_tracked` is optional: files of PyTorch before 0.4.1 do not have it, and it is
    /// not needed for inference.
    ///
    /// ```
    /// use posterize::StateDict;
    /// let error = StateDict::new().check("Net", [("fc.weight", [10, 4].as_slice())]).unwrap_err();
    /// assert!(error.to_string().contains("fc.weight"));
    /// ```
    ///
    /// # Errors
    /// Returns [`Error::StateDict`], which lists every difference.
    pub fn check<'a>(
        &self,
        model: &str,
        expected: impl IntoIterator<Item = (&'a str, &'a [usize])>,
    ) -> Result<()> {
        let wanted = expected.into_iter().map(|(name, shape)| Wanted { key: name, name, shape });
        let mut mismatch = self.mismatch(model, "", wanted);
        if mismatch.is_empty() {
            return Ok(());
        }
        mismatch.cause = MismatchCause::of_names_and_shapes(&mismatch);
        Err(Error::StateDict(Box::new(mismatch)))
    }

    /// Returns the differences between the entries and the tensors of a model. `prefix` is removed
    /// from the names of unexpected entries.
    pub(crate) fn mismatch<'a>(
        &self,
        model: &str,
        prefix: &str,
        wanted: impl IntoIterator<Item = Wanted<'a>>,
    ) -> StateDictMismatch {
        let mut mismatch = StateDictMismatch { model: model.to_owned(), ..Default::default() };
        let mut known = HashSet::new();
        for Wanted { key, name, shape } in wanted {
            match self.get(key) {
                _ if is_counter(name) => {}
                None => mismatch.missing.push(name.to_owned()),
                Some(tensor) if tensor.shape() != shape => {
                    let found = tensor.shape().to_vec();
                    mismatch.mis_shaped.push((name.to_owned(), shape.to_vec(), found));
                }
                Some(StateTensor::Int(..)) => mismatch.integers.push(name.to_owned()),
                Some(StateTensor::Float(_)) => {}
            }
            known.insert(key);
        }
        mismatch.unexpected = self
            .iter()
            .filter(|&(key, _)| !known.contains(key) && !is_counter(key))
            .map(|(key, _)| key.strip_prefix(prefix).unwrap_or(key).to_owned())
            .collect();
        mismatch
    }
}

/// A tensor that a model needs.
pub(crate) struct Wanted<'a> {
    /// Its name in the state dict.
    pub(crate) key: &'a str,
    /// Its name in the model.
    pub(crate) name: &'a str,
    pub(crate) shape: &'a [usize],
}

/// Returns whether the entry is a batch norm's counter of training steps.
fn is_counter(name: &str) -> bool {
    name == "num_batches_tracked" || name.ends_with(".num_batches_tracked")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::Tensor;

    fn float(shape: &[usize]) -> StateTensor {
        StateTensor::Float(Tensor::zeros(shape))
    }

    const EXPECTED: [(&str, &[usize]); 5] = [
        ("features.0.0.weight", &[16, 3, 3, 3]),
        ("features.0.1.weight", &[16]),
        ("features.0.1.bias", &[16]),
        ("features.0.1.num_batches_tracked", &[]),
        ("classifier.1.weight", &[10, 16]),
    ];

    fn of(entries: &[(&str, StateTensor)]) -> StateDict {
        entries.iter().map(|(name, tensor)| ((*name).to_owned(), tensor.clone())).collect()
    }

    #[test]
    fn num_batches_tracked_is_optional() {
        let mut weights: StateDict =
            EXPECTED.iter().map(|&(name, shape)| (name.to_owned(), float(shape))).collect();
        weights.check("Net", EXPECTED).unwrap();
        weights.remove("features.0.1.num_batches_tracked").unwrap();
        weights.check("Net", EXPECTED).unwrap();
        weights.insert("classifier.num_batches_tracked", StateTensor::Int(vec![], vec![7]));
        weights.check("Net", EXPECTED).unwrap();
    }

    #[test]
    fn every_difference_is_listed() {
        let weights = of(&[
            ("features.0.0.weight", float(&[8, 3, 3, 3])),
            ("features.0.1.bias", StateTensor::Int(vec![16], vec![0; 16])),
            ("classifier.1.weight", float(&[10, 16])),
            ("classifier.1.bias", float(&[10])),
            ("extra", float(&[1])),
        ]);
        let error = weights.check("Net", EXPECTED).unwrap_err();
        let crate::Error::StateDict(mismatch) = &error else { panic!("{error}") };
        assert_eq!(mismatch.missing, ["features.0.1.weight"]);
        assert_eq!(mismatch.unexpected, ["classifier.1.bias", "extra"]);
        assert_eq!(
            mismatch.mis_shaped,
            [("features.0.0.weight".to_owned(), vec![16, 3, 3, 3], vec![8, 3, 3, 3])]
        );
        assert_eq!(mismatch.integers, ["features.0.1.bias"]);
        assert_eq!(
            error.to_string(),
            "the weights do not fit Net. Is it the checkpoint of another architecture or version?
  1 missing:
    features.0.1.weight
  2 unexpected:
    classifier.1.bias
    extra
  1 with integers instead of floating-point values:
    features.0.1.bias
  1 of another shape:
    features.0.0.weight: the model needs [16, 3, 3, 3], the file has [8, 3, 3, 3]"
        );
    }

    #[test]
    fn differences_in_one_module_are_on_one_line() {
        let weights = of(&[
            ("features.0.0.weight", float(&[8, 3, 3, 3])),
            ("features.0.1.weight", float(&[8])),
            ("features.0.1.bias", float(&[8])),
            ("classifier.1.weight", float(&[10, 8])),
        ]);
        let error = weights.check("Net", EXPECTED).unwrap_err().to_string();
        assert!(
            error.contains("features.0.1.weight, .bias: the model needs [16], the file has [8]"),
            "{error}"
        );
        assert!(
            error.starts_with("the weights do not fit Net. Is it a checkpoint of another width?")
        );
        let error = StateDict::new().check("Net", EXPECTED).unwrap_err().to_string();
        assert!(error.contains("4 missing:\n    features.0.0.weight\n"), "{error}");
    }
}
