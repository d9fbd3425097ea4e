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
    /// The first convolution has another number of input channels, as for grey-scale pictures.
    InputChannels {
        /// The number of input channels of the model.
        model: usize,
        /// The number of input channels of the state dict.
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
            Self::InputChannels { model, file } => {
                let use_of =
                    if *file == 1 { "for grey-scale pictures" } else { "for other inputs" };
                write!(
                    f,
                    "The first convolution has {model} input channels in the model and {file} in the \
                     file, which is {use_of}."
                )
            }
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

/// Joins the names of each module to one line: `features.0.1.weight, .bias, .running_mean`. Returns the
/// number of names with each line.
fn by_module<'a>(names: impl Iterator<Item = &'a str>) -> Vec<(String, usize)> {
    let mut lines: Vec<(&str, String, usize)> = Vec::new();
    for name in names {
        let (module, leaf) = name.rsplit_once('.').unwrap_or(("", name));
        match lines.last_mut() {
            Some((last, line, names)) if *last == module && !module.is_empty() => {
                *line += ", .";
                *line += &printable(leaf.as_bytes());
                *names += 1;
            }
            _ => lines.push((module, printable(name.as_bytes()), 1)),
        }
    }
    lines.into_iter().map(|(_, line, names)| (line, names)).collect()
}

impl StateDictMismatch {
    /// Returns a sentence that says which model it is, and the probable cause.
    pub fn summary(&self) -> String {
        match &self.cause {
            Some(cause) => format!("the weights do not fit {}. {cause}", self.model),
            None => format!("the weights do not fit {}", self.model),
        }
    }

    /// Returns the differences in at most `max_lines` lines and some headings. `all` says how to see
    /// the others.
    ///
    /// ```
    /// use posterize::models::{Config, resnet18};
    /// use posterize::{Error, StateDict};
    ///
    /// let model = resnet18(&Config::default())?;
    /// let Err(Error::StateDict(mismatch)) = model.load(&StateDict::new()) else { panic!() };
    /// let text = mismatch.differences(2, "-v for all");
    /// assert_eq!(
    ///     text,
    ///     "  102 missing:
    ///     conv1.weight
    ///     bn1.weight, .bias, .running_mean, .running_var
    ///     ... and 97 more (-v for all)"
    /// );
    /// # Ok::<(), posterize::Error>(())
    /// ```
    pub fn differences(&self, max_lines: usize, all: &str) -> String {
        let lists = [
            listed("missing", &self.missing),
            listed("unexpected", &self.unexpected),
            listed("with integers instead of floating-point values", &self.integers),
            self.listed_shapes(),
        ];
        let lists: Vec<List> = lists.into_iter().filter(|list| list.count > 0).collect();
        let mut left = max_lines;
        let mut text = Vec::new();
        for (index, List { what, count, lines }) in lists.iter().enumerate() {
            // Each list may have its part of what those before it left over.
            let shown = (left / (lists.len() - index)).min(lines.len());
            left -= shown;
            text.push(format!("  {count} {what}:"));
            text.extend(lines[..shown].iter().map(|(line, _)| format!("    {line}")));
            let names: usize = lines[..shown].iter().map(|(_, names)| names).sum();
            if names < *count {
                text.push(format!("    ... and {} more ({all})", count - names));
            }
        }
        text.join("\n")
    }

    fn listed_shapes(&self) -> List {
        let mut lines = Vec::new();
        let listed = &self.mis_shaped[..self.mis_shaped.len().min(MAX_NAMES)];
        for group in listed.chunk_by(|a, b| (&a.1, &a.2) == (&b.1, &b.2)) {
            let (_, expected, found) = &group[0];
            for (line, names) in by_module(group.iter().map(|(name, ..)| name.as_str())) {
                let line = format!("{line}: the model needs {expected:?}, the file has {found:?}");
                lines.push((line, names));
            }
        }
        List { what: "of another shape", count: self.mis_shaped.len(), lines }
    }
}

/// Lists names.
fn listed(what: &'static str, names: &[String]) -> List {
    let lines = by_module(names.iter().take(MAX_NAMES).map(String::as_str));
    List { what, count: names.len(), lines }
}

/// Differences of one kind: lines, each with the number of names in it.
struct List {
    what: &'static str,
    /// The number of all names.
    count: usize,
    lines: Vec<(String, usize)>,
}

impl fmt::Display for StateDictMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = format!("only {MAX_NAMES} of each kind are listed");
        write!(f, "{}\n{}", self.summary(), self.differences(4 * MAX_NAMES, &all))
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
        assert!(message.contains(", .999\n    ... and 2 more (only 1000 of each"), "{message}");
    }
    #[test]
    fn kinds_share_the_lines() {
        let names = |letter: char, count: usize| -> Vec<String> {
            (0..count).map(|index| format!("{letter}{index}.weight")).collect()
        };
        let mis_shaped = vec![("z.weight".to_owned(), vec![1], vec![2])];
        let mismatch = StateDictMismatch {
            missing: names('m', 30),
            unexpected: names('u', 2),
            mis_shaped,
            ..Default::default()
        };
        let text = mismatch.differences(6, "-v for all");
        assert_eq!(
            text,
            "  30 missing:
    m0.weight
    m1.weight
    ... and 28 more (-v for all)
  2 unexpected:
    u0.weight
    u1.weight
  1 of another shape:
    z.weight: the model needs [1], the file has [2]"
        );
        assert_eq!(mismatch.differences(100, "").lines().count(), 36);
        assert_eq!(mismatch.differences(0, "x").matches("... and").count(), 3);
    }
}
