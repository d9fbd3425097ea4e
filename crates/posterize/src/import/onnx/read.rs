//! The import of a file, from its bytes to a network.

use std::collections::HashSet;
use std::path::Path;

use prost::Message as _;

use super::attributes::Attributes;
use super::external::External;
use super::file::File;
use super::given;
use super::graph_inputs::{self, OnnxInput};
use super::importer::Value;
use super::names::clean;
use super::nodes::Nodes;
use super::options::OnnxOptions;
use super::problem::Problem;
use super::proto::{ModelProto, NodeProto, OperatorSetIdProto, ValueInfoProto};
use super::{functions, pictures, wire};
use crate::data::Preprocessing;
use crate::error::{Error, Result, UnsupportedNode, UnsupportedNodes, printable};
use crate::model::FloatModel;
use crate::ops::Role;

/// The versions of ONNX's operator set that are read.
const OPSETS: std::ops::RangeInclusive<i64> = 7..=28;

/// The versions of the file format that are read.
const IR_VERSIONS: std::ops::RangeInclusive<i64> = 3..=14;

/// The largest number of nodes.
const MAX_NODES: usize = 1 << 16;

/// The largest number of names in a message.
const SHOWN: usize = 10;

/// What was read from a file.
#[derive(Clone, Debug)]
pub(super) struct Imported {
    pub(super) model: FloatModel,
    pub(super) inputs: Vec<OnnxInput>,
    /// The program that wrote the file, and its version.
    pub(super) producer: String,
    /// The version of the operator set.
    pub(super) opset: i64,
    pub(super) warnings: Vec<String>,
    /// The keys and values that the program wrote beside the graph.
    pub(super) metadata: Vec<(String, String)>,
    pub(super) preprocessing: Option<Preprocessing>,
}

/// Reads a file.
pub(super) fn read(
    path: &Path,
    bytes: Vec<u8>,
    external: External,
    options: &OnnxOptions,
) -> Result<Imported> {
    let corrupt = |problem: String| Error::Format { path: path.to_path_buf(), problem };
    let damaged = |problem: String| {
        corrupt(format!("it is no ONNX file, or damaged: {problem}; download or export it again"))
    };
    wire::check(&bytes).map_err(damaged)?;
    let mut model = ModelProto::decode(prost::bytes::Bytes::from(bytes))
        .map_err(|error| damaged(error.to_string()))?;
    let opset = check_versions(&model).map_err(corrupt)?;
    functions::inline(&mut model, opset).map_err(corrupt)?;
    let graph = model.graph.as_ref().ok_or_else(|| {
        corrupt("it is no ONNX file, or truncated: it has no graph; export it again".into())
    })?;
    let stem = path.file_stem().map_or_else(|| "onnx".into(), |stem| stem.to_string_lossy());
    let file = File { path, graph, opset, external, model: &model, options };
    let (network, inputs) = file.import(&clean(&stem.replace('.', "_")))?;
    let mut warnings = warnings(&network);
    let metadata: Vec<(String, String)> = model
        .metadata_props
        .iter()
        .map(|entry| (entry.key().to_owned(), entry.value().to_owned()))
        .collect();
    let preprocessing = pictures::preprocessing(&metadata, &mut warnings);
    let producer = format!("{} {}", model.producer_name(), model.producer_version());
    Ok(Imported {
        model: network,
        inputs,
        producer: printable(producer.trim().as_bytes()),
        opset,
        warnings,
        metadata,
        preprocessing,
    })
}

/// Checks the versions of the file and returns that of ONNX's operator set.
fn check_versions(model: &ModelProto) -> Result<i64, String> {
    let ir = model.ir_version();
    if !IR_VERSIONS.contains(&ir) {
        return Err(format!(
            "it has the IR version {ir}; expected {} to {}",
            IR_VERSIONS.start(),
            IR_VERSIONS.end()
        ));
    }
    let default = model.opset_import.iter().find(|set| matches!(set.domain(), "" | "ai.onnx"));
    let Some(opset) = default.map(OperatorSetIdProto::version) else {
        return Err("it does not say which version of ONNX's operators it has".into());
    };
    if !OPSETS.contains(&opset) {
        return Err(format!(
            "it has operators of version {opset}; expected {} to {}: export or convert it with another \
             opset",
            OPSETS.start(),
            OPSETS.end()
        ));
    }
    Ok(opset)
}

/// Returns a warning for each parameter that is not finite.
fn warnings(model: &FloatModel) -> Vec<String> {
    let graph = model.graph();
    let mut warnings = Vec::new();
    for (key, tensor) in model.parameters() {
        let bad = tensor.data().iter().filter(|value| !value.is_finite()).count();
        if bad > 0 {
            warnings.push(format!(
                "{} has {bad} values that are NaN or infinite, so results will be wrong; check the file",
                graph.parameter_name(*key)
            ));
        }
        if key.1 == Role::RunningVar && tensor.data().iter().any(|&value| value < 0.0) {
            warnings.push(format!("{} has negative values", graph.parameter_name(*key)));
        }
    }
    warnings
}

/// Adds the values that a node takes, also in the graphs that it has.
fn used<'a>(node: &'a NodeProto, names: &mut HashSet<&'a str>) {
    names.extend(node.input.iter().map(String::as_str));
    for graph in node.attribute.iter().filter_map(|attribute| attribute.g.as_ref()) {
        graph.node.iter().for_each(|node| used(node, names));
        names.extend(graph.output.iter().map(ValueInfoProto::name));
    }
}

