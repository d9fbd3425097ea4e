//! A sequence of modules.

use super::tracer::{Module, Tracer, Value};

/// A sequence of modules with the names `0`, `1`, …, each called with the output of the one before;
/// `torch.nn.Sequential`.
///
/// ```
/// use posterize::Architecture;
/// use posterize::nn::Sequential;
/// use posterize::ops::{Activation, Linear};
///
/// let net = Sequential::new()
///     .then(Linear::new(16, 32))
///     .then(Activation::ReLU)
///     .then(Linear::new(32, 10));
/// assert_eq!(net.len(), 3);
/// let net = Architecture::trace(&net)?;
/// assert_eq!(net.module("1")?.to_string(), "ReLU(inplace=True)");
/// assert_eq!(net.graph().infer(&[1, 16])?.last().unwrap().shape, [1, 10]);
/// # Ok::<(), posterize::Error>(())
/// ```
pub struct Sequential {
    kind: String,
    parts: Vec<Box<dyn Module>>,
}

impl Sequential {
    /// Creates an empty sequence.
    pub fn new() -> Self {
        Self::of_kind("Sequential")
    }

    /// Creates an empty sequence that prints as the class `kind`, like a subclass in PyTorch:
    /// `class ConvBNReLU(nn.Sequential)`.
    pub fn of_kind(kind: impl Into<String>) -> Self {
        Self { kind: kind.into(), parts: Vec::new() }
    }

    /// Returns the sequence with one more module at its end.
    #[must_use]
    pub fn then(mut self, part: impl Module + 'static) -> Self {
        self.push(part);
        self
    }

    /// Adds a module at the end.
    pub fn push(&mut self, part: impl Module + 'static) {
        self.parts.push(Box::new(part));
    }

    /// Returns the number of modules.
    pub fn len(&self) -> usize {
        self.parts.len()
    }

    /// Returns whether there are no modules.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }
}

impl Default for Sequential {
    fn default() -> Self {
        Self::new()
    }
}

impl Module for Sequential {
    fn kind(&self) -> &str {
        &self.kind
    }

    fn forward(&self, cx: &mut Tracer, x: Value) -> Value {
        self.parts
            .iter()
            .enumerate()
            .fold(x, |x, (index, part)| cx.call(&index.to_string(), part.as_ref(), x))
    }
}

impl std::fmt::Debug for Sequential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}({} parts)", self.kind, self.parts.len())
    }
}
