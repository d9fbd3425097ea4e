//! Tests of post-training quantization of small networks.

use posterize::graph::NodeId;
use posterize::nn::{DeQuantStub, Flatten, Module, QuantStub, Sequential, Tracer, Value};
use posterize::ops::{
    Activation, AdaptiveAvgPool2d, Add, BatchNorm, Conv2d, Linear, MaxPool2d, Op, Padding, Role,
    ZeroPad2d,
};
use posterize::quantization::{QConfig, QConfigMapping, QuantizedModel};
use posterize::runtime::{Options, compile};
use posterize::{Architecture, FloatModel, Tensor};

/// A network of every operator with an int8 kernel, with a residual and a concatenation.
struct Everything {
    stem: Sequential,
    block: Sequential,
    tail: Sequential,
}

fn conv(inputs: usize, outputs: usize, kernel: usize, groups: usize) -> Conv2d {
    Conv2d::new(inputs, outputs, kernel)
        .padding(Padding::all(kernel / 2))
        .groups(groups)
        .bias(false)
}

impl Everything {
    fn new() -> Self {
        Self {
            stem: Sequential::new()
                .then(ZeroPad2d::new([0, 1, 0, 1]))
                .then(Conv2d::new(3, 16, 3).stride(2).bias(false))
                .then(BatchNorm::two_d(16))
                .then(Activation::ReLU6)
                .then(MaxPool2d::new(3).stride(2).padding(1)),
            block: Sequential::of_kind("Block")
                .then(conv(16, 48, 1, 1))
                .then(BatchNorm::two_d(48))
                .then(Activation::ReLU)
                .then(conv(48, 48, 3, 48))
                .then(BatchNorm::two_d(48))
                .then(Activation::ReLU)
                .then(conv(48, 16, 1, 1))
                .then(BatchNorm::two_d(16)),
            tail: Sequential::new()
                .then(AdaptiveAvgPool2d::new([2, 2]))
                .then(Flatten)
                .then(Linear::new(32 * 4, 10)),
        }
    }
}

impl Module for Everything {
    fn kind(&self) -> &'static str {
        "Everything"
    }

    fn forward(&self, cx: &mut Tracer, x: Value) -> Value {
        let x = cx.call("stem", &self.stem, x);
        let y = cx.call("block", &self.block, x);
        let y = cx.functional("skip_add", Add::new(), &[x, y]);
        let z = cx.cat(&[x, y]);
        cx.call("tail", &self.tail, z)
    }
}

fn pictures(batch: usize, seed: u32) -> Tensor {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
    let values = (0..batch * 3 * 32 * 32)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / 8_388_608.0 - 1.0
        })
        .collect();
    Tensor::new([batch, 3, 32, 32], values).unwrap()
}

fn model() -> FloatModel {
    Architecture::trace(&Everything::new()).unwrap().init(7).fuse().unwrap()
}

/// Signal-to-quantization-noise ratio in decibels.
fn sqnr(float: &Tensor, int8: &Tensor) -> f64 {
    let signal: f64 = float.data().iter().map(|x| f64::from(*x).powi(2)).sum();
    let noise: f64 =
        float.data().iter().zip(int8.data()).map(|(x, y)| f64::from(x - y).powi(2)).sum();
    10.0 * (signal / noise).log10()
}

#[test]
fn int8_is_close_to_float_for_every_operator() {
    let float = model();
    for qconfig in [QConfig::recommended(), QConfig::fbgemm(), QConfig::qnnpack()] {
        let mut observed = float.prepare(&QConfigMapping::global(qconfig)).unwrap();
        assert!(observed.float_layers().iter().all(|layer| layer.name == "stem.0"));
        let batches = (0..4).map(|seed| Ok(pictures(4, seed)));
        assert_eq!(observed.calibrate(Options::new(2).unwrap(), batches).unwrap(), 16);
        let int8 = observed.convert().unwrap();
        let fresh = pictures(5, 99);
        let decibels = sqnr(&float.forward(&fresh).unwrap(), &int8.forward(&fresh).unwrap());
        assert!(decibels > 22.0, "{decibels} dB");
        let in_float: Vec<&str> = int8
            .graph()
            .iter()
            .filter(|(id, _)| int8.qparams(*id).is_none())
            .map(|(_, node)| node.name.as_str())
            .collect();
        assert_eq!(in_float, ["input", "stem.0", "dequant"]);
    }
}

