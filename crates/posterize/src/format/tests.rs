//! What comes back from a file, and what files are refused.

use std::borrow::Cow;
use std::io::Write;

use proptest::prelude::*;
use safetensors::Dtype;
use serde_json::{Value, json};

use super::container::{Container, RawTensor};
use super::*;
use crate::models::{self, Config};
use crate::nn::{Flatten, Sequential};
use crate::ops::{Activation, BatchNorm, Conv2d, Linear, MaxPool2d, Padding};
use crate::quantization::{QConfig, QConfigMapping};
use crate::runtime::Options;
use crate::tensor::Tensor;
use crate::{Architecture, FloatModel};

const FILE: &str = "folder/small.safetensors";

fn noise(batch: usize, size: usize) -> Tensor {
    let mut state = 7u32;
    let values = (0..batch * 3 * size * size).map(|_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / 8_388_608.0 - 1.0
    });
    Tensor::new([batch, 3, size, size], values.collect()).unwrap()
}

fn quantize(float: &FloatModel, mapping: &QConfigMapping, size: usize) -> QuantizedModel {
    let mut observed = float.prepare(mapping).unwrap();
    observed.calibrate(Options::new(1).unwrap(), [Ok(noise(4, size))]).unwrap();
    observed.convert().unwrap()
}

/// A network of a few hundred weights for pictures of 8 x 8, three classes, its last layer in float.
fn small() -> SavedModel {
    let net = Sequential::new()
        .then(Conv2d::new(3, 8, 3).stride(2).padding(Padding::Same).bias(false))
        .then(BatchNorm::two_d(8))
        .then(Activation::ReLU6)
        .then(Conv2d::new(8, 8, 3).padding(Padding::all(1)).groups(8))
        .then(MaxPool2d { kernel_size: 2, stride: 2, padding: 0 })
        .then(Conv2d::new(8, 4, 1))
        .then(Flatten)
        .then(Linear::new(16, 3));
    let float = Architecture::trace(&net).unwrap().init(5).fuse().unwrap();
    let mapping = QConfigMapping::global(QConfig::recommended()).set_object_type("Linear", None);
    let class = |name: &str| Class { folder: format!("n{name}"), name: name.into() };
    SavedModel {
        name: "small".into(),
        model: quantize(&float, &mapping, 8),
        preprocessing: Some(Preprocessing { resize: 9, crop: 8, ..Preprocessing::imagenet() }),
        classes: ["ant", "bee", "great \"grey\" cat"].map(class).into(),
    }
}

#[track_caller]
fn refused(bytes: &[u8]) -> String {
    let error = SavedModel::from_bytes(FILE, bytes).unwrap_err();
    assert!(matches!(error, Error::Format { .. }), "{error:?}");
    let error = error.to_string();
    error.strip_prefix("folder/small.safetensors: ").expect("it names the file").to_owned()
}

#[test]
fn what_is_read_is_what_was_written_to_the_bit() {
    let folder = tempfile::tempdir().unwrap();
    let mobilenet = models::mobilenet_v2(&Config { width_mult: 0.1, ..Config::default() });
    let mobilenet = mobilenet.unwrap().init(1).fuse().unwrap();
    let global = QConfigMapping::global;
    let mut all = vec![small()];
    for qconfig in [QConfig::recommended(), QConfig::qnnpack()] {
        all.push(SavedModel::new(quantize(&mobilenet, &global(qconfig), 32)));
    }
    let skipped = global(QConfig::fbgemm()).set_module_glob("features.1[0-4]", None).unwrap();
    all.push(SavedModel::new(quantize(&mobilenet, &skipped, 32)));
    for saved in all {
        let path = folder.path().join("model.safetensors");
        let size = saved.save(&path).unwrap();
        assert_eq!(size, path.metadata().unwrap().len());
        let back = SavedModel::open(&path).unwrap();
        assert_eq!(back, saved);
        assert_eq!(back.to_bytes().unwrap(), saved.to_bytes().unwrap());
        let images = noise(2, saved.preprocessing.as_ref().map_or(32, |p| p.crop));
        let logits = saved.model.forward(&images).unwrap();
        assert_eq!(back.model.forward(&images).unwrap(), logits);
        assert_eq!(QuantizedModel::open(&path).unwrap(), saved.model);
    }
}

