//! Layers, and the tracing that turns a struct with a `forward` into a graph.
//!
//! An architecture is written as PyTorch writes a module: a struct of layers and a `forward` that
//! calls them by name. [`trace`] runs `forward` once over symbolic values and records the
//! [`Graph`].
//!
//! ```
//! use posterize::graph::{Activation, Conv2d, Padding};
//! use posterize::nn::{Module, Tracer, Value, trace};
//!
//! struct Block {
//!     conv: Conv2d,
//! }
//!
//! impl Module for Block {
//!     fn kind(&self) -> &str {
//!         "Block"
//!     }
//!     fn forward(&self, cx: &mut Tracer, x: Value) -> Value {
//!         let y = cx.call("conv", &self.conv, x);
//!         let y = cx.call("relu", &Activation::ReLU, y);
//!         cx.add(x, y)
//!     }
//! }
//!
//! let block = Block { conv: Conv2d::new(8, 8, 3).padding(Padding::all(1)) };
//! let graph = trace(&block)?;
//! assert_eq!(graph.nodes()[1].name, "conv");
//! assert_eq!(graph.nodes()[3].name, "add");
//! # Ok::<(), posterize::Error>(())
//! ```

use crate::error::Result;
use crate::graph::{
    Activation, AdaptiveAvgPool2d, BatchNorm, Conv2d, Dropout, Graph, Linear, MaxPool2d,
    ModuleEntry, Node, NodeId, Op, ZeroPad2d,
};

/// A layer, or a struct of layers.
pub trait Module {
    /// The class name that the module tree shows.
    fn kind(&self) -> &str;

    /// What the module computes from `x`. Runs once, over symbolic values.
    fn forward(&self, cx: &mut Tracer, x: Value) -> Value;
}

/// The output of a call while a graph is being recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Value(NodeId);

/// Records a graph.
#[derive(Debug)]
pub struct Tracer {
    nodes: Vec<Node>,
    modules: Vec<ModuleEntry>,
    path: String,
}

/// Runs `module`'s `forward` once over a symbolic input and returns what it recorded.
///
/// # Errors
/// A layer with hyper-parameters that it cannot have, by its name.
pub fn trace(module: &dyn Module) -> Result<Graph> {
    let input = Node { name: "input".into(), op: Op::Input, inputs: Vec::new(), is_module: false };
    let root = ModuleEntry { path: String::new(), kind: module.kind().to_owned() };
    let mut cx = Tracer { nodes: vec![input], modules: vec![root], path: String::new() };
    let output = module.forward(&mut cx, Value(NodeId(0)));
    Graph::new(cx.nodes, output.0, cx.modules)
}

impl Tracer {
    /// Calls a part of the current module under its attribute name, as `self.name(x)`.
    pub fn call(&mut self, name: &str, module: &dyn Module, x: Value) -> Value {
        self.declare(name, module);
        let path = self.join(name);
        let outer = std::mem::replace(&mut self.path, path);
        let y = module.forward(self, x);
        self.path = outer;
        y
    }

    /// Gives a part of the current module its place in the printed tree and in the state dict before
    /// it is called. Parts come in the order of their first call otherwise; PyTorch has them in the
    /// order in which the constructor makes them.
    pub fn declare(&mut self, name: &str, module: &dyn Module) {
        let path = self.join(name);
        if !self.modules.iter().any(|known| known.path == path) {
            self.modules.push(ModuleEntry { path, kind: module.kind().into() });
        }
    }

    /// Calls a [`FloatFunctional`] under its attribute name, as `self.name.add(x, y)`.
    pub fn functional(&mut self, name: &str, function: FloatFunctional, inputs: &[Value]) -> Value {
        let outer = self.path.clone();
        self.path = self.join(name);
        self.modules.push(ModuleEntry { path: self.path.clone(), kind: "FloatFunctional".into() });
        let y = self.layer(function.op(), inputs);
        self.path = outer;
        y
    }

    /// `x + y`.
    pub fn add(&mut self, x: Value, y: Value) -> Value {
        self.function("add", Op::Add(None), &[x, y])
    }

    /// `x * y`.
    pub fn mul(&mut self, x: Value, y: Value) -> Value {
        self.function("mul", Op::Mul, &[x, y])
    }

    /// `torch.cat(values, 1)`.
    pub fn cat(&mut self, values: &[Value]) -> Value {
        self.function("cat", Op::Cat, values)
    }

