//! What differs between a state dict and the model it should fill.

use std::collections::HashSet;
use std::fmt;

use super::state_dict::{StateDict, StateTensor};

/// All differences between a state dict and the model it should fill, as
/// PyTorch's `load_state_dict(strict=True)` lists them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StateDictMismatch {
    /// The model's name: `MobileNetV2`.
    pub model: String,
    /// Keys that the model needs and the state dict lacks.
    pub missing: Vec<String>,
    /// Keys that the state dict has and the model does not know.
    pub unexpected: Vec<String>,
    /// Key, the shape that the model needs, the shape found.
    pub mis_shaped: Vec<(String, Vec<usize>, Vec<usize>)>,
    /// Keys of integers where the model needs floating-point values.
    pub integers: Vec<String>,
}

impl StateDictMismatch {
    /// The differences between `found` and the names and shapes that `model` needs.
    pub(super) fn between<'a>(
        model: &str,
        expected: impl IntoIterator<Item = (&'a str, &'a [usize])>,
        found: &StateDict,
    ) -> Self {
        let mut mismatch = Self { model: model.to_owned(), ..Self::default() };
        let mut known = HashSet::new();
        for (name, shape) in expected {
            known.insert(name);
            match found.get(name) {
                _ if is_counter(name) => {}
                None => mismatch.missing.push(name.to_owned()),
                Some(tensor) if tensor.shape() != shape => {
                    let found = tensor.shape().to_vec();
                    mismatch.mis_shaped.push((name.to_owned(), shape.to_vec(), found));
                }
                Some(StateTensor::Int(..)) => mismatch.integers.push(name.to_owned()),
                Some(StateTensor::Float(_)) => {}
            }
        }
        mismatch.unexpected = found
            .iter()
            .map(|(name, _)| name)
            .filter(|name| !known.contains(name) && !is_counter(name))
            .map(str::to_owned)
            .collect();
        mismatch
    }

    /// Whether there is no difference.
    pub fn is_empty(&self) -> bool {
        self.missing.is_empty()
            && self.unexpected.is_empty()
            && self.mis_shaped.is_empty()
            && self.integers.is_empty()
    }

    /// What the differences look like, if they look like something.
    fn hint(&self) -> Option<&'static str> {
        let same_names = self.missing.is_empty() && self.unexpected.is_empty();
        match self.mis_shaped.as_slice() {
            [] if !self.missing.is_empty() && !self.unexpected.is_empty() => {
                Some("Is it the checkpoint of another architecture?")
            }
            [] => None,
            [..] if !same_names => Some("Is it the checkpoint of another architecture or version?"),
            // A classifier's weight and bias.
            [_] | [_, _] => Some("Is it a checkpoint for another number of classes?"),
            _ => Some("Is it a checkpoint of another width?"),
        }
    }
}

/// Batch norm's count of training steps.
fn is_counter(name: &str) -> bool {
    name == "num_batches_tracked" || name.ends_with(".num_batches_tracked")
}

/// Names of one module on one line: `features.0.1.weight, .bias, .running_mean`.
fn by_module<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut lines: Vec<(&str, String)> = Vec::new();
    for name in names {
        let (module, leaf) = name.rsplit_once('.').unwrap_or(("", name));
        match lines.last_mut() {
            Some((last, line)) if *last == module && !module.is_empty() => {
                *line += ", .";
                *line += leaf;
            }
            _ => lines.push((module, name.to_owned())),
        }
    }
    lines.into_iter().map(|(_, line)| line).collect()
}

impl fmt::Display for StateDictMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the weights do not fit {}:", self.model)?;
        for (names, what) in [
            (&self.missing, "missing"),
            (&self.unexpected, "unexpected"),
            (&self.integers, "with integers instead of floating-point values"),
        ] {
            if !names.is_empty() {
                write!(f, "\n  {} {what}:", names.len())?;
                for line in by_module(names.iter().map(String::as_str)) {
                    write!(f, "\n    {line}")?;
                }
            }
        }
        if !self.mis_shaped.is_empty() {
            write!(f, "\n  {} of another shape:", self.mis_shaped.len())?;
            let same_shapes = |a: &(String, Vec<usize>, Vec<usize>), b: &(String, _, _)| {
                (&a.1, &a.2) == (&b.1, &b.2)
            };
            for group in self.mis_shaped.chunk_by(same_shapes) {
                let (_, expected, found) = &group[0];
                for line in by_module(group.iter().map(|(name, _, _)| name.as_str())) {
                    write!(
                        f,
                        "\n    {line}: the model needs {expected:?}, the file has {found:?}"
                    )?;
                }
            }
        }
        match self.hint() {
            Some(hint) => write!(f, "\n  {hint}"),
            None => Ok(()),
        }
    }
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
    fn what_fits_fits_with_and_without_batch_counters() {
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
            "the weights do not fit Net:
  1 missing:
    features.0.1.weight
  2 unexpected:
    classifier.1.bias
    extra
  1 with integers instead of floating-point values:
    features.0.1.bias
  1 of another shape:
    features.0.0.weight: the model needs [16, 3, 3, 3], the file has [8, 3, 3, 3]
  Is it the checkpoint of another architecture or version?"
        );
    }

    #[test]
    fn a_long_list_has_a_line_for_each_module() {
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
        assert!(error.ends_with("another width?"), "{error}");
        let error = StateDict::new().check("Net", EXPECTED).unwrap_err().to_string();
        assert!(error.contains("4 missing:\n    features.0.0.weight\n"), "{error}");
    }
}
