//! Tests of files of format version 1.

use std::collections::BTreeMap;

use serde_json::json;

use super::*;
use crate::format::graph_from_json;
use crate::graph::{Graph, ModuleEntry, Node, NodeId, Output};
use crate::ops::{
    AdaptiveAvgPool2d, Add, Cat, DeQuantStub, Dropout, Input, Mean, Mul, Op, QuantStub, ZeroPad2d,
};
use crate::quantization::{QParams, QuantizationParams, QuantizedLayer};

#[allow(clippy::needless_pass_by_value, reason = "callers pass `json!` values")]
fn node(name: &str, op: Value, inputs: &[usize]) -> Value {
    let mut node = json!({"name": name, "inputs": inputs, "is_module": true});
    node["op"] = op;
    node
}

/// A graph with every operator of version 1.
fn every_operator() -> Value {
    let conv = json!({"in_channels": 3, "out_channels": 8, "kernel_size": [3, 5], "stride": [2, 1],
        "padding": "Same", "dilation": [1, 2], "groups": 1, "bias": false});
    let explicit = json!({"in_channels": 8, "out_channels": 8, "kernel_size": [1, 1],
        "stride": [1, 1], "padding": {"Explicit": {"top": 1, "bottom": 2, "left": 3, "right": 4}},
        "dilation": [1, 1], "groups": 8, "bias": true});
    let norm = json!({"num_features": 8, "eps": 1e-3, "momentum": 0.01, "dimensions": 2});
    let linear = |features: usize| {
        json!({"in_features": 16, "out_features": features,
        "bias": true})
    };
    let nodes = [
        node("input", json!("Input"), &[]),
        node("quant", json!("QuantStub"), &[0]),
        node("conv", json!({"Conv2d": [conv, "ReLU6"]}), &[1]),
        node("explicit", json!({"Conv2d": [explicit, null]}), &[2]),
        node("norm", json!({"BatchNorm": norm}), &[2]),
        node("relu", json!({"Activation": "ReLU"}), &[4]),
        node("add", json!({"Add": null}), &[4, 5]),
        node("add_relu", json!({"Add": "ReLU"}), &[6, 5]),
        node("mul", json!("Mul"), &[6, 7]),
        node("cat", json!("Cat"), &[7, 8]),
        node("pad", json!({"ZeroPad2d": {"left": 1, "right": 2, "top": 3, "bottom": 4}}), &[9]),
        node("max", json!({"MaxPool2d": {"kernel_size": 3, "stride": 2, "padding": 1}}), &[10]),
        node("avg", json!({"AdaptiveAvgPool2d": {"output_size": [1, 1]}}), &[11]),
        node("flatten", json!("Flatten"), &[12]),
        node("mean", json!("Mean"), &[11]),
        node("dropout", json!({"Dropout": {"p": 0.25}}), &[14]),
        node("linear", json!({"Linear": [linear(16), "ReLU"]}), &[15]),
        node("fc", json!({"Linear": [linear(4), null]}), &[16]),
        node("dequant", json!("DeQuantStub"), &[17]),
    ];
    let qparams = vec![Value::Null; nodes.len()];
    json!({
        "graph": {"nodes": nodes, "output": 18, "modules": [{"path": "", "kind": "Net"}]},
        "qparams": qparams,
    })
}

fn read(json: &Value) -> Result<Graph, String> {
    graph_from_json(1, json.to_string().as_bytes())
}

#[test]
fn all_operators_are_read() {
    let conv = Conv2d {
        kernel_size: [3, 5],
        stride: [2, 1],
        dilation: [1, 2],
        activation: Some(Activation::ReLU6),
        ..Conv2d::new(3, 8, 3).padding(Padding::Same).bias(false)
    };
    let padding = Padding::Explicit { top: 1, bottom: 2, left: 3, right: 4 };
    let linear = Linear { activation: Some(Activation::ReLU), ..Linear::new(16, 16) };
    let nodes: Vec<(&str, Op, &[usize])> = vec![
        ("input", Input.into(), &[]),
        ("quant", QuantStub.into(), &[0]),
        ("conv", conv.into(), &[1]),
        ("explicit", Conv2d::new(8, 8, 1).padding(padding).groups(8).into(), &[2]),
        ("norm", BatchNorm::two_d(8).eps(1e-3).momentum(0.01).into(), &[2]),
        ("relu", Activation::ReLU.into(), &[4]),
        ("add", Add::new().into(), &[4, 5]),
        ("add_relu", Add::fused(Activation::ReLU).into(), &[6, 5]),
        ("mul", Mul.into(), &[6, 7]),
        ("cat", Cat::new(1).into(), &[7, 8]),
        ("pad", ZeroPad2d::new([1, 2, 3, 4]).into(), &[9]),
        ("max", MaxPool2d::new(3).stride(2).padding(1).into(), &[10]),
        ("avg", AdaptiveAvgPool2d::new([1, 1]).into(), &[11]),
        ("flatten", Flatten.into(), &[12]),
        ("mean", Mean.into(), &[11]),
        ("dropout", Dropout::new(0.25).into(), &[14]),
        ("linear", linear.into(), &[15]),
        ("fc", Linear::new(16, 4).into(), &[16]),
        ("dequant", DeQuantStub.into(), &[17]),
    ];
    let nodes = nodes.into_iter().map(|(name, op, inputs)| Node {
        name: name.into(),
        op,
        inputs: inputs.iter().map(|&input| NodeId(input)).collect(),
        is_module: true,
    });
    let modules = vec![ModuleEntry { path: String::new(), kind: "Net".into() }];
    let outputs = vec![Output::new("output", NodeId(18))];
    let expected = Graph::new(nodes.collect(), outputs, modules).unwrap();
    assert_eq!(read(&every_operator()).unwrap(), expected);
}

