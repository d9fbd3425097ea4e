//! Tests that operators equal ONNX Runtime's (`testdata/operators/onnx_goldens.json`).

use std::collections::BTreeMap;

use posterize::checkpoint::StateTensor;
use posterize::graph::Builder;
use posterize::ops::{
    Abs, AdaptiveMaxPool2d, AvgPool2d, ConvTranspose2d, DepthToSpace, ELU, Erf, Exp, GELU, Gather,
    GroupNorm, Hardsigmoid, Hardtanh, InstanceNorm, LayerNorm, LeakyReLU, LocalResponseNorm, Log,
    LogSoftmax, MatMul, MaxPool2d, Maximum, Minimum, Mish, Neg, Normalize, Op, PReLU, Pad, Permute,
    Pow, Reciprocal, Reduce, Reshape, SELU, Softmax, Softplus, SpaceToDepth, Sqrt, Tanh, Tile,
    Upsample,
};
use posterize::runtime::{Input, Options};
use posterize::{Architecture, MemoryFormat, StateDict, Tensor, compile};
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
struct Goldens {
    inputs: Vec<Values>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    op: String,
    attributes: Value,
    inputs: Vec<usize>,
    parameters: BTreeMap<String, Values>,
    output: Values,
}

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

/// Reads an operator from its hyper-parameters as in a saved file.
fn operator(case: &Case) -> Op {
    macro_rules! of {
        ($($name:ident,)+) => {
            match case.op.as_str() {
                $(stringify!($name) => {
                    serde_json::from_value::<$name>(case.attributes.clone()).unwrap().into()
                })+
                unknown => panic!("the test does not know {unknown}"),
            }
        };
    }
    of!(
        Abs,
        AdaptiveMaxPool2d,
        AvgPool2d,
        ConvTranspose2d,
        DepthToSpace,
        ELU,
        Erf,
        Exp,
        GELU,
        Gather,
        GroupNorm,
        Hardsigmoid,
        Hardtanh,
        InstanceNorm,
        LayerNorm,
        LeakyReLU,
        LocalResponseNorm,
        Log,
        LogSoftmax,
        MatMul,
        MaxPool2d,
        Maximum,
        Minimum,
        Mish,
        Neg,
        Normalize,
        PReLU,
        Pad,
        Permute,
        Pow,
        Reciprocal,
        Reduce,
        Reshape,
        SELU,
        Softmax,
        Softplus,
        SpaceToDepth,
        Sqrt,
        Tanh,
        Tile,
        Upsample,
    )
}

#[test]
fn outputs_equal_onnx_runtime() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/operators/onnx_goldens.json");
    let goldens: Goldens = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let mut failures = Vec::new();
    for case in &goldens.cases {
        let mut builder = Builder::new("Net");
        let count = case.inputs.len();
        let inputs: Vec<_> = (0..count).map(|i| builder.input(format!("x{i}"))).collect();
        let node = builder.add("op", operator(case), &inputs);
        builder.output("y", node);
        let mut state = StateDict::new();
        for (role, values) in &case.parameters {
            state.insert(format!("op.{role}"), StateTensor::Float(values.tensor()));
        }
        let what = format!("{} {}", case.op, case.attributes);
        let graph = builder.build().unwrap_or_else(|error| panic!("{what}: {error}"));
        let model = Architecture::from(graph).load(&state).unwrap();
        let tensors: Vec<Tensor> =
            case.inputs.iter().map(|&i| goldens.inputs[i].tensor()).collect();
        let inputs: Vec<Input<'_>> = tensors.iter().map(Input::from).collect();
        for threads in [1, 3] {
            let mut engine = compile(model.clone(), Options::new(threads).unwrap()).unwrap();
            let found = match engine.run_all(&inputs) {
                Ok(outputs) => outputs[0].to_format(MemoryFormat::Contiguous),
                Err(error) => {
                    failures.push(format!("{what}: {error}"));
                    continue;
                }
            };
            let expected = &case.output;
            if found.shape() != expected.shape {
                failures.push(format!(
                    "{what}: {:?}, expected {:?}",
                    found.shape(),
                    expected.shape
                ));
                continue;
            }
            let far = |(found, expected): (&f32, &f32)| {
                let same = found == expected || (found.is_nan() && expected.is_nan());
                !same && (found - expected).abs() > 1e-5 * expected.abs().max(1.0)
            };
            let mut pairs = found.data().iter().zip(&expected.values);
            if let Some(at) = pairs.position(far) {
                let (found, expected) = (found.data()[at], expected.values[at]);
                failures.push(format!("{what}: value {at} is {found}, expected {expected}"));
            }
        }
    }
    let count = failures.len();
    assert!(failures.is_empty(), "{count} of them fail:\n{}", failures.join("\n"));
    assert!(goldens.cases.len() > 400);
}
