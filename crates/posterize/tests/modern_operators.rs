//! Tests of a network of operators of current CNNs: in int8, saved and trained.

use posterize::format::SavedModel;
use posterize::nn::Sequential;
use posterize::ops::{
    AvgPool2d, BatchNorm, Conv2d, ConvTranspose2d, Coordinates, DepthToSpace, ELU, GELU,
    Hardsigmoid, Hardtanh, Interpolation, LayerNorm, LeakyReLU, Linear, MaxPool2d, Mish, Op, Pad,
    PadMode, Padding, Permute, Reduce, Reduction, Reshape, Softmax, Softplus, Tanh, Upsample,
};
use posterize::quantization::{QConfig, QConfigMapping};
use posterize::runtime::Options;
use posterize::training::{CrossEntropy, Network};
use posterize::{Architecture, FloatModel, Tensor};

const SIDE: usize = 12;

/// Operators with int8 kernels and with gradients, behind a convolution.
fn trainable() -> Sequential {
    let conv = |inputs, outputs| Conv2d::new(inputs, outputs, 3).padding(Padding::all(1));
    let linear = Upsample::scales([1.5, 2.0]).mode(Interpolation::Linear);
    Sequential::new()
        .then(conv(3, 8))
        .then(BatchNorm::two_d(8))
        .then(LeakyReLU::new(0.1))
        .then(AvgPool2d::new(3).stride(2).padding(1).ceil_mode(true))
        .then(conv(8, 8))
        .then(GELU::new(false))
        .then(linear.coordinates(Coordinates::HalfPixel))
        .then(Pad::new([[0, 0], [0, 0], [1, 0], [0, 2]], PadMode::Reflect))
        .then(conv(8, 8))
        .then(Mish)
        .then(MaxPool2d::new(2).stride(2).ceil_mode(true))
        .then(conv(8, 8))
        .then(Hardtanh::new(-1.5, 2.0))
        .then(DepthToSpace::new(2))
        .then(conv(2, 4))
        .then(Tanh)
        .then(conv(4, 4))
        .then(ELU::new(1.0))
        .then(conv(4, 4))
        .then(Softplus::new())
        .then(conv(4, 4))
        .then(Hardsigmoid::new())
}

fn head(net: Sequential) -> FloatModel {
    let net = net
        .then(Permute::new([0, 2, 3, 1]))
        .then(Reduce::new(Reduction::Mean, [1]))
        .then(Reshape::new([-1]))
        .then(Linear::new(16 * 4, 5));
    Architecture::trace(&net).unwrap().init(4)
}

fn pictures(seed: usize) -> Tensor {
    let values = (0..2 * 3 * SIDE * SIDE).map(|i| ((i * 37 + seed * 11) % 101) as f32 / 25.0 - 2.0);
    Tensor::new([2, 3, SIDE, SIDE], values.collect()).unwrap()
}

fn assert_near(found: &Tensor, expected: &Tensor, tolerance: f32) {
    let largest = expected.data().iter().fold(0.0_f32, |max, x| max.max(x.abs()));
    for (found, expected) in found.data().iter().zip(expected.data()) {
        let far = (found - expected).abs();
        assert!(far < tolerance * largest, "{found}, expected {expected}; largest {largest}");
    }
}

#[test]
fn int8_is_close_to_float_also_after_saving() {
    let up = ConvTranspose2d::new(4, 4, 2).stride([2, 2]);
    let net = trainable()
        .then(up)
        .then(BatchNorm::two_d(4))
        .then(posterize::ops::Activation::ReLU)
        .then(MaxPool2d::new(2))
        .then(LayerNorm::channels_first(4))
        .then(Softmax::new(1));
    let float = head(net).fuse().unwrap();
    let fused = float.graph().nodes().iter().any(|node| node.op.kind() == "ConvTransposeReLU2d");
    assert!(fused);
    let mapping = QConfigMapping::global(QConfig::recommended());
    let mut observed = float.prepare(&mapping).unwrap();
    let options = Options::new(2).unwrap();
    observed.calibrate(options, (0..8).map(|seed| Ok(pictures(seed)))).unwrap();
    let int8 = observed.convert().unwrap();
    let is_int8 = |wanted: &str| {
        int8.graph().iter().any(|(id, n)| n.op.tag() == wanted && int8.qparams(id).is_some())
    };
    for tag in [
        "LeakyReLU",
        "AvgPool2d",
        "GELU",
        "Upsample",
        "Pad",
        "Mish",
        "Hardtanh",
        "DepthToSpace",
        "Tanh",
        "ELU",
        "Softplus",
        "Hardsigmoid",
        "ConvTranspose2d",
    ] {
        assert!(is_int8(tag), "{tag} is not int8");
    }
    assert!(!is_int8("LayerNorm") && !is_int8("Softmax"));
    let fixed = int8.graph().iter().find(|(_, node)| matches!(node.op, Op::Tanh(_)));
    let qparams = int8.qparams(fixed.unwrap().0).unwrap();
    assert_eq!((qparams.scale, qparams.zero_point), (1.0 / 128.0, 128));

    let found = int8.forward(&pictures(1)).unwrap();
    assert_near(&found, &float.forward(&pictures(1)).unwrap(), 0.1);

    let bytes = SavedModel::new(int8).to_bytes().unwrap();
    let saved = SavedModel::from_bytes("memory", &bytes).unwrap();
    assert_eq!(saved.model.forward(&pictures(1)).unwrap(), found);
}

#[test]
fn quantization_aware_training_learns_and_agrees_with_int8() {
    let mapping = QConfigMapping::global(QConfig::recommended_qat());
    let qat = head(trainable()).prepare_qat(&mapping).unwrap();
    let mut network = Network::qat(qat, Options::new(2).unwrap()).unwrap();
    let mut losses = Vec::new();
    for _ in 0..60 {
        let step = network.forward_backward(&pictures(1), &[1, 3], &CrossEntropy::default());
        losses.push(step.unwrap().loss);
        for tensor in network.trained() {
            for (value, gradient) in tensor.value.iter_mut().zip(&*tensor.gradient) {
                *value -= 0.5 * gradient;
            }
        }
    }
    assert!(losses[59] < 0.8 * losses[0], "{losses:?}");
    let int8 = network.qat_model().unwrap().unwrap().convert().unwrap();
    let expected = network.evaluate_forward(&pictures(1)).unwrap();
    assert_near(&int8.forward(&pictures(1)).unwrap(), &expected, 0.05);
}

#[test]
fn operators_without_gradients_say_so() {
    let net = Sequential::new().then(Conv2d::new(3, 4, 1)).then(ConvTranspose2d::new(4, 4, 2));
    let model = Architecture::trace(&net).unwrap().init(0);
    let error = Network::float(&model, Options::new(1).unwrap()).unwrap_err().to_string();
    assert!(error.contains("a ConvTranspose2d cannot be trained"), "{error}");
}
