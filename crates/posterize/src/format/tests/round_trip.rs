//! Tests that a file is read as it was written.

use std::collections::BTreeMap;

use proptest::prelude::*;
use safetensors::Dtype;

use super::*;
use crate::graph::Builder;
#[cfg(feature = "save")]
use crate::models::{self, Config};
use crate::ops::{Add, DeQuantStub, QuantStub};
use crate::quantization::{QParams, QuantizationParams, QuantizedLayer};
use crate::runtime::{Model, compile};

#[cfg(feature = "save")]
#[test]
fn a_model_is_read_as_it_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let mobilenet = models::mobilenet_v2(&Config { width_mult: 0.1, ..Config::default() });
    let mobilenet = mobilenet.unwrap().init(1).fuse().unwrap();
    let global = QConfigMapping::global;
    let mut all = vec![small(), small().with_float_graph(mobilenet.graph().clone())];
    for qconfig in [QConfig::recommended(), QConfig::qnnpack()] {
        all.push(SavedModel::new(quantize(&mobilenet, &global(qconfig), 32)));
    }
    let skipped = global(QConfig::fbgemm()).set_module_glob("features.1[0-4]", None).unwrap();
    all.push(SavedModel::new(quantize(&mobilenet, &skipped, 32)));
    // Networks whose values are float: a scale for each channel or one, with and without layers in float.
    for mapping in [global(QConfig::recommended()), global(QConfig::qnnpack()), skipped] {
        all.push(SavedModel::new(mobilenet.quantize_weights(&mapping).unwrap()));
        all.push(SavedModel::new(mobilenet.quantize_dynamic(&mapping).unwrap()));
    }
    for saved in all {
        let path = folder.path().join("model.safetensors");
        let size = saved.save(&path).unwrap();
        assert_eq!(size, path.metadata().unwrap().len());
        let back = SavedModel::open(&path).unwrap();
        assert_eq!(back, saved);
        assert_eq!(back.to_bytes().unwrap(), saved.to_bytes().unwrap());
        let images = noise(2, saved.preprocessing.as_ref().map_or(32, |p| p.crop[0]));
        let logits = saved.model.forward(&images).unwrap();
        assert_eq!(back.model.forward(&images).unwrap(), logits);
        assert_eq!(Model::from(QuantizedModel::open(&path).unwrap()), saved.model);
        let error = FloatModel::open(&path).unwrap_err().to_string();
        assert!(error.contains("expected a float network, found an int8 one"), "{error}");
    }
}

/// A network with two inputs and two outputs, one of which is computed by a float layer.
fn two_heads() -> QuantizedModel {
    let mut builder = Builder::new("TwoHeads");
    let inputs = ["left", "right"].map(|name| builder.input(name));
    let [left, right] = ["quant_left", "quant_right"].map(|name| (name, QuantStub));
    let left = builder.add(left.0, left.1, &[inputs[0]]);
    let right = builder.add(right.0, right.1, &[inputs[1]]);
    let conv = builder.add("stem.conv", Conv2d::new(3, 3, 1), &[left]);
    let sum = builder.add("sum", Add::fused(Activation::ReLU), &[conv, right]);
    let features = builder.add("dequant", DeQuantStub, &[sum]);
    let head = builder.add("head", Conv2d::new(3, 2, 3), &[features]);
    builder.output("scores", head);
    builder.output("features", features);
    let graph = builder.build().unwrap();

    let qparams = |scale, zero_point| Some(QParams { scale, zero_point });
    let values = vec![
        None,
        None,
        qparams(0.1, 128),
        qparams(0.2, 7),
        qparams(0.05, 100),
        qparams(0.3, 0),
        None,
        None,
    ];
    let channels = [0.01, 0.02, 0.5].map(|scale| QParams { scale, zero_point: 0 }).into();
    let layer = QuantizedLayer {
        shape: vec![3, 3, 1, 1],
        weight: (-4..5).collect(),
        qparams: QuantizationParams::PerChannel { axis: 0, channels },
        bias: vec![-70_000, 0, 70_000],
    };
    let mut parameters = Architecture::from(graph.clone()).init(3).parameters().clone();
    parameters.retain(|(node, _), _| *node == head);
    let mapping = QConfigMapping::global(QConfig::recommended());
    QuantizedModel::new(graph, values, BTreeMap::from([(conv, layer)]), parameters, mapping)
        .unwrap()
}