impl File<'_> {
    fn import(&self, kind: &str) -> Result<(FloatModel, Vec<OnnxInput>)> {
        let graph = self.graph;
        if graph.node.len() > MAX_NODES {
            return Err(self.corrupt(format!(
                "it has {} nodes; expected at most {MAX_NODES}",
                graph.node.len()
            )));
        }
        let mut nodes = Nodes::new(self);
        for tensor in &graph.initializer {
            nodes.values.insert(tensor.name(), Value::Initializer(tensor));
        }
        let transposes_pictures = graph.node.iter().any(|node| {
            let permutation = Attributes::new(node).ints("perm");
            node.op_type() == "Transpose" && permutation == Ok(Some(&[0, 3, 1, 2]))
        });
        self.check_constants()?;
        let mut inputs = Vec::new();
        for input in &graph.input {
            if let Some((_, value)) =
                self.options.constants.iter().find(|(name, _)| name == input.name())
            {
                let constant = given::constant(input, value).map_err(|e| self.corrupt(e))?;
                nodes.values.insert(input.name(), constant.into());
                continue;
            }
            // Before IR version 4, initializers were inputs too.
            if nodes.values.contains_key(input.name()) {
                continue;
            }
            let read = graph_inputs::read(input, transposes_pictures, self.options)
                .map_err(|e| self.corrupt(e))?;
            let node = nodes.importer.draft.input(&clean(input.name()), read.shape().to_vec());
            nodes.values.insert(input.name(), Value::View(read.view(node)));
            inputs.push(read);
        }
        if inputs.is_empty() {
            return Err(self.corrupt("the graph has no input that is no constant"));
        }
        nodes.file_batch = inputs[0].batch().and_then(|batch| i64::try_from(batch).ok());

        let outputs: Vec<&str> = match self.options.outputs.as_slice() {
            [] => graph.output.iter().map(ValueInfoProto::name).collect(),
            chosen => chosen.iter().map(String::as_str).collect(),
        };
        let needed = self.needed(&outputs)?;
        nodes.import(&graph.node, |index| needed[index])?;
        let Nodes { mut importer, values, unsupported, .. } = nodes;
        if !unsupported.is_empty() {
            return Err(self.unsupported(&unsupported));
        }
        let mut found = Vec::new();
        for name in outputs {
            let shown = printable(name.as_bytes());
            let node = match values.get(name) {
                Some(Value::View(view)) => importer.node(view, &clean(name)),
                Some(_) => Err(Problem::Unsupported(
                    "the output does not depend on the network's input".into(),
                )),
                None => return Err(self.no_output(name)),
            };
            let node = node.map_err(|problem| match problem {
                Problem::Unsupported(reason) | Problem::Invalid(reason) => {
                    self.corrupt(format!("the output `{shown}`: {reason}"))
                }
            })?;
            found.push((clean(name), node));
        }
        let model = importer.draft.finish(kind, found).map_err(|error| error.of_file(self.path))?;
        Ok((model, inputs))
    }

    /// Checks that the file has the inputs that are given as constants.
    fn check_constants(&self) -> Result<()> {
        let names: Vec<&str> = self.graph.input.iter().map(ValueInfoProto::name).collect();
        match self.options.constants.iter().find(|(name, _)| !names.contains(&name.as_str())) {
            None => Ok(()),
            Some((name, _)) => {
                let names = names.iter().take(SHOWN).map(|name| printable(name.as_bytes()));
                Err(self.corrupt(format!(
                    "a constant is given for the input `{}`; its inputs are {}",
                    printable(name.as_bytes()),
                    names.collect::<Vec<_>>().join(", ")
                )))
            }
        }
    }

    /// Returns which nodes the outputs depend on.
    fn needed(&self, outputs: &[&str]) -> Result<Vec<bool>> {
        let graph = self.graph;
        let mut wanted: HashSet<&str> = outputs.iter().copied().collect();
        let mut needed = vec![false; graph.node.len()];
        for (index, node) in graph.node.iter().enumerate().rev() {
            if node.output.iter().any(|name| wanted.contains(name.as_str())) {
                needed[index] = true;
                used(node, &mut wanted);
            }
        }
        let produced: HashSet<&str> = graph
            .node
            .iter()
            .flat_map(|node| node.output.iter().map(String::as_str))
            .chain(graph.input.iter().map(ValueInfoProto::name))
            .collect();
        match outputs.iter().find(|name| !produced.contains(*name)) {
            Some(name) => Err(self.no_output(name)),
            None if outputs.is_empty() => Err(self.corrupt("the graph has no output")),
            None => Ok(needed),
        }
    }

    fn no_output(&self, name: &str) -> Error {
        let names = self.graph.output.iter().take(SHOWN);
        let names: Vec<String> = names.map(|output| printable(output.name().as_bytes())).collect();
        self.corrupt(format!(
            "it has no value named `{}`; its outputs are {}",
            printable(name.as_bytes()),
            names.join(", ")
        ))
    }

    fn unsupported(&self, nodes: &[UnsupportedNode]) -> Error {
        Error::UnsupportedNodes(Box::new(UnsupportedNodes {
            path: self.path.to_path_buf(),
            nodes: nodes.to_vec(),
        }))
    }
}
