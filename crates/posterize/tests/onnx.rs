//! The small ONNX files in testdata/onnx, against what ONNX Runtime computes for them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use posterize::checkpoint::StateTensor;
use posterize::import::onnx::{OnnxModel, OnnxOptions};
use posterize::quantization::{QConfig, QConfigMapping};
use posterize::runtime::{Input, Model, Options, compile};
use posterize::{Error, ErrorKind, MemoryFormat, StateDict, Tensor};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/onnx")
}

/// Inputs and expected outputs of a file.
#[derive(Default)]
struct Golden {
    inputs: BTreeMap<usize, Tensor>,
    outputs: BTreeMap<usize, Tensor>,
}

fn goldens() -> BTreeMap<String, Golden> {
    let state = StateDict::open(folder().join("golden.safetensors")).unwrap();
    let mut goldens = BTreeMap::<String, Golden>::new();
    for (name, tensor) in state.iter() {
        let [file, kind, index] = name.split('/').collect::<Vec<_>>()[..] else {
            panic!("{name}");
        };
        let golden = goldens.entry(file.into()).or_default();
        let tensors = if kind == "input" { &mut golden.inputs } else { &mut golden.outputs };
        let StateTensor::Float(float) = tensor else { panic!("{name}") };
        assert!(tensors.insert(index.parse().unwrap(), float.clone()).is_none());
    }
    goldens
}

/// Returns the values of an input as the network takes them, `copies` times along the batch.
fn network_input(tensor: &Tensor, channels_last: bool, copies: usize) -> Tensor {
    let mut shape = tensor.shape().to_vec();
    shape[0] *= copies;
    let data = tensor.data().repeat(copies);
    if channels_last {
        let [n, h, w, c] = shape[..] else { panic!("{shape:?}") };
        return Tensor::channels_last([n, c, h, w], data).unwrap();
    }
    let tensor = Tensor::new(shape, data).unwrap();
    if tensor.shape().len() == 4 { tensor.to_format(MemoryFormat::ChannelsLast) } else { tensor }
}

/// Runs a network on `copies` copies of the inputs.
fn run(model: &Model, onnx: &OnnxModel, golden: &Golden, copies: usize) -> Vec<Tensor> {
    let inputs: Vec<Tensor> = golden
        .inputs
        .values()
        .zip(onnx.inputs())
        .map(|(tensor, input)| network_input(tensor, input.is_channels_last(), copies))
        .collect();
    let inputs: Vec<Input<'_>> = inputs.iter().map(Input::from).collect();
    let mut engine = compile(model, Options::new(2).unwrap()).unwrap();
    engine.run_all(&inputs).unwrap()
}

/// Asserts that outputs are `copies` times the expected ones along the batch.
fn assert_close(file: &str, found: &[Tensor], golden: &Golden, copies: usize) {
    assert_eq!(found.len(), golden.outputs.len(), "{file}");
    for (index, (found, expected)) in found.iter().zip(golden.outputs.values()).enumerate() {
        let mut shape = expected.shape().to_vec();
        shape[0] *= copies;
        assert_eq!(found.shape(), shape, "{file}, output {index}");
        let found = found.to_format(MemoryFormat::Contiguous);
        let expected = expected.data().repeat(copies);
        for (at, (found, expected)) in found.data().iter().zip(expected).enumerate() {
            let close = (found - expected).abs() <= 1e-5 + 1e-4 * expected.abs();
            assert!(close, "{file}, output {index}, value {at}: {found}, expected {expected}");
        }
    }
}

#[test]
fn outputs_are_those_of_onnx_runtime() {
    let goldens = goldens();
    assert!(goldens.len() >= 41, "{}", goldens.len());
    for (file, golden) in &goldens {
        let onnx = OnnxModel::open(folder().join(format!("{file}.onnx")))
            .unwrap_or_else(|error| panic!("{file}: {error}"));
        assert!(onnx.warnings().is_empty(), "{file}: {:?}", onnx.warnings());
        let model = Model::from(onnx.model().clone());
        assert_close(file, &run(&model, &onnx, golden, 1), golden, 1);
        let fused = Model::from(onnx.model().fuse().unwrap());
        assert_close(file, &run(&fused, &onnx, golden, 1), golden, 1);
        // The batch is open, whatever the file says.
        assert_close(file, &run(&fused, &onnx, golden, 3), golden, 3);
    }
}

