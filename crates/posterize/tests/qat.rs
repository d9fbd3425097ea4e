//! Tests of quantization-aware models: how they print, and what they are converted to.

use std::path::Path;

use posterize::data::{ImageFolder, Loader};
use posterize::models::{self, Config};
use posterize::nn::{Flatten, Module, Sequential, Tracer, Value};
use posterize::ops::{
    Activation, AdaptiveAvgPool2d, Add, BatchNorm, Conv2d, Linear, MaxPool2d, Padding,
};
use posterize::quantization::{ObserverSpec, QConfig, QConfigMapping, QatModel};
use posterize::runtime::Options;
use posterize::training::{CrossEntropy, Network, Optimizer, Sgd, SgdOptions};
use posterize::{Architecture, StateDict, Tensor};

struct Block;

impl Module for Block {
    fn kind(&self) -> &'static str {
        "Block"
    }

    fn forward(&self, cx: &mut Tracer, x: Value) -> Value {
        let stem = Sequential::new()
            .then(Conv2d::new(3, 8, 3).padding(Padding::all(1)).bias(false))
            .then(BatchNorm::two_d(8))
            .then(Activation::ReLU);
        let body = Sequential::new()
            .then(Conv2d::new(8, 8, 3).padding(Padding::Same).groups(8).bias(false))
            .then(BatchNorm::two_d(8))
            .then(Activation::ReLU6)
            .then(Conv2d::new(8, 8, 1))
            .then(BatchNorm::two_d(8));
        let x = cx.call("stem", &stem, x);
        let y = cx.call("body", &body, x);
        let y = cx.functional("skip_add", Add::new(), &[x, y]);
        let x = cx.cat(&[x, y]);
        let x = cx.call("pool", &MaxPool2d::new(2), x);
        let x = cx.call("average", &AdaptiveAvgPool2d::new([2, 2]), x);
        let x = cx.call("flatten", &Flatten, x);
        cx.call("classifier", &Linear::new(64, 10), x)
    }
}

fn prepared(mapping: &QConfigMapping) -> QatModel {
    Architecture::trace(&Block).unwrap().init(5).prepare_qat(mapping).unwrap()
}

fn images(seed: u32) -> Tensor {
    let mut state = seed;
    let values = (0..8 * 3 * 144).map(|_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / 8_388_608.0 - 1.0
    });
    Tensor::new([8, 3, 12, 12], values.collect()).unwrap()
}

fn train(network: &mut Network, steps: u32) {
    let mut sgd = Sgd::new(SgdOptions { momentum: 0.9, ..SgdOptions::default() }).unwrap();
    for step in 0..steps {
        let labels = [0, 1, 2, 3, 4, 5, 6, 7];
        network.forward_backward(&images(step), &labels, &CrossEntropy::default()).unwrap();
        sgd.step(0.02, &mut network.trained().collect::<Vec<_>>());
    }
}

#[test]
fn the_module_tree_prints_as_in_pytorch() {
    let qat = prepared(&QConfigMapping::global(QConfig::fbgemm_qat()));
    let expected = "\
ConvBnReLU2d(
  3, 8, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1), bias=False
  (bn): BatchNorm2d(8, eps=1e-05, momentum=0.1, affine=True, track_running_stats=True)
  (weight_fake_quant): FakeQuantize(
    fake_quant_enabled=true, observer_enabled=true, quant_min=-128, quant_max=127, \
    dtype=torch.qint8, qscheme=torch.per_channel_symmetric, ch_axis=0, scale=1, zero_point=0
    (activation_post_process): MovingAveragePerChannelMinMaxObserver(min_val=tensor([]), \
    max_val=tensor([]))
  )
  (activation_post_process): FakeQuantize(
    fake_quant_enabled=true, observer_enabled=true, quant_min=0, quant_max=127, \
    dtype=torch.quint8, qscheme=torch.per_tensor_affine, scale=1, zero_point=0
    (activation_post_process): MovingAverageMinMaxObserver(min_val=inf, max_val=-inf)
  )
)";
    assert_eq!(qat.module("stem.0").unwrap().to_string(), expected);
    let tree = qat.module("").unwrap().to_string();
    for part in [
        "(0): ConvBnReLU6_2d(",
        "(3): ConvBn2d(",
        "(skip_add): FloatFunctional(",
        "(classifier): Linear(\n    in_features=64, out_features=10, bias=True\n    (weight_fake",
        "(input): QuantStub(",
    ] {
        assert!(tree.contains(part), "{part}\n{tree}");
    }
}

