//! The error for nodes of a file that cannot be imported.

use std::fmt;
use std::path::PathBuf;

/// The nodes of an ONNX file that cannot be imported.
///
/// ```
/// use posterize::import::onnx::UnsupportedNodes;
///
/// fn kinds(error: &UnsupportedNodes) -> Vec<&str> {
///     error.nodes().iter().map(|node| node.op_type()).collect()
/// }
/// # let _ = kinds;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnsupportedNodes {
    pub(crate) path: PathBuf,
    pub(crate) nodes: Vec<UnsupportedNode>,
}

/// Nodes of one operator that cannot be imported for the same reason.
///
/// ```
/// use posterize::import::onnx::UnsupportedNode;
///
/// fn line(node: &UnsupportedNode) -> String {
///     format!("{} x {}: {}", node.count(), node.op_type(), node.reason())
/// }
/// # let _ = line;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnsupportedNode {
    pub(crate) op_type: String,
    pub(crate) domain: String,
    pub(crate) opset: i64,
    pub(crate) first: String,
    pub(crate) count: usize,
    pub(crate) reason: String,
}

impl UnsupportedNodes {
    /// Returns the file.
    pub fn path(&self) -> &std::path::Path {
        &self.path
    }

    /// Returns the nodes by operator and reason, in the order of the file.
    pub fn nodes(&self) -> &[UnsupportedNode] {
        &self.nodes
    }
}

impl UnsupportedNode {
    /// Returns the operator: `Crop`.
    pub fn op_type(&self) -> &str {
        &self.op_type
    }

    /// Returns the domain of the operator: empty for that of ONNX, or `com.microsoft`.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// Returns the version of the operator set of that domain; 0 if the file does not say.
    pub fn opset(&self) -> i64 {
        self.opset
    }

    /// Returns the name of the first of the nodes.
    pub fn first(&self) -> &str {
        &self.first
    }

    /// Returns the number of nodes.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Returns why they cannot be imported.
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

impl fmt::Display for UnsupportedNodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total: usize = self.nodes.iter().map(UnsupportedNode::count).sum();
        let (nodes, are) = if total == 1 { ("node", "is") } else { ("nodes", "are") };
        write!(f, "{}: {total} {nodes} of the network {are} not supported:", self.path.display())?;
        for node in &self.nodes {
            let domain = if node.domain.is_empty() { "ai.onnx" } else { &node.domain };
            write!(
                f,
                "\n  {} x {} ({domain} {}), first `{}`: {}",
                node.count, node.op_type, node.opset, node.first, node.reason
            )?;
        }
        write!(f, "\nExport the network without them, or choose outputs before them (--outputs)")
    }
}

impl std::error::Error for UnsupportedNodes {}
