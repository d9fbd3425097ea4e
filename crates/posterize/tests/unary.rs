//! Tests of networks with sigmoid, SiLU and hard-swish: in float, in int8, saved and trained.

use posterize::format::SavedModel;
use posterize::nn::Sequential;
use posterize::ops::{BatchNorm, Conv2d, Flatten, Hardswish, Linear, Op, Padding, SiLU, Sigmoid};
use posterize::quantization::{QConfig, QConfigMapping};
use posterize::runtime::{Options, compile};
use posterize::training::{CrossEntropy, Network};
use posterize::{Architecture, FloatModel, Tensor};

const SIDE: usize = 9;

fn model() -> FloatModel {
    let conv = |inputs, outputs| Conv2d::new(inputs, outputs, 3).padding(Padding::all(1));
    let net = Sequential::new()
        .then(conv(3, 8))
        .then(BatchNorm::two_d(8))
        .then(Hardswish)
        .then(conv(8, 8))
        .then(SiLU)
        .then(conv(8, 4))
        .then(Sigmoid)
        .then(Flatten)
        .then(Linear::new(4 * SIDE * SIDE, 5));
    Architecture::trace(&net).unwrap().init(4)
}

fn pictures(seed: usize) -> Tensor {
    let values = (0..2 * 3 * SIDE * SIDE).map(|i| ((i * 37 + seed * 11) % 101) as f32 / 25.0 - 2.0);
    Tensor::new([2, 3, SIDE, SIDE], values.collect()).unwrap()
}

#[test]
fn int8_is_close_to_float_also_after_saving() {
    let float = model().fuse().unwrap();
    let mapping = QConfigMapping::global(QConfig::recommended());
    let mut observed = float.prepare(&mapping).unwrap();
    let options = Options::new(2).unwrap();
    observed.calibrate(options, (0..8).map(|seed| Ok(pictures(seed)))).unwrap();
    let int8 = observed.convert().unwrap();
    assert!(observed.float_layers().is_empty(), "{:?}", observed.float_layers());

    let sigmoid = int8.graph().iter().find(|(_, node)| matches!(node.op, Op::Sigmoid(_)));
    let qparams = int8.qparams(sigmoid.unwrap().0).unwrap();
    assert_eq!((qparams.scale, qparams.zero_point), (1.0 / 256.0, 0));

    let expected = float.forward(&pictures(1)).unwrap();
    let found = int8.forward(&pictures(1)).unwrap();
    let largest = expected.data().iter().fold(0.0_f32, |max, x| max.max(x.abs()));
    for (found, expected) in found.data().iter().zip(expected.data()) {
        assert!((found - expected).abs() < 0.05 * largest, "{found} {expected}");
    }

    let bytes = SavedModel::new(int8).to_bytes().unwrap();
    let saved = SavedModel::from_bytes("memory", &bytes).unwrap();
    assert_eq!(saved.model.forward(&pictures(1)).unwrap(), found);
    let mut engine = compile(&saved.model, Options::new(1).unwrap()).unwrap();
    assert_eq!(engine.run(&pictures(1)).unwrap(), found);
}

#[test]
fn quantization_aware_training_learns_and_agrees_with_int8() {
    let mapping = QConfigMapping::global(QConfig::recommended_qat());
    let qat = model().prepare_qat(&mapping).unwrap();
    let mut network = Network::qat(qat, Options::new(2).unwrap()).unwrap();
    let mut losses = Vec::new();
    for _ in 0..30 {
        let step = network.forward_backward(&pictures(1), &[1, 3], &CrossEntropy::default());
        losses.push(step.unwrap().loss);
        for tensor in network.trained() {
            for (value, gradient) in tensor.value.iter_mut().zip(&*tensor.gradient) {
                *value -= 0.05 * gradient;
            }
        }
    }
    assert!(losses[29] < 0.8 * losses[0], "{losses:?}");

    let int8 = network.qat_model().unwrap().unwrap().convert().unwrap();
    let found = int8.forward(&pictures(1)).unwrap();
    let expected = network.evaluate_forward(&pictures(1)).unwrap();
    let largest = expected.data().iter().fold(0.0_f32, |max, x| max.max(x.abs()));
    for (found, expected) in found.data().iter().zip(expected.data()) {
        assert!((found - expected).abs() < 0.02 * largest, "{found} {expected}");
    }
}
