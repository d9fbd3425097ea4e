//! Tests of backpropagation through every operator: gradients, threads, resuming, errors.

use posterize::graph::{Builder, NodeId};
use posterize::nn::{Flatten, Module, Sequential, Tracer, Value};
use posterize::ops::{
    Activation, AdaptiveAvgPool2d, Add, BatchNorm, Conv2d, Dropout, Linear, MaxPool2d, Padding,
    ZeroPad2d,
};
use posterize::quantization::{QConfig, QConfigMapping};
use posterize::runtime::Options;
use posterize::training::{CrossEntropy, Network, NetworkState, NetworkValues};
use posterize::{Architecture, FloatModel, Tensor};

/// A network of every operator, with values that are used several times and sums of a value with
/// itself.
struct Everything {
    dropout: f32,
}

impl Module for Everything {
    fn kind(&self) -> &'static str {
        "Everything"
    }

    fn forward(&self, cx: &mut Tracer, x: Value) -> Value {
        let stem = Sequential::new()
            .then(ZeroPad2d::new([0, 1, 1, 0]))
            .then(Conv2d::new(3, 8, 3).stride(2).bias(false))
            .then(BatchNorm::two_d(8))
            .then(Activation::ReLU6);
        let expand = Sequential::new()
            .then(Conv2d::new(8, 16, 1).bias(false))
            .then(BatchNorm::two_d(16))
            .then(Activation::ReLU)
            .then(Conv2d::new(16, 16, 3).padding(Padding::Same).groups(16).bias(false))
            .then(BatchNorm::two_d(16))
            .then(Activation::ReLU6);
        let project = Sequential::new().then(Conv2d::new(16, 8, 1)).then(BatchNorm::two_d(8));
        let gate = Sequential::new().then(Conv2d::new(8, 8, 1).groups(2)).then(Activation::ReLU);
        let x = cx.call("stem", &stem, x);
        let wide = cx.call("expand", &expand, x);
        let y = cx.call("project", &project, wide);
        let x = cx.functional("skip_add", Add::new(), &[x, y]);
        let gate = cx.call("gate", &gate, x);
        let z = cx.mul(x, gate);
        let z = cx.add(z, z);
        let z = cx.add(z, y);
        let z = cx.call("relu", &Activation::ReLU6, z);
        let z = cx.cat(&[z, wide, x]);
        let z = cx.call("pool", &MaxPool2d::new(3).stride(2).padding(1), z);
        let z = cx.call("average", &AdaptiveAvgPool2d::new([2, 2]), z);
        let z = cx.call("flatten", &Flatten, z);
        let z = cx.call("dropout", &Dropout::new(self.dropout), z);
        let z = cx.call("linear", &Linear::new(32 * 4, 16), z);
        let z = cx.call("norm", &BatchNorm::one_d(16), z);
        let z = cx.call("last", &Activation::ReLU, z);
        cx.call("classifier", &Linear::new(16, 5), z)
    }
}

fn model(dropout: f32) -> FloatModel {
    let model = Architecture::trace(&Everything { dropout }).unwrap().init(3);
    // Initial batch norms are the identity, so other values are set.
    let mut state = model.parameters().clone();
    for (key, tensor) in &mut state {
        let name = model.graph().parameter_name(*key);
        let mut values = numbers(tensor.data().len(), name.len() as u32);
        if name.ends_with("running_var") || name.ends_with("norm.weight") {
            for x in &mut values {
                *x = x.abs() + 0.5;
            }
        } else if name.contains("classifier") || name.contains("linear") {
            for x in &mut values {
                *x *= 0.3;
            }
        }
        for (to, x) in std::sync::Arc::make_mut(tensor).data_mut().iter_mut().zip(values) {
            *to = x;
        }
    }
    FloatModel::new(model.graph().clone(), state).unwrap()
}

