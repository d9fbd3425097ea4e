//! The report on the nodes of an ONNX file that cannot be imported.

use std::fmt;

use posterize::{Error, import::onnx::UnsupportedNode};
use serde::Serialize;

use crate::{
    error::{CliError, Result},
    model::ModelArgs,
    ui::{Align, Table, Ui, count},
};

/// Nodes of one operator that cannot be imported for the same reason.
#[derive(Debug, Serialize)]
struct Nodes {
    op_type: String,
    domain: String,
    opset: i64,
    count: usize,
    first: String,
    reason: String,
}

impl From<&UnsupportedNode> for Nodes {
    fn from(node: &UnsupportedNode) -> Self {
        Self {
            op_type: node.op_type().to_owned(),
            domain: node.domain().to_owned(),
            opset: node.opset(),
            count: node.count(),
            first: node.first().to_owned(),
            reason: node.reason().to_owned(),
        }
    }
}

#[derive(Debug, Serialize)]
struct Report {
    model: String,
    unsupported: Vec<Nodes>,
}

/// Reads the file and prints which of its nodes are not supported.
///
/// # Errors
/// Returns the error of the file if there are such nodes, after printing them.
pub(super) fn inspect(model: &ModelArgs, size: Option<[usize; 2]>, ui: &Ui) -> Result<()> {
    let name = model.name.clone();
    match model.saved(size, ui) {
        Ok(_) => {
            let report = Report { model: name, unsupported: Vec::new() };
            ui.result(&report, &report)
        }
        Err(CliError::Library(Error::UnsupportedNodes(nodes))) => {
            let unsupported = nodes.nodes().iter().map(Nodes::from).collect();
            let report = Report { model: name, unsupported };
            ui.result(&report, &report)?;
            Err(Error::UnsupportedNodes(nodes).into())
        }
        Err(other) => Err(other),
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.unsupported.is_empty() {
            return write!(f, "{}: all nodes are supported", self.model);
        }
        let mut table = Table::new([
            ("operator", Align::Left),
            ("domain", Align::Left),
            ("opset", Align::Right),
            ("nodes", Align::Right),
            ("first", Align::Left),
        ]);
        for nodes in &self.unsupported {
            table.row([
                nodes.op_type.clone(),
                if nodes.domain.is_empty() { "ai.onnx".into() } else { nodes.domain.clone() },
                nodes.opset.to_string(),
                count(nodes.count as u64),
                nodes.first.clone(),
            ]);
        }
        write!(f, "{table}")
    }
}
