//! Functions of a file, whose calls are replaced by the functions' nodes.

use std::collections::HashMap;

use prost::Message as _;

use super::proto::{AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto};
use crate::error::printable;

/// The largest depth of calls in functions.
const MAX_DEPTH: usize = 32;

/// The largest number of nodes, and of their bytes, that all calls become.
const MAX_NODES: usize = 1 << 16;
const MAX_BYTES: usize = 1 << 28;

/// Domain, name and overload of a function.
type Key = (String, String, String);

/// Replaces the calls of a file's functions.
///
/// # Errors
/// Returns an error if a function calls itself, if there are too many nodes then, or if a function has
/// operators of another version than the file.
pub(super) fn inline(model: &mut ModelProto, opset: i64) -> Result<(), String> {
    let Some(graph) = model.graph.as_mut().filter(|_| !model.functions.is_empty()) else {
        return Ok(());
    };
    let key = |function: &FunctionProto| {
        let text = |part: &Option<String>| part.clone().unwrap_or_default();
        (text(&function.domain), text(&function.name), text(&function.overload))
    };
    let functions = model.functions.iter().map(|function| (key(function), function)).collect();
    let mut inliner = Inliner { functions, opset, calls: 0, nodes: 0, bytes: 0 };
    graph.node = inliner.nodes(std::mem::take(&mut graph.node), 0)?;
    Ok(())
}

struct Inliner<'a> {
    functions: HashMap<Key, &'a FunctionProto>,
    opset: i64,
    /// Numbers so far.
    calls: usize,
    nodes: usize,
    bytes: usize,
}

impl Inliner<'_> {
    fn nodes(&mut self, nodes: Vec<NodeProto>, depth: usize) -> Result<Vec<NodeProto>, String> {
        let mut found = Vec::with_capacity(nodes.len());
        for mut node in nodes {
            let text = |part: &Option<String>| part.clone().unwrap_or_default();
            let key = (text(&node.domain), text(&node.op_type), text(&node.overload));
            if let Some(&function) = self.functions.get(&key) {
                let body = self.body(function, &node, depth)?;
                found.extend(self.nodes(body, depth + 1)?);
                continue;
            }
            for attribute in &mut node.attribute {
                if let Some(graph) = &mut attribute.g {
                    graph.node = self.nodes(std::mem::take(&mut graph.node), depth)?;
                }
            }
            found.push(node);
        }
        Ok(found)
    }

    /// Returns the nodes of a function with the names and attributes of a call.
    fn body(
        &mut self,
        function: &FunctionProto,
        node: &NodeProto,
        depth: usize,
    ) -> Result<Vec<NodeProto>, String> {
        let shown = printable(function.name().as_bytes());
        if depth >= MAX_DEPTH {
            return Err(format!(
                "the function `{shown}` is called in more than {MAX_DEPTH} functions, or calls itself"
            ));
        }
        let other = function
            .opset_import
            .iter()
            .find(|set| matches!(set.domain(), "" | "ai.onnx") && set.version() != self.opset);
        if let Some(other) = other {
            return Err(format!(
                "the function `{shown}` has operators of version {}, the file of version {}; export it \
                 with one version",
                other.version(),
                self.opset
            ));
        }
        self.calls += 1;
        self.nodes += function.node.len();
        self.bytes = self.bytes.saturating_add(function.encoded_len());
        if self.nodes > MAX_NODES || self.bytes > MAX_BYTES {
            return Err(format!(
                "the calls of functions become more than {MAX_NODES} nodes or {MAX_BYTES} bytes"
            ));
        }
        let call = Call::new(function, node, self.calls);
        let mut body = function.node.clone();
        for inner in &mut body {
            let name = if inner.name().is_empty() { inner.op_type() } else { inner.name() };
            inner.name = Some(format!("{}/{name}", node.name()));
            call.rewrite(inner);
        }
        // A function may return what it is given.
        let passed = function
            .output
            .iter()
            .zip(&node.output)
            .filter(|(output, target)| !target.is_empty() && function.input.contains(output));
        body.extend(passed.map(|(output, target)| NodeProto {
            op_type: Some("Identity".into()),
            name: node.name.clone(),
            input: vec![call.name(output)],
            output: vec![target.clone()],
            ..NodeProto::default()
        }));
        Ok(body)
    }
}

/// The names and attributes of a call.
struct Call<'a> {
    names: HashMap<&'a str, &'a str>,
    /// What is put before names of the function.
    prefix: String,
    node: &'a NodeProto,
    function: &'a FunctionProto,
}

impl<'a> Call<'a> {
    fn new(function: &'a FunctionProto, node: &'a NodeProto, index: usize) -> Self {
        let outputs = function.output.iter().zip(&node.output).filter(|(_, name)| !name.is_empty());
        let mut names: HashMap<&str, &str> =
            outputs.map(|(own, name)| (own.as_str(), name.as_str())).collect();
        for (at, input) in function.input.iter().enumerate() {
            names.insert(input, node.input.get(at).map_or("", String::as_str));
        }
        Self { names, prefix: format!("{}#{index}/", function.name()), node, function }
    }

    /// Returns the name of a value of the function.
    fn name(&self, own: &str) -> String {
        match self.names.get(own) {
            _ if own.is_empty() => String::new(),
            Some(&name) => name.to_owned(),
            None => format!("{}{own}", self.prefix),
        }
    }

    fn rename(&self, names: &mut [String]) {
        for name in names {
            *name = self.name(name);
        }
    }

