//! Layers as printed in the module tree.

use std::fmt;

/// A layer as printed in the module tree: `kind(detail)`, with its children indented below.
///
/// ```
/// use posterize::ops::{Leaf, Linear, Op};
///
/// let leaf = Op::from(Linear::new(4, 2)).leaf();
/// assert_eq!(leaf, Leaf::new("Linear", "in_features=4, out_features=2, bias=True"));
/// assert!(leaf.children.is_empty());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leaf {
    /// The class name, such as `ConvReLU2d`.
    pub kind: String,
    /// The text between the brackets; `torch.nn.Module.extra_repr`.
    pub detail: String,
    /// The modules printed on lines below it, with their names: the layers of a fused layer, an
    /// observer.
    pub children: Vec<(String, Leaf)>,
}

/// The scale of an int8 layer's output, for printing.
///
/// ```
/// use posterize::ops::{Linear, Op, QuantizedOutput};
///
/// let output =
///     QuantizedOutput { scale: 0.5, zero_point: 64, per_channel: false, is_module: true };
/// let leaf = Op::from(Linear::new(4, 2)).quantized_leaf(&output).unwrap();
/// assert_eq!(leaf.kind, "QuantizedLinear");
/// assert!(leaf.detail.contains("scale=0.5, zero_point=64"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct QuantizedOutput {
    /// The scale.
    pub scale: f32,
    /// The zero point.
    pub zero_point: i32,
    /// Whether the weight has a scale for each output channel.
    pub per_channel: bool,
    /// Whether it is a layer and not a function call in a `forward`.
    pub is_module: bool,
}

impl QuantizedOutput {
    /// Returns `scale=…, zero_point=…`, with the scale as a double, as in PyTorch.
    pub(super) fn python(&self) -> String {
        format!("scale={}, zero_point={}", f64::from(self.scale), self.zero_point)
    }
}

impl Leaf {
    /// Creates a layer without children.
    pub fn new(kind: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { kind: kind.into(), detail: detail.into(), children: Vec::new() }
    }

    /// Creates a layer with an activation fused into it, each printed on its own line.
    pub(super) fn fused(kind: String, first: Self, second: &str) -> Self {
        let second = Self::new(second, "");
        Self {
            kind,
            detail: String::new(),
            children: vec![("0".into(), first), ("1".into(), second)],
        }
    }

    /// Creates the `FloatFunctional` of a function of several tensors.
    pub(super) fn functional() -> Self {
        Self {
            kind: "FloatFunctional".into(),
            detail: String::new(),
            children: vec![("activation_post_process".into(), Self::new("Identity", ""))],
        }
    }

    /// Creates the `QFunctional` of a function of several tensors in int8.
    pub(super) fn quantized_functional(kind: &str, output: &QuantizedOutput) -> Self {
        if output.is_module {
            return Self {
                detail: output.python(),
                kind: "QFunctional".into(),
                ..Self::functional()
            };
        }
        Self::new(format!("Quantized{kind}"), output.python())
    }

    pub(crate) fn write(&self, f: &mut dyn fmt::Write, indent: usize) -> fmt::Result {
        if self.children.is_empty() {
            return write!(f, "{}({})", self.kind, self.detail);
        }
        writeln!(f, "{}(", self.kind)?;
        if !self.detail.is_empty() {
            writeln!(f, "{:1$}{2}", "", indent + 2, self.detail)?;
        }
        for (name, child) in &self.children {
            write!(f, "{:1$}({name}): ", "", indent + 2)?;
            child.write(f, indent + 2)?;
            f.write_char('\n')?;
        }
        write!(f, "{:1$})", "", indent)
    }
}
