//! Names of layers from the names in a file.

use std::collections::HashMap;

use super::proto::NodeProto;

/// The entry of a node's metadata in which PyTorch's newer exporter writes the modules of a node.
const SCOPES: &str = "pkg.torch.onnx.name_scopes";

/// The largest length of a name in bytes, with room for a number behind it.
const MAX_BYTES: usize = 200;

/// Returns the dotted path of the module that a node was exported from, and whether it is one: the name
/// of the node otherwise.
fn scope(node: &NodeProto) -> (String, bool) {
    let entries = node.metadata_props.iter();
    let scopes = entries.filter(|entry| entry.key() == SCOPES).find_map(|entry| {
        // A list of Python strings: ['', 'features', 'features.0', 'features.0.0', 'conv2d'].
        let mut names = entry.value().rsplit('\'').skip(1).step_by(2);
        names.nth(1).map(str::to_owned)
    });
    if let Some(path) = scopes {
        return (path, true);
    }
    let name = node.name();
    // PyTorch's older exporter writes each module's name behind its parent's, and repeats the parent
    // for the members of a list: /features/features.0/features.0.0/Conv.
    if let Some(rest) = name.strip_prefix('/') {
        let mut path: Vec<&str> = rest.split('/').collect();
        path.pop();
        let mut dotted: Vec<String> = Vec::new();
        let mut previous = "";
        for part in path {
            match part.strip_prefix(previous).and_then(|rest| rest.strip_prefix('.')) {
                Some(child) if !previous.is_empty() => dotted.push(child.to_owned()),
                _ => dotted.push(part.to_owned()),
            }
            previous = part;
        }
        return (dotted.join("."), true);
    }
    (name.replace('/', "."), false)
}

/// Returns the name of the layer whose weight has this name in the file; `None` if that was made up by
/// an exporter.
pub(super) fn of_weight(name: &str) -> Option<&str> {
    let layer = name.strip_suffix(".weight")?;
    let made_up = layer.is_empty() || layer.contains([':', '/']);
    (!made_up).then_some(layer)
}

/// The names of a file's nodes.
#[derive(Debug)]
pub(super) struct NodeNames(Vec<String>);

impl NodeNames {
    /// Chooses a name for each node: that of its module if it is the module's only node, and otherwise
    /// that of the module and the operator.
    pub(super) fn new(nodes: &[NodeProto]) -> Self {
        let scopes: Vec<(String, bool)> = nodes.iter().map(scope).collect();
        let mut counts: HashMap<&str, usize> = HashMap::new();
        for (path, _) in &scopes {
            // A module with modules below it is no layer.
            let parents = path.match_indices('.').map(|(at, _)| &path[..at]);
            parents.for_each(|parent| *counts.entry(parent).or_default() += 2);
            *counts.entry(path).or_default() += 1;
        }
        let names = nodes.iter().zip(&scopes).map(|(node, (path, is_module))| {
            let kind = node.op_type().to_lowercase();
            let name = match path.as_str() {
                "" => kind,
                path if *is_module && counts[path] > 1 => format!("{path}.{kind}"),
                path => path.to_owned(),
            };
            clean(&name)
        });
        Self(names.collect())
    }

    /// Returns the name of the node at an index.
    pub(super) fn of(&self, index: usize) -> &str {
        &self.0[index]
    }
}

/// Returns a name without control characters and empty parts, of a bounded length.
pub(super) fn clean(name: &str) -> String {
    let name: String = name.chars().map(|c| if c.is_control() { '_' } else { c }).collect();
    let parts: Vec<&str> = name.split('.').filter(|part| !part.is_empty()).collect();
    let mut name = parts.join(".");
    if name.len() > MAX_BYTES {
        let end = (0..=MAX_BYTES).rev().find(|&at| name.is_char_boundary(at)).unwrap_or(0);
        name.truncate(end);
    }
    if name.is_empty() { "node".into() } else { name }
}

#[cfg(test)]
mod tests {
    use super::super::proto::StringStringEntryProto;
    use super::*;

    fn node(name: &str, op_type: &str, scopes: Option<&str>) -> NodeProto {
        let entry = |value: &str| StringStringEntryProto {
            key: Some(SCOPES.into()),
            value: Some(value.into()),
        };
        NodeProto {
            name: Some(name.into()),
            op_type: Some(op_type.into()),
            metadata_props: scopes.map(entry).into_iter().collect(),
            ..NodeProto::default()
        }
    }

    #[test]
    fn names_are_those_of_the_modules() {
        let nodes = [
            node("/features/features.0/features.0.0/Conv", "Conv", None),
            node("/features/features.3/Add", "Add", None),
            node("/features/features.3/conv/conv.0/conv.0.0/Conv", "Conv", None),
            node("/Flatten", "Flatten", None),
            node(
                "node_conv2d_2",
                "Conv",
                Some("['', 'layer1', 'layer1.0', 'layer1.0.conv1', 'conv2d_2']"),
            ),
            node("node_add_1", "Add", Some("['', 'layer1', 'layer1.0', 'add_1']")),
            node("MobilenetV1/Conv2d_0/Relu6", "Clip", None),
            node("", "Relu", None),
            node("..a\n.", "Relu", None),
        ];
        let names = NodeNames::new(&nodes);
        let found: Vec<&str> = (0..nodes.len()).map(|index| names.of(index)).collect();
        assert_eq!(
            found,
            [
                "features.0.0",
                "features.3.add",
                "features.3.conv.0.0",
                "flatten",
                "layer1.0.conv1",
                "layer1.0.add",
                "MobilenetV1.Conv2d_0.Relu6",
                "relu",
                "a_",
            ]
        );
        assert_eq!(of_weight("features.0.0.weight"), Some("features.0.0"));
        assert_eq!(of_weight("onnx::Conv_538"), None);
        assert!(clean(&"ä".repeat(300)).len() <= MAX_BYTES);
    }
}