#[test]
fn invalid_graphs_are_errors() {
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut json = every_operator();
        change(&mut json);
        read(&json).unwrap_err()
    };
    let node = |index: usize, key: &str, value: Value| {
        changed(&|json| json["graph"]["nodes"][index][key] = value.clone())
    };
    for (found, problem) in [
        (node(2, "inputs", json!([7])), "conv: node 2 takes node 7, which is not before it"),
        (node(2, "inputs", json!([-1])), "invalid value: integer `-1`"),
        (node(6, "inputs", json!([4])), "add: Add takes 2 inputs, found 1"),
        (
            node(1, "op", json!("Input")),
            "quant: expected the input as the first node, and no other inputs",
        ),
        (node(0, "op", json!("Mean")), "input: expected the input as the first node"),
        (node(2, "op", json!("Exec")), "unknown variant `Exec`"),
        // Attributes and operators of version 2.
        (node(9, "op", json!({"Cat": {"dim": 2}})), "invalid type: map, expected unit"),
        (node(9, "op", json!("Sigmoid")), "unknown variant `Sigmoid`"),
        (node(2, "name", json!("quant")), "quant: two nodes have this name"),
        (
            changed(&|json| json["graph"]["output"] = json!(99)),
            "its output `output` is node 99, but there are 19 nodes",
        ),
        (changed(&|json| json["graph"]["output"] = json!([])), "expected usize"),
        (
            changed(&|json| drop(json["qparams"].as_array_mut().unwrap().pop())),
            "its graph has 19 nodes and 18 qparams",
        ),
        (changed(&|json| json["qparams"][1] = json!({"scale": null, "zero_point": 0})), "null"),
        (changed(&|json| json["outputs"] = json!([])), "unknown field `outputs`"),
    ] {
        assert!(found.contains(problem), "expected {problem:?}, found {found:?}");
    }
}

/// A file of version 1 with one convolution.
fn one_convolution() -> Container<'static> {
    let conv = json!({"in_channels": 2, "out_channels": 1, "kernel_size": [1, 1], "stride": [1, 1],
        "padding": {"Explicit": {"top": 0, "bottom": 0, "left": 0, "right": 0}},
        "dilation": [1, 1], "groups": 1, "bias": false});
    let graph = json!({
        "graph": {
            "nodes": [
                node("input", json!("Input"), &[]),
                node("quant", json!("QuantStub"), &[0]),
                node("conv", json!({"Conv2d": [conv, "ReLU"]}), &[1]),
                node("dequant", json!("DeQuantStub"), &[2]),
            ],
            "output": 3,
            "modules": [],
        },
        "qparams": [null, {"scale": 0.1, "zero_point": 5}, {"scale": 0.2, "zero_point": 0}, null],
    });
    let tensor = |dtype, shape: &[usize], bytes: Vec<u8>| RawTensor {
        dtype,
        shape: shape.to_vec(),
        bytes: Cow::Owned(bytes),
    };
    let metadata = [("format_version", "1"), ("model", "one"), ("qconfig", "{}")];
    Container {
        metadata: metadata.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        tensors: BTreeMap::from([
            (GRAPH.to_owned(), zlib(graph.to_string().as_bytes())),
            ("conv.weight".to_owned(), tensor(Dtype::I8, &[1, 2, 1, 1], vec![3, 253])),
            ("conv.weight_scale".to_owned(), tensor(Dtype::F32, &[], 0.5f32.to_le_bytes().into())),
            ("conv.bias".to_owned(), tensor(Dtype::I32, &[1], (-9i32).to_le_bytes().into())),
        ]),
    }
}

#[test]
fn a_file_is_read_and_saved_in_the_newest_version() {
    let old = SavedModel::from_bytes(FILE, &one_convolution().encode(&MODEL)).unwrap();
    assert_eq!(old.name, "one");
    let conv = old.model.graph().find("conv").unwrap();
    let model = old.model.as_quantized().unwrap();
    assert_eq!(model.qparams(conv), Some(QParams { scale: 0.2, zero_point: 0 }));
    let expected = QuantizedLayer {
        shape: vec![1, 2, 1, 1],
        weight: vec![3, -3],
        qparams: QuantizationParams::PerTensor(QParams { scale: 0.5, zero_point: 0 }),
        bias: vec![-9],
    };
    assert_eq!(model.layer(conv), Some(&expected));
    let bytes = old.to_bytes().unwrap();
    let container = Container::decode(&MODEL, &bytes).unwrap();
    assert_eq!(container.version(), Ok(3));
    assert_eq!(SavedModel::from_bytes(FILE, &bytes).unwrap(), old);
}

#[test]
fn a_graph_of_another_version_than_the_metadata_is_an_error() {
    let mut container = one_convolution();
    container.metadata.insert("format_version".into(), "2".into());
    let found = refused(&container.encode(&MODEL));
    assert!(found.contains("unknown field `graph`"), "{found}");
    let found = refused(&crafted(&|container| {
        container.metadata.insert("format_version".into(), "1".into());
    }));
    assert!(found.contains("unknown field `nodes`"), "{found}");
    let mut container = one_convolution();
    container.tensors.remove("conv.bias");
    let found = refused(&container.encode(&MODEL));
    assert!(found.contains("it has no tensor `conv.bias`"), "{found}");
}
