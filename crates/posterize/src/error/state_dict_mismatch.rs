//! The differences between a state dict and a model.

use std::fmt;

use super::printable::printable;

/// The largest number of names of each kind in a message. A file may have any number, of any length.
const MAX_NAMES: usize = 1000;

/// All differences between a state dict and the model that it is loaded into, as in PyTorch's
/// `load_state_dict(strict=True)`.
///
/// ```
/// use posterize::nn::Sequential;
/// use posterize::ops::Linear;
/// use posterize::{Architecture, Error, StateDict};
///
/// let model = Architecture::trace(&Sequential::new().then(Linear::new(4, 2)))?;
/// let Err(Error::StateDict(mismatch)) = model.load(&StateDict::new()) else { panic!() };
/// assert_eq!(mismatch.missing, ["0.weight", "0.bias"]);
/// assert!(mismatch.unexpected.is_empty());
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StateDictMismatch {
    /// The model's name: `MobileNetV2`.
    pub model: String,
    /// Keys of the model that are not in the state dict.
    pub missing: Vec<String>,
    /// Keys of the state dict that are not in the model.
    pub unexpected: Vec<String>,
    /// Keys with different shapes: the key, the model's shape, the state dict's shape.
    pub mis_shaped: Vec<(String, Vec<usize>, Vec<usize>)>,
    /// Keys with integers in the state dict where the model has floating-point values.
    pub integers: Vec<String>,
    /// The probable cause, if there is one.
    pub cause: Option<MismatchCause>,
}

/// The probable cause of the differences between a state dict and a model. Its text is a sentence for
/// people.
///
/// ```
/// use posterize::models::{Config, resnet18};
/// use posterize::checkpoint::MismatchCause;
/// use posterize::Error;
///
/// let imagenet = resnet18(&Config::default())?.init(0).state_dict();
/// let flowers = resnet18(&Config { num_classes: 5, ..Config::default() })?;
/// let Err(Error::StateDict(mismatch)) = flowers.load(&imagenet) else { panic!() };
/// assert_eq!(mismatch.cause, Some(MismatchCause::NumClasses { model: 5, file: 1000 }));
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MismatchCause {
    /// Only the classifier differs, in the number of its outputs.
    NumClasses {
        /// The number of classes of the model.
        model: usize,
        /// The number of classes of the state dict.
        file: usize,
    },
    /// Of the model's layers only the classifier is missing.
    NoClassifier,
    /// The state dict has all that the model needs, and other keys.
    ExtraKeys,
    /// Only shapes differ, in more layers than the classifier.
    Width,
    /// Names and shapes differ.
    Version,
    /// Names differ.
    Architecture,
}

impl MismatchCause {
    /// Returns the probable cause as far as it is known without the model's graph.
    pub(crate) fn of_names_and_shapes(mismatch: &StateDictMismatch) -> Option<Self> {
        let StateDictMismatch { missing, unexpected, mis_shaped, integers, .. } = mismatch;
        if mis_shaped.is_empty() {
            match (missing.is_empty(), unexpected.is_empty()) {
                (false, false) => Some(Self::Architecture),
                (true, false) if integers.is_empty() => Some(Self::ExtraKeys),
                _ => None,
            }
        } else if missing.is_empty() && unexpected.is_empty() {
            Some(Self::Width)
        } else {
            Some(Self::Version)
        }
    }
}

impl fmt::Display for MismatchCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NumClasses { model, file } => write!(
                f,
                "The model has {model} classes, the file {file}. Is it a checkpoint for another \
                 number of classes?"
            ),
            Self::NoClassifier => {
                f.write_str("The classifier is missing, the other layers are not.")
            }
            Self::ExtraKeys => f.write_str(
                "All that the model needs is there. Are the other keys those of a profiler, of \
                 another part of the model, or of a deeper one?",
            ),
            Self::Width => f.write_str("Is it a checkpoint of another width?"),
            Self::Version => {
                f.write_str("Is it the checkpoint of another architecture or version?")
            }
            Self::Architecture => f.write_str("Is it the checkpoint of another architecture?"),
        }
    }
}

impl StateDictMismatch {
    /// Returns whether there is no difference.
    pub fn is_empty(&self) -> bool {
        self.missing.is_empty()
            && self.unexpected.is_empty()
            && self.mis_shaped.is_empty()
            && self.integers.is_empty()
    }
}

/// Joins the names of each module to one line: `features.0.1.weight, .bias, .running_mean`.
fn by_module<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut lines: Vec<(&str, String)> = Vec::new();
    for name in names {
        let (module, leaf) = name.rsplit_once('.').unwrap_or(("", name));
        match lines.last_mut() {
            Some((last, line)) if *last == module && !module.is_empty() => {
                *line += ", .";
                *line += &printable(leaf.as_bytes());
            }
            _ => lines.push((module, printable(name.as_bytes()))),
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
                for line in by_module(names.iter().take(MAX_NAMES).map(String::as_str)) {
                    write!(f, "\n    {line}")?;
                }
                if names.len() > MAX_NAMES {
                    write!(f, "\n    and {} more", names.len() - MAX_NAMES)?;
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
        match &self.cause {
            Some(cause) => write!(f, "\n  {cause}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lists_and_long_names_are_cut() {
        let mut unexpected: Vec<String> = (0..1002).map(|index| format!("a.{index}")).collect();
        unexpected[0] = "b\n".repeat(100_000);
        unexpected[1] = format!("a.{}", "c".repeat(100_000));
        let message = StateDictMismatch { unexpected, ..Default::default() }.to_string();
        assert!(message.len() < 10_000, "{}", message.len());
        assert!(message.contains("1002 unexpected:\n    b\\nb\\n"), "{message}");
        assert!(message.contains("c…, .2, .3,"), "{message}");
        assert!(message.ends_with(", .999\n    and 2 more"), "{message}");
    }
}
