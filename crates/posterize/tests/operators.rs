//! Tests that operators and their gradients equal PyTorch's (`testdata/operators/goldens.json`).

use std::collections::BTreeMap;

use posterize::checkpoint::StateTensor;
use posterize::graph::{Builder, NodeId};
use posterize::ops::{
    Activation, AdaptiveAvgPool2d, Add, Cat, ChannelShuffle, Conv2d, Div, Hardswish, Linear, Mean,
    Mul, SiLU, Sigmoid, Slice, Sub,
};
use posterize::runtime::{Input, Options};
use posterize::training::{CrossEntropy, Network};
use posterize::{Architecture, FloatModel, MemoryFormat, StateDict, Tensor, compile};
use serde::Deserialize;

#[derive(Deserialize)]
struct Goldens {
    images: Values,
    labels: Vec<usize>,
    state: Named,
    cases: BTreeMap<String, Case>,
}

#[derive(Deserialize)]
struct Case {
    output: Values,
    logits: Values,
    gradients: Named,
}

type Named = BTreeMap<String, Values>;

#[derive(Clone, Deserialize)]
struct Values {
    shape: Vec<usize>,
    values: Vec<f32>,
}

impl Values {
    fn tensor(&self) -> Tensor {
        Tensor::new(self.shape.clone(), self.values.clone()).unwrap()
    }
}

fn goldens() -> Goldens {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/operators/goldens.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Adds the operators of a case to the graph, after `x` with eight channels.
fn operator(name: &str, builder: &mut Builder, x: NodeId) -> NodeId {
    let one = match name {
        "slice_channels" => Some(builder.add("op", Slice::new(1, 1, 8).step(3), &[x])),
        "slice_columns" => Some(builder.add("op", Slice::new(3, 1, 4).step(2), &[x])),
        "channel_shuffle" => Some(builder.add("op", ChannelShuffle::new(4), &[x])),
        "sigmoid" => Some(builder.add("op", Sigmoid, &[x])),
        "silu" => Some(builder.add("op", SiLU, &[x])),
        "hardswish" => Some(builder.add("op", Hardswish, &[x])),
        "relu" => Some(builder.add("op", Activation::ReLU, &[x])),
        "relu6" => Some(builder.add("op", Activation::ReLU6, &[x])),
        _ => None,
    };
    if let Some(node) = one {
        return node;
    }
    let halves = builder.split("half", x, &[4, 4], 1);
    let (a, b) = (halves[0], halves[1]);
    let pool = |builder: &mut Builder, x| builder.add("pool", AdaptiveAvgPool2d::new([1, 1]), &[x]);
    match name {
        "add_broadcast" => {
            let b = pool(builder, b);
            builder.add("op", Add::new(), &[a, b])
        }
        "broadcast_add" => {
            let a = pool(builder, a);
            builder.add("op", Add::new(), &[a, b])
        }
        "sub" => builder.add("op", Sub, &[a, b]),
        "sub_broadcast" => {
            let b = pool(builder, b);
            builder.add("op", Sub, &[a, b])
        }
        "broadcast_sub" => {
            let a = pool(builder, a);
            builder.add("op", Sub, &[a, b])
        }
        "mul" => builder.add("op", Mul, &[a, b]),
        "mul_broadcast" => {
            let b = pool(builder, b);
            builder.add("op", Mul, &[a, b])
        }
        "div" => {
            let b = builder.add("sigmoid", Sigmoid, &[b]);
            builder.add("op", Div, &[a, b])
        }
        "div_broadcast" => {
            let b = builder.add("sigmoid", Sigmoid, &[b]);
            let b = pool(builder, b);
            builder.add("op", Div, &[a, b])
        }
        "broadcast_div" => {
            let a = pool(builder, a);
            let b = builder.add("sigmoid", Sigmoid, &[b]);
            builder.add("op", Div, &[a, b])
        }
        "cat_channels" => {
            let two = builder.add("two", Slice::new(1, 1, 3), &[a]);
            builder.add("op", Cat::new(1), &[b, two])
        }
        "cat_rows" => builder.add("op", Cat::new(2), &[a, b]),
        _ => panic!("the case {name} has no operator"),
    }
}

/// Returns the network of a case, with the operator's output as a second output if `both`.
fn model(name: &str, goldens: &Goldens, both: bool) -> FloatModel {
    let channels = goldens.cases[name].output.shape[1];
    let mut builder = Builder::new("Net");
    let x = builder.input("images");
    let x = builder.add("conv", Conv2d::new(3, 8, 1), &[x]);
    let op = operator(name, &mut builder, x);
    let mean = builder.add("mean", Mean, &[op]);
    let logits = builder.add("fc", Linear::new(channels, 4), &[mean]);
    builder.output("logits", logits);
    if both {
        builder.output("op", op);
    }
    let mut state = StateDict::new();
    for (name, values) in &goldens.state {
        let mut tensor = values.tensor();
        if name == "fc.weight" {
            let rows = values.values.chunks_exact(8).flat_map(|row| &row[..channels]).copied();
            tensor = Tensor::new([4, channels], rows.collect()).unwrap();
        }
        state.insert(name.clone(), StateTensor::Float(tensor));
    }
    Architecture::from(builder.build().unwrap()).load(&state).unwrap()
}

/// Checks that values differ by at most `tolerance` of the largest value, or of 1 if that is larger.
fn assert_near(what: &str, found: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(1.0_f32, |max, x| max.max(x.abs()));
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        let far = (found - expected).abs();
        assert!(far <= tolerance * largest, "{what}, value {index}: {found}, expected {expected}");
    }
}

#[test]
fn outputs_equal_pytorch() {
    let goldens = goldens();
    let images = goldens.images.tensor();
    for (name, case) in &goldens.cases {
        let mut engine = compile(model(name, &goldens, true), Options::new(2).unwrap()).unwrap();
        let outputs = engine.run_all(&[Input::from(&images)]).unwrap();
        assert_eq!(outputs[1].shape(), case.output.shape, "{name}");
        let output = outputs[1].to_format(MemoryFormat::Contiguous);
        assert_near(name, output.data(), &case.output.values, 1e-6);
        assert_near(name, outputs[0].data(), &case.logits.values, 1e-6);
    }
}

#[test]
fn gradients_equal_pytorch() {
    let goldens = goldens();
    let images = goldens.images.tensor();
    for (name, case) in &goldens.cases {
        for threads in [1, 3] {
            let model = model(name, &goldens, false);
            let mut network = Network::float(&model, Options::new(threads).unwrap()).unwrap();
            network.forward_backward(&images, &goldens.labels, &CrossEntropy::default()).unwrap();
            let mut seen = 0;
            for tensor in network.trained() {
                if let Some(expected) = case.gradients.get(tensor.name) {
                    let what = format!("{name}, {}", tensor.name);
                    assert_near(&what, tensor.gradient, &expected.values, 2e-6);
                    seen += 1;
                }
            }
            assert_eq!(seen, case.gradients.len(), "{name}");
        }
    }
}
