//! The import of a graph's nodes, in their order.

use std::collections::HashMap;

use super::attributes::Attributes;
use super::file::File;
use super::importer::{Call, Importer, Value};
use super::names::NodeNames;
use super::options::BatchAxis;
use super::problem::{Outcome, Problem, unsupported};
use super::proto::{GraphProto, NodeProto, OperatorSetIdProto, ValueInfoProto};
use super::{batchless, operators};
use crate::error::{Result, UnsupportedNode, printable};

/// The nodes of a file that were imported so far.
pub(super) struct Nodes<'n> {
    file: &'n File<'n>,
    pub(super) importer: Importer,
    /// The value of each name.
    pub(super) values: HashMap<&'n str, Value<'n>>,
    /// The nodes that cannot be imported.
    pub(super) unsupported: Vec<UnsupportedNode>,
    /// The size of the batch axis of the network's inputs in the file; `None` if it is left open.
    pub(super) file_batch: Option<i64>,
}

impl<'n> Nodes<'n> {
    pub(super) fn new(file: &'n File<'n>) -> Self {
        Self {
            file,
            importer: Importer::default(),
            values: HashMap::new(),
            unsupported: Vec::new(),
            file_batch: None,
        }
    }

    /// Imports those nodes of a graph that are needed.
    pub(super) fn import(
        &mut self,
        nodes: &'n [NodeProto],
        needed: impl Fn(usize) -> bool,
    ) -> Result<()> {
        let names = NodeNames::new(nodes);
        for (index, node) in nodes.iter().enumerate() {
            let results = if needed(index) {
                let call = self.call(node, names.of(index))?;
                self.import_node(node, &call)?
            } else {
                Vec::new()
            };
            for (at, name) in node.output.iter().enumerate().filter(|(_, name)| !name.is_empty()) {
                let value = results.get(at).cloned().unwrap_or(Value::Unknown);
                if self.values.insert(name, value).is_some() {
                    return Err(self.file.corrupt(format!(
                        "two nodes, inputs or weights have the name `{}`",
                        printable(name.as_bytes())
                    )));
                }
            }
        }
        Ok(())
    }

    /// Returns a node with the values of its inputs.
    fn call(&self, node: &'n NodeProto, name: &str) -> Result<Call<'n>> {
        let mut inputs = Vec::with_capacity(node.input.len());
        for input in &node.input {
            inputs.push(match (input.as_str(), self.values.get(input.as_str())) {
                ("", _) => None,
                (_, Some(value)) => Some(value.clone()),
                (_, None) => {
                    return Err(self.file.corrupt(format!(
                        "the node `{name}` ({}) takes `{}`, which no node before it, no input and no \
                         weight has as its name",
                        printable(node.op_type().as_bytes()),
                        printable(input.as_bytes())
                    )));
                }
            });
        }
        Ok(Call {
            name: name.to_owned(),
            op_type: node.op_type(),
            attributes: Attributes::new(node),
            opset: self.file.opset,
            inputs,
            outputs: node.output.len(),
            external: &self.file.external,
            file_batch: self.file_batch,
        })
    }

    /// Imports a node. One that cannot be imported has no values, and is added to `unsupported`.
    fn import_node(&mut self, node: &'n NodeProto, call: &Call<'n>) -> Result<Vec<Value<'n>>> {
        let domain = match node.domain() {
            "ai.onnx" => "",
            domain => domain,
        };
        let is_if = domain.is_empty() && call.op_type == "If";
        let depends_on_unknown =
            call.inputs.iter().flatten().any(|input| matches!(input, Value::Unknown));
        let result = if !is_if && (!domain.is_empty() || !operators::is_known(call.op_type)) {
            Err(Problem::Unsupported(operators::NOT_KNOWN.into()))
        } else if depends_on_unknown {
            // Its input is reported already.
            return Ok(Vec::new());
        } else if is_if {
            match branch(call) {
                Ok(graph) => return self.import_branch(graph),
                Err(problem) => Err(problem),
            }
        } else {
            match self.file.options.batch_axis {
                BatchAxis::First => operators::import(&mut self.importer, call),
                BatchAxis::None => batchless::import(&mut self.importer, call),
            }
        };
        match result {
            Ok(values) => Ok(values),
            Err(Problem::Unsupported(reason)) => {
                self.report(call, domain, reason);
                Ok(Vec::new())
            }
            Err(Problem::Invalid(problem)) => Err(self.file.corrupt(format!(
                "the node `{}` ({}): {problem}",
                call.name,
                printable(call.op_type.as_bytes())
            ))),
        }
    }

