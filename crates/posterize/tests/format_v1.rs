//! Tests that saved models of format version 1 are read with the same content and give the same
//! bits (`testdata/format_v1`).

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use posterize::Tensor;
use posterize::data::{Class, Interpolation, Preprocessing};
use posterize::format::SavedModel;
use posterize::quantization::{ObserverKind, ObserverSpec, QConfig, QConfigMapping};
use posterize::runtime::{Isa, Options, compile};
use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;

/// The output of a model when its file was written.
#[derive(Deserialize)]
struct Expected {
    batch: usize,
    side: usize,
    seed: u32,
    shape: Vec<usize>,
    /// The bits of the output for each instruction set, or one entry `every` if they are all the
    /// same.
    bits: BTreeMap<String, Vec<u32>>,
}

fn path(file: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "../../testdata/format_v1", file].iter().collect()
}

fn expected() -> BTreeMap<String, Expected> {
    let expected: BTreeMap<String, Expected> =
        serde_json::from_slice(&fs::read(path("expected.json")).unwrap()).unwrap();
    assert_eq!(expected.len(), 7);
    expected
}

fn open(name: &str) -> SavedModel {
    SavedModel::open(path(&format!("{name}.safetensors"))).unwrap()
}

/// Noise from -1 to 1, as the generator of the files makes it.
fn images(batch: usize, side: usize, seed: u32) -> Tensor {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / 8_388_608.0 - 1.0
    };
    Tensor::new([batch, 3, side, side], (0..batch * 3 * side * side).map(next).collect()).unwrap()
}

/// Runs a model on every instruction set of this CPU for which there is an expected output.
fn check_outputs(name: &str, saved: &SavedModel, expected: &Expected) {
    let images = images(expected.batch, expected.side, expected.seed);
    let mut checked = 0;
    for isa in Isa::supported() {
        // On AMX, float layers use the same kernels as on AVX-512 VNNI.
        let key = if isa.name() == "amx" { "avx512vnni" } else { isa.name() };
        let Some(bits) = expected.bits.get("every").or_else(|| expected.bits.get(key)) else {
            continue;
        };
        for threads in [1, 2] {
            let mut options = Options::new(threads).unwrap();
            options.isa = isa;
            let output = compile(&saved.model, options).unwrap().run(&images).unwrap();
            assert_eq!(output.shape(), expected.shape, "{name}");
            let found: Vec<u32> = output.data().iter().map(|value| value.to_bits()).collect();
            assert_eq!(found, *bits, "{name} on {} with {threads} threads", isa.name());
        }
        checked += 1;
    }
    assert!(checked > 0, "{name}: no expected output for an instruction set of this CPU");
}

#[test]
fn models_give_the_same_bits_as_when_they_were_written() {
    for (name, expected) in &expected() {
        check_outputs(name, &open(name), expected);
    }
}

#[test]
fn models_saved_again_give_the_same_bits() {
    for (name, expected) in &expected() {
        let saved = open(name);
        let again = SavedModel::from_bytes("again", &saved.to_bytes().unwrap()).unwrap();
        assert_eq!(again, saved, "{name}");
        check_outputs(name, &again, expected);
    }
}

/// Returns the weights, their scales, the biases and the float parameters in a file.
fn weights(file: &[u8]) -> BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)> {
    let tensors = SafeTensors::deserialize(file).unwrap();
    tensors
        .iter()
        .filter(|(_, tensor)| tensor.dtype() != Dtype::U8)
        .map(|(name, tensor)| {
            let value = (tensor.dtype(), tensor.shape().to_vec(), tensor.data().to_vec());
            (name.to_owned(), value)
        })
        .collect()
}

#[test]
fn weights_and_their_scales_are_unchanged() {
    for name in expected().keys() {
        let file = fs::read(path(&format!("{name}.safetensors"))).unwrap();
        let again = SavedModel::from_bytes(name, &file).unwrap().to_bytes().unwrap();
        let (old, new) = (weights(&file), weights(&again));
        assert!(!old.is_empty());
        assert!(old.keys().eq(new.keys()), "{name}: {:?}, {:?}", old.keys(), new.keys());
        for (tensor, value) in &old {
            assert!(new[tensor] == *value, "{name}: {tensor}");
        }
    }
}

/// The printed module tree has the hyper-parameters, scale and zero point of every layer.
#[test]
fn layers_scales_and_zero_points_are_unchanged() {
    for name in expected().keys() {
        let tree = fs::read_to_string(path(&format!("{name}.txt"))).unwrap();
        assert_eq!(open(name).model.module("").unwrap().to_string(), tree, "{name}");
    }
}

#[test]
fn qconfigs_are_unchanged() {
    // What was recommended when the files were written.
    let recommended = QConfig { activation: ObserverSpec::histogram(), ..QConfig::recommended() };
    let moving = QConfig {
        activation: ObserverSpec {
            averaging_constant: 0.25,
            ..ObserverSpec::new(ObserverKind::MovingAverageMinMax)
        },
        weight: ObserverSpec { averaging_constant: 0.5, ..QConfig::fbgemm_qat().weight },
    };
    let narrow = QConfig {
        activation: ObserverSpec { bins: 256, ..ObserverSpec::histogram() },
        ..QConfig::qnnpack()
    };
    let regions = QConfigMapping::global(recommended.clone())
        .set_object_type("ReLU", None)
        .set_object_type("Linear", moving)
        .set_module_glob("features.[67]", narrow)
        .unwrap()
        .set_module_glob("bran??", QConfig::fbgemm())
        .unwrap()
        .set_module_name("features.4", None)
        .set_module_name("float_add", None)
        .set_module_name("after", QConfig::default_qconfig())
        .set_module_name("head.3", None);
    let trained = QConfigMapping::global(QConfig::recommended_qat())
        .set_module_name("skip", QConfig::default_qat());
    for (name, mapping) in [
        ("operators", QConfigMapping::global(recommended)),
        ("per_tensor", QConfigMapping::global(QConfig::default_qconfig())),
        ("fbgemm", QConfigMapping::global(QConfig::fbgemm())),
        ("float_regions", regions),
        ("stubs", QConfigMapping::global(QConfig::qnnpack())),
        ("float_only", QConfigMapping::new()),
        ("trained", trained),
    ] {
        assert_eq!(*open(name).model.as_quantized().unwrap().mapping(), mapping, "{name}");
    }
}

#[test]
fn the_name_preprocessing_and_classes_are_unchanged() {
    let saved = open("operators");
    assert_eq!(saved.name, "every operator");
    let (mean, std) = ([0.1, 0.2, 0.3], [0.4, 0.5, 0.6]);
    let expected = Preprocessing { mean, std, ..Preprocessing::imagenet().with_sizes(25, 22) };
    assert_eq!(expected.interpolation, Interpolation::Bilinear);
    assert_eq!(saved.preprocessing, Some(expected));
    let class =
        |index| Class { folder: format!("n{index:08}"), name: format!("the {index}th thing, é") };
    assert_eq!(saved.classes, (0..10).map(class).collect::<Vec<_>>());
    let bare = open("per_tensor");
    assert_eq!((bare.name.as_str(), bare.preprocessing, bare.classes.len()), ("Odd", None, 0));
}
