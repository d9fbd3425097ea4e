//! Clamping to constant bounds.

use posterize_kernels::f32::Unary;
use serde::{Deserialize, Serialize};

use super::unary::{HyperParameters, UnaryFunction, check_finite, unary_operator};
use super::{Int8Rule, python};

/// `torch.nn.Hardtanh`, `torch.clamp`, ONNX's `Clip`: `min(max(x, min_val), max_val)` of each element.
///
/// In int8 its output has a scale of its own, which the bounds make finer than that of its input.
///
/// ```
/// use posterize::ops::Hardtanh;
/// use posterize::{Architecture, Tensor};
///
/// let model = Architecture::trace(&Hardtanh::new(-1.0, f32::INFINITY))?.init(0);
/// let y = model.forward(&Tensor::new([1, 3], vec![-4.0, 0.5, 9.0])?)?;
/// assert_eq!(y.data(), [-1.0, 0.5, 9.0]);
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Hardtanh {
    /// The lower bound; `None` for none.
    pub min_val: Option<f32>,
    /// The upper bound; `None` for none.
    pub max_val: Option<f32>,
}

impl Hardtanh {
    /// Creates a clamp to the range from `min_val` to `max_val`, which may be infinite; PyTorch's
    /// defaults are −1 and 1.
    pub fn new(min_val: f32, max_val: f32) -> Self {
        let bound = |value: f32, none: f32| (value != none).then_some(value);
        Self { min_val: bound(min_val, f32::NEG_INFINITY), max_val: bound(max_val, f32::INFINITY) }
    }

    /// Returns the bounds; an infinite one for none.
    fn bounds(self) -> [f32; 2] {
        [self.min_val.unwrap_or(f32::NEG_INFINITY), self.max_val.unwrap_or(f32::INFINITY)]
    }
}

impl UnaryFunction for Hardtanh {
    const NAME: &str = "clamp";

    fn kernel(self) -> Unary {
        let [min, max] = self.bounds();
        Unary::Clamp { min, max }
    }

    /// 1 between the bounds, 0 elsewhere.
    fn derivative(self, x: f32) -> f32 {
        let [min, max] = self.bounds();
        if x > min && x < max { 1.0 } else { 0.0 }
    }

    fn int8_rule(self) -> Int8Rule {
        Int8Rule::OwnScale
    }
}

impl HyperParameters for Hardtanh {
    fn arguments(&self) -> String {
        let text = |bound: Option<f32>| bound.map_or("None".into(), python::float);
        format!("min_val={}, max_val={}", text(self.min_val), text(self.max_val))
    }

    fn check(&self) -> Result<(), String> {
        for bound in [self.min_val, self.max_val].into_iter().flatten() {
            check_finite("a bound", bound)?;
        }
        let [min, max] = self.bounds();
        if min > max {
            return Err(format!("min_val must be at most max_val, found {min} and {max}"));
        }
        Ok(())
    }
}

unary_operator!(Hardtanh, version 1, of [Hardtanh::new(-1.0, 1.0), Hardtanh::new(f32::NEG_INFINITY, 2.5)]);
