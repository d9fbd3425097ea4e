//! Tracing: a `forward` that runs once over symbolic values records a graph.

use crate::error::{Error, Result};
use crate::graph::{Graph, ModuleEntry, Node, NodeId, Output};
use crate::ops::{Activation, Add, Cat, Flatten, Input, Layer, Mean, Mul, Op};

/// A layer, or a struct of layers: `torch.nn.Module`.
///
/// `I` is what its `forward` takes and `O` what it gives: one [`Value`] unless said otherwise,
/// `[Value; 2]`, a tuple, a struct of values.
pub trait Module<I = Value, O = Value> {
    /// The class name that the module tree shows.
    fn kind(&self) -> &str;

    /// What the module computes from `x`. Runs once, over symbolic values.
    fn forward(&self, cx: &mut Tracer, x: I) -> O;
}

impl<L: Layer + Clone> Module for L
where
    Op: From<L>,
{
    fn kind(&self) -> &str {
        self.class()
    }

    fn forward(&self, cx: &mut Tracer, x: Value) -> Value {
        cx.layer(self.clone().into(), &[x])
    }
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
    /// The first module with parameters that was called twice.
    repeated: Option<String>,
}

/// Runs `module`'s `forward` once over a symbolic input and returns what it recorded: a graph with
/// the input `input` and the output `output`.
///
/// # Errors
/// A layer with hyper-parameters that it cannot have, by its name; a layer with weights that is
/// called more than once.
pub fn trace(module: &dyn Module) -> Result<Graph> {
    trace_with(module.kind(), &["input"], |cx, inputs| {
        vec![("output", module.forward(cx, inputs[0]))]
    })
}

/// Runs `forward` once over a symbolic value for each of the `inputs` and returns what it recorded:
/// the graph of a network of class `kind`, whose outputs are the values that `forward` returns under
/// their names.
///
/// # Errors
/// As [`trace`].
pub fn trace_with<'a>(
    kind: &str,
    inputs: &[&str],
    forward: impl FnOnce(&mut Tracer, &[Value]) -> Vec<(&'a str, Value)>,
) -> Result<Graph> {
    let root = ModuleEntry { path: String::new(), kind: kind.to_owned() };
    let nodes = inputs.iter().map(|&name| Node {
        name: name.to_owned(),
        op: Input.into(),
        inputs: Vec::new(),
        is_module: false,
    });
    let nodes: Vec<Node> = nodes.collect();
    let values: Vec<Value> = (0..nodes.len()).map(|index| Value(NodeId(index))).collect();
    let mut cx = Tracer { nodes, modules: vec![root], path: String::new(), repeated: None };
    let outputs = forward(&mut cx, &values);
    if let Some(layer) = cx.repeated {
        return Err(Error::layer(layer, "a layer with weights may be called only once"));
    }
    let outputs = outputs.into_iter().map(|(name, value)| Output::new(name, value.0)).collect();
    Graph::new(cx.nodes, outputs, cx.modules)
}

impl Tracer {
    /// Calls a part of the current module under its attribute name, as `self.name(x)`.
    pub fn call<I, O>(&mut self, name: &str, module: &(impl Module<I, O> + ?Sized), x: I) -> O {
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
    pub fn declare<I, O>(&mut self, name: &str, module: &(impl Module<I, O> + ?Sized)) {
        self.declare_kind(name, module.kind());
    }

    fn declare_kind(&mut self, name: &str, kind: &str) {
        let path = self.join(name);
        if !self.modules.iter().any(|known| known.path == path) {
            self.modules.push(ModuleEntry { path, kind: kind.into() });
        }
    }

    /// Calls an operator through a `torch.ao.nn.quantized.FloatFunctional` under its attribute name,
    /// as `self.name.add(x, y)`. Here every function call has an observer of its own already; use it
    /// where the printed tree should show the name.
    pub fn functional(&mut self, name: &str, op: impl Into<Op>, inputs: &[Value]) -> Value {
        self.declare_kind(name, "FloatFunctional");
        let outer = self.path.clone();
        self.path = self.join(name);
        let y = self.layer(op.into(), inputs);
        self.path = outer;
        y
    }

    /// `x + y`, broadcast.
    pub fn add(&mut self, x: Value, y: Value) -> Value {
        self.function("add", Add::new(), &[x, y])
    }

    /// `x * y`, broadcast.
    pub fn mul(&mut self, x: Value, y: Value) -> Value {
        self.function("mul", Mul, &[x, y])
    }

    /// `torch.cat(values, 1)`.
    pub fn cat(&mut self, values: &[Value]) -> Value {
        self.function("cat", Cat::new(1), values)
    }

    /// `x.mean([2, 3])`.
    pub fn mean(&mut self, x: Value) -> Value {
        self.function("mean", Mean, &[x])
    }

    /// `torch.flatten(x, 1)`.
    pub fn flatten(&mut self, x: Value) -> Value {
        self.function("flatten", Flatten, &[x])
    }

    /// An activation called as a function: `F.relu(x)`.
    pub fn activation(&mut self, activation: Activation, x: Value) -> Value {
        let name = match activation {
            Activation::ReLU => "relu",
            Activation::ReLU6 => "relu6",
        };
        self.function(name, activation, &[x])
    }

    /// Calls any operator as a function inside a module's `forward`: `torch.nn.functional`.
    pub fn function(&mut self, name: &str, op: impl Into<Op>, inputs: &[Value]) -> Value {
        self.record(&self.join(name), op.into(), inputs, false)
    }

    /// Records the operator of a layer under the layer's own path.
    pub(super) fn layer(&mut self, op: Op, inputs: &[Value]) -> Value {
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
        if repeated && !op.parameters().is_empty() {
            self.repeated.get_or_insert_with(|| unique.clone());
        }
        let inputs = inputs.iter().map(|value| value.0).collect();
        self.nodes.push(Node { name: unique, op, inputs, is_module: is_module && !repeated });
        Value(NodeId(self.nodes.len() - 1))
    }

    fn join(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }
}