fn numbers(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / 8_388_608.0 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

fn images(seed: u32) -> Tensor {
    Tensor::new([6, 3, 16, 16], numbers(6 * 3 * 256, seed)).unwrap()
}

const LABELS: [usize; 6] = [0, 1, 2, 3, 4, 0];

fn float(dropout: f32, threads: usize) -> Network {
    Network::float(&model(dropout), Options::new(threads).unwrap()).unwrap()
}

fn qat(dropout: f32, threads: usize) -> Network {
    let mapping = QConfigMapping::global(QConfig::recommended_qat());
    let qat = model(dropout).prepare_qat(&mapping).unwrap();
    Network::qat(qat, Options::new(threads).unwrap()).unwrap()
}

fn step(network: &mut Network, seed: u32) -> f32 {
    let loss = CrossEntropy::default();
    let found = network.forward_backward(&images(seed), &LABELS, &loss).unwrap();
    for tensor in network.trained() {
        for (value, gradient) in tensor.value.iter_mut().zip(&*tensor.gradient) {
            *value -= 0.01 * gradient;
        }
    }
    found.loss
}

#[test]
fn gradients_equal_finite_differences_of_the_loss() {
    for frozen in [false, true] {
        let mut network = float(0.3, 2);
        if frozen {
            network.freeze_bn_stats();
        }
        let loss = |network: &mut Network| {
            network.set_step(5);
            let found = network.forward_backward(&images(1), &LABELS, &CrossEntropy::default());
            f64::from(found.unwrap().loss)
        };
        loss(&mut network);
        let gradients: Vec<(String, Vec<f32>)> =
            network.trained().map(|found| (found.name.into(), found.gradient.to_vec())).collect();
        for (index, (name, gradient)) in gradients.iter().enumerate() {
            let norm = gradient.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
            if norm < 1e-5 {
                // A bias before a batch norm has no effect.
                assert!(!frozen && name.ends_with("bias"), "{name}: {norm}");
                continue;
            }
            let h = (2e-3 / norm).min(2e-3);
            let mut moved = |by: f64| {
                let to = |network: &mut Network, by: f64| {
                    let tensor = network.trained().nth(index).unwrap();
                    for (value, g) in tensor.value.iter_mut().zip(gradient) {
                        *value += (by * f64::from(*g) / norm) as f32;
                    }
                };
                to(&mut network, by);
                let found = loss(&mut network);
                to(&mut network, -by);
                found
            };
            let slope = (moved(h) - moved(-h)) / (2.0 * h);
            assert!(
                (slope - norm).abs() <= 0.03 * norm + 2e-4,
                "{name}, frozen {frozen}: slope {slope}, gradient {norm}"
            );
        }
    }
}

#[test]
fn freezing_changes_no_gradient_of_other_parameters_and_less_is_kept() {
    let gradients = |network: &mut Network| -> Vec<(String, Vec<f32>)> {
        network.set_step(5);
        network.forward_backward(&images(1), &LABELS, &CrossEntropy::default()).unwrap();
        network.trained().map(|found| (found.name.into(), found.gradient.to_vec())).collect()
    };
    for build in [float as fn(f32, usize) -> Network, qat] {
        let mut whole = build(0.3, 2);
        whole.freeze_bn_stats();
        let expected = gradients(&mut whole);
        for (glob, frozen) in [
            ("stem", &["stem"][..]),
            ("{stem,expand}", &["stem", "expand"]),
            ("expand.[34]", &["expand.3", "expand.4"]),
            ("*.0", &["expand.0", "project.0", "gate.0"]),
            ("[!c]*", &["stem", "expand", "project", "gate", "linear", "norm"]),
        ] {
            let mut network = build(0.3, 2);
            network.freeze_bn_stats();
            network.freeze(&glob.parse().unwrap()).unwrap();
            let found = gradients(&mut network);
            let is_frozen =
                |name: &str| frozen.iter().any(|module| name.starts_with(&format!("{module}.")));
            let rest: Vec<_> = expected.iter().filter(|(name, _)| !is_frozen(name)).collect();
            assert!(found.iter().eq(rest) && found.len() < expected.len(), "{glob}");
            let less = network.activation_bytes() < whole.activation_bytes();
            assert!(less || !matches!(glob, "{stem,expand}" | "[!c]*"), "{glob}");
        }
    }
}

#[test]
fn frozen_batch_norms_keep_their_running_estimates() {
    for build in [float as fn(f32, usize) -> Network, qat] {
        let mut network = build(0.3, 2);
        network.freeze(&"expand".parse().unwrap()).unwrap();
        let before = network.state().tensors;
        step(&mut network, 1);
        for (name, tensor) in network.state().tensors {
            let is_same = tensor == before[&name];
            // A bias before a batch norm has no gradient.
            let has_gradient = !matches!(name.as_str(), "project.0.bias" | "linear.bias");
            assert!(is_same == name.starts_with("expand.") || !has_gradient, "{name}");
        }
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    for build in [float as fn(f32, usize) -> Network, qat] {
        let states = [1, 2, 3].map(|threads| {
            let mut network = build(0.3, threads);
            for seed in 0..3 {
                step(&mut network, seed);
            }
            network.state()
        });
        assert!(states[1] == states[0] && states[2] == states[0]);
    }
}

#[test]
fn a_resumed_network_gives_the_same_bits() {
    for build in [float as fn(f32, usize) -> Network, qat] {
        let mut whole = build(0.3, 2);
        whole.set_seed(11);
        (0..2).for_each(|seed| _ = step(&mut whole, seed));
        whole.disable_observer();
        whole.freeze_bn_stats();
        let NetworkState { tensors, values } = whole.state();
        let json = serde_json::to_string(&values).unwrap();
        let values: NetworkValues = serde_json::from_str(&json).unwrap();
        let mut resumed = build(0.3, 2);
        resumed.load_state(NetworkState { tensors, values }).unwrap();
        for seed in 2..4 {
            assert_eq!(step(&mut whole, seed).to_bits(), step(&mut resumed, seed).to_bits());
        }
        assert!(whole.state() == resumed.state());
    }
}

#[test]
fn a_state_of_another_network_is_an_error() {
    let error = float(0.0, 1).load_state(qat(0.0, 1).state()).unwrap_err().to_string();
    assert!(error.contains("quantization-aware"), "{error}");
    let error = qat(0.0, 1).load_state(float(0.0, 1).state()).unwrap_err().to_string();
    assert!(error.contains("float"), "{error}");
    let mut state = float(0.0, 1).state();
    state.tensors.remove("stem.1.weight");
    let error = float(0.0, 1).load_state(state).unwrap_err().to_string();
    assert!(error.starts_with("stem.1.weight: "), "{error}");
    let mut state = float(0.0, 1).state();
    state.tensors.insert("extra".into(), Tensor::zeros([1]));
    let error = float(0.0, 1).load_state(state).unwrap_err().to_string();
    assert!(error.starts_with("extra: "), "{error}");
}

#[test]
fn a_refused_step_leaves_the_state_as_it_was() {
    let loss = CrossEntropy::default();
    for mut network in [float(0.3, 2), qat(0.3, 2)] {
        step(&mut network, 1);
        let before = network.state();
        let bits = |state: &NetworkState| {
            let values = state.tensors.values().flat_map(|tensor| tensor.data().to_vec());
            values.map(f32::to_bits).collect::<Vec<_>>()
        };
        // The last layer's weight makes only the loss infinite, after all others have observed.
        for parameter in ["classifier.weight", "project.0.weight", "stem.1.weight"] {
            for bad in [f32::NAN, f32::INFINITY, 1e38] {
                let set = |network: &mut Network, to: f32| {
                    let tensor = network.trained().find(|tensor| tensor.name == parameter).unwrap();
                    std::mem::replace(&mut tensor.value[0], to)
                };
                let good = set(&mut network, bad);
                let found = network.forward_backward(&images(2), &LABELS, &loss);
                set(&mut network, good);
                assert!(found.is_err() || bad.is_finite(), "{parameter} {bad}");
                if found.is_ok() {
                    network.load_state(before.clone()).unwrap();
                    continue;
                }
                assert_eq!(network.state(), before, "{parameter} {bad}");
                assert_eq!(bits(&network.state()), bits(&before), "{parameter} {bad}");
            }
        }
        network.forward_backward(&images(2), &[0, 1, 2, 3, 4, 99], &loss).unwrap_err();
        assert_eq!(network.state(), before);
        let narrow = Tensor::zeros([1, 3, 16, 16]);
        network.forward_backward(&narrow, &[0], &loss).unwrap_err();
        assert_eq!(network.state(), before);
        // It trains on as if nothing had been.
        let mut other =
            if before.values.quantization.is_some() { qat(0.3, 2) } else { float(0.3, 2) };
        other.load_state(before.clone()).unwrap();
        assert_eq!(step(&mut network, 3).to_bits(), step(&mut other, 3).to_bits());
        assert_eq!(network.state(), other.state());
    }
}

#[test]
fn the_error_names_the_first_layer_that_is_not_finite() {
    for (parameter, layer) in [
        ("expand.3.weight", "expand.3"),
        ("gate.0.weight", "gate.0"),
        ("classifier.weight", "classifier"),
    ] {
        for build in [float as fn(f32, usize) -> Network, qat] {
            let mut network = build(0.0, 2);
            network.disable_observer();
            let tensor = network.trained().find(|found| found.name == parameter).unwrap();
            tensor.value[0] = f32::NAN;
            let error = network
                .forward_backward(&images(0), &LABELS, &CrossEntropy::default())
                .unwrap_err()
                .to_string();
            assert!(error.starts_with(&format!("{layer}: ")) && error.contains("NaN"), "{error}");
        }
    }
}

#[test]
fn images_and_labels_that_do_not_fit_are_errors() {
    let mut network = float(0.0, 1);
    let loss = CrossEntropy::default();
    let error = network
        .forward_backward(&Tensor::zeros([6, 4, 16, 16]), &LABELS, &loss)
        .unwrap_err()
        .to_string();
    assert!(error.contains("expected 3 channels, found 4"), "{error}");
    assert!(network.forward_backward(&images(0), &[0, 1], &loss).is_err());
    let one = Tensor::zeros([1, 3, 16, 16]);
    let error = network.forward_backward(&one, &[0], &loss).unwrap_err().to_string();
    assert!(error.starts_with("linear: ") && error.contains("more than one value"), "{error}");
    network.freeze_bn_stats();
    network.forward_backward(&one, &[0], &loss).unwrap();
}

#[test]
fn networks_with_several_inputs_or_outputs_are_errors() {
    let refused = |inputs: &[&str], outputs: &[&str]| {
        let mut builder = Builder::new("Heads");
        let inputs: Vec<NodeId> = inputs.iter().map(|&name| builder.input(name)).collect();
        let sum = builder.add("sum", Add::new(), &[inputs[0], inputs[inputs.len() - 1]]);
        for &name in outputs {
            builder.output(name, sum);
        }
        let model = Architecture::from(builder.build().unwrap()).init(0);
        Network::float(&model, Options::new(1).unwrap()).unwrap_err().to_string()
    };
    assert_eq!(
        refused(&["left", "right"], &["sum"]),
        "Heads: training needs a network with one input, found 2: left, right"
    );
    assert_eq!(
        refused(&["x"], &["near", "far"]),
        "Heads: training needs a network with one output, found 2: near, far"
    );
}

#[test]
fn evaluation_is_close_to_the_float_engine() {
    let mut network = float(0.3, 2);
    (0..3).for_each(|seed| _ = step(&mut network, seed));
    let found = network.evaluate_forward(&images(9)).unwrap();
    let expected = network.float_model().unwrap().forward(&images(9)).unwrap();
    for (a, b) in found.data().iter().zip(expected.data()) {
        assert!((a - b).abs() <= 1e-4 * b.abs().max(1.0), "{a} {b}");
    }
    // An evaluation does not change the next training step.
    let mut other = float(0.3, 2);
    (0..3).for_each(|seed| _ = step(&mut other, seed));
    assert_eq!(step(&mut network, 5).to_bits(), step(&mut other, 5).to_bits());
}
