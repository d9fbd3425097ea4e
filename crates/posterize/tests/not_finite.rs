//! Tests that NaN and infinite values reach the observers as errors that name the layer, wherever
//! they are, and leave observers as they were.

use std::sync::Arc;

use posterize::nn::{Flatten, Sequential};
use posterize::ops::{Activation, AdaptiveAvgPool2d, Conv2d, Linear, MaxPool2d, Padding};
use posterize::quantization::{ObserverKind, ObserverSpec, QConfig, QConfigMapping};
use posterize::runtime::{Isa, Options};
use posterize::{Architecture, FloatModel, Tensor};

const BAD: [f32; 3] = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY];

#[test]
fn an_observer_refuses_what_is_not_finite_at_every_position() {
    for kind in [
        ObserverKind::MinMax,
        ObserverKind::MovingAverageMinMax,
        ObserverKind::Histogram,
        ObserverKind::PerChannelMinMax,
        ObserverKind::MovingAveragePerChannelMinMax,
    ] {
        let mut observer = ObserverSpec::new(kind).build().unwrap();
        let mut values: Vec<f32> = (0..4000).map(|i| (i % 7) as f32).collect();
        observer.observe(&values[..100], &[10, 10]).unwrap();
        let before = observer.clone();
        for bad in BAD {
            for (len, shape) in [(100, [10, 10]), (4000, [10, 400])] {
                for index in 0..len {
                    let good = std::mem::replace(&mut values[index], bad);
                    let error = observer.observe(&values[..len], &shape).unwrap_err().to_string();
                    assert!(error.contains(&bad.to_string()), "{kind}: {bad} at {index}: {error}");
                    values[index] = good;
                }
            }
        }
        assert_eq!(observer, before, "{kind}");
    }
}

/// A network with a layer for each kind of float kernel, each with an activation to fuse.
fn network(activation: Activation) -> FloatModel {
    let padded = |inputs, outputs| Conv2d::new(inputs, outputs, 3).padding(Padding::all(1));
    let net = Sequential::new()
        .then(padded(3, 20))
        .then(activation)
        .then(padded(20, 20).groups(20))
        .then(activation)
        .then(MaxPool2d::new(2))
        .then(padded(20, 20).groups(2))
        .then(activation)
        .then(Conv2d::new(20, 24, 1))
        .then(activation)
        .then(AdaptiveAvgPool2d::new([1, 1]))
        .then(Flatten)
        .then(Linear::new(24, 5))
        .then(activation);
    Architecture::trace(&net).unwrap().init(1).fuse().unwrap()
}

#[test]
fn fused_activations_do_not_hide_nan_from_calibration() {
    let mapping = QConfigMapping::global(QConfig::recommended());
    let images = || Tensor::new([1, 3, 6, 6], (0..108).map(|i| (i % 5) as f32).collect()).unwrap();
    for activation in [Activation::ReLU, Activation::ReLU6] {
        let model = network(activation);
        let options = Options::new(2).unwrap();
        model.prepare(&mapping).unwrap().calibrate(options, [Ok(images())]).unwrap();
        for (&(node, role), tensor) in model.parameters() {
            let name = &model.graph().node(node).name;
            for index in (0..tensor.data().len()).step_by(7) {
                let mut parameters = model.parameters().clone();
                let values = Arc::make_mut(parameters.get_mut(&(node, role)).unwrap()).data_mut();
                values[index] = f32::NAN;
                let bad = FloatModel::new(model.graph().clone(), parameters).unwrap();
                for isa in Isa::supported() {
                    let mut observed = bad.prepare(&mapping).unwrap();
                    let found = observed.calibrate(options.isa(isa), [Ok(images())]);
                    let error = found.expect_err(name);
                    assert_eq!(error.layer_name(), Some(name.as_str()), "{role} {index}: {error}");
                }
            }
        }
    }
}

#[test]
fn pictures_that_are_not_finite_are_refused_at_every_position() {
    let model = network(Activation::ReLU);
    let mut observed = model.prepare(&QConfigMapping::global(QConfig::recommended())).unwrap();
    for bad in BAD {
        for index in 0..3 * 36 {
            let mut images = Tensor::zeros([1, 3, 6, 6]);
            images.data_mut()[index] = bad;
            let error = observed.calibrate(Options::new(1).unwrap(), [Ok(images)]).unwrap_err();
            assert_eq!(error.layer_name(), Some("input"), "{bad} at {index}: {error}");
        }
    }
}