#[test]
fn any_safetensors_tool_finds_the_weights_under_pytorchs_names() {
    let saved = small();
    let bytes = saved.to_bytes().unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let weight = tensors.tensor("0.weight").unwrap();
    assert_eq!((weight.dtype(), weight.shape()), (Dtype::I8, &[8, 3, 3, 3][..]));
    let layer = saved.model.layer("0").unwrap();
    assert!(weight.data().iter().zip(&layer.weight).all(|(byte, q)| *byte as i8 == *q));
    assert_eq!(tensors.tensor("0.bias").unwrap().dtype(), Dtype::I32);
    assert_eq!(tensors.tensor("0.weight_scale").unwrap().shape(), [8]);
    assert_eq!(tensors.tensor("7.weight").unwrap().dtype(), Dtype::F32);
    for (name, tensor) in tensors.tensors() {
        let offset = tensor.data().as_ptr() as usize - bytes.as_ptr() as usize;
        assert_eq!(offset % (tensor.dtype().bitsize() / 8), 0, "{name} is not aligned");
    }
}

#[test]
fn a_file_cut_short_or_continued_is_refused() {
    let bytes = small().to_bytes().unwrap();
    for length in 0..bytes.len() {
        refused(&bytes[..length]);
    }
    assert!(refused(&[]).contains("found an empty file"));
    let problem = refused(&bytes[..bytes.len() - 1]);
    assert!(problem.contains("truncated or damaged"), "{problem}");
    refused(&[&bytes[..], b" "].concat());
}

#[test]
fn a_changed_bit_anywhere_is_refused() {
    let bytes = small().to_bytes().unwrap();
    for place in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[place] ^= 1 << (place % 8);
        refused(&changed);
    }
    let mut changed = bytes.clone();
    *changed.last_mut().unwrap() ^= 1;
    assert!(
        refused(&changed).starts_with("its content was altered or damaged: its digest is sha256:")
    );
}

#[test]
fn other_files_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let open = |path: &Path| SavedModel::open(path).unwrap_err().to_string();
    assert!(open(folder.path()).contains("a folder, where a model saved by posterize is expected"));
    assert!(open(&folder.path().join("none")).contains("none: cannot open: "));
    let path = folder.path().join("weights");
    let float = Architecture::trace(&Conv2d::new(3, 2, 1)).unwrap().init(0);
    float.state_dict().save_safetensors(&path).unwrap();
    assert!(open(&path).contains("not a model saved by posterize"), "{}", open(&path));
    std::fs::write(&path, b"PK\x03\x04 and so on").unwrap();
    assert!(open(&path).contains("found a PyTorch checkpoint"));
    std::fs::write(&path, "hello").unwrap();
    assert!(open(&path).contains("found a file of 5 bytes"));
    std::fs::write(&path, "hello, this is text").unwrap();
    assert!(open(&path).contains("which is a safetensors file; this is none"));
}

#[test]
fn parts_that_do_not_fit_are_not_saved() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let refused = |change: &dyn Fn(&mut SavedModel)| {
        let mut saved = small();
        change(&mut saved);
        let error = saved.save(&path).unwrap_err().to_string();
        assert!(!path.exists());
        error
    };
    assert!(refused(&|saved| drop(saved.classes.pop())).contains("it names 2 classes, but"));
    assert!(refused(&|saved| saved.classes[0].folder = "nbee".into()).contains("\"nbee\""));
    assert!(refused(&|saved| saved.preprocessing = None).contains("no preprocessing"));
    let crop = |saved: &mut SavedModel| saved.preprocessing.as_mut().unwrap().crop = 16;
    assert!(refused(&crop).contains("expected an input [N, 16]"), "{}", refused(&crop));
    let conv = Architecture::trace(&Conv2d::new(3, 8, 1)).unwrap().init(0);
    let model = quantize(&conv, &QConfigMapping::global(QConfig::recommended()), 4);
    let preprocessing = Preprocessing { crop: 16_000, ..Preprocessing::imagenet() };
    let large = SavedModel { preprocessing: Some(preprocessing), ..SavedModel::new(model) };
    let error = large.to_bytes().unwrap_err().to_string();
    assert!(error.contains("[1, 3, 16000, 16000] has more than the limit of"), "{error}");
}

