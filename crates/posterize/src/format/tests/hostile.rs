//! Tests of files with invalid tensors and metadata and a correct digest.

use super::*;

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
    let classes = |json: &'static str| {
        crafted(&|container| drop(container.tensors.insert(CLASSES.into(), zlib(json.as_bytes()))))
    };
    let nan = [1.0, 1.0, f32::NAN, 1.0, 1.0, 1.0, 1.0, 1.0];
    for (file, problem) in [
        (
            edit("0.weight", &|t| t.dtype = Dtype::U8),
            "tensor `0.weight`: expected I8 of shape [8, 3, 3, 3], found U8",
        ),
        (edit("0.weight", &|t| t.shape = vec![8, 27]), "found I8 of shape [8, 27]"),
        (edit("0.weight_scale", &|t| t.bytes = floats(&nan)), "value 2 is NaN; it must be finite"),
        (
            edit("0.weight_scale", &|t| t.bytes = floats(&[-1.0; 8])),
            "expected weight scales that are positive and finite",
        ),
        (
            edit("0.weight_scale", &|t| t.bytes = floats(&[0.0; 8])),
            "expected weight scales that are positive and finite",
        ),
        (edit("0.weight_scale", &|t| t.shape = vec![2, 4]), "expected F32 of shape [8]"),
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
        (classes(r#"[["a","b"]]"#), "it has 1 classes"),
        (classes(r#"[["a","b"],["a","c"],["d","e"]]"#), "have the folder \"a\""),
        (classes(r#"[["","b"],["a","c"],["d","e"]]"#), "or one has no folder"),
        (classes(r#"[["x","\u001b[2J"],["a","c"],["d","e"]]"#), "control characters"),
        (classes(r#"[["a"]]"#), "tensor `classes.json.zlib`: invalid length 1"),
        (metadata("format_version", "4"), "it has format version 4, and this posterize"),
        (metadata("format_version", "4294967295"), "use a newer posterize"),
        (metadata("format_version", "0"), "\"0\"; expected a number from 1 on"),
        (metadata("format_version", "one"), "\"one\"; expected a number from 1 on"),
        (metadata("format", "pt"), "not a model saved by posterize"),
        (metadata("model", "\u{7}"), "control characters"),
        (metadata("preprocessing", "{}"), "its preprocessing: missing field `resize`"),
        (
            metadata("preprocessing", r#"{"resize":9,"crop":0,"mean":[0,0,0],"std":[1,1,1]}"#),
            "crop is 0; expected 1 to",
        ),
        (
            metadata("preprocessing", r#"{"resize":9,"crop":8,"mean":[0,0,0],"std":[1,0,1]}"#),
            "std above 0",
        ),
        (
            metadata("preprocessing", r#"{"resize":9,"crop":16000,"mean":[0,0,0],"std":[1,1,1]}"#),
            "7: expected an input",
        ),
        (
            crafted(&|c| drop(c.tensors.insert("float_graph.json.zlib".into(), zlib(b"{}")))),
            "tensor `float_graph.json.zlib`: missing field `nodes`",
        ),
        (
            crafted(&|c| {
                let graph = c.tensors[GRAPH].clone();
                c.tensors.insert("float_graph.json.zlib".into(), graph);
            }),
            "tensor `float_graph.json.zlib`: quant: its output is quantized",
        ),
        (metadata("qconfig", "7"), "its qconfig: "),
        (metadata("qconfig", r#"{"module_globs":[["[",null]]}"#), "its qconfig: module glob"),
        (crafted(&|c| drop(c.metadata.remove("qconfig"))), "its metadata has no `qconfig`"),
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
fn invalid_int8_weights_of_float_values_are_errors() {
    let mapping = QConfigMapping::global(QConfig::recommended());
    let net = Sequential::new()
        .then(Conv2d::new(3, 8, 3))
        .then(BatchNorm::two_d(8))
        .then(Flatten)
        .then(BatchNorm::one_d(8))
        .then(Linear::new(8, 3));
    let float = Architecture::trace(&net).unwrap().init(0);
    for (dynamic, model) in [
        (false, float.quantize_weights(&mapping).unwrap()),
        (true, float.quantize_dynamic(&mapping).unwrap()),
    ] {
        let saved = SavedModel::new(model);
        let crafted = |change: &dyn Fn(&mut Container<'_>)| {
            let bytes = saved.to_bytes().unwrap();
            let mut container = Container::decode(&MODEL, &bytes).unwrap();
            change(&mut container);
            container.encode(&MODEL)
        };
        let edit = |name: &'static str, change: &dyn Fn(&mut RawTensor<'_>)| {
            crafted(&|container| change(container.tensors.get_mut(name).unwrap()))
        };
        let scales = |value: f32| value.to_le_bytes().repeat(3).into();
        for (file, problem) in [
            (edit("4.weight", &|t| t.shape = vec![8, 3]), "expected I8 of shape [3, 8]"),
            (edit("4.weight_scale", &|t| t.bytes = scales(f32::NAN)), "value 0 is NaN"),
            (edit("4.weight_scale", &|t| t.bytes = scales(0.0)), "positive and finite"),
            (crafted(&|c| drop(c.tensors.remove("4.weight_scale"))), "no tensor `4.weight_scale`"),
            (crafted(&|c| drop(c.tensors.remove("4.bias"))), "no tensor `4.bias`"),
            (edit("4.bias", &|t| t.bytes = scales(f32::INFINITY)), "value 0 is inf"),
            (
                edit("3.weight", &|t| (t.dtype, t.bytes) = (Dtype::I8, vec![1; 8].into())),
                "it has no tensor `3.weight_scale`",
            ),
            (
                crafted(&|c| {
                    let weight = c.tensors.get_mut("3.weight").unwrap();
                    (weight.dtype, weight.bytes) = (Dtype::I8, vec![1; 8].into());
                    let mut scale = c.tensors["4.weight_scale"].clone();
                    (scale.shape, scale.bytes) = (Vec::new(), 1f32.to_le_bytes().to_vec().into());
                    c.tensors.insert("3.weight_scale".into(), scale);
                }),
                "3: only a float convolution or linear layer may have an int8 weight",
            ),
            (
                crafted(&|c| {
                    let weight = c.tensors.get_mut("4.weight").unwrap();
                    (weight.dtype, weight.bytes) = (Dtype::F32, vec![0; 96].into());
                    c.tensors.remove("4.weight_scale");
                }),
                if dynamic { "4: its weight must be int8, found none" } else { "ok" },
            ),
        ] {
            if problem == "ok" {
                SavedModel::from_bytes(FILE, &file).unwrap();
                continue;
            }
            let found = refused(&file);
            assert!(found.contains(problem), "expected {problem:?}, found {found:?}");
        }
    }
}