    fn rewrite(&self, node: &mut NodeProto) {
        self.rename(&mut node.input);
        self.rename(&mut node.output);
        let attributes = std::mem::take(&mut node.attribute);
        node.attribute = attributes.into_iter().filter_map(|own| self.attribute(own)).collect();
    }

    /// Returns an attribute with the value of the call, or the function's own for it; `None` if both
    /// leave it out.
    fn attribute(&self, mut own: AttributeProto) -> Option<AttributeProto> {
        let reference = own.ref_attr_name();
        if !reference.is_empty() {
            let given = self.node.attribute.iter().chain(&self.function.attribute_proto);
            let mut value = given.clone().find(|given| given.name() == reference)?.clone();
            value.name = own.name;
            return Some(value);
        }
        if let Some(graph) = &mut own.g {
            self.graph(graph);
        }
        Some(own)
    }

    fn graph(&self, graph: &mut GraphProto) {
        graph.node.iter_mut().for_each(|node| self.rewrite(node));
        for value in graph.input.iter_mut().chain(&mut graph.output) {
            value.name = Some(self.name(value.name()));
        }
        for tensor in &mut graph.initializer {
            tensor.name = Some(self.name(tensor.name()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::OnnxOptions;
    use super::super::proto::OperatorSetIdProto;
    use super::super::testing::{float, floats, import, model, node, run};
    use super::*;
    use crate::tensor::Tensor;

    const DOMAIN: &str = "test";

    fn function(name: &str, input: &str, output: &str, node: Vec<NodeProto>) -> FunctionProto {
        let names = |text: &str| text.split_whitespace().map(str::to_owned).collect();
        FunctionProto {
            name: Some(name.into()),
            domain: Some(DOMAIN.into()),
            input: names(input),
            output: names(output),
            node,
            opset_import: vec![OperatorSetIdProto { domain: None, version: Some(18) }],
            ..FunctionProto::default()
        }
    }

    fn call(name: &str, inputs: &str, outputs: &str, given: Vec<AttributeProto>) -> NodeProto {
        NodeProto { domain: Some(DOMAIN.into()), ..node(name, inputs, outputs, given) }
    }

    /// A leaky ReLU with the slope of the call.
    fn leaky() -> FunctionProto {
        let slope = AttributeProto {
            ref_attr_name: Some("slope".into()),
            ..AttributeProto { f: None, ..float("alpha", 0.0) }
        };
        let body = vec![
            node("LeakyRelu", "a", "inner", vec![slope]),
            node("Neg", "inner", "b", Vec::new()),
        ];
        let defaults = vec![float("slope", 0.25)];
        FunctionProto { attribute_proto: defaults, ..function("Leaky", "a", "b", body) }
    }

    fn file(nodes: Vec<NodeProto>, functions: Vec<FunctionProto>) -> ModelProto {
        ModelProto { functions, ..model(vec![floats("x", &[1, 2])], nodes, "y") }
    }

    fn x() -> Tensor {
        Tensor::new([1, 2], vec![-4.0, 8.0]).unwrap()
    }

    #[test]
    fn each_call_has_its_own_values_and_attributes() {
        let nodes = vec![
            call("Leaky", "x", "inner", vec![float("slope", 0.5)]),
            call("Leaky", "inner", "y", Vec::new()),
        ];
        // −4 and 8 become 2 and −8, and then −2 and 2.
        let y = run(&file(nodes, vec![leaky()]), &OnnxOptions::new(), &[x()]);
        assert_eq!(y[0].data(), [-2.0, 2.0]);
    }

    #[test]
    fn functions_call_others_and_return_what_they_are_given() {
        let body = vec![call("Leaky", "a", "b", Vec::new())];
        let outer = function("Outer", "a", "a b", body);
        let nodes = vec![
            call("Outer", "x", "same other", Vec::new()),
            node("Add", "same other", "y", Vec::new()),
        ];
        let y = run(&file(nodes, vec![leaky(), outer]), &OnnxOptions::new(), &[x()]);
        assert_eq!(y[0].data(), [-3.0, 0.0]);
    }

    #[test]
    fn a_function_that_calls_itself_is_an_error() {
        let body = vec![call("Loop", "a", "c", Vec::new()), call("Loop", "c", "b", Vec::new())];
        let functions = vec![function("Loop", "a", "b", body)];
        let file = file(vec![call("Loop", "x", "y", Vec::new())], functions);
        let error = import(&file, &OnnxOptions::new()).unwrap_err().to_string();
        assert!(error.contains("`Loop`") && error.contains("calls itself"), "{error}");
    }

    #[test]
    fn many_calls_of_calls_are_an_error() {
        // Each function calls the next one eight times: 8²⁰ nodes.
        let name = |index: usize| format!("f{index}");
        let functions = (0..20).map(|index| {
            let calls = (0..8).map(|_| call(&name(index + 1), "a", "", Vec::new())).collect();
            function(&name(index), "a", "b", calls)
        });
        let file = file(vec![call("f0", "x", "y", Vec::new())], functions.collect());
        let error = import(&file, &OnnxOptions::new()).unwrap_err().to_string();
        assert!(error.contains("more than"), "{error}");
    }

    #[test]
    fn a_function_of_another_version_is_an_error() {
        let mut function = leaky();
        function.opset_import[0].version = Some(12);
        let file = file(vec![call("Leaky", "x", "y", Vec::new())], vec![function]);
        let error = import(&file, &OnnxOptions::new()).unwrap_err().to_string();
        assert!(error.contains("version 12") && error.contains("18"), "{error}");
    }
}
