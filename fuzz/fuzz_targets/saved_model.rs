//! Any bytes as a saved model, and as the graph of one, which the digest would keep a fuzzer from: an
//! error or a model that is the same after it was saved again, and a graph whose shapes and module
//! tree can be asked for.
#![no_main]

use libfuzzer_sys::fuzz_target;
use posterize::format::SavedModel;
use posterize::graph::{Graph, ModuleTree, float_leaf};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(saved) = SavedModel::from_bytes("fuzz", bytes) {
        let again = saved.to_bytes().unwrap();
        assert_eq!(SavedModel::from_bytes("fuzz", &again).unwrap(), saved);
    }
    let Ok(graph) = serde_json::from_slice::<Graph>(bytes) else { return };
    let _ = graph.infer(&[1, 3, 224, 224]);
    let tree = ModuleTree::new(&graph, "", &|_, node| float_leaf(node)).unwrap();
    let _ = tree.to_string();
    let json = serde_json::to_string(&graph).unwrap();
    assert_eq!(serde_json::from_str::<Graph>(&json).unwrap(), graph);
});
