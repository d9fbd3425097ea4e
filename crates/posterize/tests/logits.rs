//! Tests that the logits of every architecture, fused or not, are close to PyTorch's.
//!
//! Weights and pictures are computed from a hash as in testdata/logits/generate.py, so only the
//! logits are stored.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use posterize::model::{FloatModel, Parameters};
use posterize::models::{self, Config};
use posterize::ops::Activation;
use posterize::{Architecture, StateDict, Tensor};
use safetensors::SafeTensors;
use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    model: String,
    input: [usize; 4],
    #[serde(default)]
    relu: bool,
    width_mult: Option<f64>,
    num_classes: Option<usize>,
    round_nearest: Option<usize>,
    inverted_residual_setting: Option<Vec<[usize; 4]>>,
}

impl Case {
    fn config(&self) -> Config {
        let default = models::config(&self.model).unwrap();
        Config {
            num_classes: self.num_classes.unwrap_or(default.num_classes),
            activation: self.relu.then_some(Activation::ReLU),
            width_mult: self.width_mult.unwrap_or(default.width_mult),
            inverted_residual_setting: (self.inverted_residual_setting.clone())
                .or(default.inverted_residual_setting),
            round_nearest: self.round_nearest.unwrap_or(default.round_nearest),
            ..default
        }
    }
}

/// Values in [-1, 1) from a hash of the name, as `uniform` in generate.py computes them.
fn uniform(name: &str, count: usize) -> impl Iterator<Item = f32> {
    const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
    let fnv1a64 = name.bytes().fold(0xCBF2_9CE4_8422_2325_u64, |state, byte| {
        (state ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
    });
    (1..=count as u64).map(move |i| {
        let mut z = fnv1a64.wrapping_add(i.wrapping_mul(GOLDEN));
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^= z >> 31;
        (z >> 40) as f32 / 8_388_608.0 - 1.0
    })
}

/// The tensor that `value` in generate.py computes.
fn value(name: &str, shape: &[usize]) -> Tensor {
    let u = uniform(name, shape.iter().product());
    let data = match name.rsplit('.').next() {
        Some("running_var") => u.map(|u| 1.0 + u * 0.5).collect(),
        Some("bias" | "running_mean") => u.map(|u| u * 0.1).collect(),
        _ if shape.len() == 1 => u.map(|u| 1.0 + u * 0.25).collect(),
        _ => {
            let fan_in = shape[1..].iter().product::<usize>() as f64;
            let narrows = shape.len() == 2 || shape[0] < shape[1];
            let bound = (if narrows { 3.0 } else { 6.0 } / fan_in).sqrt() as f32;
            u.map(|u| u * bound).collect()
        }
    };
    Tensor::new(shape, data).unwrap()
}

fn fill(architecture: &Architecture) -> FloatModel {
    let parameters: Parameters = architecture
        .graph()
        .parameters()
        .into_iter()
        .map(|found| {
            let tensor = value(&found.name, &found.parameter.shape);
            (found.key, Arc::new(tensor))
        })
        .collect();
    FloatModel::new(architecture.graph().clone(), parameters).unwrap()
}

/// The largest difference, relative to the largest value.
fn difference(found: &[f32], expected: &[f32]) -> f32 {
    let largest = expected.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
    let pairs = found.iter().zip(expected);
    // `f32::max` ignores NaN, which must not count as equal.
    pairs.fold(0.0, |max: f32, (a, b)| {
        let d = (a - b).abs() / largest;
        if d.is_nan() { f32::INFINITY } else { max.max(d) }
    })
}

fn golden_file(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/logits").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn floats(file: &SafeTensors<'_>, name: &str) -> Vec<f32> {
    let tensor = file.tensor(name).unwrap();
    tensor.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
}

fn picture(shape: [usize; 4]) -> Tensor {
    let data = uniform("input", shape.iter().product()).map(|u| u * 2.0).collect();
    Tensor::new(shape, data).unwrap()
}

/// Compares the logits of a model and of the fused model with PyTorch's.
fn check(what: &str, model: &FloatModel, picture: &Tensor, expected: &[f32]) {
    let plain = model.forward(picture).unwrap();
    let error = difference(&plain.data()[..expected.len()], expected);
    assert!(error < 1e-3, "{what}: the difference to PyTorch's logits is {error}");

    let fused = model.fuse().unwrap();
    let left = fused.graph().nodes().iter().filter(|node| node.op.kind() == "BatchNorm2d");
    assert_eq!(left.count(), 0, "{what}: batch norms left after fusion");
    let fused = fused.forward(picture).unwrap();
    assert_eq!(fused.shape(), plain.shape(), "{what}");
    let error = difference(fused.data(), plain.data());
    assert!(error < 1e-4, "{what}: fusion changes the logits by {error}");
}

#[test]
fn logits_are_close_to_pytorchs() {
    let bytes = golden_file("logits.safetensors");
    let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
    let cases = &metadata.metadata().as_ref().unwrap()["cases"];
    let cases: Vec<Case> = serde_json::from_str(cases).unwrap();
    let golden = SafeTensors::deserialize(&bytes).unwrap();
    for name in models::names() {
        assert!(cases.iter().any(|case| case.model == name), "{name} has no golden logits");
    }
    for (index, case) in cases.iter().enumerate() {
        let model = fill(&models::by_name(&case.model, &case.config()).unwrap());
        let expected = floats(&golden, &format!("case{index}"));
        check(&format!("{case:?}"), &model, &picture(case.input), &expected);
    }
}

/// Compares the logits of a real checkpoint, which is not part of the repository, with PyTorch's.
fn check_genuine(name: &str, path: &Path) {
    if !path.exists() {
        eprintln!("SKIPPED: {} is missing", path.display());
        return;
    }
    let bytes = golden_file("genuine.safetensors");
    let expected = floats(&SafeTensors::deserialize(&bytes).unwrap(), name);
    let architecture = models::by_name(name, &Config::default()).unwrap();
    let model = architecture.load(&StateDict::open(path).unwrap()).unwrap();
    check(name, &model, &picture([1, 3, 224, 224]), &expected);
}

#[test]
fn a_real_tf_mobilenet_v2_gives_pytorchs_logits() {
    let shared = std::env::var_os("POSTERIZE_SHARED").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"),
        PathBuf::from,
    );
    check_genuine("tf_mobilenet_v2", &shared.join("assets/tf_mobilenet_v2.pth"));
}

#[test]
fn a_real_efficientnet_lite0_gives_pytorchs_logits() {
    let cache = std::env::var_os("POSTERIZE_CACHE").map_or_else(
        || std::env::home_dir().unwrap_or_default().join(".cache/posterize"),
        PathBuf::from,
    );
    let file = "efficientnet_lite0/efficientnet-lite0-57934424.pth";
    check_genuine("efficientnet_lite0", &cache.join(file));
}