    /// `x.mean([2, 3])`.
    pub fn mean(&mut self, x: Value) -> Value {
        self.function("mean", Op::Mean, &[x])
    }

    /// `torch.flatten(x, 1)`.
    pub fn flatten(&mut self, x: Value) -> Value {
        self.function("flatten", Op::Flatten, &[x])
    }

    /// An activation called as a function: `F.relu(x)`.
    pub fn activation(&mut self, activation: Activation, x: Value) -> Value {
        let name = match activation {
            Activation::ReLU => "relu",
            Activation::ReLU6 => "relu6",
        };
        self.function(name, Op::Activation(activation), &[x])
    }

    /// A function of `torch.nn.functional` inside a module's `forward`.
    fn function(&mut self, name: &str, op: Op, inputs: &[Value]) -> Value {
        self.record(&self.join(name), op, inputs, false)
    }

    /// Records the operator of a layer under the layer's own path.
    fn layer(&mut self, op: Op, inputs: &[Value]) -> Value {
        self.record(&self.path.clone(), op, inputs, true)
    }

    /// A module may be called more than once (`self.relu`): later calls get a number.
    fn record(&mut self, name: &str, op: Op, inputs: &[Value], is_module: bool) -> Value {
        let taken = |name: &str| self.nodes.iter().any(|node| node.name == name);
        let repeated = taken(name);
        let mut unique = name.to_owned();
        let mut call = 0;
        while taken(&unique) {
            call += 1;
            unique = format!("{name}_{call}");
        }
        let inputs = inputs.iter().map(|value| value.0).collect();
        self.nodes.push(Node { name: unique, op, inputs, is_module: is_module && !repeated });
        Value(NodeId(self.nodes.len() - 1))
    }

    fn join(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }
}

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
        self.parts.push(Box::new(part));
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

/// A name for an addition, product or concatenation, as eager quantization needs it in PyTorch
/// (`torch.ao.nn.quantized.FloatFunctional`). Here every function call has an observer of its own
/// already; use it where the printed tree should show the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FloatFunctional {
    /// `add(x, y)`.
    Add,
    /// `add_relu(x, y)`.
    AddReLU,
    /// `mul(x, y)`.
    Mul,
    /// `cat([x, y, …], 1)`.
    Cat,
}

impl FloatFunctional {
    fn op(self) -> Op {
        match self {
            Self::Add => Op::Add(None),
            Self::AddReLU => Op::Add(Some(Activation::ReLU)),
            Self::Mul => Op::Mul,
            Self::Cat => Op::Cat,
        }
    }
}

/// `torch.ao.quantization.QuantStub`: where quantized computation begins, placed by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuantStub;

/// `torch.ao.quantization.DeQuantStub`: where quantized computation ends, placed by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeQuantStub;

/// `torch.nn.Flatten`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flatten;

macro_rules! layers {
    ($($layer:ty, $kind:expr, $op:expr;)+) => {$(
        impl Module for $layer {
            fn kind(&self) -> &str {
                let kind: fn(&$layer) -> &'static str = $kind;
                kind(self)
            }

            fn forward(&self, cx: &mut Tracer, x: Value) -> Value {
                let op: fn(&$layer) -> Op = $op;
                cx.layer(op(self), &[x])
            }
        }
    )+};
}

layers! {
    Conv2d, |_| "Conv2d", |layer| Op::Conv2d(layer.clone(), None);
    BatchNorm, |layer| if layer.dimensions == 2 { "BatchNorm2d" } else { "BatchNorm1d" },
        |layer| Op::BatchNorm(layer.clone());
    Activation, |layer| Activation::kind(*layer), |layer| Op::Activation(*layer);
    Linear, |_| "Linear", |layer| Op::Linear(layer.clone(), None);
    MaxPool2d, |_| "MaxPool2d", |layer| Op::MaxPool2d(*layer);
    AdaptiveAvgPool2d, |_| "AdaptiveAvgPool2d", |layer| Op::AdaptiveAvgPool2d(*layer);
    Dropout, |_| "Dropout", |layer| Op::Dropout(*layer);
    ZeroPad2d, |_| "ZeroPad2d", |layer| Op::ZeroPad2d(*layer);
    Flatten, |_| "Flatten", |_| Op::Flatten;
    QuantStub, |_| "QuantStub", |_| Op::QuantStub;
    DeQuantStub, |_| "DeQuantStub", |_| Op::DeQuantStub;
}

impl std::fmt::Debug for Sequential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}({} parts)", self.kind, self.parts.len())
    }
}
