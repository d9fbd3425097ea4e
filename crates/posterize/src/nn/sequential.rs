//! Modules called one after the other.

use super::tracer::{Module, Tracer, Value};

/// Modules called one after the other under the names `0`, `1`, …; `torch.nn.Sequential`.
pub struct Sequential {
    kind: String,
    parts: Vec<Box<dyn Module>>,
}

impl Sequential {
    /// An empty one.
    pub fn new() -> Self {
        Self::of_kind("Sequential")
    }

    /// An empty one of a subclass: `class ConvBNReLU(nn.Sequential)`.
    pub fn of_kind(kind: impl Into<String>) -> Self {
        Self { kind: kind.into(), parts: Vec::new() }
    }

    /// The same with one more part at its end.
    #[must_use]
    pub fn then(mut self, part: impl Module + 'static) -> Self {
        self.push(part);
        self
    }

    /// Adds a part at its end.
    pub fn push(&mut self, part: impl Module + 'static) {
        self.parts.push(Box::new(part));
    }

    /// How many parts it has.
    pub fn len(&self) -> usize {
        self.parts.len()
    }

    /// Whether it has none.
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
