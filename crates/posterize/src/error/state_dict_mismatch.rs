//! What differs between a state dict and the model it should fill.

use std::fmt;

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