#[test]
fn layers_without_a_qconfig_stay_in_float() {
    let mapping =
        QConfigMapping::global(QConfig::recommended_qat()).set_module_name("body.3", None);
    let qat = prepared(&mapping);
    assert!(qat.module("body.3").unwrap().to_string().starts_with("ConvBn2d(\n  (0): Conv2d("));
    assert_eq!(qat.float_layers()[0].name, "body.3");
    let mut network = Network::qat(qat, Options::new(2).unwrap()).unwrap();
    train(&mut network, 3);
    check_agreement(&mut network);
}

#[test]
fn a_model_whose_observers_saw_no_data_cannot_be_converted() {
    let qat = prepared(&QConfigMapping::global(QConfig::recommended_qat()));
    let error = qat.convert().unwrap_err().to_string();
    assert!(error.contains("11 of 11 observers saw no data"), "{error}");
    assert!(error.contains("stem.0, ") && error.contains("classifier.weight"), "{error}");
    assert_eq!(qat.without_data().len(), 11);
}

/// Checks that the outputs of the fake-quantized network and of the int8 network agree.
fn check_agreement(network: &mut Network) {
    let int8 = network.qat_model().unwrap().unwrap().convert().unwrap();
    let scale = int8.qparams(int8.graph().find("classifier").unwrap()).unwrap().scale;
    let fake = network.evaluate_forward(&images(77)).unwrap();
    let real = int8.forward(&images(77)).unwrap();
    let pairs = || fake.data().iter().zip(real.data());
    let equal = pairs().filter(|(a, b)| (*a - *b).abs() < 0.01 * scale).count();
    let max = pairs().map(|(a, b)| (a - b).abs() / scale).fold(0.0, f32::max);
    let all = fake.data().len();
    assert!(max < 1.5 && equal * 20 >= all * 19, "{equal} of {all} equal, up to {max} steps apart");
}

#[test]
fn the_int8_model_agrees_with_the_fake_quantized_one() {
    let histogram = QConfig { activation: ObserverSpec::histogram(), ..QConfig::recommended_qat() };
    for qconfig in
        [QConfig::recommended_qat(), QConfig::qnnpack_qat(), QConfig::fbgemm_qat(), histogram]
    {
        let qat = prepared(&QConfigMapping::global(qconfig));
        let mut network = Network::qat(qat, Options::new(2).unwrap()).unwrap();
        train(&mut network, 5);
        check_agreement(&mut network);
        // Training can continue after conversion.
        network.disable_observer();
        let before = network.qat_model().unwrap().unwrap().state();
        train(&mut network, 3);
        assert_eq!(network.qat_model().unwrap().unwrap().state(), before);
        check_agreement(&mut network);
        network.enable_observer();
        train(&mut network, 1);
        assert_ne!(network.qat_model().unwrap().unwrap().state(), before);
    }
}

/// Pictures brighter than all training pictures.
fn brighter() -> Tensor {
    let values = images(3).data().iter().map(|x| 9.0 * x).collect();
    Tensor::new([8, 3, 12, 12], values).unwrap()
}

#[test]
fn evaluation_uses_all_8_bits_as_int8_does_if_training_uses_7() {
    let qat = prepared(&QConfigMapping::global(QConfig::fbgemm_qat()));
    let mut network = Network::qat(qat, Options::new(2).unwrap()).unwrap();
    train(&mut network, 5);
    let int8 = network.qat_model().unwrap().unwrap().convert().unwrap();
    let mut engine = posterize::runtime::compile(&int8, Options::new(1).unwrap()).unwrap();
    let mut beyond = 0;
    let observe = &mut |id, values: &[f32]| {
        if let Some(qparams) = int8.qparams(id) {
            beyond += usize::from(values.iter().any(|&x| x > qparams.dequantize(127)));
        }
        Ok(())
    };
    let real = engine.run_observed(&brighter(), observe).unwrap();
    assert!(beyond >= 4, "only {beyond} layers left the range of 7 bits");
    let classifier = int8.graph().find("classifier").unwrap();
    let scale = int8.qparams(classifier).unwrap().scale;
    let max_distance = |fake: &Tensor| {
        let pairs = fake.data().iter().zip(real.data());
        pairs.map(|(fake, real)| (fake - real).abs() / scale).fold(0.0, f32::max)
    };
    let evaluated = max_distance(&network.evaluate_forward(&brighter()).unwrap());
    assert!(evaluated < 1.5, "{evaluated} steps apart");
}