/// A file whose digest is right, whatever else is wrong.
fn crafted(change: &dyn Fn(&mut Container<'_>)) -> Vec<u8> {
    let bytes = small().to_bytes().unwrap();
    let mut container = Container::decode(&MODEL, &bytes).unwrap();
    change(&mut container);
    container.encode(&MODEL)
}

fn zlib(json: &[u8]) -> RawTensor<'static> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(json).unwrap();
    let bytes = encoder.finish().unwrap();
    RawTensor { dtype: Dtype::U8, shape: vec![bytes.len()], bytes: Cow::Owned(bytes) }
}

fn unzlib(tensor: &RawTensor<'_>) -> String {
    std::io::read_to_string(flate2::read::ZlibDecoder::new(&*tensor.bytes)).unwrap()
}

const GRAPH: &str = "graph.json.zlib";
const CLASSES: &str = "classes.json.zlib";

/// The same with another graph.
fn with_graph(change: &dyn Fn(&mut Value)) -> Vec<u8> {
    crafted(&|container| {
        let mut graph: Value = serde_json::from_str(&unzlib(&container.tensors[GRAPH])).unwrap();
        change(&mut graph);
        container.tensors.insert(GRAPH.into(), zlib(graph.to_string().as_bytes()));
    })
}

#[test]
fn hostile_graphs_are_refused() {
    let conv = |change: Value| {
        with_graph(&|graph| {
            let node = graph["graph"]["nodes"].as_array_mut().unwrap();
            let node = node.iter_mut().find(|node| node["name"] == "0").unwrap();
            for (key, value) in change.as_object().unwrap() {
                node["op"]["Conv2d"][0][key] = value.clone();
            }
        })
    };
    let node = |index: usize, key: &str, value: Value| {
        with_graph(&|graph| graph["graph"]["nodes"][index][key] = value.clone())
    };
    let qparams = |value: Value| with_graph(&|graph| graph["qparams"][1] = value.clone());
    let scale =
        |scale: f32, zero_point: i32| qparams(json!({"scale": scale, "zero_point": zero_point}));
    let unequal = with_graph(&|graph| {
        graph["qparams"][1]["scale"] = json!(3e38);
        graph["qparams"][2]["scale"] = json!(1e-6);
    });
    let huge =
        json!({"Explicit": {"top": 16_000_000, "bottom": 0, "left": 16_000_000, "right": 0}});
    let text = |json: String| {
        crafted(&|container| {
            container.tensors.insert(GRAPH.into(), zlib(json.as_bytes()));
        })
    };
    for (file, problem) in [
        (node(2, "inputs", json!([2])), "node 2 takes node 2, which is not before it"),
        (node(2, "inputs", json!([1_000_000_000])), "which is not before it"),
        (node(2, "inputs", json!([-1])), "invalid value: integer `-1`"),
        (node(2, "inputs", json!([])), "takes 1 inputs, found 0"),
        (node(2, "name", json!("3")), "two nodes have this name"),
        (node(2, "name", json!("a.".repeat(100_000))), "a name of 200000 bytes"),
        (node(2, "name", json!("\u{1b}[2J")), "control characters"),
        (node(2, "op", json!("Exec")), "unknown variant `Exec`"),
        (conv(json!({"stride": [0, 1]})), "stride is zero"),
        (conv(json!({"kernel_size": [0, 0]})), "kernel height is zero"),
        (conv(json!({"groups": 0})), "groups is zero"),
        (conv(json!({"groups": 7})), "do not divide into 7 groups"),
        (conv(json!({"out_channels": 1u64 << 40})), "beyond the limit"),
        (conv(json!({"in_channels": 1 << 24, "kernel_size": [1 << 24, 1]})), "more than the limit"),
        (conv(json!({"out_channels": 16})), "tensor `0.weight` must be I8 of shape [16, 3, 3, 3]"),
        (conv(json!({"padding": huge})), "7: expected an input"),
        (
            conv(json!({"stride": [1 << 20, 1 << 20], "padding": {"Explicit":
            {"top": 0, "bottom": 0, "left": 0, "right": 0}}})),
            "4: the window does not fit",
        ),
        (with_graph(&|graph| graph["graph"]["output"] = json!(99)), "its output 99 is no node"),
        (with_graph(&|graph| graph["graph"]["nodes"] = json!([])), "its output"),
        (with_graph(&|graph| drop(graph["qparams"].as_array_mut().unwrap().pop())), "scales"),
        (scale(0.0, 0), "scale 0 is not a positive number"),
        (scale(-1.0, 0), "scale -1 is not a positive number"),
        (scale(f32::NAN, 0), "invalid type: null, expected f32"),
        (scale(1e-45, 0), "with a finite inverse"),
        (scale(1.0, 256), "zero point 256 is not in 0..=255"),
        (scale(1.0, -1), "zero point -1 is not in 0..=255"),
        (unequal, "0: channel 0 has no multiplier"),
        (qparams(json!({"scale": 1e300, "zero_point": 0})), "number out of range"),
        (qparams(Value::Null), "int8 and float values meet"),
        (text("[".repeat(1 << 20)), "tensor `graph.json.zlib`: invalid type: sequence"),
        (text(format!("{{\"graph\":{{\"x\":{}", "[".repeat(1 << 20))), "EOF while parsing"),
        (text(" ".repeat(9 << 20)), "unfolds to more than 8388608 bytes"),
        (text("{\"graph\":".into()), "EOF while parsing"),
        (text(String::new()), "EOF while parsing"),
    ] {
        let found = refused(&file);
        assert!(found.contains(problem), "expected {problem:?}, found {found:?}");
    }
}

