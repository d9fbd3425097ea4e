//! Tests of squeeze-and-excitation (Hu et al. 2018, <https://arxiv.org/abs/1709.01507>), which
//! multiplies `[N, C, H, W]` by `[N, C, 1, 1]`, in float, in int8 and in training.

use posterize::nn::{Module, Sequential, Tracer, Value};
use posterize::ops::{AdaptiveAvgPool2d, Conv2d, Linear, Padding, SiLU, Sigmoid};
use posterize::quantization::{QConfig, QConfigMapping};
use posterize::runtime::Options;
use posterize::training::{CrossEntropy, Network};
use posterize::{Architecture, FloatModel, Tensor};

const SIDE: usize = 6;

struct Net {
    conv: Conv2d,
    squeeze: Sequential,
    classifier: Linear,
}

impl Module for Net {
    fn kind(&self) -> &'static str {
        "Net"
    }

    fn forward(&self, cx: &mut Tracer, x: Value) -> Value {
        let x = cx.call("conv", &self.conv, x);
        let factors = cx.call("squeeze", &self.squeeze, x);
        // The operand that is broadcast is the second one, then the first one.
        let y = cx.mul(x, factors);
        let z = cx.add(factors, y);
        let z = cx.mean(z);
        cx.call("classifier", &self.classifier, z)
    }
}

fn model() -> FloatModel {
    let squeeze = Sequential::new()
        .then(AdaptiveAvgPool2d::new([1, 1]))
        .then(Conv2d::new(20, 4, 1))
        .then(SiLU)
        .then(Conv2d::new(4, 20, 1))
        .then(Sigmoid);
    let conv = Conv2d::new(3, 20, 3).padding(Padding::all(1));
    let net = Net { conv, squeeze, classifier: Linear::new(20, 5) };
    Architecture::trace(&net).unwrap().init(2)
}

fn pictures(seed: usize) -> Tensor {
    let values = (0..2 * 3 * SIDE * SIDE).map(|i| ((i * 37 + seed * 11) % 101) as f32 / 25.0 - 2.0);
    Tensor::new([2, 3, SIDE, SIDE], values.collect()).unwrap()
}

#[test]
fn float_values_equal_the_definition() {
    let model = model();
    let mut values = std::collections::BTreeMap::new();
    let mut engine = posterize::compile(&model, Options::new(2).unwrap()).unwrap();
    let observe = &mut |id: posterize::graph::NodeId, found: &[f32]| {
        values.insert(model.graph().node(id).name.clone(), found.to_vec());
        Ok(())
    };
    engine.run_observed(&pictures(1), observe).unwrap();
    let (x, factors) = (&values["conv"], &values["squeeze.4"]);
    for (index, (&mul, &add)) in values["mul"].iter().zip(&values["add"]).enumerate() {
        let factor = factors[index / (20 * SIDE * SIDE) * 20 + index % 20];
        assert_eq!(mul, x[index] * factor, "{index}");
        assert_eq!(add, factor + mul, "{index}");
    }
}

#[test]
fn int8_is_close_to_float() {
    let float = model().fuse().unwrap();
    let mapping = QConfigMapping::global(QConfig::recommended());
    let mut observed = float.prepare(&mapping).unwrap();
    let options = Options::new(2).unwrap();
    observed.calibrate(options, (0..8).map(|seed| Ok(pictures(seed)))).unwrap();
    let int8 = observed.convert().unwrap();
    let expected = float.forward(&pictures(1)).unwrap();
    let found = int8.forward(&pictures(1)).unwrap();
    let largest = expected.data().iter().fold(0.0_f32, |max, x| max.max(x.abs()));
    for (found, expected) in found.data().iter().zip(expected.data()) {
        assert!((found - expected).abs() < 0.1 * largest, "{found} {expected}");
    }
}

#[test]
fn gradients_equal_finite_differences() {
    let mut network = Network::float(&model(), Options::new(2).unwrap()).unwrap();
    let (images, labels, loss) = (pictures(3), [1, 4], CrossEntropy::default());
    network.forward_backward(&images, &labels, &loss).unwrap();
    let gradients: Vec<(String, f32)> = network
        .trained()
        .filter(|tensor| tensor.name.ends_with("bias"))
        .map(|tensor| (tensor.name.to_owned(), tensor.gradient[0]))
        .collect();
    assert!(gradients.len() >= 3);
    for (name, gradient) in gradients {
        let mut moved = |by: f32| {
            let mut change = |by: f32| {
                let tensor = network.trained().find(|tensor| tensor.name == name).unwrap();
                tensor.value[0] += by;
            };
            change(by);
            let found = network.forward_backward(&images, &labels, &loss).unwrap().loss;
            let tensor = network.trained().find(|tensor| tensor.name == name).unwrap();
            tensor.value[0] -= by;
            found
        };
        let h = 0.05;
        let difference = (moved(h) - moved(-h)) / (2.0 * h);
        assert!((gradient - difference).abs() < 2e-4, "{name}: {gradient} {difference}");
    }
}
