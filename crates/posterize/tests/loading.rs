//! Tests of loading weights that do not fit in every respect.

use posterize::checkpoint::{MismatchCause, StateDictMismatch, StateTensor};
use posterize::graph::Builder;
use posterize::models::{self, Config};
use posterize::ops::{Activation, AdaptiveAvgPool2d, Conv2d, Flatten, Linear};
use posterize::{Architecture, Error, LoadOptions, LoadReport, StateDict, Tensor};

fn float(shape: &[usize]) -> StateTensor {
    StateTensor::Float(Tensor::zeros(shape))
}

fn mismatch(
    architecture: &Architecture,
    state: &StateDict,
    options: &LoadOptions,
) -> StateDictMismatch {
    match architecture.load_with(state, options) {
        Err(Error::StateDict(mismatch)) => *mismatch,
        other => panic!("{other:?}"),
    }
}

fn initialized(report: &LoadReport) -> Vec<&str> {
    report.initialized.iter().map(|new| new.name.as_str()).collect()
}

/// Returns every model by its name, with that many classes. Those that differ only in depth are left
/// out.
fn architectures(num_classes: usize) -> impl Iterator<Item = (&'static str, Architecture)> {
    let names =
        models::names().filter(|name| !["efficientnet_lite2", "efficientnet_lite3"].contains(name));
    names.map(move |name| {
        let config = Config { num_classes, ..models::config(name).unwrap() };
        (name, models::by_name(name, &config).unwrap())
    })
}

#[test]
fn every_model_starts_a_new_classifier_and_keeps_the_other_weights() {
    for (name, architecture) in architectures(7) {
        let config = Config { num_classes: 9, ..models::config(name).unwrap() };
        let state = models::by_name(name, &config).unwrap().init(1).state_dict();
        let strict = mismatch(&architecture, &state, &LoadOptions::new());
        assert_eq!(strict.cause, Some(MismatchCause::NumClasses { model: 7, file: 9 }), "{name}");

        let options = LoadOptions::new().new_classifier(3);
        let (model, report) = architecture.load_with(&state, &options).unwrap();
        let new = initialized(&report);
        assert_eq!(new.len(), 2, "{name}: {new:?}");
        assert_eq!(report.initialized[1].replaced, Some(vec![9]), "{name}");
        for (key, tensor) in model.state_dict().iter() {
            if new.contains(&key) {
                assert_eq!(tensor.shape()[0], 7, "{name}: {key}");
            } else {
                assert_eq!(Some(tensor), state.get(key), "{name}: {key}");
            }
        }
        let weight = model.parameter_named(new[0]).unwrap();
        assert!(weight.data().iter().any(|&value| value != 0.0), "{name}");
        // The same classifier if the file has none.
        let mut headless = state.clone();
        for key in &new {
            headless.remove(key).unwrap();
        }
        let strict = mismatch(&architecture, &headless, &LoadOptions::new());
        assert_eq!(strict.cause, Some(MismatchCause::NoClassifier), "{name}");
        let (again, report) = architecture.load_with(&headless, &options).unwrap();
        assert_eq!(again.state_dict(), model.state_dict(), "{name}");
        assert_eq!(report.initialized[0].replaced, None, "{name}");
        let other = LoadOptions::new().new_classifier(4);
        let (other, _) = architecture.load_with(&state, &other).unwrap();
        assert_ne!(other.parameter_named(new[0]), Some(weight), "{name}");
    }
}

#[test]
fn weights_that_fit_are_all_loaded() {
    let (_, architecture) = architectures(7).next().unwrap();
    let state = architecture.init(1).state_dict();
    let options = LoadOptions::new().new_classifier(3).ignore_extra(true);
    let (model, report) = architecture.load_with(&state, &options).unwrap();
    assert_eq!(model.state_dict(), state);
    assert_eq!(report, LoadReport::default());
}

#[test]
fn only_a_classifier_that_is_missing_or_has_other_outputs_is_new() {
    let (_, architecture) = architectures(7).next().unwrap();
    let state = architecture.init(1).state_dict();
    let options = LoadOptions::new().new_classifier(3);
    let with = |name: &str, tensor: Option<StateTensor>| {
        let mut state = state.clone();
        match tensor {
            Some(tensor) => state.insert(name, tensor),
            None => drop(state.remove(name).unwrap()),
        }
        mismatch(&architecture, &state, &options)
    };
    // The weight fits, so the file is not one of other classes.
    let found = with("classifier.1.bias", None);
    assert_eq!(found.missing, ["classifier.1.bias"]);
    let found = with("classifier.1.bias", Some(float(&[9])));
    assert_eq!(found.mis_shaped.len(), 1);
    let found = with("classifier.1.weight", Some(float(&[7, 640])));
    assert_eq!(found.mis_shaped.len(), 1);
    let found = with("features.18.1.bias", None);
    assert_eq!((found.missing.len(), found.cause), (1, None));
    let found = with("features.18.1.bias", Some(float(&[9])));
    assert_eq!(found.cause, Some(MismatchCause::Width));
    let found = with("total_ops", Some(float(&[1])));
    assert_eq!(found.unexpected, ["total_ops"]);
}

