//! Tests of the files of float networks.

use proptest::prelude::*;
use safetensors::SafeTensors;

use super::*;

fn network(channels: usize, seed: u64) -> FloatModel {
    let net = Sequential::new()
        .then(Conv2d::new(3, channels, 3).stride(2).padding(Padding::Same).bias(false))
        .then(BatchNorm::two_d(channels))
        .then(Activation::ReLU6)
        .then(Flatten)
        .then(Linear::new(16 * channels, 3));
    Architecture::trace(&net).unwrap().init(seed)
}

/// A small float network for pictures of 8 x 8 pixels with three classes.
fn small_float() -> SavedModel {
    let class = |name: &str| Class { folder: format!("n{name}"), name: name.into() };
    SavedModel::new(network(4, 5))
        .with_name("small")
        .with_preprocessing(Preprocessing::imagenet().with_sizes(9, 8))
        .with_classes(["ant", "bee", "great \"grey\" cat"].map(class))
}

fn crafted(change: &dyn Fn(&mut Container<'_>)) -> Vec<u8> {
    let bytes = small_float().to_bytes().unwrap();
    let mut container = Container::decode(&MODEL, &bytes).unwrap();
    change(&mut container);
    container.encode(&MODEL)
}

proptest! {
    #[test]
    fn a_network_is_read_as_it_was_written(channels in 1usize..9, seed: u64, described: bool) {
        let mut saved = SavedModel { model: network(channels, seed).into(), ..small_float() };
        if !described {
            saved = SavedModel::new(&saved.model);
        }
        let bytes = saved.to_bytes().unwrap();
        let back = SavedModel::from_bytes(FILE, &bytes).unwrap();
        prop_assert_eq!(&back, &saved);
        prop_assert_eq!(back.to_bytes().unwrap(), bytes);
        let images = noise(2, 8);
        prop_assert_eq!(back.model.forward(&images).unwrap(), saved.model.forward(&images).unwrap());
    }
}

#[test]
fn the_tensors_are_the_state_dict_and_nothing_else() {
    let saved = small_float();
    let bytes = saved.to_bytes().unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let state = saved.model.as_float().unwrap().state_dict();
    assert_eq!(tensors.len(), state.len());
    for (name, expected) in state.iter() {
        let found = tensors.tensor(name).unwrap();
        assert_eq!((found.dtype(), found.shape()), (Dtype::F32, expected.shape()), "{name}");
        let values: Vec<f32> =
            found.data().as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        assert_eq!(values, state.float(name).unwrap().data(), "{name}");
    }
}

#[cfg(all(feature = "save", feature = "checkpoint"))]
#[test]
fn the_file_is_also_a_checkpoint() {
    let saved = small_float();
    let model = saved.model.as_float().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("float.safetensors");
    assert_eq!(saved.save(&path).unwrap(), path.metadata().unwrap().len());
    let state = crate::StateDict::open(&path).unwrap();
    let architecture = Architecture::from(model.graph().clone());
    assert_eq!(architecture.load(&state).unwrap(), *model);
    assert_eq!(FloatModel::open(&path).unwrap(), *model);
    let error = QuantizedModel::open(&path).unwrap_err().to_string();
    assert!(error.contains("expected an int8 network, found a float one"), "{error}");
    // The file of an int8 network is none.
    small().save(&path).unwrap();
    let error = crate::StateDict::open(&path).unwrap_err().to_string();
    assert!(error.contains("an int8 model saved by posterize"), "{error}");
}

#[test]
fn a_damaged_file_is_an_error() {
    let bytes = small_float().to_bytes().unwrap();
    for length in 0..bytes.len() {
        refused(&bytes[..length]);
    }
    for index in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[index] ^= 1 << (index % 8);
        refused(&changed);
    }
}

