//! Tests that weights with the names of other libraries are loaded.
//!
//! The names of timm were written by testdata/names/generate.py.

use std::fs;
use std::path::Path;

use posterize::checkpoint::{MismatchCause, StateTensor};
use posterize::models::{self, Config};
use posterize::{Architecture, Error, LoadOptions, StateDict, Tensor};

fn golden(name: &str) -> Vec<(String, Vec<usize>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/names");
    let text = fs::read_to_string(folder.join(format!("{name}.txt"))).unwrap();
    text.lines()
        .map(|line| {
            let (name, shape) = line.split_once(' ').unwrap();
            (name.to_owned(), shape.split('x').map(|size| size.parse().unwrap()).collect())
        })
        .collect()
}

/// Returns a state dict of these names and shapes. The values of tensor `i` are `i`.
fn numbered(names: &[(String, Vec<usize>)]) -> StateDict {
    let numbered = names.iter().enumerate().map(|(index, (name, shape))| {
        let count = shape.iter().product();
        let tensor = Tensor::new(shape.as_slice(), vec![index as f32; count]).unwrap();
        (name.clone(), StateTensor::Float(tensor))
    });
    numbered.collect()
}

fn architecture(name: &str, width_mult: f64) -> Architecture {
    models::by_name(name, &Config { width_mult, ..Config::default() }).unwrap()
}

/// timm has the same layers in the same order, so tensor `i` of a file is parameter `i`.
fn check(architecture: &Architecture, names: &[(String, Vec<usize>)], source: Option<&str>) {
    let (model, report) = architecture.load_with(&numbered(names), &LoadOptions::new()).unwrap();
    for (index, found) in architecture.graph().parameters().iter().enumerate() {
        let tensor = model.parameter_named(&found.name).unwrap();
        assert!(tensor.data().iter().all(|&value| value == index as f32), "{}", found.name);
    }
    let renamed = report.renamed.as_ref();
    assert_eq!(renamed.map(|renamed| renamed.source.as_str()), source);
    for (index, (theirs, ours)) in renamed.iter().flat_map(|renamed| &renamed.tensors).enumerate() {
        assert_eq!(theirs, &names[index].0);
        assert_eq!(ours, &architecture.graph().parameters()[index].name);
    }
}

#[test]
fn weights_with_the_names_of_timm_are_loaded() {
    for (timm, ours, width_mult, source) in [
        ("mobilenetv2_100", "mobilenet_v2", 1.0, Some("timm")),
        ("mobilenetv2_050", "mobilenet_v2", 0.5, Some("timm")),
        ("tf_efficientnet_lite0", "efficientnet_lite0", 1.0, Some("timm")),
        ("tf_efficientnet_lite3", "efficientnet_lite3", 1.0, Some("timm")),
        // The same names.
        ("resnet18", "resnet18", 1.0, None),
        ("resnet50", "resnet50", 1.0, None),
    ] {
        println!("{timm}");
        check(&architecture(ours, width_mult), &golden(timm), source);
    }
}

/// The layers of a block without modules in it: `conv.0`, `conv.1`, an activation, `conv.3` and so on.
#[test]
fn weights_with_the_names_of_the_first_mobilenets_are_loaded() {
    let architecture = architecture("mobilenet_v2", 1.0);
    for classifier in ["classifier.1", "classifier"] {
        let names: Vec<(String, Vec<usize>)> = architecture
            .graph()
            .parameters()
            .into_iter()
            .map(|found| {
                let expands = !found.name.starts_with("features.1.");
                let mut name = found.name.replace("classifier.1", classifier);
                for (ours, theirs) in if expands {
                    &[(".conv.2.", ".conv.6."), (".conv.3.", ".conv.7.")]
                } else {
                    &[(".conv.1.", ".conv.3."), (".conv.2.", ".conv.4.")]
                } {
                    name = name.replace(ours, theirs);
                }
                for (ours, theirs) in [
                    (".conv.0.0.", ".conv.0."),
                    (".conv.0.1.", ".conv.1."),
                    (".conv.1.0.", ".conv.3."),
                    (".conv.1.1.", ".conv.4."),
                ] {
                    name = name.replace(ours, theirs);
                }
                (name, found.parameter.shape)
            })
            .collect();
        let (_, report) = architecture.load_with(&numbered(&names), &LoadOptions::new()).unwrap();
        let renamed = report.renamed.unwrap();
        assert_eq!(renamed.source, "the first MobileNetV2 in PyTorch");
        let classifiers = if classifier == "classifier" { 2 } else { 0 };
        assert_eq!(renamed.tensors.len(), 17 * 3 * 5 - 5 + classifiers);
        let (model, _) = architecture.load_with(&numbered(&names), &LoadOptions::new()).unwrap();
        for (index, found) in architecture.graph().parameters().iter().enumerate() {
            assert_eq!(model.parameter_named(&found.name).unwrap().data()[0], index as f32);
        }
    }
}

#[test]
fn names_of_timm_may_have_a_prefix_and_another_classifier() {
    let names = golden("mobilenetv2_100");
    let state: StateDict = numbered(&names)
        .into_iter()
        .map(|(name, tensor)| (format!("model.{name}"), tensor))
        .collect();
    let config = Config { num_classes: 10, ..Config::default() };
    let architecture = models::mobilenet_v2(&config).unwrap();
    let Err(Error::StateDict(mismatch)) = architecture.load(&state) else { panic!() };
    assert_eq!(mismatch.cause, Some(MismatchCause::NumClasses { model: 10, file: 1000 }));
    let options = LoadOptions::new().new_classifier(0);
    let (_, report) = architecture.load_with(&state, &options).unwrap();
    assert_eq!(report.prefix, "model.");
    assert_eq!(report.initialized.len(), 2);
    assert_eq!(report.initialized[0].replaced, Some(vec![1000, 1280]));
}

/// The names of timm's other networks are not those of these.
#[test]
fn names_of_another_network_are_an_error() {
    for (timm, ours) in [
        ("mobilenetv2_100", "efficientnet_lite0"),
        ("tf_efficientnet_lite0", "mobilenet_v2"),
        ("tf_efficientnet_lite0", "efficientnet_lite3"),
        ("mobilenetv2_050", "mobilenet_v2"),
    ] {
        let state = numbered(&golden(timm));
        let Err(Error::StateDict(mismatch)) = architecture(ours, 1.0).load(&state) else {
            panic!("{timm} as {ours}");
        };
        assert!(mismatch.cause.is_some(), "{timm} as {ours}");
    }
}