#[test]
fn with_fake_quantization_disabled_it_trains_in_float() {
    let options = Options::new(1).unwrap();
    let model = Architecture::trace(&Block).unwrap().init(5);
    let mut float = Network::float(&model, options).unwrap();
    let mut qat =
        Network::qat(prepared(&QConfigMapping::global(QConfig::recommended_qat())), options)
            .unwrap();
    qat.disable_fake_quant();
    let loss = CrossEntropy::default();
    let labels = [0, 1, 2, 3, 4, 5, 6, 7];
    let a = float.forward_backward(&images(1), &labels, &loss).unwrap();
    let b = qat.forward_backward(&images(1), &labels, &loss).unwrap();
    assert!((a.loss - b.loss).abs() <= 1e-5 * a.loss, "{} {}", a.loss, b.loss);
    for (a, b) in float.trained().zip(qat.trained()) {
        let largest = a.gradient.iter().fold(1e-3_f32, |max, g| max.max(g.abs()));
        for (x, y) in a.gradient.iter().zip(&*b.gradient) {
            assert!((x - y).abs() <= 1e-4 * largest, "{}: {x} {y}", a.name);
        }
    }
}

const ASSETS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/assets");

/// Trains tf_mobilenet_v2 for `steps` steps, and counts the pictures of val for which the
/// fake-quantized network and the int8 network predict the same class. Returns this number and the
/// number of pictures.
fn same_top1(qconfig: QConfig, steps: usize, pictures: usize) -> Option<(usize, usize)> {
    let assets = Path::new(ASSETS);
    if !assets.exists() {
        println!("skipped: {ASSETS} is missing");
        return None;
    }
    let classes = assets.join("imagenet_1k/classes.txt");
    let folder = |name: &str| {
        ImageFolder::open(assets.join("imagenet_1k").join(name), Some(&classes)).unwrap()
    };
    let state = StateDict::open(assets.join("tf_mobilenet_v2.pth")).unwrap();
    let model = models::by_name("tf_mobilenet_v2", &Config::default()).unwrap();
    let model = model.load(&state).unwrap();
    let qat = model.prepare_qat(&QConfigMapping::global(qconfig)).unwrap();
    let mut network = Network::qat(qat, Options::all_threads().unwrap()).unwrap();
    network.freeze_bn_stats();
    let preprocessing = models::preprocessing("tf_mobilenet_v2").unwrap();
    let mut sgd = Sgd::new(SgdOptions::default()).unwrap();
    let train = Loader::new(&folder("train"), preprocessing.clone()).batch_size(15);
    for batch in train.tensors().take(steps) {
        let batch = batch.unwrap();
        let loss = CrossEntropy::default();
        network.forward_backward(&batch.images, &batch.labels, &loss).unwrap();
        sgd.step(1e-5, &mut network.trained().collect::<Vec<_>>());
    }
    let int8 = network.qat_model().unwrap().unwrap().convert().unwrap();
    let mut engine = posterize::runtime::compile(&int8, Options::all_threads().unwrap()).unwrap();
    let (mut same, mut seen) = (0, 0);
    let top1 = |logits: &Tensor| -> Vec<usize> {
        let rows = logits.data().chunks_exact(1000);
        rows.map(|row| posterize::metrics::topk(row, 1)[0].0).collect()
    };
    for batch in Loader::new(&folder("val"), preprocessing).batch_size(15).limit(pictures).tensors()
    {
        let images = batch.unwrap().images;
        let fake = top1(&network.evaluate_forward(&images).unwrap());
        let real = top1(&engine.run(&images).unwrap());
        same += fake.iter().zip(&real).filter(|(a, b)| a == b).count();
        seen += fake.len();
    }
    Some((same, seen))
}

#[test]
fn fake_quantized_and_int8_predict_the_same_classes() {
    if let Some((same, seen)) = same_top1(QConfig::recommended_qat(), 4, 200) {
        assert!(same * 1000 >= seen * 995, "{same} of {seen}");
    }
}

#[test]
#[ignore = "takes minutes: all 1,000 pictures for several qconfigs"]
fn fake_quantized_and_int8_predict_the_same_classes_in_all_of_val() {
    let qconfigs = [("recommended", QConfig::recommended_qat()), ("fbgemm", QConfig::fbgemm_qat())];
    for (name, qconfig) in qconfigs {
        if let Some((same, seen)) = same_top1(qconfig, 8, 1000) {
            println!("{name}: {same} of {seen}");
            assert!(same * 1000 >= seen * 995, "{name}: {same} of {seen}");
        }
    }
}