#[test]
fn several_inputs_and_outputs_keep_their_names_and_order() {
    let saved = SavedModel::new(two_heads());
    let bytes = saved.to_bytes().unwrap();
    let back = SavedModel::from_bytes(FILE, &bytes).unwrap();
    assert_eq!(back, saved);
    assert_eq!(back.to_bytes().unwrap(), bytes);
    let graph = back.model.graph();
    let inputs: Vec<&str> = graph.inputs().map(|(_, node)| node.name.as_str()).collect();
    assert_eq!(inputs, ["left", "right"]);
    let outputs: Vec<(&str, usize)> =
        graph.outputs().iter().map(|output| (output.name.as_str(), output.node.0)).collect();
    assert_eq!(outputs, [("scores", 7), ("features", 6)]);

    let (left, right) = (noise(2, 5), noise(2, 5));
    let run = |model: &Model| {
        let mut engine = compile(model, Options::new(1).unwrap()).unwrap();
        engine.run_named(&[("right", (&right).into()), ("left", (&left).into())]).unwrap()
    };
    assert_eq!(run(&back.model), run(&saved.model));

    // A preprocessing needs a network with one input.
    let saved = saved.with_preprocessing(Preprocessing::imagenet());
    let error = saved.to_bytes().unwrap_err().to_string();
    assert!(error.contains("the network has 2 inputs (left, right), found 1"), "{error}");
}

#[test]
fn weights_have_pytorchs_names_and_are_aligned() {
    let saved = small();
    let bytes = saved.to_bytes().unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let weight = tensors.tensor("0.weight").unwrap();
    assert_eq!((weight.dtype(), weight.shape()), (Dtype::I8, &[8, 3, 3, 3][..]));
    let layer = saved.model.as_quantized().unwrap().layer_named("0").unwrap();
    assert!(weight.data().iter().zip(&layer.weight).all(|(byte, q)| *byte as i8 == *q));
    assert_eq!(tensors.tensor("0.bias").unwrap().dtype(), Dtype::I32);
    assert_eq!(tensors.tensor("0.weight_scale").unwrap().shape(), [8]);
    assert_eq!(tensors.tensor("7.weight").unwrap().dtype(), Dtype::F32);
    for (name, tensor) in tensors.tensors() {
        let offset = tensor.data().as_ptr() as usize - bytes.as_ptr() as usize;
        assert_eq!(offset % (tensor.dtype().bitsize() / 8), 0, "{name} is not aligned");
    }
}

#[cfg(feature = "save")]
#[test]
fn a_model_whose_parts_do_not_fit_is_not_saved() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let refused = |change: &dyn Fn(&mut SavedModel)| {
        let mut saved = small();
        change(&mut saved);
        let error = saved.save(&path).unwrap_err().to_string();
        assert!(!path.exists());
        error
    };
    assert!(refused(&|saved| drop(saved.classes.pop())).contains("it has 2 classes, but"));
    assert!(refused(&|saved| saved.classes[0].folder = "nbee".into()).contains("\"nbee\""));
    assert!(refused(&|saved| saved.preprocessing = None).contains("no preprocessing"));
    let crop = |saved: &mut SavedModel| saved.preprocessing.as_mut().unwrap().crop = [16; 2];
    assert!(refused(&crop).contains("expected an input [N, 16]"), "{}", refused(&crop));
    let conv = Architecture::trace(&Conv2d::new(3, 8, 1)).unwrap().init(0);
    let model = quantize(&conv, &QConfigMapping::global(QConfig::recommended()), 4);
    let preprocessing = Preprocessing::imagenet().with_sizes(256, 16_000);
    let large = SavedModel::new(model).with_preprocessing(preprocessing);
    let error = large.to_bytes().unwrap_err().to_string();
    assert!(error.contains("[1, 3, 16000, 16000] has more than 67108864 values"), "{error}");
}

proptest! {
    #[test]
    fn scales_are_read_from_json_as_they_were_written(bits in 0x0080_0000u32..0x7f80_0000) {
        let scale = f32::from_bits(bits);
        let json = serde_json::to_string(&QParams { scale, zero_point: 3 });
        let back: QParams = serde_json::from_str(&json.unwrap()).unwrap();
        prop_assert_eq!(back.scale.to_bits(), bits);
    }
}