#[test]
fn every_network_becomes_int8() {
    for (file, golden) in &goldens() {
        let onnx = OnnxModel::open(folder().join(format!("{file}.onnx"))).unwrap();
        if golden.inputs.len() > 1 {
            continue;
        }
        let x = network_input(&golden.inputs[&0], onnx.inputs()[0].is_channels_last(), 1);
        let fused = onnx.model().fuse().unwrap();
        let mut observed = fused.prepare(&QConfigMapping::global(QConfig::recommended())).unwrap();
        observed.calibrate(Options::new(1).unwrap(), [Ok(x)]).unwrap();
        let int8 = Model::from(observed.convert().unwrap());
        let found = run(&int8, &onnx, golden, 1);
        for (found, expected) in found.iter().zip(golden.outputs.values()) {
            let found = found.to_format(MemoryFormat::Contiguous);
            let pairs = || found.data().iter().zip(expected.data());
            let noise: f32 = pairs().map(|(y, e)| (y - e) * (y - e)).sum();
            let signal: f32 = pairs().map(|(_, e)| e * e).sum();
            let sqnr = 10.0 * (signal / noise.max(1e-12)).log10();
            assert!(sqnr > 20.0, "{file}: {sqnr} dB");
        }
    }
}

fn names(file: &str) -> Vec<String> {
    let onnx = OnnxModel::open(folder().join(file)).unwrap();
    onnx.model().graph().nodes().iter().map(|node| node.name.clone()).collect()
}

#[test]
fn layers_have_the_names_of_the_modules_and_weights() {
    let found = names("external_data.onnx");
    assert_eq!(
        found,
        ["x", "features.0", "Relu_2", "GlobalAveragePool_3", "Gemm_5.layout", "classifier"]
    );
}

#[test]
fn written_out_functions_and_transposes_are_recognized() {
    let kinds = |file: &str| -> Vec<String> {
        let onnx = OnnxModel::open(folder().join(file)).unwrap();
        onnx.model().graph().nodes().iter().map(|node| node.op.kind()).collect()
    };
    let count = |kinds: &[String], kind: &str| kinds.iter().filter(|found| *found == kind).count();
    let found = kinds("hardswish_written_out.onnx");
    // Three forms of hard-swish of the same value become equal calls, and these one.
    assert_eq!((count(&found, "Hardswish"), count(&found, "SiLU")), (1, 1), "{found:?}");
    assert_eq!(kinds("channel_shuffle.onnx"), ["Input", "ChannelShuffle"]);
    assert_eq!(kinds("pad_before_conv.onnx"), ["Input", "Conv2d"]);
    assert_eq!(kinds("flatten_mul.onnx"), ["Input", "ReLU", "Flatten"]);
    let found = kinds("tensorflow_layout.onnx");
    // That of the output, which the file has with the channels last.
    assert_eq!((count(&found, "Permute"), found.last().map(String::as_str)), (1, Some("Permute")));
    let found = kinds("gelu_written_out.onnx");
    assert_eq!(found, ["Input", "Conv2d", "GELU", "Mish"]);
}

#[test]
fn all_unsupported_nodes_are_in_one_error() {
    let error = OnnxModel::open(folder().join("unsupported/three.onnx")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnsupportedNetwork);
    let Error::UnsupportedNodes(nodes) = &error else { panic!("{error}") };
    let found: Vec<(&str, usize)> =
        nodes.nodes().iter().map(|node| (node.op_type(), node.count())).collect();
    assert_eq!(found, [("Crop", 2), ("FusedConv", 1), ("Conv", 1)]);
    let text = error.to_string();
    assert!(text.contains("2 x Crop (ai.onnx 17), first `crop_a`"), "{text}");
    assert!(text.contains("1 x FusedConv (com.microsoft 1)"), "{text}");

    let path = folder().join("unsupported/three.onnx");
    let cut = OnnxModel::open_with(&path, &OnnxOptions::new().output("kept")).unwrap();
    assert_eq!(cut.model().graph().outputs()[0].name, "kept");
    let error = OnnxModel::open_with(&path, &OnnxOptions::new().output("absent")).unwrap_err();
    assert!(error.to_string().contains("no value named `absent`"), "{error}");
}

#[test]
fn height_and_width_that_are_open_must_be_given() {
    let path = folder().join("unsupported/open_size.onnx");
    let error = OnnxModel::open(&path).unwrap_err().to_string();
    assert!(error.contains("--size HxW"), "{error}");
    let onnx = OnnxModel::open_with(&path, &OnnxOptions::new().size(10, 12)).unwrap();
    assert_eq!(onnx.inputs()[0].shape(), [1, 3, 10, 12]);
}

/// Whatever the bytes, an import returns.
#[test]
fn damaged_files_are_errors() {
    let files = ["conv.onnx", "shape_arithmetic.onnx", "channel_split.onnx", "typed_data.onnx"];
    for file in files {
        let bytes = std::fs::read(folder().join(file)).unwrap();
        let read = |bytes: Vec<u8>| OnnxModel::from_bytes(file, bytes, &OnnxOptions::new());
        assert!(read(bytes.clone()).is_ok(), "{file}");
        for length in (0..bytes.len()).step_by(7) {
            let found = read(bytes[..length].to_vec());
            assert!(found.is_err(), "{file} of {length} bytes");
        }
        for at in (0..bytes.len()).step_by(3) {
            for flip in [0x01, 0x80, 0xff] {
                let mut damaged = bytes.clone();
                damaged[at] ^= flip;
                // Many changes leave a valid file, as those of weights do.
                let _ = read(damaged);
            }
        }
    }
}