#[test]
fn the_result_is_the_same_for_any_number_of_threads() {
    let float = model();
    let run = |threads| {
        let mut observed = float.prepare(&QConfigMapping::global(QConfig::recommended())).unwrap();
        let options = Options::new(threads).unwrap();
        observed.calibrate(options, (0..3).map(|seed| Ok(pictures(3, seed)))).unwrap();
        observed.convert().unwrap()
    };
    assert_eq!(run(1), run(3));
}

#[test]
fn the_error_names_all_observers_without_data() {
    let observed = model().prepare(&QConfigMapping::global(QConfig::recommended())).unwrap();
    let error = observed.convert().unwrap_err().to_string();
    assert!(error.starts_with("8 of 8 observers saw no data"), "{error}");
    assert!(error.contains("block.0, block.3, block.6, skip_add, cat"), "{error}");
}

#[test]
fn layers_without_a_qconfig_stay_in_float() {
    let mapping = QConfigMapping::global(QConfig::recommended())
        .set_module_name("block.3", None)
        .set_object_type("Linear", None);
    let float = model();
    let mut observed = float.prepare(&mapping).unwrap();
    let reasons: Vec<String> =
        observed.float_layers().iter().map(|l| format!("{}: {}", l.name, l.reason)).collect();
    assert!(reasons.contains(&"block.3: it has no qconfig".to_owned()), "{reasons:?}");
    observed.forward(&pictures(4, 0)).unwrap();
    let int8 = observed.convert().unwrap();
    assert_eq!(int8.float_layers(), observed.float_layers());
    for name in ["block.0.dequant", "block.3.quant", "tail.1.dequant"] {
        assert!(int8.graph().find(name).is_some(), "{name}");
    }
    assert!(matches!(int8.graph().node(int8.graph().output()).op, Op::Linear(_)));
    let fresh = pictures(2, 5);
    let decibels = sqnr(&float.forward(&fresh).unwrap(), &int8.forward(&fresh).unwrap());
    assert!(decibels > 22.0, "{decibels} dB");
}

#[test]
fn explicit_stubs_limit_the_int8_region() {
    let net = Sequential::new()
        .then(conv(3, 8, 3, 1))
        .then(QuantStub)
        .then(conv(8, 8, 3, 8))
        .then(DeQuantStub)
        .then(MaxPool2d::new(2))
        .then(conv(8, 4, 1, 1));
    let float = Architecture::trace(&net).unwrap().init(3);
    let mut observed = float.prepare(&QConfigMapping::global(QConfig::recommended())).unwrap();
    observed.forward(&pictures(2, 1)).unwrap();
    let int8 = observed.convert().unwrap();
    let kinds: Vec<bool> = int8.graph().iter().map(|(id, _)| int8.qparams(id).is_some()).collect();
    assert_eq!(kinds, [false, false, true, true, false, false, false]);
    let names: Vec<String> = int8.float_layers().into_iter().map(|layer| layer.name).collect();
    assert_eq!(names, ["0", "4", "5"]);
    assert_eq!(int8.float_layers(), observed.float_layers());
    let fresh = pictures(2, 5);
    let decibels = sqnr(&float.forward(&fresh).unwrap(), &int8.forward(&fresh).unwrap());
    assert!(decibels > 30.0, "{decibels} dB");
}

#[test]
fn the_error_for_nan_in_pictures_says_where_it_is() {
    let mut observed = model().prepare(&QConfigMapping::global(QConfig::recommended())).unwrap();
    let mut images = pictures(1, 0);
    images.data_mut()[17] = f32::NAN;
    let error = observed.forward(&images).unwrap_err().to_string();
    assert!(error.starts_with("input: value 17 of the input [1, 3, 32, 32] is NaN"), "{error}");
}

