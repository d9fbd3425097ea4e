//! Small networks and pictures for tests of engines.

use posterize::data::{PixelBatch, Preprocessing};
use posterize::models::{self, Config};
use posterize::nn::{Flatten, Module, Sequential, Tracer, Value};
use posterize::ops::{Activation, AdaptiveAvgPool2d, Conv2d, Linear, MaxPool2d, ZeroPad2d};
use posterize::quantization::{QConfig, QConfigMapping, QuantizedModel};
use posterize::runtime::Options;
use posterize::{Architecture, FloatModel, Tensor};

/// Height and width of the pictures.
pub(crate) const SIDE: usize = 40;

pub(crate) fn preprocessing() -> Preprocessing {
    Preprocessing::imagenet().with_sizes(SIDE, SIDE)
}

/// A MobileNetV2 of width 0.1, which begins with a convolution.
pub(crate) fn mobilenet() -> FloatModel {
    let config = Config { num_classes: 10, width_mult: 0.1, ..Config::default() };
    models::mobilenet_v2(&config).unwrap().init(3).fuse().unwrap()
}

/// A network of the other operators. It begins with padding, which stays in float when it is
/// quantized, so pixels are normalized to float.
struct Others {
    stem: Sequential,
    tail: Sequential,
}

impl Module for Others {
    fn kind(&self) -> &'static str {
        "Others"
    }

    fn forward(&self, cx: &mut Tracer, x: Value) -> Value {
        let x = cx.call("stem", &self.stem, x);
        let y = cx.mul(x, x);
        let z = cx.cat(&[x, y]);
        cx.call("tail", &self.tail, z)
    }
}

pub(crate) fn others() -> FloatModel {
    let stem = Sequential::new()
        .then(ZeroPad2d::new([0, 1, 0, 1]))
        .then(Conv2d::new(3, 12, 5).stride(2))
        .then(Activation::ReLU)
        .then(MaxPool2d::new(3).stride(2).padding(1))
        .then(Conv2d::new(12, 12, 3).groups(3));
    let tail = Sequential::new()
        .then(AdaptiveAvgPool2d::new([2, 2]))
        .then(Flatten)
        .then(Linear::new(24 * 4, 10));
    Architecture::trace(&Others { stem, tail }).unwrap().init(5).fuse().unwrap()
}

/// Quantizes a network that is calibrated on noise.
pub(crate) fn quantized(float: &FloatModel) -> QuantizedModel {
    let mapping = QConfigMapping::global(QConfig::recommended());
    let mut observed = float.prepare(&mapping).unwrap();
    let images = preprocessed(&pixels(4, 77));
    observed.calibrate(Options::new(1).unwrap(), [Ok(images)]).unwrap();
    observed.convert().unwrap()
}

/// Noise in which every value of every channel occurs.
pub(crate) fn pixels(batch: usize, seed: usize) -> PixelBatch {
    let shape = [batch, SIDE, SIDE];
    let mut state = seed as u32;
    let value = |index: usize| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        if index < 768 { (index / 3) as u8 } else { (state >> 24) as u8 }
    };
    let bytes = shape.iter().product::<usize>() * 3;
    PixelBatch::new(shape, (0..bytes).map(value).collect()).unwrap()
}

/// Returns the pictures after torchvision's `ToTensor` and `Normalize`.
pub(crate) fn preprocessed(pixels: &PixelBatch) -> Tensor {
    let Preprocessing { mean, std, .. } = preprocessing();
    let normalized = |(index, &value): (usize, &u8)| {
        (f32::from(value) / 255.0 - mean[index % 3]) / std[index % 3]
    };
    let values = pixels.data().iter().enumerate().map(normalized).collect();
    let [n, h, w] = pixels.shape();
    Tensor::channels_last([n, 3, h, w], values).unwrap()
}