#[test]
fn hostile_tensors_and_metadata_are_refused() {
    let edit = |name: &'static str, change: &dyn Fn(&mut RawTensor<'_>)| {
        crafted(&|container| change(container.tensors.get_mut(name).unwrap()))
    };
    let floats = |values: &[f32]| -> Cow<'static, [u8]> {
        values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>().into()
    };
    let metadata = |key: &'static str, value: &'static str| {
        crafted(&|container| drop(container.metadata.insert(key.into(), value.into())))
    };
    let classes = |json: &'static str| {
        crafted(&|container| drop(container.tensors.insert(CLASSES.into(), zlib(json.as_bytes()))))
    };
    let nan = [1.0, 1.0, f32::NAN, 1.0, 1.0, 1.0, 1.0, 1.0];
    for (file, problem) in [
        (edit("0.weight", &|t| t.dtype = Dtype::U8), "must be I8 of shape [8, 3, 3, 3], found U8"),
        (edit("0.weight", &|t| t.shape = vec![8, 27]), "found I8 of shape [8, 27]"),
        (edit("0.weight_scale", &|t| t.bytes = floats(&nan)), "value 2 is NaN; it must be finite"),
        (edit("0.weight_scale", &|t| t.bytes = floats(&[-1.0; 8])), "must be positive"),
        (edit("0.weight_scale", &|t| t.bytes = floats(&[0.0; 8])), "must be positive"),
        (edit("0.weight_scale", &|t| t.shape = vec![2, 4]), "must be F32 of shape [8]"),
        (edit("7.weight", &|t| t.bytes = floats(&[f32::INFINITY; 48])), "value 0 is inf"),
        (
            edit("0.bias", &|t| t.bytes = i32::MAX.to_le_bytes().repeat(8).into()),
            "accumulators of output channel 0 may reach",
        ),
        (crafted(&|c| drop(c.tensors.remove("3.bias"))), "it has no tensor `3.bias`"),
        (crafted(&|c| drop(c.tensors.remove(GRAPH))), "it has no tensor `graph.json.zlib`"),
        (
            crafted(&|c| drop(c.tensors.insert("9.weight".into(), zlib(b"")))),
            "\"9.weight\" belongs to no layer",
        ),
        (edit(GRAPH, &|t| t.bytes = vec![7; t.bytes.len()].into()), "cannot be decompressed"),
        (classes("[]"), "ok"),
        (classes(r#"[["a","b"]]"#), "it names 1 classes"),
        (classes(r#"[["a","b"],["a","c"],["d","e"]]"#), "have the folder \"a\""),
        (classes(r#"[["","b"],["a","c"],["d","e"]]"#), "or one has none"),
        (classes(r#"[["x","\u001b[2J"],["a","c"],["d","e"]]"#), "control characters"),
        (classes(r#"[["a"]]"#), "tensor `classes.json.zlib`: invalid length 1"),
        (metadata("format_version", "2"), "it is of format version 2, and this posterize"),
        (metadata("format_version", "4294967295"), "use a newer posterize"),
        (metadata("format_version", "0"), "which is no version"),
        (metadata("format_version", "one"), "\"one\", which is no version"),
        (metadata("format", "pt"), "not a model saved by posterize"),
        (metadata("model", "\u{7}"), "control characters"),
        (metadata("preprocessing", "{}"), "its preprocessing: missing field `resize`"),
        (
            metadata("preprocessing", r#"{"resize":9,"crop":0,"mean":[0,0,0],"std":[1,1,1]}"#),
            "crop is 0; expected 1 to",
        ),
        (
            metadata("preprocessing", r#"{"resize":9,"crop":8,"mean":[0,0,0],"std":[1,0,1]}"#),
            "std above zero",
        ),
        (
            metadata("preprocessing", r#"{"resize":9,"crop":16000,"mean":[0,0,0],"std":[1,1,1]}"#),
            "7: expected an input",
        ),
        (metadata("qconfig", "7"), "its qconfig: "),
        (metadata("qconfig", r#"{"module_globs":[["[",null]]}"#), "its qconfig: module glob"),
        (crafted(&|c| drop(c.metadata.remove("qconfig"))), "its metadata lacks `qconfig`"),
    ] {
        if problem == "ok" {
            SavedModel::from_bytes(FILE, &file).unwrap();
            continue;
        }
        let found = refused(&file);
        assert!(found.contains(problem), "expected {problem:?}, found {found:?}");
    }
}

#[test]
fn hostile_headers_are_refused() {
    let file = |header: &str, data: usize| {
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend(header.as_bytes());
        file.extend(vec![0; data]);
        file
    };
    let long = |length: u64| {
        let mut file = file("{}", 16);
        file[..8].copy_from_slice(&length.to_le_bytes());
        refused(&file)
    };
    assert!(long(u64::MAX).contains("this is none"));
    assert!(long(1 << 39).contains("at most 16777216 are allowed"));
    assert!(long(1 << 20).contains("truncated or damaged"));
    let deep = format!("{{\"a\":{}", "[".repeat(1 << 20));
    for (header, data, problem) in [
        ("{}", 0, "not a model saved by posterize"),
        (r#"{"__metadata__":{"format":"posterize","format_version":"1"}}"#, 0, "it has no digest"),
        (r#"{"__metadata__":{"format":"posterize","format_version":1}}"#, 0, "header is damaged"),
        (r#"{"a":{"dtype":"I8","shape":[4],"data_offsets":[0,4]}}"#, 3, "truncated or damaged"),
        (r#"{"a":{"dtype":"I8","shape":[4],"data_offsets":[4,8]}}"#, 8, "invalid offset"),
        (r#"{"a":{"dtype":"I8","shape":[4],"data_offsets":[4,0]}}"#, 8, "invalid offset"),
        (r#"{"a":{"dtype":"I8","shape":[9],"data_offsets":[0,4]}}"#, 4, "invalid shape"),
        (
            r#"{"a":{"dtype":"I8","shape":[18446744073709551615,2],"data_offsets":[0,4]}}"#,
            4,
            "overflow",
        ),
        (
            r#"{"a":{"dtype":"I8","shape":[4],"data_offsets":[0,4]},
                "b":{"dtype":"I8","shape":[4],"data_offsets":[0,4]}}"#,
            4,
            "invalid offset",
        ),
        (deep.as_str(), 0, "header is damaged"),
    ] {
        let found = refused(&file(header, data));
        assert!(found.contains(problem), "expected {problem:?}, found {found:?}");
    }
}

proptest! {
    /// Numbers changed in a graph under a right digest: the file is refused, or it runs.
    #[test]
    fn whatever_opens_runs_or_says_why_not(
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

    #[test]
    fn bytes_are_a_model_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        refused(&bytes);
        let mut file = (bytes.len() as u64).to_le_bytes().to_vec();
        file.push(b'{');
        file.extend(bytes);
        refused(&file);
    }

    /// Scales are read as they were written, to the last bit.
    #[test]
    fn scales_survive_json(bits in 0x0080_0000u32..0x7f80_0000) {
        let scale = f32::from_bits(bits);
        let json = serde_json::to_string(&crate::quantization::QParams { scale, zero_point: 3 });
        let back: crate::quantization::QParams = serde_json::from_str(&json.unwrap()).unwrap();
        prop_assert_eq!(back.scale.to_bits(), bits);
    }
}