#[test]
fn invalid_tensors_and_metadata_are_errors() {
    let edit = |name: &'static str, change: &dyn Fn(&mut RawTensor<'_>)| {
        crafted(&|container| change(container.tensors.get_mut(name).unwrap()))
    };
    let floats = |values: &[f32]| -> Cow<'static, [u8]> {
        values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>().into()
    };
    let metadata = |key: &'static str, value: &'static str| {
        crafted(&|container| drop(container.metadata.insert(key.into(), value.into())))
    };
    let graph = |change: &dyn Fn(&mut Value)| {
        crafted(&|container| {
            let graph = container.metadata.get_mut("graph").unwrap();
            let mut json: Value = serde_json::from_str(graph).unwrap();
            change(&mut json);
            *graph = json.to_string();
        })
    };
    let huge =
        |json: &mut Value| json["nodes"][1]["attributes"]["out_channels"] = (1u64 << 40).into();
    for (file, problem) in [
        (edit("0.weight", &|t| t.dtype = Dtype::I32), "tensor `0.weight`: expected F32 of shape"),
        (edit("0.weight", &|t| t.shape = vec![4, 27]), "found F32 of shape [4, 27]"),
        (edit("4.bias", &|t| t.bytes = floats(&[0.0, f32::NAN, 0.0])), "value 1 is NaN"),
        (
            edit("1.running_var", &|t| t.bytes = floats(&[1.0, 1.0, 1.0, -0.5])),
            "1.running_var: value 3 is -0.5, but a variance is at least 0",
        ),
        (crafted(&|c| drop(c.tensors.remove("4.bias"))), "it has no tensor `4.bias`"),
        (
            crafted(&|c| drop(c.tensors.insert("9.weight".into(), zlib(b"")))),
            "\"9.weight\" belongs to no layer",
        ),
        (metadata("graph", "7"), "its graph: invalid type"),
        (metadata("graph", r#"{"nodes":[],"outputs":[],"modules":[]}"#), "graph"),
        (graph(&huge), "0: "),
        (graph(&|json| json["nodes"][1]["inputs"][0] = 3.into()), "0: "),
        (graph(&|json| json["nodes"][1]["op"] = "Conv9d".into()), "Conv9d"),
        (graph(&|json| json["more"] = 1.into()), "unknown field `more`"),
        (
            graph(&|json| {
                let quantization = r#"{"scale":0.5,"zero_point":3,"dtype":"u8"}"#;
                json["nodes"][2]["quantization"] = serde_json::from_str(quantization).unwrap();
            }),
            "1: its output is quantized, but the network is a float one",
        ),
        (metadata("classes", "[]"), "ok"),
        (metadata("note", "unknown keys of the metadata are ignored"), "ok"),
        (metadata("classes", r#"[["a","b"]]"#), "it has 1 classes"),
        (metadata("classes", r#"[["a"]]"#), "its classes: invalid length 1"),
        (metadata("preprocessing", "{}"), "its preprocessing: missing field `resize`"),
        (crafted(&|c| drop(c.metadata.remove("graph"))), "it has no tensor `graph.json.zlib`"),
        // Earlier versions had no float networks.
        (metadata("format_version", "2"), "it has no tensor `graph.json.zlib`"),
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
fn weights_that_are_not_finite_are_not_saved() {
    for (name, value, problem) in [
        ("0.weight", f32::NAN, "0.weight: value 1 is NaN; it must be finite"),
        ("4.bias", f32::NEG_INFINITY, "4.bias: value 1 is -inf; it must be finite"),
        ("1.running_var", -1.0, "a variance is at least 0"),
    ] {
        let model = network(4, 0);
        let key =
            model.graph().parameters().into_iter().find(|found| found.name == name).unwrap().key;
        let mut parameters = model.parameters().clone();
        let tensor = std::sync::Arc::make_mut(parameters.get_mut(&key).unwrap());
        tensor.data_mut()[1] = value;
        let bad = FloatModel::new(model.graph().clone(), parameters).unwrap();
        let error = SavedModel::new(bad).to_bytes().unwrap_err().to_string();
        assert!(error.contains(problem), "{error}");
    }
}