#[test]
fn a_first_convolution_for_grey_scale_pictures_is_named_as_the_cause() {
    for (name, architecture) in architectures(7) {
        let mut state = architecture.init(1).state_dict();
        let stem = architecture.graph().parameters()[0].clone();
        let mut shape = stem.parameter.shape;
        shape[1] = 1;
        state.insert(stem.name.as_str(), float(&shape));
        let found = mismatch(&architecture, &state, &LoadOptions::new());
        assert_eq!(found.cause, Some(MismatchCause::InputChannels { model: 3, file: 1 }), "{name}");
        assert!(found.to_string().contains("which is for grey-scale pictures"), "{found}");
        // A new classifier does not help.
        let weight = architecture.graph().parameters().last().unwrap().name.clone();
        state.remove(&weight).unwrap();
        state.insert(weight, float(&[9]));
        let found = mismatch(&architecture, &state, &LoadOptions::new().new_classifier(0));
        assert_eq!(found.cause, Some(MismatchCause::InputChannels { model: 3, file: 1 }), "{name}");
    }
}

#[test]
fn a_prefix_is_removed_beside_extra_keys_and_a_new_classifier() {
    let (_, architecture) = architectures(7).next().unwrap();
    let mut state: StateDict = architecture
        .init(1)
        .state_dict()
        .into_iter()
        .filter(|(name, _)| !name.starts_with("classifier"))
        .map(|(name, tensor)| (format!("net.{name}"), tensor))
        .collect();
    state.insert("net.classifier.1.weight", float(&[2, 1280]));
    state.insert("net.total_ops", float(&[1]));
    state.insert("loss.weight", float(&[7]));
    state.insert("net.features.0.1.num_batches_tracked", StateTensor::Int(vec![], vec![3]));
    let options = LoadOptions::new().new_classifier(3);
    let found = mismatch(&architecture, &state, &options);
    assert_eq!(found.unexpected, ["total_ops", "loss.weight"]);
    assert!(found.missing.is_empty() && found.mis_shaped.is_empty(), "{found:?}");
    let (_, report) = architecture.load_with(&state, &options.ignore_extra(true)).unwrap();
    assert_eq!(report.prefix, "net.");
    assert_eq!(report.ignored, ["total_ops", "loss.weight"]);
    assert_eq!(initialized(&report), ["classifier.1.weight", "classifier.1.bias"]);
}

/// The last layer that leads to the output is not the last layer of the graph, and is a convolution.
#[test]
fn the_classifier_is_found_in_the_graph_and_not_by_its_name_or_place() {
    let net = |classes: usize| {
        let mut builder = Builder::new("Net");
        let x = builder.input("input");
        let x = builder.add("fc", Conv2d::new(3, 4, 3), &[x]);
        let y = builder.add("last", Conv2d::new(4, classes, 1), &[x]);
        let y = builder.add("relu", Activation::ReLU, &[y]);
        let y = builder.add("pool", AdaptiveAvgPool2d::new([1, 1]), &[y]);
        let y = builder.add("flatten", Flatten, &[y]);
        // Computed after it, but not for the output.
        builder.add("zz.classifier", Conv2d::new(4, 6, 1), &[x]);
        builder.output("output", y);
        Architecture::from(builder.build().unwrap())
    };
    let state = net(10).init(1).state_dict();
    let options = LoadOptions::new().new_classifier(0);
    let (_, report) = net(3).load_with(&state, &options).unwrap();
    assert_eq!(initialized(&report), ["last.weight", "last.bias"]);

    let linear = Architecture::trace(&Linear::new(4, 2)).unwrap();
    let (_, report) = linear.load_with(&StateDict::new(), &options).unwrap();
    assert_eq!(report.initialized.len(), 2);
    let mut state = StateDict::new();
    state.insert("net.weight", float(&[2, 4]));
    let found = mismatch(&linear, &state, &LoadOptions::new());
    assert_eq!(found.cause, Some(MismatchCause::Architecture));
}
