//! Dropout.

use serde::{Deserialize, Serialize};

use super::answers::{fuses_nothing, is_the_identity, keeps_the_shape, no_parameters};
use super::kernel::Compute;
use super::training::{Train, Training};
use super::{Int8Rule, Layer, Leaf, Operator, QuantizedOutput, Saved, python};

/// `torch.nn.Dropout`: sets values to zero at random in training.
///
/// In training, values that are not set to zero are multiplied by `1 / (1 − p)` (Srivastava et al.
/// 2014). In eval mode it returns its input.
///
/// ```
/// use posterize::ops::{Dropout, Op};
///
/// let dropout = Op::from(Dropout::new(0.2));
/// assert_eq!(dropout.leaf().detail, "p=0.2, inplace=False");
/// assert_eq!(dropout.infer(&[&[4, 1280]])?, [4, 1280]);
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Dropout {
    /// The probability that a value is set to zero in training.
    pub p: f32,
}

impl Dropout {
    /// Creates a dropout with probability `p`.
    pub const fn new(p: f32) -> Self {
        Self { p }
    }
}

impl Operator for Dropout {
    fn kind(&self) -> String {
        "Dropout".into()
    }

    fn python(&self) -> String {
        format!("p={}, inplace=False", python::float(self.p))
    }

    fn leaf(&self) -> Leaf {
        Leaf::new(self.kind(), self.python())
    }

    fn quantized_leaf(&self, _: &QuantizedOutput) -> Option<Leaf> {
        Some(Leaf::new("QuantizedDropout", self.python()))
    }

    no_parameters!();

    fn validate(&self) -> Result<(), String> {
        Ok(())
    }

    keeps_the_shape!();

    fuses_nothing!();

    fn int8_rule(&self) -> Int8Rule {
        Int8Rule::InputScale { rounds: false }
    }
}

impl Layer for Dropout {
    fn class(&self) -> &'static str {
        "Dropout"
    }
}

impl Saved for Dropout {
    const VERSION: u32 = 1;
}

impl Compute for Dropout {
    is_the_identity!(Ok(None));
}

impl Train for Dropout {
    fn training(&self) -> Training {
        if self.p == 0.0 { Training::Identity } else { Training::Dropout(self.p) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropout_prints_as_in_pytorch() {
        assert_eq!(Dropout::new(0.2).python(), "p=0.2, inplace=False");
    }
}
