//! Tests of files of format version 2 with invalid graphs and a correct digest.

use proptest::prelude::*;
use serde_json::json;

use super::*;

#[test]
fn invalid_graphs_are_errors() {
    let conv = |change: Value| {
        with_graph(&|graph| {
            let node = graph["nodes"].as_array_mut().unwrap();
            let node = node.iter_mut().find(|node| node["name"] == "0").unwrap();
            for (key, value) in change.as_object().unwrap() {
                node["attributes"][key] = value.clone();
            }
        })
    };
    let node = |index: usize, key: &str, value: Value| {
        with_graph(&|graph| graph["nodes"][index][key] = value.clone())
    };
    let quantization = |value: Value| node(1, "quantization", value);
    let scale = |scale: f32, zero_point: i32| {
        quantization(json!({"scale": scale, "zero_point": zero_point, "dtype": "u8"}))
    };
    let unequal = with_graph(&|graph| {
        graph["nodes"][1]["quantization"]["scale"] = json!(3e38);
        graph["nodes"][2]["quantization"]["scale"] = json!(1e-6);
    });
    let huge =
        json!({"Explicit": {"top": 16_000_000, "bottom": 0, "left": 16_000_000, "right": 0}});
    let last = small().model.graph().output().0;
    let outputs = |value: Value| with_graph(&|graph| graph["outputs"] = value.clone());
    let text = |json: String| {
        crafted(&|container| {
            container.tensors.insert(GRAPH.into(), zlib(json.as_bytes()));
        })
    };
    // Nested so deeply that recursion would overflow the stack.
    let deep = text(format!(
        r#"{{"nodes": [{{"name": "input", "op": "Input", "version": 1, "attributes": {}{},
            "inputs": [], "is_module": false}}], "outputs": [], "modules": []}}"#,
        "[".repeat(1 << 20),
        "]".repeat(1 << 20)
    ));
    for (file, problem) in [
        (node(2, "inputs", json!([2])), "node 2 takes node 2, which is not before it"),
        (node(2, "inputs", json!([1_000_000_000])), "which is not before it"),
        (node(2, "inputs", json!([-1])), "invalid value: integer `-1`"),
        (node(2, "inputs", json!([])), "takes 1 inputs, found 0"),
        (node(2, "name", json!("3")), "two nodes have this name"),
        (
            node(2, "name", json!("a.".repeat(100_000))),
            "the name has 200000 bytes; expected at most 256",
        ),
        (node(2, "name", json!("\u{1b}[2J")), "control characters"),
        (
            node(2, "op", json!("Exec")),
            "0: there is no operator \"Exec\"; a newer posterize may know it",
        ),
        (node(2, "op", json!("x".repeat(2 << 20))), "there is no operator"),
        (node(2, "op", json!("\u{1b}[2J")), "there is no operator"),
        (node(2, "op", json!({"Conv2d": []})), "invalid type: map, expected a string"),
        (
            node(2, "version", json!(99)),
            "0: the operator Conv2d has version 99, and this posterize knows version 1; a newer",
        ),
        (node(2, "version", json!(-1)), "invalid value: integer `-1`, expected u32"),
        (node(2, "colour", json!("red")), "unknown field `colour`"),
        (node(2, "attributes", Value::Null), "0: the operator Conv2d: invalid type: null"),
        (node(1, "attributes", json!({})), "quant: the operator QuantStub: invalid type: map"),
        (conv(json!({"groups": "one"})), "0: the operator Conv2d: invalid type: string \"one\""),
        (conv(json!({"groups": 1.5})), "0: the operator Conv2d: invalid type: floating point"),
        (conv(json!({"transposed": true})), "0: the operator Conv2d: unknown field `transposed`"),
        (conv(json!({"activation": "Tanh"})), "unknown variant `Tanh`"),
        (conv(json!({"stride": [0, 1]})), "stride is zero"),
        (conv(json!({"kernel_size": [0, 0]})), "kernel height is zero"),
        (conv(json!({"groups": 0})), "groups is zero"),
        (conv(json!({"groups": 7})), "do not divide into 7 groups"),
        (conv(json!({"out_channels": 1u64 << 40})), "sizes must be at most 16777216"),
        (
            conv(json!({"in_channels": 1 << 24, "kernel_size": [1 << 24, 1]})),
            "must have at most 1073741824 values",
        ),
        (
            conv(json!({"out_channels": 16})),
            "tensor `0.weight`: expected I8 of shape [16, 3, 3, 3]",
        ),
        (conv(json!({"padding": huge})), "0: its input of [1, 3, 8, 8] with padding has"),
        (
            conv(json!({"stride": [1 << 20, 1 << 20], "padding": {"Explicit":
            {"top": 0, "bottom": 0, "left": 0, "right": 0}}})),
            "does not fit into an input of",
        ),
        (
            outputs(json!([{"name": "output", "node": 99}])),
            "its output `output` is node 99, but there are",
        ),
        (outputs(json!([{"name": "output", "node": -1}])), "invalid value: integer `-1`"),
        (
            outputs(json!([{"name": "a", "node": last}, {"name": "a", "node": last}])),
            "a: two outputs have this name",
        ),
        (outputs(json!([])), "it has no output"),
        (outputs(json!([{"name": "\u{7}", "node": last}])), "control characters"),
        (outputs(json!([{"name": "a", "node": last, "axis": 1}])), "unknown field `axis`"),
        (
            outputs(json!([{"name": "a", "node": 2}])),
            "a: an output of the graph must be float, found int8",
        ),
        (outputs(Value::Null), "invalid type: null, expected a sequence"),
        (with_graph(&|graph| graph["nodes"] = json!([])), "it has no input"),
        (with_graph(&|graph| graph["qparams"] = json!([])), "unknown field `qparams`"),
        (with_graph(&|graph| graph["modules"][0]["x"] = json!(1)), "unknown field `x`"),
        (scale(0.0, 0), "scale 0 is not a positive number"),
        (scale(-1.0, 0), "scale -1 is not a positive number"),
        (scale(f32::NAN, 0), "invalid type: null, expected f32"),
        (scale(1e-45, 0), "with a finite inverse"),
        (scale(1.0, 256), "zero point must be from 0 to 255, found 256"),
        (scale(1.0, -1), "zero point must be from 0 to 255, found -1"),
        (unequal, "must be positive and finite, found"),
        (
            quantization(json!({"scale": 1e300, "zero_point": 0, "dtype": "u8"})),
            "number out of range",
        ),
        (quantization(json!({"scale": 1, "zero_point": 0})), "missing field `dtype`"),
        (
            quantization(json!({"scale": 1, "zero_point": 0, "dtype": "i8"})),
            "quant: its values are of type \"i8\", and this posterize reads \"u8\"; use a newer",
        ),
        (
            quantization(json!({"scale": 1, "zero_point": 0, "dtype": "u8", "axis": 0})),
            "unknown field `axis`",
        ),
        (quantization(Value::Null), "must be all int8 or all float"),
        (text("[".repeat(1 << 20)), "tensor `graph.json.zlib`: invalid type: sequence"),
        (
            text(format!("{{\"nodes\":[{{\"attributes\":{}", "[".repeat(1 << 20))),
            "EOF while parsing",
        ),
        (deep, "input: the operator Input: invalid type: sequence"),
        (
            text(format!("{{\"nodes\":{{\"x\":{}", "[".repeat(1 << 20))),
            "tensor `graph.json.zlib`: invalid type: map, expected a sequence",
        ),
        (text(" ".repeat(9 << 20)), "decompresses to more than 8388608 bytes"),
        (text("{\"nodes\":".into()), "EOF while parsing"),
        (text(String::new()), "EOF while parsing"),
    ] {
        let found = refused(&file);
        assert!(found.contains(problem), "expected {problem:?}, found {found:?}");
        assert!(found.chars().count() <= 1001 && !found.contains(char::is_control), "{found:?}");
    }
}

proptest! {
    /// Changes digits in the JSON of a graph: the file is an error, or the network runs.
    #[test]
    fn a_graph_with_other_numbers_runs_or_is_an_error(
        edits in prop::collection::vec((any::<prop::sample::Index>(), b'0'..=b'9'), 1..4),
    ) {
        let file = crafted(&|container| {
            let mut json = unzlib(&container.tensors[GRAPH]).into_bytes();
            let digits: Vec<usize> =
                (0..json.len()).filter(|&place| json[place].is_ascii_digit()).collect();
            for (place, digit) in &edits {
                json[digits[place.index(digits.len())]] = *digit;
            }
            container.tensors.insert(GRAPH.into(), zlib(&json));
        });
        if let Ok(saved) = SavedModel::from_bytes(FILE, &file) {
            let logits = saved.model.forward(&noise(2, 8)).unwrap();
            prop_assert_eq!(logits.shape(), [2, 3]);
            let again = saved.to_bytes().unwrap();
            prop_assert_eq!(SavedModel::from_bytes(FILE, &again).unwrap(), saved);
        }
    }
}
