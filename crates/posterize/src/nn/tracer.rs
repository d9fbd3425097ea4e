//! Tracing: records a graph by running a module's `forward` once with symbolic values.

use crate::error::{Error, Result};
use crate::graph::{Graph, ModuleEntry, Node, NodeId, Output};
use crate::ops::{Activation, Add, Cat, Div, Flatten, Input, Layer, Mean, Mul, Op, Slice, Sub};

/// A layer or a struct of layers; `torch.nn.Module`.
///
/// `I` is the type of the input of `forward` and `O` that of its output. Both are one [`Value`] by
/// default and may be `[Value; 2]`, a tuple or a struct of values.
///
/// ```
/// use posterize::nn::{Module, Tracer, Value, trace};
/// use posterize::ops::Linear;
///
/// struct Net {
///     fc1: Linear,
///     fc2: Linear,
/// }
///
/// impl Module for Net {
///     fn kind(&self) -> &str {
///         "Net"
///     }
///     fn forward(&self, cx: &mut Tracer, x: Value) -> Value {
///         let x = cx.call("fc1", &self.fc1, x);
///         cx.call("fc2", &self.fc2, x)
///     }
/// }
///
/// let graph = trace(&Net { fc1: Linear::new(16, 8), fc2: Linear::new(8, 4) })?;
/// let names: Vec<&str> = graph.nodes().iter().map(|node| node.name.as_str()).collect();
/// assert_eq!(names, ["input", "fc1", "fc2"]);
/// # Ok::<(), posterize::Error>(())
/// ```
pub trait Module<I = Value, O = Value> {
    /// Returns the class name that the module tree shows.
    fn kind(&self) -> &str;

    /// Calls the module's layers on `x`. Runs once, with symbolic values.
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

/// The symbolic output of a layer or function while a graph is recorded.
///
/// ```
/// use posterize::nn::{Value, trace_with};
///
/// let graph = trace_with("Net", &["x", "y"], |cx, inputs| {
///     let sum: Value = cx.add(inputs[0], inputs[1]);
///     vec![("sum", sum)]
/// })?;
/// assert_eq!(graph.infer_all(&[&[1, 8], &[1, 8]])?.last().unwrap().shape, [1, 8]);
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Value(NodeId);

/// Records the layers and functions that a module's `forward` calls.
///
/// ```
/// use posterize::nn::trace_with;
/// use posterize::ops::{Activation, Conv2d};
///
/// let graph = trace_with("Net", &["input"], |cx, inputs| {
///     let x = cx.call("conv", &Conv2d::new(3, 8, 3), inputs[0]);
///     let x = cx.activation(Activation::ReLU, x);
///     vec![("output", cx.flatten(x))]
/// })?;
/// let names: Vec<&str> = graph.nodes().iter().map(|node| node.name.as_str()).collect();
/// assert_eq!(names, ["input", "conv", "relu", "flatten"]);
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Debug)]
pub struct Tracer {
    nodes: Vec<Node>,
    modules: Vec<ModuleEntry>,
    path: String,
    /// The first module with parameters that was called twice.
    repeated: Option<String>,
}

/// Records the graph of a module with one input and one output.
///
/// The module's `forward` runs once with a symbolic value. The graph's input is called `input` and
/// its output `output`.
///
/// # Errors
/// Returns an error that names the layer if its hyper-parameters are out of range, or if it has
/// weights and is called more than once.
pub fn trace(module: &dyn Module) -> Result<Graph> {
    trace_with(module.kind(), &["input"], |cx, inputs| {
        vec![("output", module.forward(cx, inputs[0]))]
    })
}

/// Records the graph of a network with any number of inputs and outputs.
///
/// `forward` runs once with a symbolic value for each name in `inputs` and returns the network's
/// outputs with their names. `kind` is the class name of the network.
///
/// # Errors
/// Returns the same errors as [`trace`].
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
        return Err(Error::layer(
            layer,
            "the layer has weights and is called again; a layer with weights may be called only \
             once",
        ));
    }
    let outputs = outputs.into_iter().map(|(name, value)| Output::new(name, value.0)).collect();
    Graph::new(cx.nodes, outputs, cx.modules)
}