    /// Imports a branch of an `If` in the place of the node.
    fn import_branch(&mut self, graph: &'n GraphProto) -> Result<Vec<Value<'n>>> {
        for tensor in &graph.initializer {
            self.values.insert(tensor.name(), Value::Initializer(tensor));
        }
        self.import(&graph.node, |_| true)?;
        let outputs = graph.output.iter().map(ValueInfoProto::name).map(|name| {
            self.values.get(name).cloned().ok_or_else(|| {
                self.file.corrupt(format!(
                    "a branch of an If has no value `{}`, which it returns",
                    printable(name.as_bytes())
                ))
            })
        });
        outputs.collect()
    }

    /// Adds a node to those that cannot be imported.
    fn report(&mut self, call: &Call<'_>, domain: &str, reason: String) {
        let versions = &self.file.model.opset_import;
        let version = versions.iter().find(|set| set.domain() == domain);
        let node = UnsupportedNode {
            op_type: printable(call.op_type.as_bytes()),
            domain: printable(domain.as_bytes()),
            opset: version.map_or(0, OperatorSetIdProto::version),
            first: call.name.clone(),
            count: 1,
            reason,
        };
        let same = |other: &&mut UnsupportedNode| {
            (&other.op_type, &other.domain, &other.reason)
                == (&node.op_type, &node.domain, &node.reason)
        };
        match self.unsupported.iter_mut().find(same) {
            Some(other) => other.count += 1,
            None => self.unsupported.push(node),
        }
    }
}

/// Returns the branch of an `If` that is taken, which must be known.
fn branch<'n>(call: &Call<'n>) -> Outcome<&'n GraphProto> {
    if !call.is_constant(0) {
        return unsupported("a condition that depends on the network's input");
    }
    let condition = call.constant(0)?.single().ok_or("its condition is not one value")?;
    let name = if condition == 0.0 { "else_branch" } else { "then_branch" };
    let graph = call.attributes.graph(name)?;
    Ok(graph.ok_or_else(|| format!("it has no {name}"))?)
}

#[cfg(test)]
mod tests {
    use super::super::OnnxOptions;
    use super::super::proto::tensor_proto::DataType;
    use super::super::testing::{floats, graph, import, model, node, run, value};
    use crate::tensor::Tensor;

    /// The negative or the exponential of `before`, which is computed outside of the branches.
    fn file() -> super::super::proto::ModelProto {
        let branch = |op_type: &str| {
            let nodes = vec![node(op_type, "before", "branch", Vec::new())];
            model(Vec::new(), nodes, "branch").graph.unwrap()
        };
        let branches =
            vec![graph("then_branch", branch("Neg")), graph("else_branch", branch("Exp"))];
        let nodes = vec![
            node("Relu", "x", "before", Vec::new()),
            node("If", "condition", "chosen", branches),
            node("Neg", "chosen", "y", Vec::new()),
        ];
        let condition = value("condition", DataType::Bool, &[1]);
        model(vec![floats("x", &[1, 2]), condition], nodes, "y")
    }

    #[test]
    fn the_branch_of_a_known_condition_is_taken() {
        for (condition, expected) in [(1.0, [0.0, 2.0]), (0.0, [-1.0, -(2.0_f32.exp())])] {
            let options = OnnxOptions::new()
                .constant("condition", Tensor::new([1], vec![condition]).unwrap());
            let x = Tensor::new([1, 2], vec![-3.0, 2.0]).unwrap();
            let y = run(&file(), &options, &[x]);
            for (found, expected) in y[0].data().iter().zip(expected) {
                assert!((found - expected).abs() < 1e-5, "{found}, expected {expected}");
            }
        }
    }

    #[test]
    fn a_condition_that_depends_on_the_input_is_unsupported() {
        let mut file = file();
        let graph = file.graph.as_mut().unwrap();
        graph.input.pop();
        graph.node[1].input = vec!["before".into()];
        let error = import(&file, &OnnxOptions::new()).unwrap_err();
        assert_eq!(error.kind(), crate::error::ErrorKind::UnsupportedNetwork);
        assert!(error.to_string().contains("If"), "{error}");
    }
}