#[test]
fn a_name_that_matches_no_layer_is_an_error() {
    let mapping =
        QConfigMapping::global(QConfig::recommended()).set_module_name("features.99", None);
    let error = model().prepare(&mapping).unwrap_err().to_string();
    assert!(error.contains("features.99"), "{error}");
}

#[test]
fn the_module_tree_shows_observers_and_scales() {
    let net =
        Sequential::new().then(conv(3, 4, 3, 1)).then(BatchNorm::two_d(4)).then(Activation::ReLU);
    let float = Architecture::trace(&net).unwrap().init(3).fuse().unwrap();
    let mut observed = float.prepare(&QConfigMapping::global(QConfig::fbgemm())).unwrap();
    let tree = observed.module("").unwrap().to_string();
    let line = "(activation_post_process): HistogramObserver(min_val=inf, max_val=-inf)\n";
    assert_eq!(tree.matches(line).count(), 2, "{tree}");
    observed.forward(&pictures(2, 1)).unwrap();
    let tree = observed.convert().unwrap().module("").unwrap().to_string();
    assert!(
        tree.contains("(0): QuantizedConvReLU2d(3, 4, kernel_size=(3, 3), stride=(1, 1), scale=")
    );
    assert!(tree.contains(", padding=(1, 1))\n"), "{tree}");
    assert!(tree.contains("(quant): Quantize(scale=tensor([0.0"), "{tree}");
    assert!(tree.contains("(dequant): DeQuantize()"), "{tree}");
}

#[test]
fn an_engine_can_be_used_after_the_error_for_an_empty_batch() {
    let mut engine = compile(model(), Options::new(1).unwrap()).unwrap();
    let empty = Tensor::zeros([0, 3, 32, 32]);
    for _ in 0..2 {
        let error = engine.run(&empty).unwrap_err().to_string();
        assert_eq!(error, "input: [0, 3, 32, 32] has an empty axis");
        assert_eq!(engine.run(&pictures(1, 0)).unwrap().shape(), [1, 10]);
    }
}

/// A convolution in int8.
fn int8_conv() -> QuantizedModel {
    let model = Architecture::trace(&Conv2d::new(3, 4, 3)).unwrap().init(0);
    let mut observed = model.prepare(&QConfigMapping::global(QConfig::recommended())).unwrap();
    observed.forward(&Tensor::zeros([1, 3, 8, 8])).unwrap();
    observed.convert().unwrap()
}

#[test]
fn an_int8_input_of_the_network_is_an_error() {
    let int8 = int8_conv();
    let graph = int8.graph();
    let mut qparams: Vec<_> = graph.iter().map(|(id, _)| int8.qparams(id)).collect();
    qparams[0] = qparams[1];
    let (layers, mapping) = (int8.layers().clone(), int8.mapping().clone());
    let refused = QuantizedModel::new(graph.clone(), qparams, layers, [].into(), mapping);
    assert_eq!(
        refused.unwrap_err().to_string(),
        "input: the input of a network must be float, found int8"
    );
}

#[test]
fn float_parameters_of_nodes_that_take_none_are_errors() {
    let int8 = int8_conv();
    let graph = int8.graph();
    let qparams = || graph.iter().map(|(id, _)| int8.qparams(id)).collect();
    let conv = graph.iter().find(|(_, node)| matches!(node.op, Op::Conv2d(_))).unwrap().0;
    let value = std::sync::Arc::new(Tensor::zeros([4]));
    // A node that does not exist, one without parameters, and one with int8 weights.
    for id in [NodeId(99), NodeId(0), conv] {
        let parameters = [((id, Role::Bias), value.clone())].into();
        let (layers, mapping) = (int8.layers().clone(), int8.mapping().clone());
        let refused = QuantizedModel::new(graph.clone(), qparams(), layers, parameters, mapping);
        let error = refused.unwrap_err().to_string();
        assert_eq!(
            error,
            format!("node {}: only a float layer with a bias may have a float bias", id.0)
        );
    }
}
