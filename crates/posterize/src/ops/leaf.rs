//! How a layer prints in the module tree.

use std::fmt;

/// How a layer prints: `kind(detail)`, or with children below it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leaf {
    /// The class name: `ConvReLU2d`.
    pub kind: String,
    /// What stands between the brackets.
    pub detail: String,
    /// Parts that print on lines of their own, by name: the members of a fused layer, an observer.
    pub children: Vec<(String, Leaf)>,
}

/// The scale of a layer's output, for printing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct QuantizedOutput {
    /// The scale.
    pub scale: f32,
    /// The zero point.
    pub zero_point: i32,
    /// Whether its weight has a scale for each output channel.
    pub per_channel: bool,
    /// Whether a module makes the call, not a function inside a `forward`.
    pub is_module: bool,
}

impl QuantizedOutput {
    /// `scale=…, zero_point=…`; PyTorch keeps scales as doubles and prints them so.
    pub(super) fn python(&self) -> String {
        format!("scale={}, zero_point={}", f64::from(self.scale), self.zero_point)
    }
}

impl Leaf {
    /// A layer without parts.
    pub fn new(kind: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { kind: kind.into(), detail: detail.into(), children: Vec::new() }
    }

    /// A layer with an activation fused into it, each on a line of its own.
    pub(super) fn fused(kind: String, first: Self, second: &str) -> Self {
        let second = Self::new(second, "");
        Self {
            kind,
            detail: String::new(),
            children: vec![("0".into(), first), ("1".into(), second)],
        }
    }

    /// A function of two tensors that was called through a `FloatFunctional`.
    pub(super) fn functional() -> Self {
        Self {
            kind: "FloatFunctional".into(),
            detail: String::new(),
            children: vec![("activation_post_process".into(), Self::new("Identity", ""))],
        }
    }

    /// The same function in int8.
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