impl Tracer {
    /// Calls a child module by its attribute name; `self.name(x)` in PyTorch.
    pub fn call<I, O>(&mut self, name: &str, module: &(impl Module<I, O> + ?Sized), x: I) -> O {
        self.declare(name, module);
        let path = self.join(name);
        let outer = std::mem::replace(&mut self.path, path);
        let y = module.forward(self, x);
        self.path = outer;
        y
    }

    /// Adds a child module to the module tree and the state dict before it is called.
    ///
    /// Without it, children are in the order of their first calls. In PyTorch they are in the order
    /// in which the constructor assigns them; use this where the two differ.
    pub fn declare<I, O>(&mut self, name: &str, module: &(impl Module<I, O> + ?Sized)) {
        self.declare_kind(name, module.kind());
    }

    fn declare_kind(&mut self, name: &str, kind: &str) {
        let path = self.join(name);
        if !self.modules.iter().any(|known| known.path == path) {
            self.modules.push(ModuleEntry { path, kind: kind.into() });
        }
    }

    /// Calls an operator as a `torch.ao.nn.quantized.FloatFunctional` with an attribute name;
    /// `self.name.add(x, y)` in PyTorch.
    ///
    /// Unlike in PyTorch, quantization does not need it, because every function call is observed.
    /// Use it if the module tree should show the name.
    pub fn functional(&mut self, name: &str, op: impl Into<Op>, inputs: &[Value]) -> Value {
        self.declare_kind(name, "FloatFunctional");
        let outer = self.path.clone();
        self.path = self.join(name);
        let y = self.layer(op.into(), inputs);
        self.path = outer;
        y
    }

    /// Computes `x + y` with broadcasting.
    pub fn add(&mut self, x: Value, y: Value) -> Value {
        self.function("add", Add::new(), &[x, y])
    }

    /// Computes `x - y` with broadcasting.
    pub fn sub(&mut self, x: Value, y: Value) -> Value {
        self.function("sub", Sub, &[x, y])
    }

    /// Computes `x / y` with broadcasting.
    pub fn div(&mut self, x: Value, y: Value) -> Value {
        self.function("div", Div, &[x, y])
    }

    /// Computes `x * y` with broadcasting.
    pub fn mul(&mut self, x: Value, y: Value) -> Value {
        self.function("mul", Mul, &[x, y])
    }

    /// Concatenates values along the channels; `torch.cat(values, 1)`.
    pub fn cat(&mut self, values: &[Value]) -> Value {
        self.function("cat", Cat::new(1), values)
    }

    /// Splits a value into parts of these sizes along an axis; `torch.split(x, sizes, dim)`. Each part
    /// is a [`Slice`] of its own.
    pub fn split(&mut self, x: Value, sizes: &[usize], dim: usize) -> Vec<Value> {
        let parts = Slice::parts(sizes, dim);
        parts.map(|part| self.function("split", part, &[x])).collect()
    }

    /// Averages over height and width; `x.mean([2, 3])`.
    pub fn mean(&mut self, x: Value) -> Value {
        self.function("mean", Mean, &[x])
    }

    /// Flattens all axes but the batch; `torch.flatten(x, 1)`.
    pub fn flatten(&mut self, x: Value) -> Value {
        self.function("flatten", Flatten, &[x])
    }

    /// Applies an activation as a function; `torch.nn.functional.relu(x)`.
    pub fn activation(&mut self, activation: Activation, x: Value) -> Value {
        let name = match activation {
            Activation::ReLU => "relu",
            Activation::ReLU6 => "relu6",
        };
        self.function(name, activation, &[x])
    }

    /// Calls an operator as a function, like those of `torch.nn.functional`.
    pub fn function(&mut self, name: &str, op: impl Into<Op>, inputs: &[Value]) -> Value {
        self.record(&self.join(name), op.into(), inputs, false)
    }

    /// Records the call of a layer's operator with the path of the current module as its name.
    pub(super) fn layer(&mut self, op: Op, inputs: &[Value]) -> Value {
        self.record(&self.path.clone(), op, inputs, true)
    }

    /// Records a call. Further calls of the same module (`self.relu`) get a number after the name.
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
