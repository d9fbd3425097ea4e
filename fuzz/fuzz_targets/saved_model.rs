//! Reads arbitrary bytes as a saved model. The result must be an error, or a model that is the same after
//! saving and reading it again. Also reads the bytes as the graph of a saved model, because the digest
//! keeps random changes from reaching that code: the result must be an error, or a graph whose shapes and
//! module tree can be computed without a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use posterize::format::{FORMAT_VERSION, SavedModel, graph_from_json};
use posterize::graph::{ModuleTree, float_leaf};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(saved) = SavedModel::from_bytes("fuzz", bytes) {
        let again = saved.to_bytes().unwrap();
        assert_eq!(SavedModel::from_bytes("fuzz", &again).unwrap(), saved);
    }
    for version in 1..=FORMAT_VERSION {
        let Ok(graph) = graph_from_json(version, bytes) else { continue };
        let _ = graph.infer(&[1, 3, 224, 224]);
        let tree = ModuleTree::new(&graph, "", &|_, node| float_leaf(node)).unwrap();
        let _ = tree.to_string();
    }
});
