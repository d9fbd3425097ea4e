//! Tests that the architectures have the names, shapes and printed form of PyTorch's.
//!
//! The expected values were written by testdata/logits/generate.py.

use std::path::PathBuf;

use posterize::models::{self, Config};
use posterize::ops::Activation;
use posterize::ops::Role;

fn golden(path: &str) -> String {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../testdata/logits");
    let path = root.join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Compares line by line, so that a failure shows the first different line.
fn assert_same_text(what: &str, found: &str, expected: &str) {
    for (number, (found, expected)) in found.lines().zip(expected.lines()).enumerate() {
        assert_eq!(found, expected, "{what}, line {}", number + 1);
    }
    assert_eq!(found.lines().count(), expected.lines().count(), "{what}: lines");
}

#[test]
fn parameters_have_the_names_shapes_and_order_of_pytorch() {
    for name in models::names() {
        let config = models::config(name).unwrap();
        let architecture = models::by_name(name, &config).unwrap();
        let found: Vec<String> = architecture
            .graph()
            .parameters()
            .iter()
            .map(|found| {
                let shape = found.parameter.shape.iter();
                let sizes: Vec<String> = shape.map(usize::to_string).collect();
                format!("{} {}", found.name, sizes.join("x"))
            })
            .collect();
        assert_same_text(name, &found.join("\n"), &golden(&format!("keys/{name}.txt")));
    }
}

#[test]
fn models_print_as_in_torchvision() {
    for name in ["mobilenet_v2", "resnet18", "resnet50"] {
        let architecture = models::by_name(name, &Config::default()).unwrap();
        let text = architecture.module("").unwrap().to_string();
        assert_same_text(name, &text, &golden(&format!("trees/{name}.txt")));
    }
    let relu = Config { activation: Some(Activation::ReLU), ..Config::default() };
    let model = models::mobilenet_v2(&relu).unwrap();
    let text = model.module("features.1").unwrap().to_string();
    assert_same_text("features.1", &text, &golden("trees/mobilenet_v2_relu_features_1.txt"));
}

#[test]
fn fused_modules_print_as_in_pytorchs_tutorial() {
    let relu = Config { activation: Some(Activation::ReLU), ..Config::default() };
    let model = models::mobilenet_v2(&relu).unwrap().init(0).fuse().unwrap();
    for (path, file) in [
        ("features.0", "mobilenet_v2_relu_fused_features_0.txt"),
        ("features.1.conv", "mobilenet_v2_relu_fused_features_1_conv.txt"),
        ("features.2", "mobilenet_v2_relu_fused_features_2.txt"),
    ] {
        let text = model.module(path).unwrap().to_string();
        assert_same_text(path, &text, &golden(&format!("trees/{file}")));
    }
}

#[test]
fn multiply_adds_are_as_published() {
    // In millions, from: TensorFlow's README of MobileNet (300 and 59), torchvision's documentation
    // of its ResNets (1.81 and 4.09 billion), d-li14/efficientnet-lite.pytorch (0.385 and 2.553
    // billion).
    let cases = [
        ("mobilenet_v2", 1.0, 224, 300.0),
        ("mobilenet_v2", 0.35, 224, 59.0),
        ("resnet18", 1.0, 224, 1814.0),
        ("resnet50", 1.0, 224, 4089.0),
        ("efficientnet_lite0", 1.0, 224, 385.0),
        ("efficientnet_lite4", 1.0, 300, 2553.0),
    ];
    for (name, width_mult, size, millions) in cases {
        let config = Config { width_mult, ..Config::default() };
        let architecture = models::by_name(name, &config).unwrap();
        let layers = architecture.graph().infer(&[1, 3, size, size]).unwrap();
        let found = layers.iter().map(|layer| layer.multiply_adds).sum::<u64>() as f64 / 1e6;
        assert!((found / millions - 1.0).abs() < 0.01, "{name}: {found} million");
    }
}

#[test]
fn initial_weights_are_distributed_as_in_torchvision() {
    let architecture = models::mobilenet_v2(&Config::default()).unwrap();
    let model = architecture.init(7);
    let std = |layer: &str| {
        let data = model.parameter_named(&format!("{layer}.weight")).unwrap().data();
        let mean = data.iter().sum::<f32>() / data.len() as f32;
        assert!(mean.abs() < 0.02, "{layer}: mean {mean}");
        (data.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / data.len() as f32).sqrt()
    };
    let close = |found: f32, expected: f32| (found / expected - 1.0).abs() < 0.1;
    assert!(close(std("features.0.0"), (2.0f32 / (32.0 * 9.0)).sqrt()));
    // fan_out is computed from all output channels, also for depthwise convolutions.
    assert!(close(std("features.2.conv.1.0"), (2.0f32 / (96.0 * 9.0)).sqrt()));
    assert!(close(std("features.18.0"), (2.0f32 / 1280.0).sqrt()));
    assert!(close(std("classifier.1"), 0.01));
    let all = |role: Role, value: f32| {
        let mut of_that_role = model.parameters().iter().filter(|(key, _)| key.1 == role);
        of_that_role.all(|(_, tensor)| tensor.data().iter().all(|&x| x == value))
    };
    assert!(all(Role::Bias, 0.0) && all(Role::RunningMean, 0.0) && all(Role::RunningVar, 1.0));
    assert!(model.parameter_named("features.0.1.weight").unwrap().data().iter().all(|&x| x == 1.0));

    assert_eq!(architecture.init(7).parameters(), model.parameters());
    let other = architecture.init(8);
    assert_ne!(
        other.parameter_named("features.0.0.weight"),
        model.parameter_named("features.0.0.weight")
    );
}

#[test]
fn the_classifier_has_the_number_of_classes_and_the_dropout_of_the_config() {
    let config = Config { num_classes: 10, dropout: Some(0.5), ..Config::default() };
    let text = models::mobilenet_v2(&config).unwrap().module("classifier").unwrap().to_string();
    let expected = "\
Sequential(
  (0): Dropout(p=0.5, inplace=False)
  (1): Linear(in_features=1280, out_features=10, bias=True)
)";
    assert_eq!(text, expected);
}
